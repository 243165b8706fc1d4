"""Torch's names about divergences; importing it registers all of them."""

from .kl_registry import kl_divergence, register_kl

__all__ = ["kl_divergence", "register_kl"]
