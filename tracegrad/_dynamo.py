"""torch._dynamo's names that programs use: sizes that change, and what torch.compiler has."""

from types import SimpleNamespace

from .compiler import allow_in_graph, disable, is_compiling, reset
from .driver.api import OptimizedModule
from .driver.dynamic_sizes import mark_dynamic, mark_static, maybe_mark_dynamic

__all__ = [
    "OptimizedModule", "allow_in_graph", "config", "disable", "is_compile_supported",
    "is_compiling", "mark_dynamic", "mark_static", "maybe_mark_dynamic", "reset",
]


def is_compile_supported(device_type: str) -> bool:
    """True: all that runs eagerly on a device is compiled for it."""
    return True


# settings of torch's compiler: they can be set, and there is nothing here that they change
config = SimpleNamespace(suppress_errors=False, cache_size_limit=8, recompile_limit=8)
