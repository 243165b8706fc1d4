"""Python's garbage collector waits while programs are made, and goes on whatever happens."""

from __future__ import annotations

import gc
import os

import pytest
from processes import prints

from tracegrad.ir.collector import collector_waits


@collector_waits()
def waits() -> bool:
    return not gc.isenabled()


def test_it_goes_on_afterwards():
    assert waits() and gc.isenabled() and waits()
    with pytest.raises(KeyError), collector_waits():
        raise KeyError
    assert gc.isenabled()


def test_who_has_it_off_finds_it_off():
    gc.disable()
    try:
        assert waits()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_it_waits_for_the_outermost():
    with collector_waits():
        assert waits() and not gc.isenabled()
    assert gc.isenabled()


@prints("True\n")
def test_a_child_that_is_forked_meanwhile_collects():
    with collector_waits():
        child = os.fork()
        if child == 0:
            os._exit(0 if gc.isenabled() else 1)
    print(os.waitpid(child, 0)[1] == 0 and gc.isenabled())
