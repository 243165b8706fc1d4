"""Compiled kernels are kept between test runs, away from the user's own cache."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if "TRACEGRAD_CACHE_DIR" not in os.environ and hasattr(config, "cache"):
        os.environ["TRACEGRAD_CACHE_DIR"] = str(config.cache.mkdir("tracegrad"))
    importlib.import_module("tracegrad").manual_seed(67280421310721)  # else each run has its own


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, for this test alone."""
    from tracegrad.runtime.cpu import object_cache

    monkeypatch.setenv("TRACEGRAD_CACHE_DIR", str(tmp_path / "cache"))
    object_cache.folder.cache_clear()
    yield tmp_path / "cache"
    object_cache.folder.cache_clear()
