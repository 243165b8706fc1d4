"""Module and its kin: attributes, walking, state, hooks, printing, errors, as torch has them."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from bodies import body

import tracegrad as tg
from tracegrad import nn
from tracegrad.tracer import change_counter


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def net(N, T):
    class Block(N.Module):
        def __init__(self, n):
            super().__init__()
            self.lin = N.Linear(n, n)
            self.register_buffer("mean", T.zeros(n))
            self.register_buffer("scratch", T.zeros(1), persistent=False)

        def forward(self, x):
            return self.lin(x) + self.mean

    class Net(N.Module):
        def __init__(self):
            super().__init__()
            self.first = N.Sequential(N.Linear(4, 3), N.ReLU())
            self.blocks = N.ModuleList([Block(3), Block(3)])
            self.heads = N.ModuleDict({"a": N.Linear(3, 2), "b": N.Linear(3, 2, bias=False)})
            self.scale = N.Parameter(T.ones(2))
            self.tied = self.first[0]

        def forward(self, x):
            x = self.first(x)
            for block in self.blocks:
                x = block(x)
            return (self.heads["a"](x) + self.heads["b"](x)) * self.scale

    return Net()


PICTURES = [
    lambda T, nn: nn.ReLU(), lambda T, nn: nn.ReLU(True),
    lambda T, nn: nn.LeakyReLU(.2, inplace=True), lambda T, nn: nn.GELU("tanh"),
    lambda T, nn: nn.ELU(2.), lambda T, nn: nn.Softmax(1), lambda T, nn: nn.Softmax(),
    lambda T, nn: nn.Softplus(), lambda T, nn: nn.SiLU(), lambda T, nn: nn.Sigmoid(),
    lambda T, nn: nn.Tanh(), lambda T, nn: nn.LogSoftmax(dim=1), lambda T, nn: nn.Dropout(.3),
    lambda T, nn: nn.Flatten(), lambda T, nn: nn.Identity(), lambda T, nn: nn.MSELoss(),
    lambda T, nn: nn.CrossEntropyLoss(), lambda T, nn: nn.BCEWithLogitsLoss(),
    lambda T, nn: nn.Sequential(), lambda T, nn: nn.ModuleList(),
    lambda T, nn: nn.Linear(2, 3, bias=False),
    lambda T, nn: nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU())),
    lambda T, nn: nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Linear(1, 2)]),
    lambda T, nn: nn.ModuleDict({"a": nn.ReLU()}), lambda T, nn: nn.ParameterList([T.ones(2, 3)]),
    lambda T, nn: nn.Parameter(T.ones(2)), lambda T, nn: nn.Parameter(T.ones(1), False),
    lambda T, nn: nn.Sequential(nn.ReLU(), nn.Tanh(), nn.ELU())[1:],
    lambda T, nn: nn.Sequential(OrderedDict(x=nn.ReLU(), y=nn.Tanh())),
]


@pytest.mark.parametrize("make", PICTURES, ids=body)
def test_a_module_prints_as_torchs(torch, make):
    ours, theirs = (repr(make(T, T.nn)) for T in (tg, torch))
    assert ours.replace("tracegrad", "torch") == theirs


def test_walking_a_model_gives_torchs_names(torch):
    ours, theirs = net(nn, tg), net(torch.nn, torch)
    assert repr(ours) == repr(theirs)
    for walk in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        assert [k for k, _ in getattr(ours, walk)()] == [k for k, _ in getattr(theirs, walk)()]
    names = [k for k, _ in ours.named_parameters(prefix="m", remove_duplicate=False)]
    assert names == [k for k, _ in theirs.named_parameters(prefix="m", remove_duplicate=False)]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.get_parameter("blocks.1.lin.bias") is ours.blocks[1].lin.bias
    assert ours.get_submodule("heads.a") is ours.heads["a"]


def test_state_of_a_torch_model_loads_and_computes_the_same(torch):
    ours, theirs = net(nn, tg), net(torch.nn, torch)
    assert str(ours.load_state_dict(theirs.state_dict())) == "<All keys matched successfully>"
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    y, z = ours(tg.tensor(x)), theirs(torch.tensor(x))
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-5, atol=1e-6)
    y.sum().backward()
    z.sum().backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_a_state_that_does_not_fit_changes_nothing(torch):
    def attempt(N, T):
        model = N.Sequential(N.Linear(2, 3), N.Linear(3, 1))
        state = {"0.weight": T.ones(3, 2), "0.bias": T.ones(4), "1.bias": T.ones(1), "x": T.ones(1)}
        before = model[0].weight.detach().clone()
        with pytest.raises(RuntimeError) as caught:
            model.load_state_dict(state)
        return str(caught.value).replace("tracegrad", "torch"), bool(
            (model[0].weight == before).all()
        )

    ours, theirs = attempt(nn, tg), attempt(torch.nn, torch)
    assert ours[0] == theirs[0]
    assert ours[1]
    model = nn.Sequential(nn.Linear(2, 3))
    found = model.load_state_dict({"0.bias": tg.ones(3), "x": tg.ones(1)}, strict=False)
    assert (found.missing_keys, found.unexpected_keys) == (["0.weight"], ["x"])
    assert model[0].bias.tolist() == [1, 1, 1]


ERRORS = [
    "m.weight = 3",
    "m.weight = T.ones(2)",
    "m.register_parameter('a.b', None)",
    "m.register_parameter('', None)",
    "m.register_parameter('forward', None)",
    "m.register_parameter('x', T.ones(2) )",
    "m.register_buffer('x', 3)",
    "m.nothing",
    "m.train(1)",
    "nn.Module()(3)",
    "m.to(T.int64)",
    "m.get_submodule('x.y')",
    "nn.Sequential(nn.ReLU(), 3)",
    "nn.Parameter(T.tensor([1, 2]))",
    "nn.ModuleList([nn.ReLU()])[3]",
    "setattr(nn.Module.__new__(nn.Linear), 'weight', nn.Parameter(T.ones(2)))",
]


@pytest.mark.parametrize("source", ERRORS)
def test_bad_input_raises_torchs_error(torch, source):
    raised = []
    for N, T in ((torch.nn, torch), (nn, tg)):
        scope = {"T": T, "nn": N, "m": N.Linear(2, 2)}
        with pytest.raises(Exception) as caught:
            exec(source, scope)
        message = str(caught.value).replace("tracegrad", "torch").replace("nn.modules.", "nn.")
        raised.append((caught.type, message))
    assert raised[0] == raised[1]


def test_initial_values_have_torchs_distribution():
    tg.manual_seed(0)
    layer = nn.Linear(100, 400)
    for p in (layer.weight, layer.bias):
        values = p.detach().numpy()
        assert -0.1 <= values.min() < -0.09 and 0.09 < values.max() <= 0.1
        assert abs(values.std() - 0.1 / 3**0.5) < 0.005
    normal = nn.init.xavier_normal_(tg.empty(300, 200))
    assert abs(normal.std().item() - (2 / 500) ** 0.5) < 1e-3
    assert nn.init.eye_(tg.empty(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_assigning_moves_a_name_between_the_tables():
    m = nn.Module()
    m.x = nn.Parameter(tg.ones(1))
    m.x = None
    assert dict(m.named_parameters()) == {} and m.x is None
    m.x = nn.Parameter(tg.ones(1))
    assert "x" in dict(m.named_parameters()) and "x" in dir(m)
    m.y = 3
    m.y = nn.ReLU()
    assert "y" in dict(m.named_children()) and "y" not in m.__dict__
    del m.y
    assert not hasattr(m, "y")
    m.register_buffer("b", tg.zeros(1))
    m.b = tg.ones(1)
    assert m.state_dict()["b"].item() == 1


def test_train_and_eval_reach_every_part():
    m = net(nn, tg).eval()
    assert not any(part.training for part in m.modules())
    assert all(part.training for part in m.train().modules())


def test_hooks_see_and_replace():
    m, seen = nn.Linear(2, 2), []
    first = m.register_forward_pre_hook(lambda m, args: (args[0] * 0,))
    m.register_forward_pre_hook(lambda m, args: seen.append("early"), prepend=True)
    m.register_forward_hook(lambda m, args, out: out + 1)
    m.register_forward_hook(lambda m, args, kwargs, out: seen.append(kwargs), with_kwargs=True)
    assert (m(tg.ones(1, 2)) == m.bias + 1).all()
    assert seen == ["early", {}]
    first.remove()
    assert not (m(tg.ones(1, 2)) == m.bias + 1).all()


def test_a_dtype_conversion_keeps_the_parameters():
    m = nn.Linear(2, 2)
    before = m.weight
    m(tg.ones(1, 2)).sum().backward()
    assert m.double() is m and m.weight is before
    assert before.dtype is tg.float64 and before.grad.dtype is tg.float64 and before.is_leaf
    m.zero_grad(set_to_none=False)
    m(tg.ones(1, 2, dtype=tg.float64)).sum().backward()
    assert before.grad.tolist() == [[1, 1], [1, 1]]
    m.zero_grad()
    assert before.grad is None


def test_copies_and_pickles_are_independent():
    m = nn.Sequential(nn.Linear(2, 2), nn.GELU(), nn.CrossEntropyLoss(weight=tg.ones(2)))
    for twin in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert repr(twin) == repr(m)
        assert isinstance(twin[0].weight, nn.Parameter)
        assert (twin[0].weight == m[0].weight).all()
        with tg.no_grad():
            twin[0].weight.zero_()
        assert not (m[0].weight == 0).all()


def test_lists_and_dicts_behave_like_lists_and_dicts():
    seq = nn.Sequential(nn.ReLU(), nn.Tanh())
    seq.append(nn.ELU()).insert(1, nn.Sigmoid())
    assert [type(x).__name__ for x in seq] == ["ReLU", "Sigmoid", "Tanh", "ELU"]
    del seq[1]
    assert list(dict(seq.named_children())) == ["0", "1", "2"]
    assert len(seq[1:]) == 2 and isinstance(seq[-1], nn.ELU)
    assert len(seq + nn.Sequential(nn.ReLU())) == 4 and len(seq) == 3
    named = nn.ModuleDict({"a": nn.ReLU()})
    named.update({"b": nn.Tanh()})
    assert list(named) == ["a", "b"] and "a" in named and isinstance(named.pop("b"), nn.Tanh)
    ps = nn.ParameterList([tg.ones(2), tg.ones(3)])
    assert len(list(ps.parameters())) == 2 and isinstance(ps[1], nn.Parameter)
    pd = nn.ParameterDict({"w": nn.Parameter(tg.ones(2))})
    assert list(pd.state_dict()) == ["w"]


def test_the_world_learns_of_changes_and_not_of_calls():
    m, x = net(nn, tg), tg.ones(1, 4)

    def moved(change):
        before = change_counter.change_count[0]
        change()
        return change_counter.change_count[0] != before

    assert not moved(lambda: m(x).sum().backward())
    assert not moved(m.zero_grad)
    assert not moved(m.train)  # it is training already
    assert moved(m.eval)
    assert moved(lambda: setattr(m, "scale", nn.Parameter(tg.ones(2))))
    assert moved(lambda: setattr(m, "temperature", 2.0))
    assert moved(lambda: m.heads.update({"c": nn.ReLU()}))
    assert moved(lambda: m.register_forward_hook(lambda *a: None))
    assert moved(lambda: delattr(m, "temperature"))
    assert moved(m.double)


def stateful(T):
    class Counting(T.nn.Module):
        def __init__(self, steps):
            super().__init__()
            self.weight, self.steps = T.nn.Parameter(T.ones(1)), steps

        def get_extra_state(self):
            return {"steps": self.steps}

        def set_extra_state(self, state):
            self.steps = state["steps"]

    return T.nn.Sequential(Counting(3), Counting(5))


def test_a_state_of_the_users_own_is_saved_and_loaded(torch):
    for T in (torch, tg):
        state, other = stateful(T).state_dict(), stateful(T)
        assert list(state) == ["0.weight", "0._extra_state", "1.weight", "1._extra_state"]
        other[0].steps = other[1].steps = 0
        other.load_state_dict(state)
        assert (other[0].steps, other[1].steps) == (3, 5)
        del state["1._extra_state"]
        with pytest.raises(RuntimeError, match="Missing key"):
            other.load_state_dict(state)


@pytest.mark.parametrize(
    "program",
    [
        lambda T, N: N.ModuleList().append(3), lambda T, N: N.ModuleList().extend(3),
        lambda T, N: N.ModuleDict().update(3),
        lambda T, N: list(
            (N.ParameterDict({"b": T.ones(1), "a": T.ones(2)}) | {"c": T.ones(1)}).keys()),
        lambda T, N: N.ParameterDict({"a": T.ones(1)})["b"],
        lambda T, N: N.ParameterDict({"a": T.ones(1)}).get("b"),
        lambda T, N: N.ParameterDict({"a": T.ones(1)}).setdefault("b", T.ones(3)).shape,
        lambda T, N: N.ParameterList([T.ones(2), 3]),
        lambda T, N: [*N.ParameterList([T.ones(2), 3]).append(T.ones(1)).state_dict()],
        lambda T, N: 2 * N.Sequential(N.ReLU(), N.Tanh()), lambda T, N: N.Sequential(N.ReLU()) * 0,
        lambda T, N: N.Sequential(N.Sequential(N.ReLU())).set_submodule("0.0", N.Tanh()),
    ],
    ids=body,
)
def test_a_container_answers_as_torchs(torch, program):
    def outcome(T):
        try:
            return repr(program(T, T.nn)).replace("tracegrad", "torch")
        except Exception as e:
            return type(e)

    assert outcome(tg) == outcome(torch)


def test_a_hook_that_is_always_called_sees_a_failure():
    module, seen = tg.nn.Linear(2, 2), []
    module.register_forward_hook(lambda m, a, y: seen.append("done"))
    module.register_forward_hook(lambda m, a, y: seen.append(y), always_call=True)
    with pytest.raises(RuntimeError):
        module(tg.ones(3, 5))
    assert seen == [None]
