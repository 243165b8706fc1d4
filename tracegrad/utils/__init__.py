"""Helpers for training, by torch's names."""

from . import checkpoint

__all__ = ["checkpoint"]
