"""The queue of pairs takes them as a search of all pairs in each round would."""

from __future__ import annotations

import random

import pytest
from graphs import floats

from tracegrad.codegen.schedule.candidates import NEAR
from tracegrad.codegen.schedule.fuse import BETWEEN, Fusion
from tracegrad.codegen.schedule.groups import Group
from tracegrad.codegen.schedule.loop_space import Space
from tracegrad.codegen.schedule.lower import lower
from tracegrad.ir.graph import Graph
from tracegrad.ir.node import Node
from tracegrad.ir.ops import elementwise as el
from tracegrad.ir.ops.movement import expand, flip, reshape
from tracegrad.ir.ops.order import argsort
from tracegrad.ir.ops.reduce import max as max_, sum as sum_
from tracegrad.ir.ops.source import input as input_
from tracegrad.ir.strides import View

SHAPE = (200, 30)


def step(rng: random.Random, values: list[Node]) -> Node:
    """One more value, of some that there are."""
    x, y = (rng.choice(values[-12:]) for _ in range(2))
    kind = rng.randrange(9)
    if kind < 4:
        return (x + y, x * y, el.exp(x), x - 1.0)[kind]
    if kind < 6:
        total = (sum_, max_)[kind - 4](x, dims=(1,))
        return y - expand(reshape(total, shape=(SHAPE[0], 1)), shape=SHAPE)
    if kind == 6:
        return x * expand(reshape(sum_(y, dims=(0,)), shape=(1, SHAPE[1])), shape=SHAPE)
    if kind == 7:
        return flip(x, axes=(0,)) + y
    return el.cast(argsort(x, axis=1, descending=False), dtype=x.dtype) + y


def graph(seed: int, length: int) -> Graph:
    rng = random.Random(seed)
    values = [floats(*SHAPE), floats(*SHAPE)]
    rate = floats()
    outputs = []
    for _ in range(length):
        values.append(step(rng, values))
        if rng.random() < 0.6:
            outputs.append(values[-1] * rate if rng.random() < 0.7 else sum_(values[-1], dims=(1,)))
    inputs = tuple(n for n in Graph((), tuple(outputs)).order() if n.op is input_)
    return Graph(inputs, tuple(outputs))


def by_search(fusion: Fusion) -> list[str]:
    """What is merged, if each round goes through all pairs."""
    merged: list[str] = []
    refused: set[tuple[Group, Group, int, int]] = set()

    def candidates() -> list[tuple[int, Group, Group]]:
        rank = {g: i for i, g in enumerate(fusion.groups)}
        near: dict[object, list[Group]] = {}
        for group in (g for g in rank if not g.opaque):
            for x in fusion.touched(group):
                near.setdefault(x, []).append(group)
        pairs = {(a, b) for gs in near.values()
                 for i, a in enumerate(gs[:NEAR]) for b in gs[i + 1 : NEAR]}
        scored = [(g, a, b) for a, b in pairs if (g := fusion.gain(a, b)) > 0]
        return sorted(scored, key=lambda s: (-s[0], rank[s[1]], rank[s[2]]))

    def merges_some(columns: bool) -> bool:
        best = 0
        for worth, a, b in candidates():
            if worth * 2 < best:
                break
            if a not in fusion.groups or b not in fusion.groups:
                continue
            if not columns and "column" in (a.template, b.template):
                continue
            if (key := (a, b, len(a.anchors), len(b.anchors))) in refused:
                continue
            verdict = fusion.legal(a, b)
            if isinstance(verdict, Space):
                merged.append(f"fused {a} with {b}: saves {worth} bytes")
                fusion.merge(a, b, verdict)
                best = best or worth
            elif verdict != BETWEEN:
                refused.add(key)
        return best > 0

    for columns in (False, True):
        while merges_some(columns):
            pass
    return merged


@pytest.mark.parametrize("seed", range(24))
def test_the_queue_merges_what_a_search_would(seed):
    made = graph(seed, 30 + 6 * seed)
    low = lower(made, {x: View.of(x.shape) for x in made.inputs})
    queued, searched = Fusion(low), Fusion(low)
    queued.run()
    assert [n for n in queued.notes if n.startswith("fused")] == by_search(searched)
    assert [g.anchors for g in queued.groups] == [g.anchors for g in searched.groups]
    assert max(len(r) for r in queued.readers.values()) > NEAR or seed < 20
