"""torch.compile's `backend`, `mode` and `options`: which of them mean something here."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

_OURS = "tracegrad"
_NONE = ("eager", "aot_eager")  # torch runs Python with them, to find faults
_OTHERS = ("cudagraphs", "inductor", "onnxrt", "openxla", "tvm")
_TUNES = ("max-autotune", "max-autotune-no-cudagraphs")
_MODES = ("default", "lite", *_TUNES, "reduce-overhead")
_noted: set[str] = set()


def choose_compiler(backend: Any, mode: Any, options: Any) -> tuple[bool, bool]:
    """Whether to compile, and to tune. Raises RuntimeError for a backend or a mode that torch does
    not have.
    """
    if mode is not None and options is not None:
        raise RuntimeError(
            "Either mode or options can be specified, but both can't be specified at the same time."
        )
    if mode is not None and mode not in _MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(_MODES)}")
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f"compile: options must be a dict, not {type(options).__name__}")
    if backend not in (_OURS, *_NONE, *_OTHERS):
        what = getattr(backend, "__name__", None) or repr(backend)
        raise RuntimeError(
            f"compile: backend {what} is not available; tracegrad has one of its own, and takes "
            f"{', '.join((*_NONE, *_OTHERS))} for torch's sake"
        )
    told = {"backend": backend in _OTHERS, "mode": mode not in (None, "default", *_TUNES),
            "options": bool(options)}
    without_meaning = [name for name, is_told in told.items() if is_told]
    if without_meaning and not _noted:
        _noted.update(without_meaning)
        warnings.warn(
            f"compile: {' and '.join(without_meaning)} choose among torch's compilers, and change "
            "nothing here",
            stacklevel=3,
        )
    return backend not in _NONE, mode in _TUNES
