"""Properties that are computed once."""

from __future__ import annotations

import threading

from tracegrad.ir.cached import cached_property


class Waiting:
    def __init__(self, go):
        self.go, self.times = go, 0

    @cached_property
    def value(self):
        """It."""
        self.times += 1
        self.go.wait(20)
        return self.times


def test_a_value_is_computed_once():
    go = threading.Event()
    go.set()
    one = Waiting(go)
    assert (one.value, one.value, one.times) == (1, 1, 1)
    assert Waiting.value.__doc__ == "It."


def test_nobody_waits_for_a_value_that_another_thread_computes():
    go, open_gate = threading.Event(), threading.Event()
    open_gate.set()
    slow = Waiting(go)
    thread = threading.Thread(target=lambda: slow.value, daemon=True)
    thread.start()
    done = []
    reader = threading.Thread(target=lambda: done.append(Waiting(open_gate).value), daemon=True)
    reader.start()
    reader.join(10)
    go.set()
    thread.join()
    assert done == [1]
