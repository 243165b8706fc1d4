"""Strided views: movement as index arithmetic over memory. The one place that knows it.

A View says where element (i0, i1, ...) of a shape stands in a buffer: offset + sum(i * stride).
Every movement of elements that strides can express composes into another View; `reshape` gives None
where only a copy has the new shape. The record of a primitive names its method (`OpDef.view`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Shape = tuple[int, ...]


def contiguous(shape: Shape) -> Shape:
    """Row-major strides, in elements."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


def inverse(axes: Shape) -> Shape:
    """The permutation that undoes this one."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


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
        strides = restride(self.shape, self.strides, shape)
        return None if strides is None else View(shape, strides, self.offset)

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


def restride(
    shape: tuple[int, ...], strides: tuple[int, ...], new: tuple[int, ...]
) -> tuple[int, ...] | None:
    """The strides with which `new` looks at the same memory, or None where only a copy has that
    shape.
    """
    if 0 in shape:
        return contiguous(new)
    dims = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    blocks: list[
        list[int]
    ] = []  # [elements, innermost stride] of each run of dimensions that is one line in memory
    for n, s in dims:
        if blocks and blocks[-1][1] == n * s:
            blocks[-1] = [blocks[-1][0] * n, s]
        else:
            blocks.append([n, s])
    out: list[int] = []
    left, step = blocks.pop() if blocks else [1, 1]
    for n in reversed(new):
        if left == 1 and n != 1:
            if not blocks:
                return None
            left, step = blocks.pop()
        if left % n:
            return None
        out.append(step)
        left, step = left // n, step * n
    return tuple(reversed(out)) if left == 1 and not blocks else None


def repeats(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether two elements of such a tensor lie in one place."""
    reach, dims = 0, [(abs(s), n) for s, n in zip(strides, shape, strict=True) if n != 1]
    for s, n in sorted(dims):
        if s == 0 or 0 in shape:
            return 0 not in shape
        if s <= reach:
            places = np.zeros((), np.int64)
            for step, extent in dims:
                places = np.add.outer(places, np.arange(extent) * step)
            return len(np.unique(places)) < places.size
        reach += s * (n - 1)
    return False
