"""Reductions down columns and over outer axes: rows taken together, in all the odd numbers."""

import numpy as np
import pytest

import tracegrad as torch

SHAPES = [(1, 1), (15, 8), (17, 3), (133, 7), (259, 9), (0, 8), (33000, 5), (5, 0)]
OUTER = [(9, 5, 31), (2, 16, 4, 33), (70, 3, 1025), (64, 7, 1, 12), (40, 1, 9)]
TYPES = ["float32", "float64", "int32", "bool"]


def numbers(shape, dtype):
    return (np.random.default_rng(7).standard_normal(shape) * 9).astype(dtype)


def same(function, reference, array):
    actual = torch.compile(function)(torch.tensor(array))
    np.testing.assert_array_equal(np.asarray(actual), reference)


@pytest.mark.parametrize("dtype", TYPES)
def test_rows_that_go_together_leave_out_none(dtype):
    """Of whole numbers, in whichever order they are added."""
    for shape in SHAPES:
        array = np.trunc(numbers(shape, dtype)).astype(dtype)
        total = array.sum(0, dtype=array.dtype if dtype.startswith("float") else "int64")
        same(lambda x: x.sum(0), total, array)
        if shape[0]:
            same(lambda x: x.amax(0), array.max(0), array)


@pytest.mark.parametrize("dtype", TYPES)
def test_greatest_over_axes_with_a_kept_one_between(dtype):
    for shape in OUTER:
        array, axes = numbers(shape, dtype), (0, *range(2, len(shape)))
        same(lambda x, axes=axes: x.amax(axes), array.max(axes), array)
        same(lambda x, axes=axes: (x > 2).any(axes), (array > 2).any(axes), array)


@pytest.mark.parametrize("where", [0, 15, 130, 132])
def test_nan_stays_in_its_column(where):
    array = numbers((133, 7), "float32")
    array[where, 4] = np.nan
    for name in ("sum", "amax", "amin"):
        y = np.asarray(torch.compile(lambda x, name=name: getattr(x, name)(0))(torch.tensor(array)))
        assert np.isnan(y).tolist() == [j == 4 for j in range(7)]
    cube = numbers((16, 3, 5), "float64")
    cube[9, 1, 2] = np.nan
    y = np.asarray(torch.compile(lambda x: x.amax((0, 2)))(torch.tensor(cube)))
    assert np.isnan(y).tolist() == [False, True, False]


@pytest.mark.parametrize("step", [(1, 1), (2, 1), (1, 2), (3, 5)])
def test_rows_that_do_not_stand_together(step):
    array, (down, along) = numbers((400, 12), "float64"), step
    view = torch.tensor(array)[::down, ::along]
    actual = np.asarray(torch.compile(lambda x: x.var(0))(view))
    np.testing.assert_allclose(actual, array[::down, ::along].var(0, ddof=1), rtol=1e-12)


def test_sums_of_many_rows_keep_their_digits():
    array = numbers((70_001, 6), "float32") + 100
    actual = np.asarray(torch.compile(lambda x: x.sum(0))(torch.tensor(array)))
    np.testing.assert_allclose(actual, array.sum(0, dtype="float64"), rtol=2e-7)
