"""Settings of torch's that are asked for and set, where there is one way to compute.

Every operation gives the same numbers in every run, so it is always deterministic; matrix products
in float32 are always computed in float32.
"""

from __future__ import annotations

import builtins
from typing import Any

from .ir.dtype import DType
from .tracer.mode import mode, set_default_dtype
from .tracer.tensor.tensor import Tensor
from .typed import TYPES

__all__ = [
    "are_deterministic_algorithms_enabled", "compiled_with_cxx11_abi",
    "get_deterministic_debug_mode", "get_float32_matmul_precision", "is_anomaly_enabled",
    "is_deterministic_algorithms_warn_only_enabled", "is_storage", "is_warn_always_enabled",
    "set_anomaly_enabled", "set_default_tensor_type", "set_deterministic_debug_mode",
    "set_float32_matmul_precision", "set_flush_denormal", "set_warn_always", "typename",
    "use_deterministic_algorithms",
]
_PRECISIONS = ("highest", "high", "medium")
_values: dict[str, Any] = {
    "deterministic": False, "warn only": False, "precision": "highest", "warn always": False,
}


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Nothing but a note of it: every operation is deterministic.

    >>> torch.use_deterministic_algorithms(True)
    >>> torch.are_deterministic_algorithms_enabled()
    True
    >>> torch.use_deterministic_algorithms(False)
    """
    _values["deterministic"], _values["warn only"] = builtins.bool(mode), warn_only


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was told.

    >>> torch.are_deterministic_algorithms_enabled()
    False
    """
    return _values["deterministic"]


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """What `use_deterministic_algorithms` was told.

    >>> torch.is_deterministic_algorithms_warn_only_enabled()
    False
    """
    return _values["warn only"]


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """Nothing but a note of it: 0 or 'default', 1 or 'warn', 2 or 'error'.

    >>> torch.set_deterministic_debug_mode("default")
    """
    names = ("default", "warn", "error")
    if debug_mode not in (*names, 0, 1, 2):
        raise RuntimeError(
            f"invalid value of debug_mode, expected one of `default`, `warn`, `error`, but got "
            f"{debug_mode}"
        )
    level = names.index(debug_mode) if isinstance(debug_mode, str) else debug_mode
    use_deterministic_algorithms(level > 0, warn_only=level == 1)


def get_deterministic_debug_mode() -> int:
    """0, 1 or 2, as it was set.

    >>> torch.get_deterministic_debug_mode()
    0
    """
    return (2 - _values["warn only"]) if _values["deterministic"] else 0


def set_float32_matmul_precision(precision: str) -> None:
    """Nothing but a note of it: products are computed in float32.

    Raises ValueError for another word than 'highest', 'high' and 'medium'.

    >>> torch.set_float32_matmul_precision("high")
    >>> torch.get_float32_matmul_precision()
    'high'
    >>> torch.set_float32_matmul_precision("highest")
    """
    if precision not in _PRECISIONS:
        raise ValueError(f"float32 matmul precision is one of {_PRECISIONS}, not {precision!r}")
    _values["precision"] = precision


def get_float32_matmul_precision() -> str:
    """The word that was set.

    >>> torch.get_float32_matmul_precision()
    'highest'
    """
    return _values["precision"]


def set_flush_denormal(mode: bool) -> bool:
    """False: tiny numbers stay what they are.

    >>> torch.set_flush_denormal(True)
    False
    """
    return False


def set_warn_always(b: bool, /) -> None:
    """Nothing but a note of it: when a warning is repeated is for Python's filters to say.

    >>> torch.set_warn_always(False)
    """
    _values["warn always"] = builtins.bool(b)


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` was told.

    >>> torch.is_warn_always_enabled()
    False
    """
    return _values["warn always"]


def set_anomaly_enabled(mode_: bool, check_nan: bool = True) -> None:
    """Whether `backward` looks for NaN.

    >>> torch.set_anomaly_enabled(False)
    """
    mode.anomaly = builtins.bool(mode_) and check_nan


def is_anomaly_enabled() -> bool:
    """Whether `backward` looks for NaN.

    >>> torch.is_anomaly_enabled()
    False
    """
    return mode.anomaly


def set_default_tensor_type(t: Any) -> None:
    """Set the default dtype by the old name of its tensors, such as `torch.DoubleTensor`.

    Raises TypeError for what is no floating point type of tensors on the CPU.

    >>> torch.set_default_tensor_type(torch.FloatTensor)
    """
    named = TYPES.get(t.rpartition(".")[2]) if isinstance(t, str) else t
    dtype = getattr(named, "dtype", None)
    if not isinstance(dtype, DType):
        raise TypeError(f"invalid type object: {t!r}")
    set_default_dtype(dtype)


def is_storage(obj: Any, /) -> bool:
    """Whether this is a storage of a tensor.

    >>> torch.is_storage(torch.ones(2).storage())
    True
    """
    return hasattr(obj, "data_ptr") and not isinstance(obj, Tensor)


def typename(obj: Any, /) -> str:
    """The name of its type.

    >>> torch.typename(torch.ones(2))
    'tracegrad.FloatTensor'
    """
    if isinstance(obj, Tensor):
        return obj.type()
    kind = obj if hasattr(obj, "__qualname__") else type(obj)
    name = kind.__qualname__
    return name if kind.__module__ in ("", "builtins", None) else f"{kind.__module__}.{name}"


def compiled_with_cxx11_abi() -> bool:
    """True, as for every torch of today.

    >>> torch.compiled_with_cxx11_abi()
    True
    """
    return True


def _assert(condition: Any, message: str) -> None:
    """`assert condition, message`, which may be a tensor of one element."""
    assert condition, message
