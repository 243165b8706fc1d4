"""Compiled operations over sizes, beside torch and JAX: `python -m benchmarks.sweep`."""
