"""The types of results that have several parts, by the name of the function."""

from .functions.named_results import TYPES

globals().update(TYPES)
__all__ = sorted(TYPES)
