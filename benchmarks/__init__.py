"""Benchmarks: tracegrad beside PyTorch and JAX, on the same work. Run `python -m benchmarks`."""
