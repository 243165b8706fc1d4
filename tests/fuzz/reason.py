"""What a reason for a difference is: which differences it speaks of, and words."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, nan

from .compare import Difference
from .program import Program
from .values import EPS
from .witness import coarsest, largest_unit, ours_is_right, unit

NUMBERS = re.compile(r"\(?(?:np\.\w+\()?(-?[\d.]+(?:e[-+]?\d+)?)\)? at .*expected "
                     r"(?:np\.\w+\()?(-?[\d.]+(?:e[-+]?\d+)?)")
NAN = r"expected np.float\d+\(nan\)"


@dataclass(frozen=True)
class Reason:
    kind: str  # regular expressions, found anywhere
    template: str
    detail: str
    reason: str
    within: float = inf  # the relative error that the reason excuses
    when: Callable[[Program, int], bool] = lambda program, at: True  # what else must hold
    witness: Callable[[Program, Difference], bool] = ours_is_right  # who says that ours is right


def two_numbers(detail: str) -> tuple[float, float]:
    """Ours and torch's, of which the words tell; NaN if these are not finite."""
    found = NUMBERS.search(detail)
    return (float(found[1]), float(found[2])) if found else (nan, nan)


def unjudged(program: Program, found: Difference) -> bool:
    """For rows whose words say enough: infinities, NaN, signs of zeros, choices."""
    return True


def opposite(program: Program, found: Difference) -> bool:
    mine, theirs = two_numbers(found.detail)
    return mine == -theirs


def within_units(count: int) -> Callable[[Program, Difference], bool]:
    """The numbers are no further apart than so many units in the last place of the largest number
    that the statement is given.
    """

    def judged(program: Program, found: Difference) -> bool:
        mine, theirs = two_numbers(found.detail)
        return abs(mine - theirs) <= count * unit(program, found.at)

    return judged


def within_units_of_all(count: int) -> Callable[[Program, Difference], bool]:
    """The same of the largest number anywhere in the program, in the coarser of its types and of
    what differs: a compiled program is called with other float types too.
    """

    def judged(program: Program, found: Difference) -> bool:
        mine, theirs = two_numbers(found.detail)
        types = [EPS[t] for t in re.findall(r"np\.(float\d+)\(", found.detail)]
        coarser = max([1.0, *(eps / coarsest(program) for eps in types)])
        return abs(mine - theirs) <= count * coarser * largest_unit(program)

    return judged


def names(words: str) -> str:
    """A template that calls one of these functions or methods."""
    return rf"(?<!\w)({'|'.join(words.split())})\("
