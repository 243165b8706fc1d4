"""The types of answers that have several parts, by the name of the function."""

from .tracer.functions.results import TYPES

globals().update(TYPES)
__all__ = sorted(TYPES)
