"""Loops and the places for statements inside them, as text.

A loop that needs memory of its own beside what it writes runs in **parts**: its range is cut into
so many, whatever the number of threads, and the launch is one over parts. A part has its own piece
of scratch memory, and what parts have summed up does not depend on who computed them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Key = tuple[tuple[int, ...], int]  # strides along the loop axes, offset


@dataclass(eq=False)
class Axis:
    """One loop: its variable, its range as text, and the statements that open its body."""

    name: str  # k0, j0, ...: none that is a type's, as i1 and i8 are
    range: str
    index: int  # which of the collapsed axes
    header: list[str] = field(default_factory=list)
    known: dict[Key, str] = field(default_factory=dict)

    @property
    def bounds(self) -> tuple[str, str]:
        """Where the range begins and ends."""
        first, _, last = self.range.removeprefix("range(").removesuffix(")").rpartition(", ")
        return first or "0", last


@dataclass(eq=False)
class Scope:
    """A place for statements, inside the loops `chain`."""

    chain: tuple[Axis, ...]
    lines: list[str] = field(default_factory=list)
    known: dict[object, str] = field(default_factory=dict)


PARTS = 64


def rows_of_a_part(extent: int, most: int = PARTS) -> int:
    """How many steps of a loop are one part, if it is cut into `most`."""
    return -(-extent // most) or 1


def part_of(axis: Axis, step: str, last: str) -> tuple[Axis, Axis]:
    """The loop over parts, `step` of `axis` each, and the loop over those of a part."""
    begin, end = f"{axis.name}_first", f"{axis.name}_last"
    header = [f"{begin} = part * {step}", f"{end} = minimum({begin} + {step}, {last})"]
    whole = Axis("part", "range(start, stop)", -1, header)
    own = Axis(axis.name, f"range({begin}, {end})", axis.index, axis.header, axis.known)
    return whole, own


def nested(axes: tuple[Axis, ...], inner: list[str]) -> list[str]:
    """The statements `inner` under one loop per axis; no loop where there are none."""
    if not inner:  # a check of constants is made before the loops
        return []
    lines = list(inner)
    for axis in reversed(axes):
        lines = [
            f"for {axis.name} in {axis.range}:",
            *("    " + line for line in [*axis.header, *lines]),
        ]
    return lines
