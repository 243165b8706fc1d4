"""What optimizers are given and asked, against torch: parameters that lie in other ways, groups,
names, tensors as learning rates, closures, gradients that are missing, hooks, recorded steps.
"""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")

NAMES = [
    "SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "ASGD", "NAdam", "RAdam",
    "Rprop", "Adafactor",
]
START = np.array([[0.3, -1.2, 0.8], [1.5, -0.4, 0.1]])
STEPS = 20


def parameters(T, dtype="float64"):
    """In order, transposed, every second, 0-d, empty."""
    kind = getattr(T, dtype)
    tensors = [
        T.tensor(START, dtype=kind),
        T.tensor(np.ascontiguousarray(START.T), dtype=kind).t(),
        T.tensor(np.repeat(START, 2, -1), dtype=kind)[:, ::2],
        T.tensor(0.7, dtype=kind),
        T.ones(0, 3, dtype=kind),
    ]
    return [T.nn.Parameter(t.detach()) for t in tensors]


def trained(T, name, given=None, *, dtype="float64", closure=False, missing=(), each=None, **how):
    """Everything that can be seen of twenty steps."""
    how = {k: v(T) if callable(v) else v for k, v in how.items()}
    ps, rng = parameters(T, dtype), np.random.default_rng(3)
    optimizer = getattr(T.optim, name)(ps if given is None else given(ps), **how)
    answers = []
    for k in range(STEPS):
        pull = [rng.standard_normal(tuple(p.shape)) for p in ps]

        def loss(k=k, pull=pull):
            optimizer.zero_grad()
            parts = [
                (p * p).sum() * 0.01 + (p * T.tensor(g, dtype=p.dtype)).sum()
                for p, g in zip(ps, pull, strict=True)
            ]
            sum(parts).backward()
            for i in range(len(ps)):
                if (i, k) in missing or (i, None) in missing:
                    ps[i].grad = None
            return sum(parts)

        if each:
            each(optimizer, k, ps)
        if not closure:
            loss()
        answers.append(optimizer.step(loss) if closure else optimizer.step())
    state = optimizer.state_dict()
    groups = [{k: v for k, v in g.items() if k != "params"} for g in state["param_groups"]]
    return [list(ps), answers, state["state"], groups]


def described(v):
    if isinstance(v, (torch.Tensor, tg.Tensor)):
        return (str(v.dtype).split(".")[1], tuple(v.stride()), v.detach().numpy())
    if isinstance(v, dict):
        return tuple((k, described(x)) for k, x in v.items())
    if isinstance(v, (tuple, list)):
        return tuple(described(x) for x in v)
    return v


def same(a, b, tolerance):
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray):
        return a.shape == b.shape and np.allclose(a, b, rtol=tolerance, atol=tolerance)
    return a == b


def outcome(T, program):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            answer = described(program(T))
        except Exception as error:
            answer = type(error).__name__
    return (answer, tuple(w.category.__name__ for w in heard))


def lr_of(group, rate):
    group["lr"] = rate


GIVEN = {
    "nothing": {},
    "float32": {"dtype": "float32"},
    "one by one": {"foreach": False},
    "all at once": {"foreach": True},
    "a rate that is a tensor": {"lr": lambda T: T.tensor(0.05)},
    "one of float64": {"lr": lambda T: T.tensor(0.05, dtype=T.float64)},
    "one of shape (1,)": {"lr": lambda T: T.tensor([0.05])},
    "one of two numbers": {"lr": lambda T: T.ones(2)},
    "one at once": {"lr": lambda T: T.tensor(0.05), "foreach": True},
    "no rate": {"lr": None},
    "a rate of zero": {"lr": 0},
    "a negative rate": {"lr": -1},
    "negative decay": {"weight_decay": -1},
    "recorded": {"differentiable": True},
    "nobody's option": {"nobody": 1},
    "groups": {"given": lambda ps: [
        {"params": ps[:2], "maximize": True}, {"params": iter(ps[2:]), "lr": 0.5}
    ]},
    "a group of one": {"given": lambda ps: [{"params": ps[0], "weight_decay": 0.1}]},
    "names": {"given": lambda ps: [(f"p{i}", p) for i, p in enumerate(ps)]},
    "some names": {"given": lambda ps: [("p", ps[0]), ps[1]]},
    "one in two groups": {"given": lambda ps: [{"params": ps[:2]}, {"params": ps[1:]}]},
    "one twice": {"given": lambda ps: ps + ps[:1]},
    "no parameters": {"given": lambda ps: []},
    "a tensor": {"given": lambda ps: ps[0]},
    "no leaf": {"given": lambda ps: [ps[0] * 2]},
    "a number": {"given": lambda ps: [3]},
    "a set": {"given": lambda ps: [{"params": set(ps)}]},
    "a closure": {"closure": True, "lr": 0.05},
    "missing gradients": {"missing": {(0, None), (1, 0), (1, 3), (2, 5)}},
    "a falling rate": {"each": lambda o, k, ps: lr_of(o.param_groups[0], 0.1 / (k + 1))},
    "changing decay": {
        "each": lambda o, k, ps: o.param_groups[0].update(weight_decay=0.01 * k)
    },
    "a later group": {
        "given": lambda ps: ps[:2],
        "each": lambda o, k, ps: k == 4 and o.add_param_group({"params": ps[2:], "lr": 0.3}),
    },
}
MOMENTUM = ("SGD", "RMSprop")
ROUNDED = [  # numbers in float32, which torch rounds in another order for each way to step
    "all at once", "a rate that is a tensor", "one of shape (1,)", "one at once",
]


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("name", NAMES)
def test_optimizers_take_and_do_what_torchs_do(name, given):
    if given == "recorded":
        pytest.skip("parameters that are leaves cannot be changed in a recorded step")
    how = dict(GIVEN[given])
    if name in MOMENTUM and given != "one twice":  # torch reads both buffers before it writes
        how["momentum"] = 0.9
    found, expected = (outcome(T, lambda T: trained(T, name, **how)) for T in (tg, torch))
    tolerance = 1e-5 if "dtype" in how else 1e-7 if given in ROUNDED else 1e-9
    assert same(found, expected, tolerance), f"{found}\n\n{expected}"


@pytest.mark.parametrize("how", [{"foreach": True}, {"differentiable": True}, {}], ids=str)
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Adagrad"])
def test_fused_is_taken_as_torch_takes_it(name, how):
    def program(T):
        p = T.nn.Parameter(T.tensor(START))
        optimizer = getattr(T.optim, name)([p], fused=True, **how)
        for _ in range(STEPS):
            optimizer.zero_grad()
            (p**3).sum().backward()
            optimizer.step()
        return p

    found, expected = outcome(tg, program), outcome(torch, program)
    assert same(found, expected, 1e-9)


@pytest.mark.parametrize(
    "name, how",
    [
        ("SGD", {}), ("SGD", {"maximize": True, "weight_decay": 0.1}), ("Adam", {"amsgrad": True}),
        ("Adam", {}), ("AdamW", {}), ("RMSprop", {}),
        ("RMSprop", {"centered": True, "momentum": 0.9}), ("Adagrad", {"lr_decay": 0.1}),
        ("Adadelta", {}), ("Adamax", {}), ("NAdam", {}), ("RAdam", {"betas": (0.5, 0.9)}),
    ],
    ids=str,
)
def test_a_recorded_step_is_differentiated_as_in_torch(name, how):
    def program(T):
        leaf = T.tensor(START, requires_grad=True)
        pull = T.tensor(START[::-1].copy(), requires_grad=True)
        p = leaf.clone()
        optimizer = getattr(T.optim, name)([p], lr=0.1, differentiable=True, **how)
        for k in range(2):
            p.grad = pull * (k + 1)
            optimizer.step()
        (p**2).sum().backward()
        return [p, leaf.grad, pull.grad]

    found, expected = outcome(tg, program), outcome(torch, program)
    # torch raises beta to the power of a float32 step here
    assert same(found, expected, 1e-5), f"{found}\n\n{expected}"


def listening(T, name):
    log, p = [], T.nn.Parameter(T.ones(2))
    o = getattr(T.optim, name)([p], lr=0.1)
    o.register_step_pre_hook(lambda o, args, kwargs: log.append(("before", len(args))))
    last = o.register_step_post_hook(lambda o, args, kwargs: log.append(("after", len(args))))
    o.register_state_dict_pre_hook(lambda o: log.append("saving"))
    o.register_state_dict_post_hook(lambda o, state: {**state, "more": 1})
    o.register_load_state_dict_pre_hook(lambda o, state: log.append(sorted(state)))
    o.register_load_state_dict_post_hook(lambda o: log.append("loaded"))
    o.step()
    last.remove()
    o.step(lambda: 5)
    o.load_state_dict(o.state_dict())
    return log


@pytest.mark.parametrize("name", NAMES)
def test_hooks_are_called_as_in_torch(name):
    assert outcome(tg, lambda T: listening(T, name)) == outcome(torch, lambda T: listening(T, name))


def test_a_step_of_ones_own_takes_no_hooks():
    class Mine(tg.optim.Optimizer):
        def step(self, closure=None):
            return closure

    with pytest.raises(NotImplementedError, match="Mine defines a step of its own"):
        Mine([tg.nn.Parameter(tg.ones(1))], {}).register_step_pre_hook(print)


def test_hooks_and_names_in_a_compiled_step():
    model = tg.nn.Linear(2, 1)
    optimizer = tg.optim.SGD(model.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    calls = tg.zeros(())

    def count(o, args, kwargs):
        calls.add_(1)

    optimizer.register_step_pre_hook(count)

    @tg.compile
    def step(x):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()

    before = model.bias.item()
    for _ in range(4):
        step(tg.ones(3, 2))
    assert calls == 4
    np.testing.assert_allclose(model.bias.item(), before - 4 * 0.3, rtol=1e-5)


@pytest.mark.parametrize("module", ["", "lr_scheduler"])
def test_classes_take_torchs_parameters(module):
    """Scripts look for `fused` among them."""
    ours, theirs = (getattr(T.optim, module) if module else T.optim for T in (tg, torch))
    seen = 0
    for name, theirs_of in inspect.getmembers(theirs, inspect.isclass):
        if theirs_of.__module__.startswith("torch.optim") and name[0] != "_":
            found = inspect.signature(getattr(ours, name)).parameters.values()
            wanted = inspect.signature(theirs_of).parameters.values()
            assert [(p.name, p.kind) for p in found] == [(p.name, p.kind) for p in wanted], name
            seen += 1
    assert seen > 10
