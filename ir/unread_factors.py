"""Factors that nobody reads are not computed: eigenvectors, singular vectors and Q.

Takes a simplified Graph, after differentiation; in it a factorisation of which only the other part
is read gives that part alone.
"""

from __future__ import annotations

import math

from .graph import Graph, users
from .node import Node, at, intern
from .ops.linalg import eigh, qr, qr_shapes, svd, svd_shapes
from .ops.movement import slice as slice_


def without_unread_factors(graph: Graph) -> Graph:
    """The graph; itself if all vectors are read."""
    starts = _read_alone(graph)
    if not starts:
        return graph
    memo: dict[Node, Node] = {}
    for node in graph.order():
        inputs = tuple(memo[x] for x in node.inputs)
        with at(node.site):
            if node in starts:
                memo[node] = intern(node.op, inputs, {**node.params, "vectors": False})
            elif node.op is slice_ and node.inputs[0] in starts:
                memo[node] = _part(inputs[0], node, starts[node.inputs[0]])
            else:
                same = inputs == node.inputs
                memo[node] = node if same else intern(node.op, inputs, node.params)
    return graph.map(memo.__getitem__)


def _read_alone(graph: Graph) -> dict[Node, int]:
    """Factorisations of which no vectors are read, and where the rest stands."""
    readers, starts = users(graph.order()), dict[Node, int]()
    for node in readers:
        span = _values_of(node)
        if span is None or node in graph.outputs:
            continue
        low, high = span
        cuts = [y.params["slices"][-1] for y in readers[node] if y.op is slice_]
        inside = all(low <= start <= stop <= high for start, stop, _ in cuts)
        if inside and len(cuts) == len(readers[node]):
            starts[node] = low
    return starts


def _values_of(packed: Node) -> tuple[int, int] | None:
    """Where the part stands, from and to, which the same factorisation without vectors gives; None
    of another primitive.
    """
    if packed.op not in (qr, eigh, svd) or not packed.params.get("vectors", True):
        return None
    shape = packed.inputs[0].shape
    if packed.op is eigh and "vectors" not in packed.params:
        return None  # of NaN, LAPACK may fail without vectors where it does not with them
    if packed.op is eigh:
        return 0, shape[-1]
    if packed.op is qr:
        return math.prod(qr_shapes(shape, packed.params["complete"])[0]), packed.shape[-1]
    u, s, _ = svd_shapes(shape, packed.params["full"])
    return math.prod(u), math.prod(u) + s[0]


def _part(values: Node, node: Node, first: int) -> Node:
    """What `node` takes of the packed factors, taken of `values`, which begin there at `first`."""
    *lead, (start, stop, step) = node.params["slices"]
    if node.shape == values.shape:
        return values
    return slice_(values, slices=(*lead, (start - first, stop - first, step)))
