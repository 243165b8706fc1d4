"""What make_dot draws: torchviz's boxes for tensors, clusters of kernels for compiled functions."""

from __future__ import annotations

import re
import sys

import pytest

import tracegrad as tg
from tracegrad import nn
from tracegrad.viz import make_dot

pytest.importorskip("graphviz")


def boxes(dot):
    """(label, color) of every box, and the edges as pairs of labels."""
    labels = dict(re.findall(r'(n\d+) \[label="?(.*?)"? fillcolor', dot.source, re.S))
    colors = dict(re.findall(r"(n\d+) \[label=[^\]]*fillcolor=(\w+)", dot.source))
    clean = {n: " ".join(label.split()) for n, label in labels.items()}
    edges = [(clean[a], clean[b]) for a, b in re.findall(r"(n\d+) -> (n\d+)", dot.source)]
    return sorted((clean[n], colors[n]) for n in labels), sorted(edges)


def loss_of(b_requires_grad):
    x, y = tg.tensor([1.0, 2.0]), tg.tensor([3.0, 5.0])
    a = tg.tensor(0.5, requires_grad=True)
    b = tg.tensor([0.0], requires_grad=b_requires_grad)
    return ((y - (a + b * x)) ** 2).mean(), {"a": a, "b": b}


def test_leaves_operations_and_the_result_have_torchvizs_boxes():
    loss, params = loss_of(True)
    found, edges = boxes(make_dot(loss, params))
    assert found == sorted([
        ("a ()", "lightblue"), ("b (1)", "lightblue"), ("()", "darkolivegreen1"),
        ("AccumulateGrad", "lightgray"), ("AccumulateGrad", "lightgray"),
        ("MulBackward0", "lightgray"), ("AddBackward0", "lightgray"), ("SubBackward0", "lightgray"),
        ("PowBackward0", "lightgray"), ("MeanBackward0", "lightgray"),
    ])
    assert edges == sorted([
        ("a ()", "AccumulateGrad"), ("b (1)", "AccumulateGrad"), ("AccumulateGrad", "AddBackward0"),
        ("AccumulateGrad", "MulBackward0"), ("MulBackward0", "AddBackward0"),
        ("AddBackward0", "SubBackward0"), ("SubBackward0", "PowBackward0"),
        ("PowBackward0", "MeanBackward0"), ("MeanBackward0", "()"),
    ])


def test_what_needs_no_gradient_has_no_box():
    loss, params = loss_of(False)
    found, _ = boxes(make_dot(loss, params))
    labels = [label for label, _ in found]
    assert "a ()" in labels and "b (1)" not in labels and "MulBackward0" not in labels
    assert boxes(make_dot(tg.ones(2)))[0] == [("(2)", "darkolivegreen1")]


def test_a_shared_operation_is_drawn_once():
    x = tg.ones(2, requires_grad=True)
    y = x.exp()
    found, edges = boxes(make_dot([y * y, y.sin()]))
    assert [label for label, _ in found].count("ExpBackward0") == 1
    assert edges.count(("AccumulateGrad", "ExpBackward0")) == 1


def test_a_deep_graph_needs_no_deep_stack():
    x = tg.ones(1, requires_grad=True)
    for _ in range(3000):
        x = x + 1
    assert make_dot(x).source.count("AddBackward0") == 3000


def test_other_things_are_refused_in_words(monkeypatch):
    with pytest.raises(TypeError, match="make_dot draws tensors"):
        make_dot([3])
    with pytest.raises(TypeError, match="params: 'a' is a int"):
        make_dot(tg.ones(1), {"a": 3})
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(ImportError, match=r"tracegrad\[viz\]"):
        make_dot(tg.ones(1))


def test_a_compiled_step_shows_its_kernels_as_clusters():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)

    @tg.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    with pytest.raises(RuntimeError, match="has not been called yet"):
        make_dot(step)
    step(tg.ones(5, 3), tg.tensor([0, 1, 1, 0, 1]))
    source = make_dot(step).source
    launches = step.program().launches
    clusters = re.findall(r'subgraph cluster_(\d+) \{\n\t\tgraph \[label="\d+: (\w+)"\]', source)
    assert {name for _, name in clusters} == {launch.kernel.name for launch in launches}
    operations = [n for n in step.graph().order() if n.op.name not in ("input", "full")]
    assert source.count("fillcolor=lightgray") == len(operations)
    assert source.count("fillcolor=lightblue") == len(step.graph().inputs)
