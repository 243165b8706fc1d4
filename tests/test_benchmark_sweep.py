"""The sweep of operations over sizes, and the comparison of two commits."""

from __future__ import annotations

import json
import subprocess
import time
from importlib import import_module

import pytest

from benchmarks import compare
from benchmarks.process import ROOT
from benchmarks.sweep import picture
from benchmarks.sweep.__main__ import main
from benchmarks.sweep.cell import Cell, Times, differs, measured, one
from benchmarks.sweep.groups import GROUPS, shuffled
from benchmarks.sweep.report import markdown

TIMES = {"rows": [
    Times("sum all", "32 x 32", {"tracegrad": 2e-6, "torch": 1e-6, "jax": 4e-6}),
    Times("sum all", "256 x 256", {"tracegrad": 2e-6, "torch": 4e-6}),
    Times("sum along rows", "32 x 32", {"tracegrad": 2e-6}, errors={"torch": "result 0 differs"}),
]}


def libraries(*names):
    return {name: import_module(name) for name in names if pytest.importorskip(name)}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_has_each_cell_once_and_in_a_fixed_order(group):
    cells = [(c.row, c.column) for c in shuffled(group)]
    assert len(set(cells)) == len(cells) > 50
    assert cells == [(c.row, c.column) for c in shuffled(group)]
    assert set(cells) == {(c.row, c.column) for c in GROUPS[group]()}


def smallest(group: str, every: int) -> list[Cell]:
    """The cells of the first column that a row has: one of so many rows."""
    first = {cell.row: cell for cell in reversed(list(GROUPS[group]()))}
    return list(first.values())[::every]


def check(cells, *names):
    for cell in cells:
        times = measured(cell, libraries("tracegrad", *names), 0.0, time.perf_counter)
        assert not times.errors, (cell, times)
        assert times.ratio is not None and times.ratio > 0


@pytest.mark.parametrize("group", GROUPS)
def test_cells_are_measured_and_mean_the_same_to_torch(group):
    check(smallest(group, every=40), "torch")


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_all_rows_of_a_group_mean_the_same_to_all(group):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    try:
        check(smallest(group, every=1), "torch", "jax")
    finally:
        jax.config.update("jax_enable_x64", False)


def test_a_peer_that_computes_something_else_has_no_time():
    cell = Cell("", "", lambda T, x: x if T.__name__ == "torch" else x + 1, None, one(3))
    times = measured(cell, libraries("tracegrad", "torch"), 0.0, time.perf_counter)
    assert times.errors == {"torch": "result 0 differs"} and times.ratio is None


def test_a_peer_that_fails_has_no_time():
    cell = Cell("", "", lambda T, x: x.exp() if T.__name__ == "tracegrad" else x.no_such(), None,
                one(3))
    times = measured(cell, libraries("tracegrad", "torch"), 0.0, time.perf_counter)
    assert times.errors["torch"].startswith("AttributeError") and times.ratio is None


def test_results_of_another_shape_differ():
    assert "shape" in differs(one(3)(), one(4)(), 1.0)
    assert not differs([float("nan")], [float("nan")], 1e-3)


def test_the_list_of_slow_cells_names_the_best_peer():
    text = markdown(TIMES)
    (slow,) = [line for line in text.splitlines() if line.startswith("| sum all")]
    assert [c.strip() for c in slow.split("|")[1:-1]] == [
        "sum all", "32 x 32", "2.00", "1.00", "torch", "0.50"]
    assert "- sum along rows, 32 x 32, torch: result 0 differs" in text


def test_a_sweep_of_nothing_is_reported():
    assert "rows" in markdown({"rows": []})


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_heat_map_is_drawn(kind, tmp_path):
    pytest.importorskip("matplotlib")
    file = tmp_path / f"map.{kind}"
    picture.draw({**TIMES, "ordering": []}, file)
    assert file.stat().st_size > 1000


@pytest.mark.slow
def test_a_sweep_with_a_small_budget(tmp_path, capsys):
    pytest.importorskip("torch")
    file = tmp_path / "sweep.json"
    main(["--only", "rows", "--budget", "2", "--threads", "1", "--json", str(file)])
    cells = json.loads(file.read_text())["groups"]["rows"]
    assert cells and "geometric mean" in capsys.readouterr().out


@pytest.mark.slow
def test_a_commit_is_compared_with_itself(capsys):
    if subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("not a git repository")
    compare.main(["HEAD", "HEAD", "--only", "linear", "--rounds", "2", "--seconds", "0.001",
                  "--threads", "1"])
    assert "Geometric mean" in capsys.readouterr().out
    trees = [line.split()[0] for line in compare.git("worktree", "list").splitlines()]
    assert not [tree for tree in trees if tree.endswith(("/A", "/B"))]


def test_a_commit_that_is_not_there_is_refused():
    with pytest.raises(SystemExit, match="no-such-commit"):
        compare.main(["no-such-commit", "HEAD"])


@pytest.mark.parametrize("options, message", [
    (["--only", "nothing"], "no such group"), (["--threads", "0"], "from 1 to"),
    (["--threads", "two"], "from 1 to"), (["--picture", "map.gif"], "not an .svg or .png"),
    (["--json", "no/such/folder.json"], "existing folder"),
])
def test_bad_options_are_refused_before_anything_is_measured(options, message, capsys):
    with pytest.raises(SystemExit):
        main(options)
    assert message in capsys.readouterr().err
