"""What a Tensor can do: the functions, as methods, from one table.

`METHODS` are functions whose first argument is the tensor; `INPLACE` those that also come as
`name_`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from ..ir.dtype import float64
from ..ir.op import OpDef
from ..ir.ops import elementwise as ops
from ..ir.value import ARITHMETIC, OPERATORS, is_operand
from ..tracer.tensor import printing
from ..tracer.tensor.inplace import apply_inplace, inplace
from ..tracer.tensor.promotion import SCALAR_TYPE
from ..tracer.tensor.reshape_inplace import inplace_view
from ..tracer.tensor.tensor import Tensor
from . import conversion, numpy_protocol, numpy_ufuncs, special
from .linalg import decompositions, matrix_functions, solvers
from .torch import (
    blas,
    comparison,
    creation,
    device_exchange,
    floating_point,
    gather,
    indexing,
    memory,
    other_counting,
    other_cumulative,
    other_shapes,
    pointwise,
    pointwise_primitives,
    random_sampling,
    reduction,
    reduction_statistics,
    scatter,
    shape,
    slicing_joining,
    storage,
    tensors,
)


def _all(module: Any, without: str = "", also: str = "") -> str:
    """The public names of a file, less some, and some more."""
    return " ".join([n for n in module.__all__ if n not in without.split()] + also.split())


METHODS: dict[Any, str] = {
    tensors: _all(
        tensors, without="finfo iinfo is_tensor",
        also="""
        data_ptr dim dim_order element_size is_set_to ndimension nelement storage_offset stride
        _is_view""",
    ),
    memory: "resize_ resize_as_ __dlpack__ __dlpack_device__",
    conversion: """
        item tolist numpy to type_as cpu cuda pin_memory is_pinned record_stream clone detach
        detach_ __array__ __bool__ __float__ __int__ __index__ __len__ __iter__ __contains__""",
    indexing: _all(indexing, without="fill", also="copy_ fill_diagonal_ masked_fill_"),
    gather: _all(gather, without="unravel_index where"),
    scatter: _all(scatter),
    slicing_joining: _all(
        slicing_joining,
        without="cat column_stack concat concatenate dstack hstack row_stack stack vstack",
        also="repeat unfold",
    ),
    shape: """
        adjoint broadcast_to expand expand_as flatten is_contiguous moveaxis movedim permute ravel
        reshape reshape_as squeeze sum_to_size swapaxes swapdims t transpose unflatten unsqueeze
        view view_as""",
    random_sampling: "bernoulli multinomial",
    pointwise_primitives: _all(pointwise_primitives),
    pointwise: _all(pointwise, without="imag real rsub"),
    floating_point: _all(floating_point),
    reduction: _all(reduction),
    reduction_statistics: _all(reduction_statistics),
    comparison: _all(comparison),
    other_cumulative: "cummax cummin cumprod cumsum diff logcumsumexp",
    other_counting: "bincount corrcoef cov histc histogram",
    other_shapes: """
        diag diag_embed diagflat flip fliplr flipud repeat_interleave roll rot90 tril triu""",
    blas: _all(blas, without="chain_matmul"),
    decompositions: "cholesky qr svd",
    solvers: _all(solvers),
    matrix_functions: _all(matrix_functions, without="frobenius_norm nuclear_norm"),
    special: _all(special, without="polygamma"),
    storage: "storage untyped_storage",
}

# functions that have an in-place variant
INPLACE = {
    scatter: """
        index_add index_copy index_fill index_put index_reduce masked_scatter put scatter
        scatter_add scatter_reduce""",
    pointwise_primitives: _all(pointwise_primitives, without="isnan maximum minimum"),
    pointwise: _all(
        pointwise,
        without="""
        angle conj float_power imag positive real resolve_conj resolve_neg rsub signbit""",
    ),
    floating_point: "ldexp nextafter",
    reduction_statistics: "renorm",
    other_cumulative: "cumprod cumsum",
    other_shapes: "tril triu",
    blas: "addbmm addmm addmv addr baddbmm",
    special: _all(special, without="polygamma"),
}


def _or_reflected(function: Callable) -> Callable:
    """An operator that leaves operands it cannot take to their classes."""

    @wraps(function)
    def operator(self: Tensor, other: Any) -> Any:
        try:
            return function(self, other)
        except (AttributeError, TypeError):
            if is_operand(other):
                raise
            return NotImplemented

    return operator


def _operand(x: Any) -> Any:
    """An array beside a Tensor is one."""
    return creation.as_tensor(x) if isinstance(x, np.ndarray) else x


def _float_power_(self: Tensor, exponent: Any) -> Tensor:
    """In-place variant of `float_power`, of float64."""
    if self.dtype is not float64:
        raise RuntimeError(
            f"the base given to float_power_ has dtype {SCALAR_TYPE[self.dtype]} but the "
            "operation's result requires dtype Double"
        )
    return apply_inplace(self, pointwise.float_power, exponent)


OTHERS = {
    "lu": decompositions.old_lu,
    "lu_solve": solvers.old_lu_solve,
    "__getitem__": indexing.getitem,
    "__setitem__": indexing.setitem,
    "__matmul__": _or_reflected(lambda self, other: blas.matmul(self, _operand(other))),
    "__rmatmul__": lambda self, other: blas.matmul(_operand(other), self),
    "__eq__": _or_reflected(conversion.numbers_equal),
    "__ne__": _or_reflected(conversion.numbers_differ),
    "__hash__": object.__hash__,
    "__pos__": pointwise.positive,
    "__pow__": _or_reflected(pointwise.pow),
    "__rpow__": lambda self, base: pointwise.pow(base, self),
    "__rsub__": pointwise.rsub,
    "__repr__": printing.tensor_repr,
    "__str__": printing.tensor_repr,
    "__format__": printing.tensor_format,
    "polygamma": lambda self, n: special.polygamma(n, self),
    "polygamma_": lambda self, n: apply_inplace(self, lambda x: special.polygamma(n, x)),
    "float_power_": _float_power_,
    "real": property(pointwise.real),
    "imag": property(pointwise.imag),
    "size": tensors._size,
    "split": slicing_joining._split,
    "type": conversion.type_,
    "contiguous": shape.contiguous_,
    "where": lambda self, condition, other: gather.where(condition, self, other),
    "data": property(conversion._data, conversion._set_data, doc="The values, without history."),
    "T": property(
        lambda x: shape.permute(x, tuple(range(x.ndim))[::-1]), doc="The dimensions reversed."
    ),
    "mT": property(shape.adjoint, doc="The last two dimensions exchanged."),
    "mH": property(shape.adjoint, doc="The last two dimensions exchanged."),
    "H": property(shape.t, doc="The transpose of a matrix."),
    "itemsize": property(tensors.element_size),
    "__cuda_array_interface__": property(device_exchange.cuda_array_interface),
    "nbytes": property(lambda x: x.numel() * x.dtype.itemsize),
    "from_numpy": staticmethod(creation.from_numpy),
    "is_cpu": property(lambda x: x.device.type == "cpu"),
    "name": property(lambda x: None),
    **dict.fromkeys(
        "is_ipu is_maia is_mkldnn is_mps is_mtia is_nested is_sparse_csr is_vulkan is_xla "
        "is_xpu".split(), property(lambda x: False, doc="False: there is no such tensor."),
    ),
    "is_shared": lambda self: False,
    "new": lambda self, *size: conversion.empty(*size, dtype=self.dtype),
}


def _invert(self: Tensor) -> Tensor:
    """~self."""
    if self.is_floating_point():
        raise TypeError(
            "~ (operator.invert) is only implemented on integer and Boolean-type tensors"
        )
    return ops.bitwise_not(self)


def _rtruediv(self: Tensor, other: Any) -> Tensor:
    """other / self."""
    return ops.reciprocal(self) * other  # as torch has it


def attach() -> None:
    for module, names in METHODS.items():
        for name in names.split():
            setattr(Tensor, name, getattr(module, name))
    for module, names in INPLACE.items():
        for name in names.split():
            setattr(Tensor, f"{name}_", inplace(getattr(module, name)))
    for name in ARITHMETIC:
        setattr(Tensor, f"__i{name[2:]}", _augmented(OPERATORS[name]))
    mine = {
        "__invert__": _invert,
        "__rtruediv__": _rtruediv,
        "__array_ufunc__": numpy_ufuncs.array_ufunc,
        "__array_function__": numpy_protocol.array_function,
    }
    for table in (OTHERS, mine, conversion.CASTS, conversion.NEW, random_sampling.FILLERS):
        for name, value in table.items():
            setattr(Tensor, name, value)
    for name in "squeeze swapaxes swapdims t transpose unsqueeze".split():
        setattr(Tensor, f"{name}_", inplace_view(getattr(shape, name)))


def _augmented(op: OpDef) -> Any:
    return _or_reflected(lambda self, other: apply_inplace(self, op, other))

