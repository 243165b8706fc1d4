"""The path of `while_loop` in torch."""

from ..functions.torch.control_flow import while_loop

__all__ = ["while_loop"]
