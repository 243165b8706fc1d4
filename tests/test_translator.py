"""The translator of kernel text: against Numba, whose language the text is, and what it refuses."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from compiled import bits
from machine_code import address_of
from numba import cfunc, types
from processes import prints, run

import tracegrad as tg
from tracegrad.codegen.program import Kernel
from tracegrad.runtime.cpu import code_generator, executable, object_cache
from tracegrad.runtime.cpu.builtins import BUILTINS

SIGNATURE = types.void(types.CPointer(types.int64), types.int64, types.int64, types.int64)
F = tg.nn.functional


_kept = []


def of_numba(kernel: Kernel) -> int:
    """The address of what Numba makes of a kernel's text."""
    if kernel.llvm:
        return address_of(kernel)
    namespace = {name: builtin.numba for name, builtin in BUILTINS.items()}
    exec(kernel.text, namespace)
    flags = code_generator.FAST if kernel.fast else False
    made = cfunc(SIGNATURE, error_model="numpy", fastmath=flags)(namespace[kernel.name])
    _kept.append(made)
    return made.address


def numbers(*shape, dtype=tg.float32, low=-3.0, high=3.0, seed=0):
    rng = np.random.default_rng(seed)
    return tg.tensor(rng.uniform(low, high, shape)).to(dtype)


def _loss(x, w, y):
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    loss = F.cross_entropy(F.gelu(F.layer_norm(x, x.shape[-1:]) @ w), y)
    loss.backward()
    return loss.detach(), x.grad, w.grad


# name -> a function, and its arguments: every template, type and kind of statement
PROGRAMS = {
    "training": (_loss, numbers(9, 40), numbers(40, 7), tg.tensor([0, 1, 2, 3, 4, 5, 6, 0, 1])),
    "softmax in float16": (lambda x: (x.softmax(-1), x.cumsum(0)),
                           numbers(5, 300, dtype=tg.float16)),
    "bfloat16": (lambda x: (x.exp().sum(0), x * x + 1), numbers(300, 5, dtype=tg.bfloat16)),
    "columns": (lambda x: (x.sum(0), x.amax(0), x.prod(0)), numbers(600, 9, dtype=tg.float64)),
    "long sums": (lambda x: (x.sum(), x.mean(1), x.var(1)), numbers(3, 2000)),
    "integers": (lambda x, y: (x // y, x % y, -x, x * y, x >> 1, x.abs().sum(), (x < y) & (x != 3)),
                 numbers(99, dtype=tg.int32, low=-50, high=50),
                 numbers(99, dtype=tg.int32, low=1, high=9)),
    "bytes": (lambda x, y: (x + y, x * y, -x, x > y, x.sum(), ~x),
              numbers(99, dtype=tg.uint8, low=0, high=255),
              numbers(99, dtype=tg.uint8, low=0, high=255, seed=1)),
    "bools": (lambda x: (x.any(0), x.all(1), x.sum(), x ^ True, ~x & x.flip(0)),
              numbers(7, 9) > 0),
    "casts": (lambda x: (x.int(), x.to(tg.uint8), x.bool(), x.double(), x.half(), x.long().float()),
              numbers(99, low=0, high=200)),
    "sorting": (lambda x: (*x.sort(-1), x.argsort(0, descending=True), x.median(1).values),
                numbers(40, 33)),
    "searching": (lambda x, y: tg.searchsorted(x.sort().values, y), numbers(50),
                  numbers(20, seed=3)),
    "scans": (lambda x: (x.cumsum(1), x.cummax(0).values, x.cumprod(-1), x.logcumsumexp(0)),
              numbers(6, 8, 5)),
    "scattering": (lambda x, i: (x[i], x.index_add(0, i, x), F.pad(x, (1, 2)), tg.cat((x, x), 1)),
                   numbers(6, 4), tg.tensor([5, -1 + 6, 0, 2, 2, 1])),
    "windows": (lambda x: (F.max_pool2d(x, 2), F.avg_pool2d(x, 3, 1), F.unfold(x, 3)),
                numbers(2, 3, 8, 8)),
    "factors": (lambda x: (tg.linalg.cholesky(x @ x.mT + 9 * tg.eye(5)), *tg.linalg.qr(x)),
                numbers(3, 5, 5, dtype=tg.float64)),
    "functions": (lambda x: (x.sin(), x.tan(), x.atan2(x + 1), x.erf(), x.exp2(), x.log1p(),
                             x.hypot(x * 2), x.fmod(0.7), x.remainder(-0.7), x // 0.3, x**2.5,
                             x.frexp().exponent, x.lgamma(), x.nextafter(x + 1), x.log2()),
                  numbers(77, low=0.1, high=4)),
    "special functions": (lambda x: (x.digamma(), tg.special.zeta(x + 2, x), x.i0(), x.erfinv()),
                          numbers(31, low=0.1, high=0.9, dtype=tg.float64)),
    "dropout": (lambda x: F.dropout(x, 0.4), numbers(50)),
}


@pytest.mark.parametrize(
    "name, fast", [*((name, False) for name in PROGRAMS), ("training", True), ("functions", True)]
)
def test_kernels_compute_what_numba_makes_of_their_text(name, fast, monkeypatch):
    """Sums may be regrouped otherwise; anything else is the same to the bit."""
    function, *args = PROGRAMS[name]
    results = []
    numbas = lambda kernels: {kernel: of_numba(kernel) for kernel in kernels}
    for addresses_of in (executable.addresses_of, numbas):
        monkeypatch.setattr(executable, "addresses_of", addresses_of)
        tg.manual_seed(3)
        results.append(tg.compile(function, fast_math=fast)(*args))
    ours, theirs = (r if isinstance(r, tuple) else (r,) for r in results)
    for x, y in zip(ours, theirs, strict=True):
        assert x.dtype is y.dtype
        if x.dtype.kind == "float":
            near = 1e-5 if x.dtype is not tg.float64 else 1e-13
            np.testing.assert_allclose(np.asarray(x.double()), np.asarray(y.double()), near, near)
        else:
            np.testing.assert_array_equal(bits(x), bits(y))


def compiles(text: str) -> int:
    return address_of(Kernel("map", text))


REFUSED = {
    "a variable with two types": ("    x = 1\n    x = 2.0\n", "x is int64 and becomes float64"),
    "an unknown name": ("    v = no_such_word(args)\n", "no_such_word"),
    "a variable of an inner block": (
        "    for i in range(start, stop):\n        v = i\n    w = v + 1\n", "'v'"),
    "a choice of two types": ("    v = 1 if start < stop else 2.0\n", "int64 and float64"),
    "a method": ("    v = start.no_such_method()\n", "not a part of kernels: start.no_such"),
    "an attribute": ("    v = start.real\n", "not a part of kernels: start.real"),
    "a comparison of three": ("    v = 0 < start < stop\n", "not a part of kernels: 0 < start"),
    "another statement": ("    import os\n", "not a part of kernels: import os"),
    "an operator it has not": ("    v = start ** 2\n", "not a part of kernels"),
    "division of integers": ("    v = start / stop\n", "not a part of kernels"),
    "a rest": ("    v = start % 3\n", "not a part of kernels: start % 3"),
    "a parameter that changes": (
        "    if stop > 0:\n        start = 7\n", "not a part of kernels: start = 7"),
    "a parameter that counts": ("    start += 1\n", "not a part of kernels: start += 1"),
    "a parameter of a loop": (
        "    for start in range(3):\n        v = 1\n", "not a part of kernels: for start"),
    "several variables at once": ("    v, w = 1, 2\n", "not a part of kernels: v, w = (1, 2)"),
    "one number for two variables": ("    v = w = 1\n", "not a part of kernels: v = w = 1"),
    "what follows a loop": (
        "    for i in range(3):\n        v = i\n    else:\n        w = 1\n",
        "not a part of kernels: for i"),
    "what follows a condition": (
        "    while start > 3:\n        v = 1\n    else:\n        w = 1\n",
        "not a part of kernels: while start"),
    "a loop over something else": (
        "    for i in minimum(1, 3):\n        v = i\n", "not a part of kernels: for i in minimum"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_kernel_text_is_refused(name):
    text, message = REFUSED[name]
    with pytest.raises(code_generator.CompileError) as caught:
        compiles(text)
    assert message in str(caught.value)


def without_numba():
    print(tg.compile(lambda x: (x @ x).softmax(0).cumsum(1))(tg.ones(2, 2)).tolist())
    for function in (lambda x: x.long().gcd(6), lambda x: x.frexp().exponent):
        try:
            tg.compile(function)(tg.ones(3))
        except code_generator.CompileError as error:
            print("NUMBA_DISABLE_JIT=1 forbids" in str(error), "test_translator.py" in str(error))


def test_kernels_that_numba_must_compile_say_that_it_was_forbidden(tmp_path):
    env = {"NUMBA_DISABLE_JIT": "1", "TRACEGRAD_CACHE_DIR": str(tmp_path / "cache")}
    assert run(without_numba, env=env) == "[[0.5, 1.0], [0.5, 1.0]]\nTrue True\nTrue True\n"


@prints("False\n")
def test_common_kernels_need_none_of_numbas_tables():
    """Which take a quarter of a second to load."""
    object_cache.read = lambda name: None
    f = tg.compile(lambda x, y: F.gelu(x @ y).softmax(-1).sum(0).cumsum(0))
    f(tg.randn(8, 8), tg.randn(8, 8))
    print("numba.np.npyimpl" in sys.modules)
