"""torch.onnx: refused. A compiled function is exported for C by `export`."""

from typing import Any

from .refusals import refused

__all__ = ["is_in_onnx_export", "parse_args", "register_custom_op_symbolic"]


def is_in_onnx_export() -> bool:
    """False.

    >>> torch.onnx.is_in_onnx_export()
    False
    """
    return False


def parse_args(*kinds: str) -> Any:
    """The decorated function itself: it would describe an operator to an export."""
    return lambda fn: fn


def register_custom_op_symbolic(symbolic_name: str, symbolic_fn: Any, opset_version: int) -> None:
    """Nothing: no export asks for it."""


globals().update(refused(
    "onnx", "export dynamo_export ExportOptions ONNXProgram",
    "a compiled function writes itself to a file by `export`, for C and for `load_program`",
))
