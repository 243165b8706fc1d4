"""The path of `map` in torch."""

from ..functions.torch.control_flow import map

__all__ = ["map"]
