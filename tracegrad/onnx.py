"""torch.onnx: refused. A compiled function is exported for C by `export`."""

from .refusals import refused

__all__ = ["is_in_onnx_export"]


def is_in_onnx_export() -> bool:
    """False.

    >>> torch.onnx.is_in_onnx_export()
    False
    """
    return False


globals().update(refused(
    "onnx", "export dynamo_export register_custom_op_symbolic ExportOptions ONNXProgram",
    "a compiled function writes itself to a file by `export`, for C and for `load_program`",
))
