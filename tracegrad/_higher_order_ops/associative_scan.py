"""The path of `associative_scan` in torch."""

from ..functions.torch.control_flow import associative_scan

__all__ = ["associative_scan"]
