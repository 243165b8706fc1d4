"""Loops and branches in a trace."""

from . import batching  # which registers its rules

__all__ = ["batching"]
