"""Pairs of groups that could be one, the most valuable first: a queue that is updated when groups
merge.

Two groups are a pair if they touch the same memory. The queue is that of one round: it knows the
groups as they were when the round began, until `end_round` looks at those that changed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterable
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from .groups import Group

NEAR = 40  # of those that touch one memory, the first are pairs: all read the learning rate


class Pair(NamedTuple):
    """In the order in which pairs are taken; groups by their ranks, with their versions."""

    loss: int  # the gain, negative
    a: int
    b: int
    versions: tuple[int, int]


class Candidates:
    def __init__(
        self, groups: Iterable[Group], touched: Callable[[Group], set[Hashable]],
        gain: Callable[[Group, Group], int],
    ):
        self.groups = {rank: g for rank, g in enumerate(groups) if not g.opaque}
        self.ranks = {g: rank for rank, g in self.groups.items()}
        self.touched, self.gain = touched, gain
        self.memory = {rank: touched(g) for rank, g in self.groups.items()}
        self.near: dict[Hashable, list[int]] = {}  # the groups that touch a memory, sorted
        for rank, memory in self.memory.items():
            for x in memory:
                self.near.setdefault(x, []).append(rank)
        self.version = dict.fromkeys(self.groups, 0)
        self.changed: set[int] = set()
        self.gone: set[int] = set()
        self.queue: list[Pair] = []
        self.later: list[Pair] = []
        self.queued: set[Pair] = set()
        self.taken: dict[int, list[Pair]] = {}  # of each group, pairs that were not merged
        self.last = Pair(0, 0, 0, (0, 0))
        every = (near[:NEAR] for near in self.near.values())
        self._push({(a, b) for near in every for i, a in enumerate(near) for b in near[i + 1 :]})

    def pop(self, least: float, wait: Callable[[Group], bool]) -> tuple[int, Group, Group] | None:
        """(gain, one group, the other) of the next pair that gains at least so much; None if there
        is none. Pairs with groups that shall `wait` are taken after `wait_no_longer`.
        """
        while self.queue and -self.queue[0].loss >= least:
            pair = heappop(self.queue)
            if not self._is_current(pair):
                continue
            a, b = self.groups[pair.a], self.groups[pair.b]
            if wait(a) or wait(b):
                self.later.append(pair)
                continue
            self.last = pair
            for rank in (pair.a, pair.b):
                self.taken.setdefault(rank, []).append(pair)
            return -pair.loss, a, b
        return None

    def wait_no_longer(self) -> None:
        self.queue += self.later
        self.later.clear()
        heapify(self.queue)

    def merged(self, a: Group, b: Group) -> None:
        """b is part of a now: what comes later in this round and was not legal may be."""
        rank = self.ranks[a]
        self.changed.add(rank)
        self.gone.add(self.ranks[b])
        for pair in self.taken.pop(rank, ()):
            if pair > self.last:
                heappush(self.queue, pair)

    def end_round(self) -> None:
        full: dict[Hashable, list[int]] = {}  # who were the first to touch a memory, if many do
        for b in self.gone:
            self._touch(b, set(), full)
            del self.memory[b], self.groups[b]
            self.version[b] += 1
        self.changed -= self.gone
        for a in self.changed:
            self._touch(a, self.touched(self.groups[a]), full)
            self.version[a] += 1
        fresh = {a: self.memory[a] for a in self.changed}
        for x, before in full.items():
            for a in set(self.near[x][:NEAR]).difference(before):
                fresh[a] = fresh.get(a, set()) | {x}
        pairs = set()
        for a, memory in fresh.items():
            for x in memory:
                near = self.near[x][:NEAR]
                if a <= near[-1]:
                    pairs |= {(a, b) if a < b else (b, a) for b in near if a != b}
        self._push(pairs)
        self.changed, self.gone = set(), set()

    def _is_current(self, pair: Pair) -> bool:
        _, a, b, versions = pair
        if a in self.gone or b in self.gone or versions != self._versions(a, b):
            return False
        last = max(a, b)
        for x in self.memory[a] & self.memory[b]:
            near = self.near[x]
            if len(near) <= NEAR or last <= near[NEAR - 1]:
                return True
        self.queued.discard(pair)  # it is queued again when both are among the first
        return False

    def _versions(self, a: int, b: int) -> tuple[int, int]:
        return self.version[a], self.version[b]

    def _push(self, pairs: Iterable[tuple[int, int]]) -> None:
        for a, b in pairs:
            gain = self.gain(self.groups[a], self.groups[b])
            pair = Pair(-gain, a, b, self._versions(a, b))
            if gain > 0 and pair not in self.queued:
                self.queued.add(pair)
                heappush(self.queue, pair)

    def _touch(self, rank: int, memory: set[Hashable], full: dict[Hashable, list[int]]) -> None:
        """A group touches other memory than it did."""
        before = self.memory[rank]
        for x in before ^ memory:
            near = self.near.setdefault(x, [])
            if len(near) >= NEAR and x not in full:
                full[x] = near[:NEAR]
            if x in memory:
                insort(near, rank)
            else:
                del near[bisect_left(near, rank)]
        self.memory[rank] = memory
