"""Arrays of other libraries, by torch's names."""

from ..functions.torch.memory import from_dlpack

__all__ = ["from_dlpack"]
