"""A Module called with other parameters, by the name that torch gave it first."""

from ...func import functional_call

__all__ = ["functional_call"]
