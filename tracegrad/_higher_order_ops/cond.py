"""The path of `cond` in torch."""

from ..functions.torch.control_flow import cond

__all__ = ["cond"]
