"""The threads that share a loop: which layer of Numba's provides them, how many they are, how they
wait.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, c_int
from functools import cache as memo
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from ...ir.locks import lock
from .cores import cores


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


_wanted: int | None = None


def wanted() -> int:
    """How many threads share a loop, or will when they are started."""
    if _started.cache_info().currsize or _alone:
        return threads()
    return _wanted or int(os.environ.get("NUMBA_NUM_THREADS") or cores())


def want(count: int) -> bool:
    """Start so many threads; whether they are not yet started."""
    global _wanted
    if _started.cache_info().currsize:
        return False
    _wanted = count
    return True


@memo
def _openmp() -> int | None:
    """Start the threads of Numba's OpenMP pool without Numba, whose import takes a tenth of a
    second; how many they are. None if Numba is there, or has been told which pool to take, or
    this is not Linux.
    """
    told = any(name.startswith("NUMBA_THREADING_LAYER") for name in os.environ)
    if not hasattr(os, "sched_getaffinity") or told:
        return None
    if "numba" in sys.modules or Path(".numba_config.yaml").exists():
        return None
    try:
        count = wanted()
        with _patient():
            pool = _extension("omppool")
        launch, use = (
            CFUNCTYPE(None, c_int)(word) for word in (pool.launch_threads, pool.set_num_threads)
        )
        loop, threads_used = pool.parallel_for, pool.get_num_threads
    except (ImportError, AttributeError, ValueError):
        return None
    if count < 1:
        return None
    launch(count)
    use(count)
    llvm.add_symbol("numba_parallel_for", loop)
    llvm.add_symbol("get_num_threads", threads_used)
    return count


def _extension(name: str) -> Any:
    """One of Numba's modules in C that know nothing of the rest."""
    numba = find_spec("numba")
    if numba is None or numba.origin is None:
        raise ImportError(name)
    path = Path(numba.origin).parent / "np" / "ufunc" / f"{name}{EXTENSION_SUFFIXES[0]}"
    spec = spec_from_file_location(f"numba.np.ufunc.{name}", path)
    if spec is None or not path.exists():
        raise ImportError(name)
    return module_from_spec(spec)


_one_region = lock()


def region_lock(parallel: bool) -> Any:
    """What guards a launch list from being walked twice at once; Numba's work queue runs one
    parallel loop at a time at all.
    """
    if not parallel:
        return lock()
    threads()
    if _openmp() is not None:
        return lock()
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
    if (count := _openmp()) is not None:
        return count
    numba, pool = import_module("numba"), import_module("numba.np.ufunc.parallel")
    if numba.config.THREADING_LAYER == "default":
        numba.config.THREADING_LAYER = layer()
    pool._launch_threads()
    numba.set_num_threads(min(_wanted or numba.get_num_threads(), numba.get_num_threads()))
    return int(numba.get_num_threads())
