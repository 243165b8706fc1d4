"""Strided views: movement operations as index arithmetic over the buffer of a materialised value.

A View says where element (i0, i1, ...) of a shape stands in a buffer: offset + sum(i * stride).
Every movement composes into another View, or answers None where no strides can express it (and a
copy must be made).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...ir.node import Node

Shape = tuple[int, ...]


def contiguous(shape: Shape) -> Shape:
    """Row-major strides, in elements."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


@dataclass(frozen=True)
class View:
    shape: Shape
    strides: Shape
    offset: int = 0

    @staticmethod
    def of(shape: Shape) -> View:
        return View(shape, contiguous(shape))

    def reshape(self, shape: Shape) -> View | None:
        """The same elements in the same order under another shape, where strides can say it."""
        if math.prod(shape) == 0:
            return View(shape, contiguous(shape), self.offset)
        runs: list[
            tuple[int, int]
        ] = []  # (extent, stride), merged where adjacent axes are one run of memory
        for extent, stride in zip(self.shape, self.strides, strict=True):
            if extent == 1:
                continue
            if runs and runs[-1][1] == extent * stride:
                runs[-1] = (runs[-1][0] * extent, stride)
            else:
                runs.append((extent, stride))
        strides: list[int] = []
        for extent in reversed(shape):
            if extent == 1:
                strides.append(0)
                continue
            while runs and runs[-1][0] == 1:
                runs.pop()
            if not runs or runs[-1][0] % extent:
                return None
            total, stride = runs.pop()
            strides.append(stride)
            runs.append((total // extent, stride * extent))
        return View(shape, tuple(reversed(strides)), self.offset)

    def permute(self, axes: Shape) -> View:
        return View(
            tuple(self.shape[a] for a in axes), tuple(self.strides[a] for a in axes), self.offset
        )

    def expand(self, shape: Shape) -> View:
        lead = len(shape) - len(self.shape)
        pairs = zip(self.shape, shape[lead:], self.strides, strict=True)
        return View(
            shape, (0,) * lead + tuple(s if n == m else 0 for n, m, s in pairs), self.offset
        )

    def slice(self, slices: tuple[tuple[int, int, int], ...]) -> View:
        offset = self.offset + sum(a * s for (a, _, _), s in zip(slices, self.strides, strict=True))
        strides = tuple(s * step for (_, _, step), s in zip(slices, self.strides, strict=True))
        return View(tuple(len(range(*part)) for part in slices), strides, offset)

    def flip(self, axes: Shape) -> View:
        offset = self.offset + sum(max(self.shape[a] - 1, 0) * self.strides[a] for a in axes)
        return View(
            self.shape, tuple(-s if d in axes else s for d, s in enumerate(self.strides)), offset
        )

    def window(self, axis: int, size: int, step: int, dilation: int) -> View:
        count = (self.shape[axis] - (size - 1) * dilation - 1) // step + 1
        own = self.strides[axis]
        return View(
            (*self.shape[:axis], count, *self.shape[axis + 1 :], size),
            (*self.strides[:axis], own * step, *self.strides[axis + 1 :], own * dilation),
            self.offset,
        )

    def diagonal(self) -> View:
        *lead, rows, columns = self.strides
        return View(self.shape[:-1], (*lead, rows + columns), self.offset)

    def squeeze(self) -> View:
        keep = [d for d, n in enumerate(self.shape) if n != 1]
        return View(
            tuple(self.shape[d] for d in keep), tuple(self.strides[d] for d in keep), self.offset
        )

    @property
    def is_identity(self) -> bool:
        """Whether element k in row-major order stands at position k."""
        if self.offset or math.prod(self.shape) == 0:
            return not self.offset
        squeezed = self.squeeze()
        return squeezed.strides == contiguous(squeezed.shape)


def move(view: View, node: Node) -> View | None:
    """The view seen through the movement node `node`."""
    p = node.params
    match node.op.name:
        case "reshape":
            return view.reshape(p["shape"])
        case "permute":
            return view.permute(p["axes"])
        case "expand":
            return view.expand(p["shape"])
        case "slice":
            return view.slice(p["slices"])
        case "flip":
            return view.flip(p["axes"])
        case "window":
            return view.window(p["axis"], p["size"], p["step"], p["dilation"])
        case "diagonal":
            return view.diagonal()
    return None


def collapse(extents: Shape, strides: list[Shape]) -> tuple[list[int], list[list[int]]]:
    """Merge adjacent axes that are one run of memory in every one of the stride lists; drop axes of
    extent 1.
    """
    axes = [d for d, n in enumerate(extents) if n != 1]
    merged: list[int] = []
    out: list[list[int]] = [[] for _ in strides]
    for d in axes:
        n = extents[d]
        if merged and all(o[-1] == s[d] * n for o, s in zip(out, strides, strict=True)):
            merged[-1] *= n
            for o, s in zip(out, strides, strict=True):
                o[-1] = s[d]
        else:
            merged.append(n)
            for o, s in zip(out, strides, strict=True):
                o.append(s[d])
    return merged, out
