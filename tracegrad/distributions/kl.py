"""Torch's names about divergences; importing it registers all of them."""

from . import kl_across as kl_across, kl_normal as kl_normal, kl_within as kl_within
from .kl_registry import (
    _KL_MEMOIZE as _KL_MEMOIZE,
    _KL_REGISTRY as _KL_REGISTRY,
    kl_divergence,
    register_kl,
)

__all__ = ["kl_divergence", "register_kl"]
