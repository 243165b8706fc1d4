"""The structure of a Graph as text: what a graph means, and nothing of when and where it was made.

Graphs of equal structure lower to the same program, also in another process. The lines that the
user wrote are numbered in order of appearance, so that what is kept of one graph can name the lines
of another.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from .dtype import DType
from .graph import Graph, bodies_of
from .node import Node, Site
from .op import OpDef
from .ops.source import input as input_
from .value import REGISTRY

_OURS = frozenset(REGISTRY.values())  # all that the import of `ops` has registered
_PLAIN = frozenset((int, bool, str, type(None), DType, OpDef))  # types whose `repr` tells all


class NoStructure(TypeError):
    """A parameter of an operation has a type that is not known here, or its name does not say what
    an operation does: somebody else has made the primitive.
    """


class Structure(NamedTuple):
    text: str
    lines: list[Site]  # of the user, by number


def structure(graph: Graph) -> Structure:
    """Raises NoStructure."""
    sites: dict[Site, int] = {}
    return Structure("\n".join(_lines(graph, sites, {})), list(sites))


def _lines(graph: Graph, sites: dict[Site, int], bodies: dict[Graph, int]) -> list[str]:
    """One for each node. `sites` and `bodies` are those met so far, with their numbers."""
    numbers = {x: k for k, x in enumerate(graph.inputs)}
    lines = [f"{len(numbers)} inputs"]
    lines += [f"{x.dtype} {x.shape}" for x in graph.inputs]
    moving = set(graph.inputs)  # what depends on them was made for this graph, by this call
    for node in graph.order():
        if node in numbers:
            continue
        if node.op is input_:
            raise NoStructure("a value is neither an input nor computed")
        if node.op not in _OURS:
            raise NoStructure(f"{node.op.name} is not a primitive of this library")
        for body in bodies_of(node) if node.op.bodies else ():
            if body not in bodies:
                lines += _lines(body, sites, bodies)
                bodies[body] = len(bodies)
        numbers[node] = len(numbers)
        line = -1
        if node.site is not None and not moving.isdisjoint(node.inputs):
            moving.add(node)
            line = sites.setdefault(node.site, len(sites))
        read = [numbers[x] for x in node.inputs]
        lines.append(f"{node.op.name} {read} {line} {' '.join(_parameters(node, bodies))}")
    return lines + [str([numbers[y] for y in roots]) for roots in (graph.outputs, graph.checks)]


def _parameters(node: Node, bodies: dict[Graph, int]) -> Iterator[str]:
    for name, value in sorted(node.params.items()):
        if name in node.op.bodies:
            yield f"{name}={bodies[value]}"
        else:
            yield f"{name}={value!r}" if type(value) in _PLAIN else f"{name}={exact(value)}"


def exact(value: Any) -> str:
    """A parameter as text that tells it from all others: 0.0 from -0.0, 1 from True, one NaN from
    another.
    """
    kind = type(value)
    if kind in _PLAIN:
        return repr(value)
    if kind is float:
        return struct.pack("<d", value).hex()
    if kind is tuple:
        return f"({' '.join([exact(v) for v in value])})"
    raise NoStructure(f"{kind.__name__}")
