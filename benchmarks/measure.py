"""Steady state: entrants in persistent workers, timed in interleaved rounds, losses compared.

All entrants do the same number of steps at every stage, so their losses stay comparable to
the end, and whatever else the machine does meets all of them alike. An entrant whose losses
are not those of the others gets no time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from .process import Worker, WorkerFailed

CHECKED_STEPS = 10  # compared one by one before anything is timed
CLOSE = 1e-3  # relative, over those steps
STILL_CLOSE = 0.02  # of the first loss, at the end: rounding has had thousands of steps to grow
COUNTING = "eager"  # who can count the operations of its products
PROBE_STEPS = 20
MOST_STEPS = 5000  # per round
SETTLE = 0.02  # seconds for the spinning threads of the last contestant to go to sleep


@dataclass
class Outcome:
    label: str
    seconds: list[float] = field(default_factory=list)  # per step, one entry a round
    losses: list[float] = field(default_factory=list)  # the first steps, then one a round
    start: float = 0.0  # seconds from the first import to the end of the first step
    peak_mb: float = 0.0
    flops: float = 0.0  # of a step's products; 0: not counted
    error: str = ""
    details: str = ""

    def fail(self, error: str, details: str = "") -> None:
        self.error, self.details, self.seconds = error, details, []


def disagreeing(
    losses: dict[str, float], relative: float = 0.0, absolute: float = 0.0
) -> dict[str, str]:
    """Whose loss is too far from the median of all, and by how much."""
    finite = [loss for loss in losses.values() if math.isfinite(loss)]
    middle = median(finite) if finite else math.nan
    tolerance = absolute + relative * abs(middle)
    return {
        key: f"wrong loss: {loss:.7g}, where the median of all is {middle:.7g}"
        for key, loss in losses.items()
        if not abs(loss - middle) <= tolerance  # also refuses NaN
    }


class Race:
    """The workers of one workload that are still in, and the outcome of each entrant."""

    def __init__(self, outcomes: dict[str, Outcome]) -> None:
        self.outcomes = outcomes
        self.workers: dict[str, Worker] = {}

    def order(self, turn: int) -> list[str]:
        """Every entrant once, another one first at every turn."""
        keys = list(self.workers)
        turn %= max(len(keys), 1)
        return keys[turn:] + keys[:turn]

    def drop(self, key: str, error: str, details: str = "") -> None:
        self.outcomes[key].fail(error, details)
        self.workers.pop(key).close()

    def ask_all(self, turn: int = 0, **command: Any) -> dict[str, dict[str, Any]]:
        replies = {}
        for key in self.order(turn):
            time.sleep(SETTLE)
            try:
                replies[key] = self.workers[key].ask(**command)
            except WorkerFailed as failure:
                self.drop(key, str(failure), failure.details)
            else:
                self.outcomes[key].losses += replies[key]["losses"]
        return replies

    def count(self, key: str) -> None:
        """Let this entrant count the operations of a step, for all of them."""
        if key not in self.workers:
            return
        try:
            flops = self.workers[key].ask(flops=True)["flops"]
        except WorkerFailed:
            return  # then there is no roofline to compare with
        for outcome in self.outcomes.values():
            outcome.flops = flops

    def compare(self, step: int, **tolerance: float) -> None:
        losses = {key: self.outcomes[key].losses[step] for key in self.workers}
        for key, error in disagreeing(losses, **tolerance).items():
            self.drop(key, error)


@dataclass(frozen=True)
class Entrant:
    key: str
    label: str
    start: Callable[[], Worker]


def measure(
    name: str, entrants: list[Entrant], rounds: int, seconds: float, say: Callable[[str], None]
) -> dict[str, Outcome]:
    """Outcomes by entrant. `seconds` is about what the slowest one takes in a round."""
    race = Race({e.key: Outcome(e.label) for e in entrants})
    with ExitStack() as stack:
        for entrant in entrants:
            say(f"{name}: starting {entrant.label}")
            outcome = race.outcomes[entrant.key]
            try:
                worker = entrant.start()
            except WorkerFailed as failure:
                outcome.fail(str(failure), failure.details)
                continue
            race.workers[entrant.key] = stack.enter_context(worker)
            outcome.losses.append(worker.first_loss)
            outcome.start = worker.cold_seconds

        checks = race.ask_all(steps=CHECKED_STEPS - 1, every=True)
        for step in range(CHECKED_STEPS):
            race.compare(step, relative=CLOSE)

        steps = min(fitting(checks, CHECKED_STEPS - 1, seconds), PROBE_STEPS)
        steps = fitting(race.ask_all(steps=steps, warm=steps), steps, seconds)
        say(f"{name}: {rounds} rounds of {steps} steps")
        for turn in range(rounds):
            for key, reply in race.ask_all(turn, steps=steps, warm=1 + steps // 10).items():
                race.outcomes[key].seconds.append(reply["seconds"] / steps)

        first = max((abs(race.outcomes[key].losses[0]) for key in race.workers), default=0.0)
        race.compare(-1, absolute=STILL_CLOSE * first)
        for key, worker in race.workers.items():
            race.outcomes[key].peak_mb = worker.peak_mb
        race.count(COUNTING)
    return race.outcomes


def fitting(replies: dict[str, dict[str, Any]], steps: int, seconds: float) -> int:
    """How many steps the slowest does in that time, by how long `steps` of them have taken."""
    slowest = max((r["seconds"] for r in replies.values()), default=1.0) / steps
    return min(max(round(seconds / slowest), 1), MOST_STEPS)
