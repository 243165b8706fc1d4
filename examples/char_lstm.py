"""An LSTM that learns to continue a text, letter by letter; its whole training step is one program.

    python examples/char_lstm.py                    # train, then write some text
    python examples/char_lstm.py --eager --torch    # also train with eager tracegrad and with torch

The text is the reference of the Python language, which `help()` shows: it comes with Python. Each
row of a batch reads a part of its own from the beginning to the end, and its state goes on from
one step to the next. Everything random comes from --seed: two runs give the same numbers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from itertools import islice
from pydoc_data.topics import topics
from typing import Any

import numpy as np

import tracegrad

BATCH, LENGTH, HIDDEN = 16, 64, 128


@dataclass
class Text:
    """A text as numbers: the places of its letters in the alphabet."""

    numbers: np.ndarray
    alphabet: str

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Letters (LENGTH, BATCH) and those that follow them, again and again from the front."""
        each = (len(self.numbers) - 1) // BATCH
        rows = (self.numbers[k : k + each * BATCH].reshape(BATCH, each).T for k in (0, 1))
        x, y = map(np.ascontiguousarray, rows)
        while True:
            for t in range(0, each - LENGTH + 1, LENGTH):
                yield x[t : t + LENGTH], y[t : t + LENGTH]


def reference() -> Text:
    """The pages of `help()`; letters that are not ASCII are left out."""
    text = "\n".join(topics[name] for name in sorted(topics)).encode("ascii", "ignore").decode()
    alphabet = "".join(sorted(set(text)))
    places = np.zeros(128, np.int64)
    places[[ord(c) for c in alphabet]] = range(len(alphabet))
    return Text(places[np.frombuffer(text.encode(), np.uint8)], alphabet)


@dataclass
class Run:
    """What came of training."""

    name: str
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    first: float = 0.0  # of the seconds, those of the first step
    sample: str = ""


def network(T: Any, letters: int, rng: np.random.Generator) -> Any:
    """Embedding, LSTM and readout, with the same numbers for every library."""
    model = T.nn.ModuleDict({
        "embedding": T.nn.Embedding(letters, HIDDEN),
        "lstm": T.nn.LSTM(HIDDEN, HIDDEN),
        "readout": T.nn.Linear(HIDDEN, letters),
    })
    with T.no_grad():
        for p in model.parameters():
            values = rng.uniform(-1, 1, tuple(p.shape)) / np.sqrt(HIDDEN)
            p.copy_(T.from_numpy(values.astype(np.float32)))
    return model


def train(T: Any, jit: Callable, name: str, text: Text, steps: int, seed: int) -> Run:
    """The program itself, which reads alike for tracegrad and torch."""
    rng, letters = np.random.default_rng(seed), len(text.alphabet)
    model = network(T, letters, rng)
    optimizer = T.optim.Adam(model.parameters(), lr=3e-3)

    @jit
    def step(x, y, state):
        optimizer.zero_grad()
        outputs, (h, c) = model["lstm"](model["embedding"](x), state)
        scores = model["readout"](outputs)
        loss = T.nn.functional.cross_entropy(scores.reshape(-1, letters), y.reshape(-1))
        loss.backward()
        optimizer.step()
        return loss.detach(), (h.detach(), c.detach())

    @jit
    def chances(x, state):
        with T.no_grad():
            outputs, state = model["lstm"](model["embedding"](x), state)
            return model["readout"](outputs[-1]).softmax(-1), state

    run, state = Run(name), (T.zeros(1, BATCH, HIDDEN), T.zeros(1, BATCH, HIDDEN))
    began = time.perf_counter()
    for x, y in islice(text.batches(), steps):
        loss, state = step(T.from_numpy(x), T.from_numpy(y), state)
        run.losses.append(loss.item())
        run.first = run.first or time.perf_counter() - began
        if len(run.losses) % 100 == 0:
            print(f"{name}: step {len(run.losses)}, loss {np.mean(run.losses[-100:]):.3f}")
    run.seconds = time.perf_counter() - began
    run.sample = written(T, chances, text, rng)
    return run


def written(T: Any, chances: Callable, text: Text, rng: np.random.Generator,
            length: int = 300) -> str:
    """A text that the network draws, letter by letter."""
    letter, state, found = text.alphabet.index("\n"), (T.zeros(1, 1, HIDDEN),) * 2, ""
    for _ in range(length):
        p, state = chances(T.tensor([[letter]]), state)
        p = p[0].numpy().astype(np.float64)
        letter = int(rng.choice(len(p), p=p / p.sum()))
        found += text.alphabet[letter]
    return found


def report(runs: list[Run]) -> None:
    print(f"\n{'':20}{'steps/s':>8} {'first step s':>13} {'last loss':>10}")
    for run in runs:
        rate = (len(run.losses) - 1) / max(run.seconds - run.first, 1e-9)
        loss = np.mean(run.losses[-50:])
        print(f"{run.name:20}{rate:8.0f} {run.first:13.2f} {loss:10.3f}")
    print(f"\n{runs[0].sample}")


def main(arguments: list[str] | None = None) -> Run:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--eager", action="store_true", help="also train without compiling")
    parser.add_argument("--torch", action="store_true", help="also train with torch")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error("--steps must be at least 1")
    text = reference()
    print(f"{len(text.numbers)} letters, {len(text.alphabet)} different ones")
    contestants: list[tuple[str, Any, Callable]] = [
        ("tracegrad compiled", tracegrad, tracegrad.compile)
    ]
    if options.eager:
        contestants.append(("tracegrad eager", tracegrad, lambda f: f))
    if options.torch:
        try:
            contestants.append(("torch eager", import_module("torch"), lambda f: f))
        except ImportError:
            print("--torch: torch is not installed, and left out")
    runs = [train(T, jit, name, text, options.steps, options.seed) for name, T, jit in contestants]
    report(runs)
    return runs[0]


if __name__ == "__main__":
    main()
