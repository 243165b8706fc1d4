"""The threads that share a loop: which layer of Numba's provides them, how many they are, how they
wait.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache as memo
from importlib import import_module
from typing import Any

from ...ir.locks import lock


@contextmanager
def _patient() -> Iterator[None]:
    """Within it, an OpenMP library that is loaded learns to sleep while it waits, not to spin.

    A spinning thread that shares its core with any other program makes steps many times slower.
    Who wants it otherwise sets OMP_WAIT_POLICY.
    """
    if "OMP_WAIT_POLICY" in os.environ:
        yield
        return
    os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        yield
    finally:  # other libraries' threads are none of our business
        del os.environ["OMP_WAIT_POLICY"]


@memo
def layer() -> str:
    """The threading layer if nobody chose one: omp where it can be loaded, then tbb, then Numba's
    own work queue.
    """
    for name, module in (("omp", "omppool"), ("tbb", "tbbpool")):
        try:
            with _patient():
                import_module(f"numba.np.ufunc.{module}")
        except ImportError:
            continue
        return name
    return "workqueue"


_one_region = lock()


def region_lock(parallel: bool) -> Any:
    """What guards a launch list from being walked twice at once; Numba's work queue runs one
    parallel loop at a time at all.
    """
    if not parallel:
        return lock()
    threads()
    taken = import_module("numba").threading_layer()  # which the user may have chosen
    return _one_region if taken == "workqueue" else lock()


_alone = False


def threads() -> int:
    """How many threads share a loop; starts them."""
    return 1 if _alone else _started()


def stay_alone() -> bool:
    """Told in a child after a fork: whether the parent had started threads. They did not come
    along, and neither OpenMP nor Numba's work queue can start them again.
    """
    global _alone
    _alone = _alone or bool(_started.cache_info().currsize)
    return _alone


@memo
def _started() -> int:
    numba, pool = import_module("numba"), import_module("numba.np.ufunc.parallel")
    if numba.config.THREADING_LAYER == "default":
        numba.config.THREADING_LAYER = layer()
    pool._launch_threads()
    return int(numba.get_num_threads())
