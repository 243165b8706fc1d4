"""torch.backends: which libraries torch computes with, none of them here, and their switches.

A switch can be set and read, and is one of speed alone, or of a library that is not here: results
do not depend on it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

# by module: the switches and their values as torch starts with them
_SWITCHES: dict[str, dict[str, Any]] = {
    "cpu": {},
    "cuda": {
        "matmul": SimpleNamespace(
            allow_tf32=False, allow_fp16_reduced_precision_reduction=True,
            allow_bf16_reduced_precision_reduction=True,
        ),
        "cufft_plan_cache": SimpleNamespace(max_size=0, size=0),
    },
    "cudnn": {
        "enabled": True, "benchmark": False, "deterministic": False, "allow_tf32": True,
        "benchmark_limit": 10,
    },
    "mkl": {},
    "mkldnn": {"enabled": True, "deterministic": False, "allow_tf32": True},
    "mps": {},
    "openmp": {},
    "opt_einsum": {"enabled": False, "strategy": None},
}
_ATTENTION = "flash mem_efficient math cudnn"


def _no() -> bool:
    """False: this library is not used here."""
    return False


def _no_version() -> None:
    """None: this library is not used here."""


def _flags(module: ModuleType, switches: dict[str, Any]) -> Callable:
    @contextmanager
    def flags(**values: Any) -> Iterator[None]:
        """Set switches of this library within a `with` block."""
        unknown = values.keys() - switches.keys()
        if unknown:
            raise TypeError(f"{module.__name__}.flags has no switch {sorted(unknown)[0]!r}")
        before = {name: getattr(module, name) for name in values}
        vars(module).update(values)
        try:
            yield
        finally:
            vars(module).update(before)

    return flags


def _attention_switches(module: ModuleType) -> None:
    """Which kernels of attention may be used: `enable_flash_sdp(False)`, `flash_sdp_enabled()`."""
    allowed = dict.fromkeys(_ATTENTION.split(), True)
    for kind in allowed:
        def enable(enabled: bool, kind: str = kind) -> None:
            allowed[kind] = enabled

        def enabled(kind: str = kind) -> bool:
            return allowed[kind]

        setattr(module, f"enable_{kind}_sdp", enable)
        setattr(module, f"{kind}_sdp_enabled", enabled)


@contextmanager
def _sdp_kernel(enable_flash: bool = True, enable_math: bool = True,
                enable_mem_efficient: bool = True, enable_cudnn: bool = True) -> Iterator[dict]:
    """A `with` block that names the kernels that may be used. The results are the same."""
    yield {}


def _make(name: str, switches: dict[str, Any]) -> ModuleType:
    module = ModuleType(f"{__name__}.{name}", f"torch.backends.{name}: not used here.")
    vars(module).update(
        switches, is_available=_no, is_built=_no, version=_no_version,
        flags=_flags(module, switches),
    )
    sys.modules[module.__name__] = module
    return module


__path__: list[str] = []  # the modules below are imported like those of a folder
cpu, cuda, cudnn, mkl, mkldnn, mps, openmp, opt_einsum = (
    _make(name, switches) for name, switches in _SWITCHES.items()
)
_attention_switches(cuda)
cuda.sdp_kernel = _sdp_kernel  # type: ignore[attr-defined]
cpu.get_cpu_capability = lambda: "DEFAULT"  # type: ignore[attr-defined]
