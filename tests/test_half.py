"""float16 in kernels: every number there is, with a processor's instructions and without."""

from __future__ import annotations

import ctypes
import platform

import numpy as np
import pytest
from numba import cfunc, types
from numba.extending import intrinsic
from processes import run

import tracegrad as tg
from tracegrad.runtime.cpu import half

HALVES = np.arange(1 << 16, dtype=np.uint16)
X86 = platform.machine() in ("x86_64", "AMD64")
OLD = {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "+sse4.2,+ssse3,+popcnt"}


def hard_numbers() -> np.ndarray:
    """float32 numbers next to and halfway between float16 numbers, and of every size."""
    exact = HALVES.view(np.float16).astype(np.float32)
    finite = np.sort(exact[np.isfinite(exact)])
    middle = (finite[1:] + finite[:-1]) / 2
    near = np.concatenate([finite, middle])
    edges = np.float32([65504, 65519.996, 65520, 1e38, np.inf, np.nan, 1e-45, 2**-25, 0])
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, 1 << 18, np.uint32).view(np.float32)
    bits = np.where(np.isnan(bits), np.float32(1), bits)
    up, down = np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))
    return np.concatenate([near, up, down, edges, -edges, bits])


def same(got: np.ndarray, want: np.ndarray) -> None:
    """The same bits; of a NaN, only that it is one."""
    nan = np.isnan(want)
    np.testing.assert_array_equal(np.isnan(got), nan)
    kind = np.dtype(f"u{want.itemsize}")
    np.testing.assert_array_equal(got.view(kind)[~nan], want.view(kind)[~nan])


def to_half(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(np.float16)


def loop(emit, source, target):
    """A compiled loop over an array that converts each number."""

    @intrinsic
    def convert(typingctx, x):
        return target(source), lambda context, builder, signature, values: emit(builder, values[0])

    @cfunc(types.void(types.CPointer(source), types.CPointer(target), types.int64))
    def each(x, y, n):
        for i in range(n):
            y[i] = convert(x[i])

    def apply(x: np.ndarray, dtype: str) -> np.ndarray:
        y = np.empty(len(x), dtype)
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
        call(each.address)(x.ctypes.data, y.ctypes.data, len(x))
        return y

    return apply


def test_every_half_becomes_the_number_it_is():
    widen = loop(half.widen_by_integers, types.uint16, types.float32)
    same(widen(HALVES, "f4"), HALVES.view(np.float16).astype(np.float32))


def test_numbers_become_the_nearest_half():
    narrow = loop(half.narrow_by_integers, types.float32, types.uint16)
    x = hard_numbers()
    same(narrow(x, "u2").view(np.float16), to_half(x))


@pytest.mark.parametrize("dtype", [tg.float16, tg.bfloat16])
def test_a_kernel_rounds_as_eager_does(dtype):
    x = tg.from_numpy(hard_numbers())
    for t in (x, x.double(), x.double() * (1 + 2**-40)):
        f = lambda t: (t.to(dtype), t.to(dtype).float())  # noqa: E731
        for got, want in zip(tg.compile(f)(t), f(t), strict=True):
            same(got.float().numpy(), want.float().numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rounding_is_that_of_torch(dtype):
    torch = pytest.importorskip("torch")
    x = hard_numbers().astype(np.float64) * (1 + 2**-40)
    want = torch.from_numpy(x).to(getattr(torch, dtype)).float().numpy()
    same(tg.from_numpy(x).to(getattr(tg, dtype)).float().numpy(), want)


def computed_without_half_instructions():
    assert not half.native()
    x = tg.from_numpy(HALVES.view(np.float16))
    f = lambda x: (x.float(), x * 3, (x / 512).sum(), x.reshape(256, 256) @ x.reshape(256, 256))
    got, want = tg.compile(f)(x), f(x)
    for a, b in zip(got[:2], want[:2], strict=True):
        assert np.array_equal(a.numpy(), b.numpy(), equal_nan=True)


@pytest.mark.skipif(not X86, reason="names a processor of x86")
def test_a_processor_without_half_instructions_computes_the_same(tmp_path):
    run(computed_without_half_instructions, env=OLD | {"TRACEGRAD_CACHE_DIR": str(tmp_path)})


def test_two_choices_side_by_side_make_no_vector_that_llvm_refuses():
    x = tg.tensor([[3.0, 2.5, -0.5], [2.0, -2.75, -2.25]], dtype=tg.float16)

    def f(x):
        return tg.nn.functional.huber_loss(x, x * 2, reduction="none", delta=0.5)

    for part in (x[:, 1], x[:, :2], x[0], x):
        assert tg.equal(tg.compile(f)(part), f(part))
