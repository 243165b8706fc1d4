"""torch.fx: `wrap`, for functions that a symbolic trace leaves whole. There is no symbolic trace:
`compile` makes the graph, and `graph()` of a compiled function shows it.
"""

from __future__ import annotations

from typing import Any

from .refusals import refused

__all__ = ["wrap"]
_USER_PRESERVED_ATTRIBUTES_KEY = "_user_preserved_attributes"


def wrap(fn_or_name: Any) -> Any:
    """The function itself, or its name."""
    return fn_or_name


globals().update(refused(
    "fx",
    "Graph GraphModule Interpreter Node Proxy Tracer symbolic_trace _CodeOnlyModule _copy_attr",
    "`compile` records programs, and `graph()` of a compiled function shows them",
))
