"""Which sizes of tensors are meant to change from call to call: `mark_dynamic`, `mark_static`,
and what `compile(dynamic=...)` says of all.

Every size has a program of its own, whatever is marked. A size that is meant to change is no reason
for a warning. Knows nothing of programs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from weakref import ref

from ..functions.arguments import own_dim
from ..tracer.mode import mode
from ..tracer.tensor.tensor import Tensor


class Range(NamedTuple):
    """The sizes that a dimension may have, the limits included."""

    min: int | None = None
    max: int | None = None

    def __contains__(self, size: object) -> bool:
        assert isinstance(size, int)
        return (self.min is None or size >= self.min) and (self.max is None or size <= self.max)


Marks = dict[int, Range | None]  # by dimension; None if it is static
# by the id of a tensor; not among its attributes, which a trace takes for state of the user's
_marked: dict[int, tuple[ref[Tensor], Marks]] = {}


def mark_dynamic(t: Tensor, index: int | Sequence[Any], *, hint_override: int | None = None,
                 min: int | None = None, max: int | None = None,
                 specialize_on: list[Any] | None = None) -> None:
    """Say that a size of `t` changes from call to call of the compiled functions that get it as an
    argument. They are not traced less often for it: each size has a program of its own, which costs
    a trace and planning, with the kernels of other sizes. But they do not warn of that. It holds
    from the first call with a marked tensor on, for unmarked tensors in its place, too.

    `index` is a dimension, or several; sizes below `min` or above `max` are warned of.
    `hint_override` and `specialize_on` are accepted for torch's sake, which has them for programs
    of several sizes. Call it before the compiled function, not inside.

    Raises TypeError if `t` is no tensor, AssertionError for an `index` of another type, IndexError
    for a dimension that `t` does not have, and RuntimeError inside a compiled function.

    >>> x = torch.ones(3, 5)
    >>> torch.mark_dynamic(x, 0, max=1024)
    >>> torch.compile(lambda x: x.sum())(x)
    tensor(15.)
    """
    _refuse_inside("mark_dynamic")
    _mark("mark_dynamic", t, index, Range(min, max))


def maybe_mark_dynamic(t: Tensor, index: int | Sequence[Any]) -> None:
    """`mark_dynamic` without limits: in torch it makes no error of a program for one size alone,
    which is no error here in any case. Raises what `mark_dynamic` does.

    >>> torch.maybe_mark_dynamic(torch.ones(3, 5), [0, 1])
    """
    _refuse_inside("maybe_mark_dynamic")
    _mark("maybe_mark_dynamic", t, index, Range())


def mark_static(t: Tensor, index: int | Sequence[Any] | None = None) -> None:
    """Say that a size of `t` does not change, if `compile(dynamic=True)` says that all do: calls
    with other sizes count towards the warning again. `index` is a dimension, several, or None for
    all. Inside a compiled function nothing changes: sizes are numbers there.

    Raises TypeError, AssertionError and IndexError as `mark_dynamic` does.

    >>> torch.mark_static(torch.ones(3, 5), 1)
    """
    if mode.trace is None:
        _mark("mark_static", t, list(range(t.dim())) if index is None else index, None)


def _refuse_inside(name: str) -> None:
    if mode.trace is not None:
        raise RuntimeError(
            f"{name} was called inside a compiled function: call it on the arguments, before"
        )


def _mark(name: str, t: Any, index: Any, sizes: Range | None) -> None:
    if not isinstance(t, Tensor):
        raise TypeError(f"{name} expects a Tensor, got {type(t).__name__}")
    if isinstance(index, (list, tuple)):
        for one in index:
            _mark(name, t, one, sizes)
        return
    if not isinstance(index, int):
        raise AssertionError(f"Expected index to be int, list, or tuple, got {type(index)}")
    number, dim = id(t), own_dim(index, t.dim())
    if number not in _marked:
        _marked[number] = ref(t, lambda _: _marked.pop(number, None)), {}
    _marked[number][1][dim] = sizes


class DynamicSizes:
    """What one compiled function knows of the sizes of its arguments."""

    def __init__(self, every: bool | None):
        if every not in (None, True, False):
            raise AssertionError(f"Expected dynamic to be a bool or None, got {type(every)}")
        self.others = Range() if every else None
        self.marked: dict[tuple[int, int], Range | None] = {}  # by argument and dimension

    def note(self, tensors: Iterable[Tensor]) -> None:
        """Keep what is marked on the tensors among the arguments of a call."""
        for k, t in enumerate(tensors):
            if id(t) in _marked:
                self.marked.update(((k, dim), sizes) for dim, sizes in _marked[id(t)][1].items())

    def explain(self, then: tuple, now: tuple) -> bool:
        """Whether the signatures of two calls differ in such sizes alone."""
        (structure, before, *rest), (other_structure, after, *other_rest) = then, now
        if structure != other_structure or rest != other_rest or len(before) != len(after):
            return False
        if not self.marked and self.others is None:
            return False
        return all(self._alike(k, a, b) for k, (a, b) in enumerate(zip(before, after, strict=True)))

    def _alike(self, k: int, then: tuple, now: tuple) -> bool:
        (shape, _, *rest), (other_shape, _, *other_rest) = then, now
        if shape == other_shape:
            return then == now
        if rest != other_rest or len(shape) != len(other_shape):
            return False
        changed = [d for d, (m, n) in enumerate(zip(shape, other_shape, strict=True)) if m != n]
        allowed = [self.marked.get((k, d), self.others) for d in changed]
        return all(
            sizes is not None and other_shape[d] in sizes
            for d, sizes in zip(changed, allowed, strict=True)
        )
