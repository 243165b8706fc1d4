"""Attention by length: plain, causal, with a mask, with dropout; 4 heads of 32 numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from .cell import Cell, normal

LENGTHS = [2**k for k in range(4, 12)]
HEADS, WIDTH = 4, 32


def in_torch(options: dict[str, Any], T: Any, q: Any, k: Any, v: Any, mask: Any) -> Any:
    if "attn_mask" in options:
        options = {"attn_mask": mask}
    return T.nn.functional.scaled_dot_product_attention(q, k, v, **options)


def in_jax(options: dict[str, Any], jax: Any, q: Any, k: Any, v: Any, mask: Any) -> Any:
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    chosen: dict[str, Any] = {"mask": mask} if "attn_mask" in options else options
    return jax.nn.dot_product_attention(q, k, v, **chosen).swapaxes(1, 2)


def arrays(batch: int, length: int) -> list[np.ndarray]:
    q, k, v = (normal(batch, HEADS, length, WIDTH, seed=s) for s in range(3))
    mask = np.random.default_rng(3).random((batch, 1, length, length)) < 0.8
    return [q, k, v, mask | np.eye(length, dtype=bool)]


# the options of torch's function
KINDS: dict[str, dict[str, Any]] = {
    "plain": {}, "causal": {"is_causal": True}, "mask": {"attn_mask": True},
    "dropout": {"dropout_p": 0.1},
}


def cells() -> Iterator[Cell]:
    for name, options in KINDS.items():
        drops = name == "dropout"
        jax: Callable | None = None if drops else partial(in_jax, options)
        for length in LENGTHS:
            for wrt in (0, 3):
                yield Cell(
                    f"{name}{' gradient' * (wrt > 0)}", f"{length:,}", partial(in_torch, options),
                    jax, partial(arrays, max(1, 512 // length), length), wrt, exact=not drops,
                    rtol=3e-3,
                )
