"""Compiled kernels are kept between test runs, away from the user's own cache."""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if "TRACEGRAD_CACHE_DIR" not in os.environ and hasattr(config, "cache"):
        os.environ["TRACEGRAD_CACHE_DIR"] = str(config.cache.mkdir("tracegrad"))
