"""The cheapest set of edges that parts a network, by Dinic's method.

Knows nothing of what nodes and edges stand for.
"""

from __future__ import annotations

from collections.abc import Hashable


class Network:
    """Nodes are any keys; capacities of edges are integers, or infinite."""

    def __init__(self) -> None:
        self.number: dict[Hashable, int] = {}
        self.leaving: list[list[int]] = []  # of each node, the numbers of the edges
        self.ends: list[int] = []  # edge k and its reverse, k ^ 1, are neighbours
        self.room: list[float] = []

    def _node(self, key: Hashable) -> int:
        number = self.number.setdefault(key, len(self.number))
        if number == len(self.leaving):
            self.leaving.append([])
        return number

    def add(self, start: Hashable, end: Hashable, capacity: float) -> None:
        """A new edge."""
        a, b = self._node(start), self._node(end)
        for x, y, room in ((a, b, capacity), (b, a, 0)):
            self.leaving[x].append(len(self.ends))
            self.ends.append(y)
            self.room.append(room)

    def source_side(self, source: Hashable, sink: Hashable) -> set[Hashable]:
        """The nodes that the cheapest cut leaves with the source: of several cuts, as few as
        there are. Some cut must be of finite cost.
        """
        s, t = self._node(source), self._node(sink)
        while (level := self._levels(s))[t] >= 0:
            tried = [0] * len(self.leaving)  # of each node, how many edges lead nowhere
            while path := self._path(s, t, level, tried):
                flow = min(self.room[edge] for edge in path)
                for edge in path:
                    self.room[edge] -= flow
                    self.room[edge ^ 1] += flow
        return {key for key, number in self.number.items() if level[number] >= 0}

    def _levels(self, source: int) -> list[int]:
        """How many edges with room lead to each node; -1 if it is out of reach."""
        level = [-1] * len(self.leaving)
        level[source], queue = 0, [source]
        for node in queue:  # it grows
            for edge in self.leaving[node]:
                end = self.ends[edge]
                if level[end] < 0 and self.room[edge] > 0:
                    level[end] = level[node] + 1
                    queue.append(end)
        return level

    def _path(self, s: int, t: int, level: list[int], tried: list[int]) -> list[int]:
        """Edges with room from s to t, each one level further; none if there is no such path."""
        path: list[int] = []
        node = s
        while node != t:
            if tried[node] == len(self.leaving[node]):
                if not path:
                    return path
                node = self.ends[path.pop() ^ 1]
                tried[node] += 1
                continue
            edge = self.leaving[node][tried[node]]
            end = self.ends[edge]
            if self.room[edge] > 0 and level[end] == level[node] + 1:
                path.append(edge)
                node = end
            else:
                tried[node] += 1
        return path
