"""What a function's outcome may depend on besides its arguments: closure cells, globals, classes,
modules, optimizers.

`Surroundings` remembers what they were when the function was traced and tells whether they still
are. Objects that report their changes to world.py are looked at only when its counter has moved;
the rest is looked at every time. Where to look is reach.py's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from operator import is_
from typing import Any, NamedTuple

from .reach import GENERATORS, Reach
from .world import changed

PLAIN = (type(None), bool, int, float, complex, str, bytes)


class Guard(NamedTuple):
    """A place and what was there: `holder[key]`, `holder.key`, the content of a cell, a length, the
    members of a set, what a tensor is like, or where a generator of random numbers stands.
    """

    words: str
    how: str  # 'item' | 'slot' | 'cell' | 'len' | 'set' | 'like' | 'random'
    holder: Any
    key: Any
    then: Any

    def now(self) -> Any:
        """What is there now; None where nothing is."""
        try:
            return _LOOK[self.how](self.holder, self.key)
        except (KeyError, IndexError, ValueError, AttributeError):
            return None

    def holds(self) -> bool:
        now, then = self.now(), self.then
        comparable = isinstance(then, PLAIN) or self.how in ("like", "set", "random")
        return now is then or (comparable and type(now) is type(then) and now == then)

    def restore(self) -> None:
        """Put back what was there."""
        if self.how == "cell":
            self.holder.cell_contents = self.then
        elif self.how == "slot":
            setattr(self.holder, self.key, self.then)
        elif self.how == "item" and hasattr(self.holder, "__setitem__"):
            self.holder[self.key] = self.then


def _likeness(t: Any, _: Any) -> tuple:
    return (*t.shape, t._dtype, t._requires_grad, *(t._hooks or {}).values())


_LOOK: dict[str, Callable[[Any, Any], Any]] = {
    "item": lambda holder, key: holder[key],
    "slot": getattr,
    "cell": lambda holder, _: holder.cell_contents,
    "len": lambda holder, _: len(holder),
    "set": lambda holder, _: frozenset(holder),
    "like": _likeness,
    "random": lambda holder, _: GENERATORS[type(holder)](holder),
}


class Surroundings:
    """The guards of one trace. `quick` ones are checked at every call; `slow` ones stand in objects
    that report their changes, and so do those of `state`, which a trace may fill (an optimizer's).
    Those of `once` tell only whether the function itself changes something.
    """

    def __init__(self, fn: Callable, arguments: Any, reports: Callable[[Any], str]):
        self.quick: list[Guard] = []
        self.slow: list[Guard] = []
        self.state: list[Guard] = []
        self.once: list[Guard] = []
        for words, how, holder, key, kind in Reach(fn, arguments, reports):
            guard = Guard(words, how, holder, key, None)
            getattr(self, kind).append(guard._replace(then=guard.now()))

    def changed(self) -> str | None:
        """In words, the first thing that is not what it was; None when all is."""
        return _first(self.quick, self.slow, self.state)


class Witness(Surroundings):
    """What there was before a function is traced: tells what the function itself has changed, and
    undoes it.
    """

    def __init__(self, fn: Callable, arguments: Any, reports: Callable[[Any], str]):
        super().__init__(fn, arguments, reports)
        containers = [g for g in (*self.quick, *self.slow) if g.how in ("len", "set")]
        self.contents = [(g.holder, _content(g.holder)) for g in containers]

    def effect(self) -> str | None:
        """In words, what the function has changed that a call of its program would not."""
        numbers = [g for g in self.state if isinstance(g.then, PLAIN) and g.how == "item"]
        return _first(self.quick, self.slow, numbers, self.once)

    def restore(self) -> None:
        """Put back what was there."""
        for holder, before in self.contents:
            _refill(holder, before)
        for guard in (*self.quick, *self.slow, *self.once):
            if not guard.holds():
                guard.restore()
        changed()


def _first(*groups: Iterable[Guard]) -> str | None:
    for guard in chain(*groups):
        if not guard.holds():
            then, now = guard.then, guard.now()
            short = all(isinstance(v, PLAIN) and len(repr(v)) < 60 for v in (then, now))
            return f"{guard.words} was changed" + (f": was {then!r}, is {now!r}" if short else "")
    return None


def _content(holder: Any) -> list:
    return list(chain(*holder.items())) if isinstance(holder, dict) else list(holder)


def _refill(holder: Any, before: list) -> None:
    """Give a container the content that it had."""
    now = _content(holder)
    if len(now) == len(before) and all(map(is_, now, before)):
        return
    if isinstance(holder, dict):
        dict.clear(holder)
        dict.update(holder, zip(before[::2], before[1::2], strict=True))
    else:
        holder.clear()
        (holder.update if isinstance(holder, set) else holder.extend)(before)
