"""What lowering decides by cost and not by meaning: programs made with other choices compute the
same, in other loops. The defaults are what is best for most programs on most machines; those of
one program may be found by timing it (`compile(mode="max-autotune")`).
"""

from __future__ import annotations

from dataclasses import dataclass

from .op import TRANSCENDENTAL


@dataclass(frozen=True)
class Choices:
    """`memory` is a factor: the cost of what is saved for backward, which is else computed again.
    A value that two need is computed twice up to the cost `inline`. Rows keep one between passes
    from the cost `keep` on. A piece of a loop is worth a thread from `thread` additions on. Whether
    columns are summed up beside rows, values computed beside the long sum of their shape, and
    results of products finished in their tiles.
    """

    memory: float = 1.0
    inline: int = 8
    keep: int = TRANSCENDENTAL
    thread: int = 250_000
    columns: bool = True
    fold: bool = True
    finish: bool = True


DEFAULT = Choices()
