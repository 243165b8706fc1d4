"""What calls of a compiled function change, put back as it was: for calls that only observe.

Before an Entry runs, `keep` notes what it may write: memory and history of tensors, their `.grad`,
locations of Python, generators. `put_back` undoes all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from ..functions.torch.creation import from_numpy
from ..tracer.capture.inputs import Input
from ..tracer.capture.locations import Location
from ..tracer.change_counter import changed
from ..tracer.tensor.device_memory import copyto
from ..tracer.tensor.tensor import Tensor
from .entry import Entry
from .replay.bindings import location_writer

_FIELDS = ("_array", "_ptr", "_version", "_grad_fn", "_requires_grad", "_base", "_view",
           "_memory_location")


class KeptState:
    """The state before some calls."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []
        self._kept: dict[Any, Any] = {}  # by what it is; the objects, so that ids stay theirs

    def keep(self, entry: Entry, tensors: Sequence[Tensor]) -> None:
        """Note what a call of an entry, with these tensors, may change."""
        derivative = entry.derivative
        by_backward = [] if derivative is None else derivative.rerun.snapshot_plan.written
        flagged = [i for i, _ in entry.flags]
        for i in (*entry.written, *by_backward, *flagged, *entry.gaining_history.values()):
            if (t := tensor_of(i, tensors)) is not None:
                self.tensor(t)
        for i, _ in entry.graded:
            if (t := tensor_of(i, tensors)) is not None:
                self.gradient(t)
        for location in entry.effects:
            if self._new(location.id, location):
                self._undo.append(partial(_put, location, location.now()))
        for stream in entry.streams:
            if self._new((stream.generator,), stream.generator):
                state = stream.generator._state
                self._undo.append(partial(setattr, stream.generator, "_state", state))

    def tensor(self, t: Tensor) -> None:
        """Keep the values, the version and the history of a tensor."""
        if t._base is not None:
            self.tensor(t._base)
        if self._new(("tensor", id(t)), t):
            fields = {name: getattr(t, name) for name in _FIELDS}
            values = t._array.copy()
            self._undo.append(partial(_restore, t, fields, list(t._version), values))

    def gradient(self, t: Tensor) -> None:
        """Keep the `.grad` of a tensor, with its values."""
        if t._grad is not None:
            self.tensor(t._grad)
        if self._new(("grad", id(t)), t):
            self._undo.append(partial(setattr, t, "_grad", t._grad))

    def _new(self, key: Any, held: Any) -> bool:
        """Whether this is kept for the first time."""
        if key in self._kept:
            return False
        self._kept[key] = held
        return True

    def put_back(self) -> None:
        """Undo all changes, those of later calls too."""
        with ExitStack() as stack:  # which goes on if one of them raises
            stack.callback(changed)
            for undo in self._undo:
                stack.callback(undo)


def _put(location: Location, value: Any) -> None:
    if location.now() is not value:
        location_writer(location)(value)


def _restore(t: Tensor, fields: dict[str, Any], version: list, values: np.ndarray) -> None:
    for name, value in fields.items():
        setattr(t, name, value)
    t._version[:] = version
    if t._array.size:
        copyto(t._array, values)


def tensor_of(i: Input, tensors: Sequence[Tensor]) -> Tensor | None:
    """The tensor of an input at a call with these tensors."""
    if i.kind == "argument":
        return tensors[i.key]
    if i.kind == "grad":
        owner = tensor_of(i.key, tensors)
        return None if owner is None else owner._grad
    if i.kind == "location":
        value = i.key.now()
        if isinstance(value, np.ndarray):
            return from_numpy(value)
        return value if isinstance(value, Tensor) else None
    return i.tensor
