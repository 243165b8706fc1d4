"""Normalisations against torch: values, gradients, running statistics, state, and fused loops."""

import numpy as np
import pytest

import tracegrad as T
import tracegrad.nn.functional as F
from tracegrad import nn
from tracegrad.testing import assert_kernels

# (layer and its options, shape of the input)
LAYERS = {
    "batch 1d": ("BatchNorm1d", (3,), {}, (4, 3)),
    "batch 1d over length": ("BatchNorm1d", (3,), {"momentum": None}, (4, 3, 5)),
    "batch 2d": ("BatchNorm2d", (3,), {"eps": 0.1}, (2, 3, 4, 5)),
    "batch 2d plain": ("BatchNorm2d", (3,), {"affine": False, "track_running_stats": False},
                       (2, 3, 4, 5)),
    "batch 3d": ("BatchNorm3d", (2,), {"momentum": 0.3}, (2, 2, 2, 3, 2)),
    "instance 1d": ("InstanceNorm1d", (3,), {}, (3, 5)),
    "instance 2d": ("InstanceNorm2d", (3,), {"affine": True, "track_running_stats": True},
                    (2, 3, 4, 5)),
    "instance 3d": ("InstanceNorm3d", (2,), {"affine": True}, (2, 2, 2, 3, 2)),
    "layer": ("LayerNorm", ((4, 5),), {}, (2, 3, 4, 5)),
    "layer without bias": ("LayerNorm", (5,), {"bias": False}, (3, 5)),
    "layer plain": ("LayerNorm", (5,), {"elementwise_affine": False}, (5,)),
    "group": ("GroupNorm", (2, 6), {}, (3, 6, 4)),
    "group plain": ("GroupNorm", (3, 6), {"affine": False}, (3, 6)),
    "rms": ("RMSNorm", ((5,),), {}, (2, 3, 5)),
    "rms eps": ("RMSNorm", ((3, 5),), {"eps": 0.5}, (2, 3, 5)),
    "response": ("LocalResponseNorm", (3,), {"alpha": 0.5, "k": 2.0}, (2, 6, 4)),
    "response even": ("LocalResponseNorm", (2,), {"beta": 0.5}, (2, 3, 4, 2)),
}


def weighted(module, torch, run):
    """The state after three calls in training and one in eval mode, the answers and gradients."""
    name, args, options, shape = module
    m = getattr(torch.nn, name)(*args, **options)
    rng = np.random.default_rng(0)
    out = []
    with torch.no_grad():
        for p in m.parameters():
            p.copy_(torch.tensor(rng.standard_normal(tuple(p.shape)).astype("f4")))
    f = run(m)
    for call in range(4):
        m.train(call < 3)
        x = torch.tensor(rng.standard_normal(shape).astype("f4") * 2 + 1, requires_grad=True)
        weights = torch.tensor(rng.standard_normal(shape).astype("f4"))
        y = f(x)
        (y * weights).sum().backward()
        out += [y.detach(), x.grad, *(p.grad for p in m.parameters())]
    return out, m


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("run", ["eager", "compiled"])
def test_a_layer_is_torch_s(layer, run):
    torch = pytest.importorskip("torch")
    if run == "compiled" and layer not in ("batch 2d", "batch 1d over length", "instance 2d",
                                           "layer", "group", "response"):
        pytest.skip("a sample is compiled")
    want, theirs = weighted(LAYERS[layer], torch, lambda m: m)
    got, ours = weighted(LAYERS[layer], T, T.compile if run == "compiled" else lambda m: m)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-4, atol=2e-5)
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state) and repr(ours) == repr(theirs)
    for name, value in ours.state_dict().items():
        assert str(value.dtype).split(".")[1] == str(state[name].dtype).split(".")[1]
        np.testing.assert_allclose(value.numpy(), state[name].numpy(), rtol=1e-5, atol=1e-6)


FUNCTIONS = {
    "layer": lambda F, x, w: F.layer_norm(x, (5,), w[:5], w[:5] * 2),
    "group": lambda F, x, w: F.group_norm(x, 2, w[:4], w[:4] * 2),
    "batch": lambda F, x, w: F.batch_norm(x, None, None, w[:4], w[:4], training=True),
    "instance": lambda F, x, w: F.instance_norm(x, weight=w[:4]),
    "rms": lambda F, x, w: F.rms_norm(x, (5,), w[:5]),
    "response": lambda F, x, w: F.local_response_norm(x, 3, 0.5),
    "normalize": lambda F, x, w: F.normalize(x, dim=-1) + F.normalize(x, 1.0) * w[:5],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_second_derivatives_are_torch_s(name):
    torch = pytest.importorskip("torch")

    def second(T):
        rng = np.random.default_rng(1)
        x, v = (T.tensor(rng.standard_normal((3, 4, 5))) for _ in range(2))
        w = T.tensor(rng.standard_normal(6))
        x.requires_grad_(), w.requires_grad_()
        y = FUNCTIONS[name](T.nn.functional, x, w)
        grads = T.autograd.grad((y * y * v).sum(), [x, w], create_graph=True, allow_unused=True)
        loss = sum((g * g).sum() for g in grads if g is not None)
        again = T.autograd.grad(loss, [x, w], allow_unused=True)
        return [y, *(g for g in (*grads, *again) if g is not None)]

    for a, b in zip(second(T), second(torch), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-8, atol=1e-9)


def test_half_types_are_normalised_in_float32():
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(2).standard_normal((4, 64)) * 3
    for half in ("float16", "bfloat16"):
        for name, args in (("layer_norm", ((64,),)), ("rms_norm", ((64,),)), ("group_norm", (4,))):
            got, want = (
                getattr(t.nn.functional, name)(t.tensor(values, dtype=getattr(t, half)), *args)
                for t in (T, torch)
            )
            assert got.dtype is getattr(T, half)
            np.testing.assert_allclose(got.float().numpy(), want.float().numpy(), rtol=8e-3)


def backward_program(y):
    (backward,) = y.grad_fn.derivative.backwards.values()
    return backward.executable.program


def test_layer_norm_is_one_loop_and_its_backward_another():
    f = T.compile(lambda x, w, b: F.layer_norm(x, (64,), w, b))
    y = f(*(T.rand(s, requires_grad=True) for s in ((32, 64), (64,), (64,))))
    y.sum().backward()
    assert_kernels(f, 1)
    assert len(backward_program(y).launches) == 1


def test_batch_norm_updates_its_statistics_in_the_loop_that_normalises():
    m = nn.BatchNorm2d(6)
    f = T.compile(m)
    y = f(T.rand(4, 6, 8, 8, requires_grad=True))
    y.sum().backward()
    assert_kernels(f, 2)  # the other counts the batches
    assert len(backward_program(y).launches) == 1


BAD = {
    "one value per channel": lambda T: T.nn.BatchNorm1d(3)(T.ones(1, 3)),
    "no running statistics": lambda T: T.nn.functional.batch_norm(T.ones(2, 3), None, None),
    "rank": lambda T: T.nn.BatchNorm2d(3)(T.ones(2, 3)),
    "channels": lambda T: T.nn.BatchNorm1d(4)(T.ones(2, 3)),
    "spatial": lambda T: T.nn.functional.instance_norm(T.ones(2, 3, 1)),
    "normalized_shape": lambda T: T.nn.functional.layer_norm(T.ones(2, 3), (4,)),
    "weight": lambda T: T.nn.functional.layer_norm(T.ones(2, 3), (3,), T.ones(2)),
    "groups": lambda T: T.nn.functional.group_norm(T.ones(2, 3), 2),
    "groups of the layer": lambda T: T.nn.GroupNorm(2, 3),
    "integers": lambda T: T.nn.functional.layer_norm(T.ones(2, 3, dtype=T.int64), (3,)),
    "response": lambda T: T.nn.functional.local_response_norm(T.ones(2, 3), 2),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_torch_s_words(name):
    torch = pytest.importorskip("torch")
    with pytest.raises((RuntimeError, ValueError)) as theirs:
        BAD[name](torch)
    with pytest.raises(theirs.type) as ours:
        BAD[name](T)
    said = [str(e.value).replace("torch.", "tracegrad.").split() for e in (theirs, ours)]
    assert len(set(said[0]) & set(said[1])) >= 0.6 * len(set(said[0])), said


def test_a_refused_batch_leaves_the_statistics_alone():
    m = nn.BatchNorm1d(3)
    for f in (m, T.compile(m)):
        with pytest.raises(ValueError):
            f(T.ones(1, 3))
        assert m.running_mean.tolist() == [0, 0, 0]
