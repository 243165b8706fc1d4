"""Lazy layers and uninitialized parameters; nn.Buffer."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from compiled import traces

import tracegrad as tg
from tracegrad import nn

CASES = [
    ("LazyLinear", (3,), (2, 4)), ("LazyConv1d", (4, 3), (2, 3, 8)),
    ("LazyConv2d", (4, 3, 2), (2, 4, 8, 8)), ("LazyConv3d", (4, 3), (2, 3, 4, 4, 4)),
    ("LazyConvTranspose1d", (4, 3), (3, 8)), ("LazyConvTranspose2d", (4, 3), (2, 3, 5, 5)),
    ("LazyConvTranspose3d", (4, 2), (2, 3, 3, 3, 3)), ("LazyBatchNorm1d", (), (4, 3)),
    ("LazyBatchNorm2d", (), (4, 3, 2, 2)), ("LazyBatchNorm3d", (), (4, 3, 2, 2, 2)),
    ("LazyInstanceNorm1d", (), (4, 3, 5)), ("LazyInstanceNorm2d", (), (4, 3, 5, 5)),
    ("LazyInstanceNorm3d", (), (4, 3, 2, 2, 2)),
]
named = pytest.mark.parametrize(("name", "args", "shape"), CASES, ids=[c[0] for c in CASES])


@named
def test_a_lazy_layer_becomes_torchs(name, args, shape):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    theirs, ours = getattr(torch.nn, name)(*args), getattr(nn, name)(*args)
    assert repr(ours) == repr(theirs)
    theirs(torch.tensor(x))
    ours.load_state_dict({k: tg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    np.testing.assert_allclose(ours.eval()(tg.tensor(x)).detach().numpy(),
                               theirs.eval()(torch.tensor(x)).detach().numpy(), 1e-4, 1e-5)
    assert repr(ours) == repr(theirs) and "Lazy" not in type(ours).__name__


@pytest.mark.slow
@named
def test_the_first_call_of_a_compiled_function_initializes(name, args, shape):
    x = tg.randn(shape)
    plain, layer = getattr(nn, name)(*args), getattr(nn, name)(*args)
    tg.manual_seed(0)
    expected = plain(x)
    compiled = tg.compile(lambda x: layer(x))
    tg.manual_seed(0)
    for _ in range(3):
        assert tg.allclose(compiled(x), expected, atol=1e-5)
    assert traces(compiled) == 1 and not layer._forward_pre_hooks


def test_a_model_with_an_optimizer_made_before_the_first_call():
    model = nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(1)).double()
    optimizer = tg.optim.SGD(model.parameters(), 0.1)
    optimizer.step()  # no gradients yet
    x = tg.randn(5, 2, dtype=tg.float64)

    @tg.compile
    def step(x):
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    losses = [step(x).item() for _ in range(4)]
    assert losses == sorted(losses, reverse=True) and model[0].weight.dtype is tg.float64


def test_an_uninitialized_parameter_has_no_values_and_no_shape():
    layer = nn.LazyLinear(3)
    for use in (lambda w: w + 1, lambda w: w.sum(), lambda w: tg.exp(w), lambda w: w.detach(),
                lambda w: w.data, lambda w: w[0], nn.init.zeros_,
                lambda w: tg.compile(lambda: w * 2)()):
        with pytest.raises((ValueError, RuntimeError), match="uninitialized parameter"):
            use(layer.weight)
    with pytest.raises(RuntimeError, match="Can't access the shape"):
        _ = layer.weight.shape
    with pytest.raises(RuntimeError, match="Can't access the shape"):
        nn.Linear(2, 3).load_state_dict(layer.state_dict())
    assert layer.weight.dtype is tg.float32 and str(layer.weight) == "<UninitializedParameter>"


def test_a_lazy_layer_is_copied_pickled_and_loaded():
    layer = nn.LazyConv2d(3, 2)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        other.load_state_dict(layer.state_dict())
        assert other(tg.ones(1, 2, 4, 4)).shape == (1, 3, 3, 3)
        assert type(other) is nn.Conv2d
    assert layer.has_uninitialized_params()


def test_a_failed_load_leaves_a_lazy_layer_lazy():
    layer = nn.LazyLinear(3)
    with pytest.raises(RuntimeError, match="Missing key"):
        layer.load_state_dict({"weight": tg.ones(3, 2)})
    assert layer.has_uninitialized_params() and layer(tg.ones(1, 5)).shape == (1, 3)


def test_inputs_that_do_not_fit_leave_it_lazy():
    layer = nn.LazyConv2d(4, 2, groups=2)
    for shape, kind, words in (((2, 3), RuntimeError, "Expected 3D"),
                               ((1, 3, 4, 4), ValueError, "divisible by groups")):
        with pytest.raises(kind, match=words):
            layer(tg.ones(shape))
    assert layer.has_uninitialized_params() and layer(tg.ones(1, 2, 4, 4)).shape == (1, 4, 3, 3)


def test_a_lazy_layer_of_a_user():
    class Scaled(nn.modules.lazy.LazyModuleMixin, nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.UninitializedParameter()
            self.seen = nn.UninitializedBuffer()

        def initialize_parameters(self, x):
            if self.has_uninitialized_params():
                for t in (self.scale, self.seen):
                    t.materialize(x.shape[-1:])
                    nn.init.ones_(t)

        def forward(self, x):
            return x * self.scale

    module = Scaled()
    assert module(tg.full((2, 3), 2.0)).sum() == 12
    assert list(module.state_dict()) == ["scale", "seen"] and type(module.scale) is nn.Parameter


def test_a_buffer_is_registered_when_it_is_assigned():
    module = nn.Module()
    module.a, module.b = nn.Buffer(tg.ones(2)), nn.Buffer(tg.zeros(1), persistent=False)
    assert [name for name, _ in module.named_buffers()] == ["a", "b"]
    assert list(module.state_dict()) == ["a"] and isinstance(module.a, nn.Buffer)
    assert not isinstance(tg.ones(1), nn.Buffer) and type(module.a) is tg.Tensor
    module.a = nn.Buffer(tg.zeros(3), persistent=False)
    assert not module.state_dict() and module.a.shape == (3,)
    module.c = tg.ones(1)
    module.c = nn.Buffer(tg.ones(1))
    assert list(module.state_dict()) == ["c"]
    with pytest.raises(TypeError, match="must be Tensor"):
        nn.Buffer([1.0])
