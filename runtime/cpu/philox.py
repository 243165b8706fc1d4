"""The builtin `philox` of kernels: Philox4x32-10 (see ir/ops/random.py) as straight LLVM
code, free of branches, so that loops over it vectorise; and in plain Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_MULTIPLIERS, _WEYL, _ROUNDS = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85), 10
_I32, _I64 = ir.IntType(32), ir.IntType(64)


@intrinsic
def philox(typingctx: Any, seed: Any, position: Any) -> Any:
    def codegen(context: Any, b: Any, signature: Any, values: Any) -> Any:
        half = ir.Constant(_I64, 32)

        def words(x: Any) -> tuple[Any, Any]:
            return b.trunc(x, _I32), b.trunc(b.lshr(x, half), _I32)

        def product(x: Any, multiplier: int) -> tuple[Any, Any]:
            return words(b.mul(b.zext(x, _I64), ir.Constant(_I64, multiplier)))

        (k0, k1), (c0, c1) = words(values[0]), words(values[1])
        c2 = c3 = ir.Constant(_I32, 0)
        for _ in range(_ROUNDS):
            low0, high0 = product(c0, _MULTIPLIERS[0])
            low1, high1 = product(c2, _MULTIPLIERS[1])
            c0, c1 = b.xor(b.xor(high1, c1), k0), low1
            c2, c3 = b.xor(b.xor(high0, c3), k1), low0
            k0, k1 = (b.add(k, ir.Constant(_I32, w)) for k, w in zip((k0, k1), _WEYL, strict=True))
        return b.or_(b.zext(c0, _I64), b.shl(b.zext(c1, _I64), half))

    return types.int64(types.int64, types.int64), codegen


def plain(seed: Any, position: Any) -> np.int64:
    """The same number in plain Python."""
    k0, k1, c0, c1, c2, c3 = *_words(int(seed)), *_words(int(position)), 0, 0
    for _ in range(_ROUNDS):
        (low0, high0), (low1, high1) = _words(c0 * _MULTIPLIERS[0]), _words(c2 * _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = ((k + w) % 2**32 for k, w in zip((k0, k1), _WEYL, strict=True))
    return np.uint64(c0 | c1 << 32).astype(np.int64)


def _words(x: int) -> tuple[int, int]:
    return x % 2**32, (x >> 32) % 2**32
