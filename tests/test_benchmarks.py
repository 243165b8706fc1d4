"""The benchmark runner: refuses wrong answers, survives missing contestants, reports in place."""

from __future__ import annotations

import json
import math
import shutil
import sys
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import first_calls, picture
from benchmarks.__main__ import main
from benchmarks.contestants import BASELINE, CONTESTANTS, training_step
from benchmarks.measure import Outcome, disagreeing
from benchmarks.process import Worker, WorkerFailed
from benchmarks.report import BEGIN, END, Report, ratio, splice, steady_table
from benchmarks.worker import failure, number
from benchmarks.workloads import WORKLOADS

STEPS = 5


def test_a_wrong_loss_is_named():
    assert set(disagreeing({"a": 1.0, "b": 1.00001, "c": 1.1}, relative=1e-4)) == {"c"}


def test_a_loss_that_is_not_a_number_is_wrong():
    assert set(disagreeing({"a": 1.0, "b": 1.0, "c": math.nan}, relative=1e-4)) == {"c"}
    assert set(disagreeing({"a": math.nan, "b": math.inf}, relative=1e-4)) == {"a", "b"}


def test_the_ratio_ignores_a_drift_that_meets_everybody():
    assert ratio([2.0, 4.0, 8.0], [1.0, 2.0, 4.0]) == 2.0


def test_a_contestant_that_failed_has_no_time():
    wrong = Outcome("wrong", seconds=[1.0], losses=[1.0])
    wrong.fail("wrong loss")
    rows = steady_table({BASELINE: Outcome("ours", seconds=[1e-6]), "wrong": wrong}).splitlines()
    assert rows[3].replace(" ", "") == "|wrong|-|-|-|-|-|"


def test_a_missing_framework_is_told_from_a_missing_module_of_its_own():
    assert failure(ModuleNotFoundError(name="jax"), "jax")["error"] == "not installed"
    assert "traceback" in failure(ModuleNotFoundError(name="jaxlib"), "jax")


def test_the_report_goes_between_the_markers_and_nowhere_else(tmp_path):
    file = tmp_path / "page.md"
    file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    splice(file, "new")
    assert file.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


def test_a_file_without_markers_is_left_alone(tmp_path):
    file = tmp_path / "page.md"
    file.write_text("before\n")
    with pytest.raises(SystemExit, match="page.md"):
        splice(file, "new")
    with pytest.raises(SystemExit, match="page.md"):
        main(["--markdown", str(file)])  # and nothing is measured
    assert file.read_text() == "before\n"


REPORT = """**A step**

|                          | median us/step | x tracegrad | min us |
| ------------------------ | -------------: | ----------: | -----: |
| tracegrad, whole step    |           1.58 |       1.00x |   1.56 |
| PyTorch eager            |           55.0 |         35x |   53.8 |
| torch.compile, loss only |              - |           - |      - |
| jax.jit, whole step      |           0.79 |       0.50x |   0.78 |

**Import to first finished step: A step**

|            | empty cache s |
| ---------- | ------------: |
| tracegrad  |          3.43 |
"""


def test_the_picture_has_a_bar_to_the_best_peer_and_a_mark_for_each_time():
    assert picture.marks(REPORT) == {
        "A step": [("tracegrad", 1.0, "1.58"), ("eager", 35.0, "55.0"), ("jax", 0.5, "0.79")]
    }
    drawn = ElementTree.fromstring(picture.svg(REPORT))
    by_tag = {tag: [e for e in drawn.iter() if e.tag.endswith(tag)] for tag in ("rect", "circle")}
    assert len(by_tag["circle"]) == 3 + len(CONTESTANTS)  # and the legend
    (bar,) = by_tag["rect"]
    jax, ours, eager = sorted(float(c.get("cx", 0)) for c in by_tag["circle"][:3])
    assert float(bar.get("x", 0)) == jax and eager - ours > ours - jax
    assert float(bar.get("width", 0)) == pytest.approx(ours - jax, abs=0.2)
    assert "A & B" in "".join(ElementTree.fromstring(picture.svg(REPORT.replace(
        "A step", "A & B"))).itertext())


def test_a_picture_of_no_times_is_drawn():
    ElementTree.fromstring(picture.svg("nothing was measured"))


def test_the_picture_in_the_docs_is_that_of_its_tables():
    file = Path(__file__).parent.parent / "docs" / "benchmarks.md"
    assert file.with_suffix(".svg").read_text() == picture.svg(file.read_text())


def test_the_report_begins_with_the_best_peers():
    report = Report("a machine", peak=1e9, steady={"A step": {
        "tracegrad": Outcome("ours", seconds=[1e-3, 1e-3], flops=5e5),
        "eager": Outcome("eager", seconds=[4e-3, 4e-3]),
        "jax": Outcome("jax", seconds=[2e-3, 2e-3]),
    }, "nobody": {"tracegrad": Outcome("ours", error="gone")}})
    (row,) = [r for r in report.markdown().splitlines() if r.startswith("| A step")]
    assert [c.strip() for c in row.split("|")[2:-1]] == ["1000", "2000", "jax", "2.00x", "50%"]


QUICK = (
    "linear-regression", "logistic-regression", "mlp-small-adam", "rosenbrock", "call-overhead",
)


@pytest.fixture
def jax_dtypes():
    """A workload of float64 numbers changes what JAX takes a float for."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", False)


def losses(key: str, name: str) -> list[float]:
    contestant, workload = CONTESTANTS[key], WORKLOADS[name]
    run = contestant.build(import_module(contestant.framework), workload, workload.data())
    return [number(run(1)) for _ in range(STEPS)]


@pytest.mark.usefixtures("jax_dtypes")
@pytest.mark.parametrize("key", ["tracegrad", "loss-only", "jax"])
@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in WORKLOADS])
def test_every_workload_means_the_same_to_all(name, key):
    pytest.importorskip("torch")
    pytest.importorskip(CONTESTANTS[key].framework)
    assert losses(key, name) == pytest.approx(losses("eager", name), rel=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("jax_dtypes")
@pytest.mark.parametrize("name", ["black-scholes", "softmax-loss", "layer-norm-gelu"])
def test_what_asks_for_gradients_gives_those_of_torch(name):
    workload = WORKLOADS[name]
    data, gradients = workload.data(), {}
    for framework in ("torch", "tracegrad"):
        T = pytest.importorskip(framework)
        job = workload.torch_style(T, data)
        training_step(T.compile(job.loss) if framework == "tracegrad" else job.loss,
                      job.optimizer)(*job.batch)
        gradients[framework] = [p.grad.numpy() for p in job.optimizer.parameters]
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", workload.double)
    job = workload.jax_style(jax, data)
    gradients["jax"] = job.step(job.state, *job.batch)[0][1]
    for key in ("tracegrad", "jax"):
        for ours, theirs in zip(gradients[key], gradients["torch"], strict=True):
            scale = float(abs(theirs).max())
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5 * scale)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++"), reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("name", ["logistic-regression", "mlp-small-adam", "softmax-loss"])
def test_a_whole_step_of_torch_compile_is_that_of_eager_torch(name):
    pytest.importorskip("torch")
    first = {}
    for key in ("eager", "compile-whole"):
        with Worker(WORKLOADS[name], CONTESTANTS[key], threads=1) as worker:
            first[key] = worker.ask(steps=4, every=True)["losses"]
    assert first["compile-whole"] == pytest.approx(first["eager"], rel=1e-4)


def test_torch_compile_without_a_compiler_is_refused(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("PATH", "")
    workload = WORKLOADS["linear-regression"]
    with pytest.raises(RuntimeError, match="compiler"):
        CONTESTANTS["compile-whole"].build(torch, workload, workload.data())


@pytest.mark.parametrize("name", ["recurrent loop of 10 steps", "Lotka-Volterra of 10 steps"])
def test_a_program_of_first_calls_in_jax_is_that_in_torch(name):
    losses = {}
    for framework, made in (("torch", first_calls.in_torch), ("jax", first_calls.in_jax)):
        step, arguments = made(pytest.importorskip(framework), name)
        losses[framework] = [number(step(*arguments)) for _ in range(4)]
    assert losses["jax"] == pytest.approx(losses["torch"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("contestant", ["tracegrad", "eager", "jax"])
@pytest.mark.parametrize("name", ["MLP 20-32-3", "neural ODE of 10 steps", "call-overhead"])
def test_first_calls_are_measured_in_processes_of_their_own(name, contestant, tmp_path):
    pytest.importorskip(first_calls.PEERS.get(contestant, "tracegrad"))
    row = first_calls.in_process(name, contestant, 2, tmp_path)
    assert "error" not in row and row["first call"] > 0
    assert ("new size" in row) == name.startswith("MLP")
    assert "nan" not in first_calls.table([(name, "cold", row)], 2)


@pytest.mark.slow
def test_a_worker_that_dies_says_why():
    pytest.importorskip("torch")
    with Worker(WORKLOADS["call-overhead"], CONTESTANTS["eager"], threads=1) as worker:
        with pytest.raises(WorkerFailed, match="unexpected keyword"):
            worker.ask(no_such_option=1)
        with pytest.raises(WorkerFailed, match="ended"):
            worker.ask(steps=1)


@pytest.mark.slow
def test_a_run_reports_everybody(tmp_path):
    pytest.importorskip("torch")
    out = tmp_path / "out.json"
    main(["--only", "call", "--peers", "eager", "--rounds", "2", "--seconds", "0.001",
          "--json", str(out)])
    (outcomes,) = json.loads(out.read_text())["steady"].values()
    assert set(outcomes) == {"tracegrad", "eager"}
    assert all(len(outcome["seconds"]) == 2 for outcome in outcomes.values()), outcomes
