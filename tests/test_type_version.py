"""The number of a class tells whether anything about it has changed; where CPython has it."""

from __future__ import annotations

import pytest

from tracegrad.tracer.capture import type_version


class Base:
    x = 1


class Sub(Base):
    pass


@pytest.mark.skipif(type_version.tag(Sub) is None, reason="this Python does not show the number")
@pytest.mark.parametrize("changed", [Base, Sub])
def test_a_class_is_looked_at_again_only_when_it_has_changed(changed):
    view, seen, asked = type_version.tag(Sub), [-1], []
    ask = type_version.rechecked(Sub, seen, lambda: not asked.append(1))
    for _ in range(3):
        changed.y = len(asked)
        assert view[0] != seen[0]
        assert ask()
        assert view[0] == seen[0]  # also where nobody has looked anything up since the change
    assert len(asked) == 3


def test_what_no_longer_holds_is_not_remembered():
    seen = [-1]
    assert not type_version.rechecked(Sub, seen, lambda: False)()
    assert seen == [-1]
