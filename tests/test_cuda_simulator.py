"""Kernels for GPUs in Numba's simulator of CUDA: the tests of test_cuda_kernels.py, in a process
that was started for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def simulated(*options: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore"]
    done = subprocess.run(
        [*command, Path(__file__).with_name("test_cuda_kernels.py"), *options],
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}, capture_output=True, text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_some_kernels_in_the_simulator():
    simulated("-k", "test_some_primitives and (others or control)")


@pytest.mark.slow
def test_all_kernels_in_the_simulator():
    simulated("-m", "slow or not slow")
