"""The NumPy interpreter: the meaning of a Graph, one primitive at a time, and the oracle for
everything compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import scipy

from .graph import Graph, postorder, siblings_key
from .node import Node
from .op import Kind, evaluate


def value_of(roots: Iterable[Node], values: Mapping[Node, np.ndarray]) -> dict[Node, np.ndarray]:
    """The values of the roots and of all they need, given those of the inputs."""
    env = dict(values)
    compute(roots, env)
    return env


def compute(roots: Iterable[Node], env: dict[Node, np.ndarray]) -> None:
    """Add the values of the roots, and of all they need, to those that are known."""
    loops: dict[tuple[Any, ...], tuple[np.ndarray, ...]] = {}  # the results of siblings
    for node in postorder(roots, stop=env.__contains__):
        if node not in env:
            arrays = [env[x] for x in node.inputs]
            if node.op.kind is Kind.LOOP:
                key = siblings_key(node)
                if key not in loops:
                    loops[key] = tuple(node.op.ref(interpret, *arrays, **node.params))
                env[node] = loops[key][node.params["result"]]
                continue
            env[node] = evaluate(
                node.op, arrays, [x.dtype for x in node.inputs], node.dtype, node.params
            )


def interpret(graph: Graph, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """The outputs of the graph for these inputs (as stored: bfloat16 in uint16)."""
    if len(arrays) != len(graph.inputs):
        raise TypeError(f"the graph has {len(graph.inputs)} inputs, got {len(arrays)} arrays")
    env = value_of(graph.roots, dict(zip(graph.inputs, arrays, strict=True)))
    return tuple(env[y] for y in graph.outputs)


def libraries() -> str:
    """The versions of what computes here, and of constants when a graph is simplified: others may
    round otherwise.
    """
    return f"{np.__version__} {scipy.__version__}"
