"""Addresses of BLAS routines: SciPy's, the ones that Numba's own np.dot calls."""

from __future__ import annotations

from functools import cache

from numba.extending import get_cython_function_address


@cache
def routine(name: str) -> int:
    return get_cython_function_address("scipy.linalg.cython_blas", name)
