"""What a Tensor can do: the functions, as methods, from one table.

`METHODS` are functions whose first argument is the tensor; `INPLACE` those that also come as
`name_`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.op import OpDef
from ..ir.ops import elementwise as ops
from ..ir.value import ARITHMETIC, OPERATORS
from ..tracer.tensor import printing
from ..tracer.tensor.inplace import apply_inplace, inplace
from ..tracer.tensor.reshape_inplace import inplace_view
from ..tracer.tensor.tensor import Tensor
from . import numpy_protocol, numpy_ufuncs
from .linalg import chained_products, decompositions, matmul, matrix_functions, solving
from .math import (
    clamp,
    cumulative,
    differences,
    elementwise,
    floating_point,
    histogram,
    norms,
    pointwise,
    predicates,
    reduction,
    softmax_family,
    sorting,
    special,
    statistics,
    var_std,
)
from .random import distributions, inplace_sampling
from .tensors import (
    broadcasting,
    conversion,
    creation,
    fill,
    gather,
    indexing,
    interop,
    joining,
    metadata,
    reinterpret,
    scatter,
    shape,
    slicing,
    triangular,
)

METHODS: dict[Any, str] = {
    elementwise: " ".join(elementwise.__all__),
    pointwise: " ".join(n for n in pointwise.__all__ if n not in ("imag", "real", "rsub", "where")),
    clamp: " ".join(clamp.__all__),
    predicates: " ".join(predicates.__all__),
    floating_point: " ".join(floating_point.__all__),
    special: " ".join(n for n in special.__all__ if n != "polygamma"),
    reduction: " ".join(reduction.__all__),
    var_std: " ".join(var_std.__all__),
    softmax_family: " ".join(softmax_family.__all__),
    norms: " ".join(norms.__all__),
    statistics: " ".join(statistics.__all__),
    histogram: "bincount histc histogram",
    differences: "diff",
    matmul: " ".join(matmul.__all__),
    chained_products: "addbmm addr cross inner kron",
    decompositions: "cholesky qr svd",
    matrix_functions: "matrix_exp matrix_power norm orgqr ormqr",
    solving: " ".join(solving.__all__),
    cumulative: " ".join(cumulative.__all__),
    fill: "copy_ fill_ fill_diagonal_ zero_ masked_fill masked_fill_",
    gather: " ".join(n for n in gather.__all__ if n != "unravel_index"),
    scatter: " ".join(scatter.__all__),
    sorting: "argsort isin kthvalue msort sort topk unique unique_consecutive",
    triangular: " ".join(n for n in triangular.__all__ if not n.endswith("_indices")),
    slicing: " ".join(slicing.__all__) + " unfold",
    joining: "repeat repeat_interleave tile",
    distributions: "bernoulli multinomial",
    shape: """
        adjoint flatten flip fliplr flipud moveaxis movedim permute ravel reshape roll rot90
        squeeze swapaxes swapdims t transpose unflatten unsqueeze view view_as
        reshape_as is_contiguous""",
    broadcasting: "expand expand_as broadcast_to sum_to_size",
    conversion: """
        item tolist numpy to type_as cpu cuda clone detach detach_ __array__ __bool__ __float__
        __int__ __index__ __len__ __iter__ __contains__""",
    metadata: """
        data_ptr dim dim_order element_size get_device is_conj is_inference is_neg is_same_size
        is_set_to is_signed ndimension nelement numel storage_offset stride _is_view""",
    reinterpret: "resize_ resize_as_",
    interop: "__dlpack__ __dlpack_device__",
}

# functions of numbers that have no in-place variant
_OUT_OF_PLACE = (
    "angle", "conj", "fmax", "fmin", "imag", "isnan", "maximum", "minimum", "positive", "real",
    "resolve_conj", "resolve_neg", "rsub", "where",
)

# functions that have an in-place variant
INPLACE = {
    elementwise: " ".join(n for n in elementwise.__all__ if n not in _OUT_OF_PLACE),
    pointwise: " ".join(n for n in pointwise.__all__ if n not in _OUT_OF_PLACE),
    clamp: " ".join(clamp.__all__),
    special: " ".join(n for n in special.__all__ if n != "polygamma"),
    floating_point: "ldexp nextafter",
    scatter: " ".join(scatter.__all__),
    cumulative: "cumprod cumsum",
    norms: "renorm",
    triangular: "tril triu",
    matmul: "addmm addmv baddbmm",
    chained_products: "addbmm addr",
}

def _operand(x: Any) -> Any:
    """An array beside a Tensor is one."""
    return creation.as_tensor(x) if isinstance(x, np.ndarray) else x


OTHERS = {
    "lu": decompositions.old_lu,
    "lu_solve": solving.old_lu_solve,
    "__getitem__": indexing.getitem,
    "__setitem__": indexing.setitem,
    "__matmul__": lambda self, other: matmul.matmul(self, _operand(other)),
    "__rmatmul__": lambda self, other: matmul.matmul(_operand(other), self),
    "__eq__": conversion.numbers_equal,
    "__ne__": conversion.numbers_differ,
    "__hash__": object.__hash__,
    "__pos__": pointwise.positive,
    "__pow__": pointwise.pow,
    "__rpow__": lambda self, base: pointwise.pow(base, self),
    "__rsub__": pointwise.rsub,
    "__repr__": printing.tensor_repr,
    "__str__": printing.tensor_repr,
    "__format__": printing.tensor_format,
    "polygamma": lambda self, n: special.polygamma(n, self),
    "polygamma_": lambda self, n: apply_inplace(self, lambda x: special.polygamma(n, x)),
    "real": property(pointwise.real),
    "imag": property(pointwise.imag),
    "size": metadata._size,
    "type": conversion.type_,
    "contiguous": shape.contiguous_,
    "where": lambda self, condition, other: pointwise.where(condition, self, other),
    "data": property(conversion._data, conversion._set_data, doc="The values, without history."),
    "T": property(
        lambda x: shape.permute(x, tuple(range(x.ndim))[::-1]), doc="The dimensions reversed."
    ),
    "mT": property(shape.adjoint, doc="The last two dimensions exchanged."),
    "mH": property(shape.adjoint, doc="The last two dimensions exchanged."),
    "H": property(shape.t, doc="The transpose of a matrix."),
    "itemsize": property(metadata.element_size),
    "nbytes": property(lambda x: x.numel() * x.dtype.itemsize),
    "from_numpy": staticmethod(creation.from_numpy),
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
    for table in (OTHERS, mine, conversion.CASTS, conversion.NEW, inplace_sampling.FILLERS):
        for name, value in table.items():
            setattr(Tensor, name, value)
    for name in "squeeze swapaxes swapdims t transpose unsqueeze".split():
        setattr(Tensor, f"{name}_", inplace_view(getattr(shape, name)))


def _augmented(op: OpDef) -> Any:
    return lambda self, other: apply_inplace(self, op, other)

