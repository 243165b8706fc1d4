"""Optimizers against torch, 20 steps in float64, for every option."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
from bodies import body

import tracegrad as tg
from tracegrad import nn, optim
from tracegrad.tracer import change_counter

STEPS = 20


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def trained(T, make, steps=STEPS):
    """Train two parameters, a third has no gradient: the path and the optimizer.

    The gradients hardly depend on the parameters, so that rounding is not blown up on the way.
    """
    rng = np.random.default_rng(0)
    p = T.nn.Parameter(T.tensor([[0.3, -1.2, 0.8], [1.5, -0.4, 0.1]], dtype=T.float64))
    q = T.nn.Parameter(T.tensor([0.7, -0.6], dtype=T.float64))
    idle = T.nn.Parameter(T.ones(2, dtype=T.float64))
    optimizer = make([p, q, idle])
    path = []
    for _ in range(steps):
        optimizer.zero_grad()
        a, b = (T.tensor(rng.standard_normal(tuple(x.shape))) for x in (p, q))
        loss = (a * p).sum() + (b * q).sum() + 0.01 * (p * p).sum()
        loss.backward()
        optimizer.step()
        path.append(np.concatenate([x.detach().numpy().ravel() for x in (p, q, idle)]))
    return np.array(path), optimizer


def states(optimizer):
    return {
        number: {k: np.asarray(v) for k, v in values.items()}
        for number, values in optimizer.state_dict()["state"].items()
    }


def combinations(**options):
    for values in itertools.product(*options.values()):
        yield dict(zip(options, values, strict=True))


SGD = [
    o
    for o in combinations(
        momentum=[0, 0.9], dampening=[0, 0.3], weight_decay=[0, 0.1], nesterov=[False, True],
        maximize=[False, True],
    )
    if not o["nesterov"] or (o["momentum"] and not o["dampening"])
]
ADAM = list(
    combinations(
        betas=[(0.9, 0.999), (0.0, 0.5)], weight_decay=[0, 0.1], amsgrad=[False, True],
        maximize=[False, True], eps=[1e-8, 1e-3],
    )
)
RMSPROP = combinations(
    momentum=[0, 0.9], centered=[False, True], maximize=[False, True], weight_decay=[0, 0.1]
)
ADAGRAD = combinations(
    lr_decay=[0, 0.1], weight_decay=[0, 0.1], initial_accumulator_value=[0, 0.5],
    maximize=[False, True],
)
DECAY = list(combinations(weight_decay=[0, 0.1], maximize=[False, True]))
DECOUPLED = list(combinations(weight_decay=[0, 0.1], decoupled_weight_decay=[False, True]))
CASES = [
    *((name, dict(lr=0.05, **o)) for name in ("Adadelta", "Adamax", "ASGD") for o in DECAY),
    *((name, dict(lr=0.05, **o)) for name in ("NAdam", "RAdam") for o in DECOUPLED),
    ("Adadelta", {"rho": 0.5, "eps": 1e-3}), ("Adamax", {"betas": (0.5, 0.8), "eps": 1e-2}),
    ("ASGD", {"t0": 5, "lambd": 0.1, "alpha": 0.5}), ("NAdam", {"momentum_decay": 0.1}),
    ("NAdam", {"maximize": True}), ("RAdam", {"betas": (0.5, 0.9), "maximize": True}),
    ("Rprop", {}), ("Rprop", {"maximize": True}), ("Adafactor", {"lr": 0.3}),
    ("Adafactor", {"weight_decay": 0.1, "maximize": True, "eps": (1e-3, 0.1), "d": 2.0}),
    ("Rprop", {"etas": (0.3, 1.5), "step_sizes": (0.005, 0.02)}),
    *(("RMSprop", o) for o in RMSPROP),
    *(("Adagrad", o) for o in ADAGRAD),
    *(("SGD", dict(lr=0.01, **o)) for o in SGD),
    *((name, dict(lr=0.05, **o)) for name in ("Adam", "AdamW") for o in ADAM),
    ("AdamW", {}),
    ("Adam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
]


@pytest.mark.parametrize("name, options", CASES, ids=str)
def test_an_optimizer_takes_torchs_steps(torch, name, options):
    ours, mine = trained(tg, lambda ps: getattr(optim, name)(ps, **options))
    theirs, yours = trained(torch, lambda ps: getattr(torch.optim, name)(ps, **options))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)
    ours, theirs = states(mine), states(yours)
    assert ours.keys() == theirs.keys()
    for number in theirs:
        assert ours[number].keys() == theirs[number].keys()
        for key in theirs[number]:
            np.testing.assert_allclose(ours[number][key], theirs[number][key], rtol=1e-11)
            assert ours[number][key].dtype == theirs[number][key].dtype


ALL = (
    "ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax NAdam RAdam RMSprop Rprop SGD SparseAdam"
)


@pytest.mark.parametrize("name", ALL.split())
def test_an_optimizer_prints_as_torchs(torch, name):
    def make(T):
        weights = [T.ones(1, requires_grad=True) for _ in range(2)]
        groups = [{"params": weights[:1]}, {"params": weights[1:], "lr": 1.0}]
        return getattr(T.optim, name)(groups, lr=0.1)

    ours, theirs = make(tg), make(torch)
    assert repr(ours) == repr(theirs)
    assert ours.state_dict()["param_groups"] == theirs.state_dict()["param_groups"]
    assert states(ours) == states(theirs)


MUON = [
    {}, {"lr": 0.3, "nesterov": False}, {"adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.0},
    {"ns_steps": 3, "ns_coefficients": (2.0, -1.5, 0.5), "momentum": 0.5},
]


@pytest.mark.parametrize("jit", [lambda f: f, tg.compile], ids=["eager", "compiled"])
@pytest.mark.parametrize("options", MUON, ids=str)
def test_muon_takes_torchs_steps(torch, options, jit):
    found = []
    for T in (tg, torch):
        rng = np.random.default_rng(0)
        ps = [T.nn.Parameter(T.tensor(rng.standard_normal(s))) for s in [(3, 2), (2, 5), (4, 4)]]
        optimizer = T.optim.Muon(ps, **options)

        def step(grads, optimizer=optimizer, ps=ps):
            optimizer.zero_grad()
            sum((p * g).sum() for p, g in zip(ps, grads, strict=True)).backward()
            optimizer.step()

        step = jit(step) if T is tg else step
        for _ in range(STEPS):
            step([T.tensor(rng.standard_normal(tuple(p.shape))) for p in ps])
        found.append([p.detach().numpy() for p in ps])
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9)


def stepped(optimizer, steps=3):
    for k in range(steps):
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = p.detach() * (k + 1)
        optimizer.step()
    return [p.tolist() for group in optimizer.param_groups for p in group["params"]]


def as_of(T, state):
    """A state dict with tensors of another library; it has them as numbers if T is `float`."""
    def value(v):
        if not hasattr(v, "__array__"):
            return v
        if old and not v.shape:
            return v.item()
        return T.tensor(v.tolist(), dtype=getattr(T, str(v.dtype).split(".")[1]))

    old, T = T is float, tg if T is float else T
    states = {n: {k: value(v) for k, v in s.items()} for n, s in state["state"].items()}
    return {"state": states, "param_groups": state["param_groups"]}


@pytest.mark.parametrize("name", [n for n in ALL.split() if n != "SparseAdam"])
def test_a_state_goes_to_torch_and_back(torch, name):
    def make(T, values=([0.3, -1.2], [0.5])):
        ps = [T.tensor(v, dtype=T.float64, requires_grad=True) for v in values]
        return getattr(T.optim, name)(ps, lr=0.05)

    first = make(torch)
    now = stepped(first)
    saved = copy.deepcopy(first.state_dict())
    copies = [make(tg, now), make(torch, now), make(tg, now)]
    copies[0].load_state_dict(saved)
    copies[1].load_state_dict(as_of(torch, copies[0].state_dict()))
    copies[2].load_state_dict(as_of(float, saved))  # steps are numbers, as in old checkpoints
    paths = [stepped(optimizer) for optimizer in (first, *copies)]
    for path in paths[1:]:
        for p, q in zip(path, paths[0], strict=True):
            np.testing.assert_allclose(p, q, rtol=1e-9)


def test_training_goes_on_from_a_saved_state(torch):
    def make(ps):
        return optim.Adam(ps, lr=0.05, amsgrad=True)

    _, first = trained(tg, make, 5)
    saved = copy.deepcopy(first.state_dict())
    w = first.param_groups[0]["params"]
    twin = [nn.Parameter(p.detach().clone()) for p in w]
    second = optim.Adam(twin, lr=1.0)
    second.load_state_dict(saved)
    for ps, optimizer in ((w, first), (twin, second)):
        for p in ps[:2]:
            p.grad = p.detach().clone()
        optimizer.step()
    assert all((p == q).all() for p, q in zip(w, twin, strict=True))
    assert second.param_groups[0]["lr"] == 0.05
    theirs = torch.optim.Adam([torch.ones(p.shape, dtype=torch.float64) for p in w])
    state = {
        k: {n: torch.tensor(np.asarray(v)) for n, v in s.items()} for k, s in saved["state"].items()
    }
    theirs.load_state_dict({"state": state, "param_groups": saved["param_groups"]})  # their layout


def sparse_step(T, w):
    w.sum().backward()
    T.optim.SparseAdam([w]).step()


ERRORS = [
    lambda T, w: T.optim.SGD(w, lr=0.1), lambda T, w: T.optim.SGD([], lr=0.1),
    lambda T, w: T.optim.SGD([3], lr=0.1), lambda T, w: T.optim.SGD([w * 2], lr=0.1),
    lambda T, w: T.optim.SGD([w], lr=-1), lambda T, w: T.optim.SGD([w], momentum=-1),
    lambda T, w: T.optim.SGD([w], weight_decay=-1), lambda T, w: T.optim.SGD([w], nesterov=True),
    lambda T, w: T.optim.SGD([{"params": [w]}, {"params": [w]}]),
    lambda T, w: T.optim.Adam([w], betas=(1.0, 0.9)), lambda T, w: T.optim.Adam([w], eps=-1),
    lambda T, w: T.optim.RMSprop([w], alpha=-1), lambda T, w: T.optim.Adagrad([w], lr_decay=-1),
    lambda T, w: T.optim.Adadelta([w], rho=2), lambda T, w: T.optim.Rprop([w], etas=(2, 3)),
    lambda T, w: T.optim.NAdam([w], momentum_decay=-1), lambda T, w: T.optim.SparseAdam([w], eps=0),
    lambda T, w: T.optim.Adamax([w], betas=(0, 2)), lambda T, w: T.optim.ASGD([w], lr=float("nan")),
    lambda T, w: T.optim.Adafactor([w], lr=-1), lambda T, w: T.optim.Adafactor([w], d=0.5),
    lambda T, w: T.optim.Adafactor([w], beta2_decay=1), lambda T, w: T.optim.Muon([w]),
    lambda T, w: T.optim.Adafactor([w], eps=(-1, 0)), lambda T, w: T.optim.Muon([w], momentum=-1),
    lambda T, w: T.optim.Adafactor([w], eps=(None, -1)), lambda T, w: T.optim.Muon([w], lr=-1),
    lambda T, w: T.optim.Muon([w], adjust_lr_fn="no"),
    lambda T, w: T.optim.Muon([w], weight_decay=float("nan")),
    lambda T, w: T.optim.RAdam([w], lr=T.tensor(-1.0)),
    lambda T, w: T.optim.Rprop([w], lr=T.ones(2)), lambda T, w: sparse_step(T, w),
    lambda T, w: T.optim.SGD([w]).load_state_dict({"param_groups": [], "state": {}}),
    lambda T, w: T.optim.SGD([w]).load_state_dict({"param_groups": [{"params": []}], "state": {}}),
]


@pytest.mark.parametrize("program", ERRORS, ids=body)
def test_bad_input_raises_torchs_error(torch, program):
    raised = []
    for T in (torch, tg):
        with pytest.raises(Exception) as caught:
            program(T, T.ones(2, requires_grad=True))
        raised.append((caught.type, str(caught.value).replace("tracegrad", "torch")))
    assert raised[0] == raised[1]


def test_step_returns_what_the_closure_computed():
    w = tg.ones(2, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2
    np.testing.assert_allclose(w.detach().numpy(), [0.8, 0.8], rtol=1e-6)
    optimizer.zero_grad(set_to_none=False)
    assert w.grad.tolist() == [0, 0]


def test_a_changed_rate_is_no_change_of_the_world_but_another_option_is():
    w = tg.ones(2, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1, momentum=0.9)
    w.grad = tg.ones(2)
    optimizer.step()
    before = change_counter.change_count[0]
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.step()
    optimizer.zero_grad()
    assert change_counter.change_count[0] == before
    optimizer.param_groups[0]["momentum"] = 0.5
    assert change_counter.change_count[0] != before
