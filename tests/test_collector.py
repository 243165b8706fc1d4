"""Python's garbage collector waits while programs are made, and goes on whatever happens."""

from __future__ import annotations

import gc
import os

import pytest
from processes import prints

from tracegrad.ir.collector import collector_is_seldom, collector_waits


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


def test_it_is_as_often_as_usual_afterwards():
    usual = gc.get_threshold()
    with pytest.raises(KeyError), collector_is_seldom():
        seldom = gc.get_threshold()
        with collector_is_seldom():
            assert gc.get_threshold() == seldom > usual
        raise KeyError
    assert gc.get_threshold() == usual


@pytest.mark.parametrize("threshold", [0, 1_000_000])
def test_who_has_it_more_seldom_keeps_that(threshold):
    usual = gc.get_threshold()
    try:
        gc.set_threshold(threshold)
        with collector_is_seldom():
            assert gc.get_threshold()[0] == threshold
    finally:
        gc.set_threshold(*usual)


def test_what_a_function_sets_in_a_trace_stays():
    usual = gc.get_threshold()
    try:
        with collector_is_seldom():
            gc.set_threshold(900, 9, 9)
        assert gc.get_threshold() == (900, 9, 9)
    finally:
        gc.set_threshold(*usual)
