"""Torch's functions: plain functions of primitives, by subject; `namespace` has all of them."""
