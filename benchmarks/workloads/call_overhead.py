"""What a call costs by itself: eight small tensors in, their sum out, nothing to train."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..workload import Data, JaxJob, TorchJob, Workload

ARGUMENTS = 8


def data() -> Data:
    rng = np.random.default_rng(0)
    return Data([], [rng.standard_normal(8).astype(np.float32) for _ in range(ARGUMENTS)])


def body(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    # Every argument is used: a compiler may drop the handling of those that are not.
    return a + b + c + d + e + f + g + h


def torch_style(T: Any, data: Data) -> TorchJob:
    return TorchJob(body, [T.from_numpy(a) for a in data.batch])


def jax_style(jax: Any, data: Data) -> JaxJob:
    def step(state: Any, *arguments: Any) -> tuple[Any, Any]:
        return state, body(*arguments)

    return JaxJob(step, [jax.numpy.asarray(a) for a in data.batch])


WORKLOADS = [
    Workload(
        "call-overhead",
        f"A compiled call, {ARGUMENTS} tensors of shape (8,), their sum",
        data,
        torch_style,
        jax_style,
        trains=False,
    )
]
