"""Simplification: the same numbers from fewer and better primitives.

Takes a Graph after differentiation, gives a Graph in which no row of the tables matches any more.
Dead code needs no pass: a Graph is what its outputs reach.
"""

from __future__ import annotations

from collections.abc import Callable

from .graph import Graph
from .hoist import hoist
from .loops import simple_loops
from .rewrite import Watcher, rewrite
from .rules.algebra import algebra
from .rules.finish import finish
from .rules.inexact import inexact
from .rules.movement import movement
from .rules.reductions import reductions
from .rules.stability import stability
from .unread_factors import without_unread_factors

# The marks go first, so that no other row has to look behind them.
ROWS = finish + algebra + movement + reductions
FAST_ROWS = finish + stability + inexact + algebra + movement + reductions


def simplify(
    graph: Graph, *, fast: bool = False, check: Callable[[Graph], object] | None = None,
    watch: Watcher | None = None,
) -> Graph:
    """The graph in its simplest form: the same inputs, outputs of the same shapes, dtypes and
    values, to the bit but for the order in which sums are taken; `fast` allows rounding to differ.

    `check` is called with the result (tests pass `verify`); `watch(row, before, after)` sees each
    step. An output may come out as one of the inputs, or as a constant.
    """
    rows = FAST_ROWS if fast else ROWS
    out = rewrite(graph, rows, watch)
    while (simpler := _simpler_loops(out, fast)) is not out:
        out = rewrite(simpler, rows, watch)
    out = without_unread_factors(out)
    if check is not None:
        check(out)
    return out


def _simpler_loops(graph: Graph, fast: bool) -> Graph:
    """The graph with less in its loops; itself if there is nothing to do."""
    if not any(node.op.bodies for node in graph.order()):
        return graph
    return hoist(simple_loops(graph, lambda body: simplify(body, fast=fast)))
