"""What a reason for a difference is: which differences it speaks of, and words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from .program import Program

NAN = r"expected np.float\d+\(nan\)"


@dataclass(frozen=True)
class Reason:
    kind: str  # regular expressions, found anywhere
    template: str
    detail: str
    reason: str
    within: float = inf  # the relative error that the reason excuses
    when: Callable[[Program, int], bool] = lambda program, at: True  # what else must hold


def names(words: str) -> str:
    """A template that calls one of these functions or methods."""
    return rf"(?<!\w)({'|'.join(words.split())})\("
