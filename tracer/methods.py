"""What a Tensor can do: the functions, as methods, from one table.

`METHODS` are functions whose first argument is the tensor; `INPLACE` those that also come as
`name_`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.value import REGISTRY
from . import fillers, numpy_door, printing, random
from .functions import (
    bounds,
    broadcasting,
    contract,
    conversion,
    counting,
    creation,
    differences,
    factors,
    facts,
    filling,
    floats,
    indexing,
    joining,
    matrices,
    memory,
    moments,
    movement,
    normalized,
    norms,
    ordering,
    parts,
    pointwise,
    positions,
    prefix,
    products,
    questions,
    reduce,
    scattering,
    sharing,
    solving,
    statistics,
    transcendental,
    triangles,
)
from .inplace import inplace, update
from .tensor import Tensor
from .turning import turned

METHODS: dict[Any, str] = {
    pointwise: " ".join(n for n in pointwise.__all__ if n not in ("imag", "real", "rsub", "where")),
    bounds: " ".join(bounds.__all__),
    questions: " ".join(questions.__all__),
    floats: " ".join(floats.__all__),
    transcendental: " ".join(n for n in transcendental.__all__ if n != "polygamma"),
    reduce: " ".join(reduce.__all__),
    moments: " ".join(moments.__all__),
    normalized: " ".join(normalized.__all__),
    norms: " ".join(norms.__all__),
    statistics: " ".join(statistics.__all__),
    counting: "bincount histc histogram",
    differences: "diff",
    contract: " ".join(contract.__all__),
    products: "addbmm addr cross inner kron",
    factors: "cholesky qr svd",
    matrices: "matrix_exp matrix_power norm orgqr ormqr",
    solving: " ".join(solving.__all__),
    prefix: " ".join(prefix.__all__),
    filling: "copy_ fill_ fill_diagonal_ zero_ masked_fill masked_fill_",
    positions: " ".join(n for n in positions.__all__ if n != "unravel_index"),
    scattering: " ".join(scattering.__all__),
    ordering: "argsort isin kthvalue msort sort topk unique unique_consecutive",
    triangles: " ".join(n for n in triangles.__all__ if not n.endswith("_indices")),
    parts: " ".join(parts.__all__) + " unfold",
    joining: "repeat repeat_interleave tile",
    random: "bernoulli multinomial",
    movement: """
        adjoint flatten flip fliplr flipud moveaxis movedim permute ravel reshape roll rot90
        squeeze swapaxes swapdims t transpose unflatten unsqueeze view view_as
        reshape_as is_contiguous""",
    broadcasting: "expand expand_as broadcast_to sum_to_size",
    conversion: """
        item tolist numpy to type_as cpu cuda clone detach detach_ __array__ __bool__ __float__
        __int__ __index__ __len__ __iter__ __contains__""",
    facts: """
        data_ptr dim dim_order element_size get_device is_conj is_inference is_neg is_same_size
        is_set_to is_signed ndimension nelement numel storage_offset stride _is_view""",
    memory: "resize_ resize_as_",
    sharing: "__dlpack__ __dlpack_device__",
}

# functions of numbers that have no in-place variant
_OUT_OF_PLACE = (
    "angle", "conj", "fmax", "fmin", "imag", "isnan", "maximum", "minimum", "positive", "real",
    "resolve_conj", "resolve_neg", "rsub", "where",
)  # fmt: skip

# functions that have an in-place variant
INPLACE = {
    pointwise: " ".join(n for n in pointwise.__all__ if n not in _OUT_OF_PLACE),
    bounds: " ".join(bounds.__all__),
    transcendental: " ".join(n for n in transcendental.__all__ if n != "polygamma"),
    floats: "ldexp nextafter",
    scattering: " ".join(scattering.__all__),
    prefix: "cumprod cumsum",
    norms: "renorm",
    triangles: "tril triu",
    contract: "addmm addmv baddbmm",
    products: "addbmm addr",
}

# operator -> primitive, for those that write into their left operand
AUGMENTED = {
    "iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div", "ifloordiv": "floor_div",
    "imod": "remainder", "ipow": "pow", "iand": "bitwise_and", "ior": "bitwise_or",
    "ixor": "bitwise_xor", "ilshift": "shift_left", "irshift": "shift_right",
}  # fmt: skip


def _operand(x: Any) -> Any:
    """An array beside a Tensor is one."""
    return creation.as_tensor(x) if isinstance(x, np.ndarray) else x


OTHERS = {
    "lu": factors.old_lu,
    "lu_solve": solving.old_lu_solve,
    "__getitem__": indexing.getitem,
    "__setitem__": indexing.setitem,
    "__matmul__": lambda self, other: contract.matmul(self, _operand(other)),
    "__rmatmul__": lambda self, other: contract.matmul(_operand(other), self),
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
    "polygamma": lambda self, n: transcendental.polygamma(n, self),
    "polygamma_": lambda self, n: update(self, lambda x: transcendental.polygamma(n, x)),
    "real": property(pointwise.real),
    "imag": property(pointwise.imag),
    "size": facts._size,
    "type": conversion.type_,
    "contiguous": movement.contiguous_,
    "where": lambda self, condition, other: pointwise.where(condition, self, other),
    "data": property(conversion._data, conversion._set_data, doc="The values, without history."),
    "T": property(
        lambda x: movement.permute(x, tuple(range(x.ndim))[::-1]), doc="The dimensions reversed."
    ),
    "mT": property(movement.adjoint, doc="The last two dimensions exchanged."),
    "mH": property(movement.adjoint, doc="The last two dimensions exchanged."),
    "H": property(movement.t, doc="The transpose of a matrix."),
    "itemsize": property(facts.element_size),
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
    return REGISTRY["bitwise_not"](self)


def _rtruediv(self: Tensor, other: Any) -> Tensor:
    """other / self."""
    return REGISTRY["reciprocal"](self) * other  # as torch has it


def _attach() -> None:
    for module, names in METHODS.items():
        for name in names.split():
            setattr(Tensor, name, getattr(module, name))
    for module, names in INPLACE.items():
        for name in names.split():
            setattr(Tensor, f"{name}_", inplace(getattr(module, name)))
    for name, primitive in AUGMENTED.items():
        setattr(Tensor, f"__{name}__", _augmented(primitive))
    door = {
        "__array_ufunc__": numpy_door.array_ufunc, "__array_function__": numpy_door.array_function
    }  # fmt: skip
    mine = {"__invert__": _invert, "__rtruediv__": _rtruediv, **door}
    for table in (OTHERS, mine, conversion.CASTS, conversion.NEW, fillers.FILLERS):
        for name, value in table.items():
            setattr(Tensor, name, value)
    for name in "squeeze swapaxes swapdims t transpose unsqueeze".split():
        setattr(Tensor, f"{name}_", turned(getattr(movement, name)))
    Tensor.requires_grad_.__doc__ = (
        "Say whether operations on this leaf are recorded; returns the tensor."
    )


def _augmented(primitive: str) -> Any:
    op = REGISTRY[primitive]
    return lambda self, other: update(self, op, other)


_attach()
