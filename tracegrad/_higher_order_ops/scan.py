"""The path of `scan` in torch."""

from ..functions.torch.control_flow import scan

__all__ = ["scan"]
