"""Activations, losses, linear: values, gradients, names and errors, as torch has them."""

from __future__ import annotations

import numpy as np
import pytest
from bodies import body

import tracegrad as tg
import tracegrad.nn.functional as F

RNG = np.random.default_rng(0)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


# NaN-prone places included: kinks, zeros and numbers whose exp overflows
EDGES = np.array([[-800.0, -30.0, -1.5, -0.0], [0.0, 0.5, 21.0, 800.0]])

ACTIVATIONS = [
    ("relu", {}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("elu", {"alpha": 1.7}),
    ("silu", {}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("softplus", {}),
    ("softplus", {"beta": 2.0, "threshold": 5.0}),
    ("logsigmoid", {}),
    ("sigmoid", {}),
    ("tanh", {}),
    ("softmax", {"dim": 1}),
    ("log_softmax", {"dim": 0}),
]


def both(torch, name, arrays, targets=(), **options):
    """(ours, torch's) results of a function, and its gradients by `arrays`, to second order."""
    results = []
    for T, space in ((tg, F), (torch, torch.nn.functional)):
        xs = [T.tensor(a, requires_grad=True) for a in arrays]
        extra = [T.tensor(a) for a in targets]
        chosen = {k: T.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        y = getattr(space, name)(*xs, *extra, **chosen)
        weights = T.tensor(np.random.default_rng(1).standard_normal(tuple(y.shape)))
        grads = T.autograd.grad((y * weights).sum(), xs, create_graph=True)
        total = sum((g * g.detach().cos()).sum() for g in grads)
        second = T.autograd.grad(total, xs, allow_unused=True) if total.requires_grad else ()
        values = [y, *grads, *(g for g in second if g is not None and bool((g != 0).any()))]
        results.append((y.grad_fn.name(), [v.detach().numpy() for v in values]))
    return results


def assert_same(results, rtol=1e-12):
    (our_name, ours), (their_name, theirs) = results
    assert our_name == their_name
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-13)


@pytest.mark.parametrize("name, options", ACTIVATIONS)
def test_an_activation_is_torchs_to_second_order(torch, name, options):
    assert_same(both(torch, name, [RNG.standard_normal((3, 5))], **options))


@pytest.mark.parametrize("name, options", ACTIVATIONS)
def test_an_activation_is_finite_and_right_at_the_edges(torch, name, options):
    (_, ours), (_, theirs) = both(torch, name, [EDGES], **options)
    for a, b in zip(ours[:2], theirs[:2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_inplace_activations_change_their_input():
    x = tg.tensor([-1.0, 2.0])
    assert F.relu(x, inplace=True) is x
    assert x.tolist() == [0.0, 2.0]


LOSSES = [
    ("mse_loss", {}),
    ("l1_loss", {}),
    ("smooth_l1_loss", {}),
    ("smooth_l1_loss", {"beta": 0.3}),
    ("smooth_l1_loss", {"beta": 0.0}),
    ("huber_loss", {"delta": 0.7}),
    ("binary_cross_entropy_with_logits", {}),
    (
        "binary_cross_entropy_with_logits",
        {"pos_weight": np.array([0.5, 2.0, 3.0]), "weight": np.array([[1.0], [2.0], [3.0], [4.0]])},
    ),
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name, options", LOSSES)
def test_a_loss_is_torchs_to_second_order(torch, name, options, reduction):
    x, t = RNG.standard_normal((4, 3)), RNG.uniform(size=(4, 3))
    assert_same(both(torch, name, [x], [t], reduction=reduction, **options))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_binary_cross_entropy_is_torchs_also_at_the_ends(torch, reduction):
    t = RNG.uniform(size=(2, 4))
    inner = both(torch, "binary_cross_entropy", [RNG.uniform(0.01, 0.99, (2, 4))], [t])
    assert_same(inner, rtol=1e-10)
    ends = np.array([[0.0, 1.0, 1e-30, 0.5], [0.0, 1.0, 1 - 1e-16, 1e-9]])
    results = both(torch, "binary_cross_entropy", [ends], [t.round()], reduction=reduction)
    (_, ours), (_, theirs) = results
    for a, b in zip(ours[:2], theirs[:2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


SHAPES = [((6, 5), (6,)), ((5,), ()), ((2, 5, 3), (2, 3)), ((2, 5, 3, 4), (2, 3, 4))]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape, target_shape", SHAPES)
def test_cross_entropy_is_torchs(torch, shape, target_shape, weighted, smoothing, reduction):
    target = RNG.integers(0, 5, target_shape)
    if target.ndim:
        target.flat[0] = -100
        target.flat[-1] = 4
    options = {"weight": RNG.uniform(0.5, 2, 5)} if weighted else {}
    results = both(
        torch, "cross_entropy", [RNG.standard_normal(shape)], [np.asarray(target)],
        reduction=reduction, label_smoothing=smoothing, **options,
    )
    if smoothing or len(shape) == 3:  # how torch puts these together is its own affair
        results = [("", values) for _, values in results]
    assert_same(results)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(6, 5), (2, 5, 3), (5,)])
def test_cross_entropy_takes_probabilities(torch, shape, reduction):
    for options in ({}, {"weight": RNG.uniform(0.5, 2, 5), "label_smoothing": 0.1}):
        x, t = RNG.standard_normal(shape), RNG.uniform(size=shape)
        results = both(torch, "cross_entropy", [x], [t], reduction=reduction, **options)
        assert_same([("", values) for _, values in results])


@pytest.mark.parametrize("ignore_index", [-100, 2])
def test_nll_loss_is_torchs(torch, ignore_index):
    target = np.array([0, 2, 1, 2])
    x = RNG.standard_normal((4, 3))
    assert_same(both(torch, "nll_loss", [x], [target], ignore_index=ignore_index))


def test_a_mean_over_no_targets_is_nan():
    loss = F.cross_entropy(tg.zeros(2, 3), tg.tensor([-100, -100]))
    assert loss.isnan()


def test_cross_entropy_agrees_with_differences():
    x, target = RNG.standard_normal((3, 4)), tg.tensor([1, 3, 0])
    t = tg.tensor(x, requires_grad=True)
    F.cross_entropy(t, target).backward()
    v = RNG.standard_normal(x.shape)
    near = [F.cross_entropy(tg.tensor(x + s * 1e-6 * v), target).item() for s in (1, -1)]
    assert (t.grad.numpy() * v).sum() == pytest.approx((near[0] - near[1]) / 2e-6, rel=1e-7)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("bias", [False, True])
def test_linear_is_torchs(torch, shape, bias):
    arrays = [RNG.standard_normal(s) for s in (shape, (5, 4), (5,))]
    assert_same(both(torch, "linear", arrays if bias else arrays[:2]))


def test_the_graph_of_linear_is_torchs(torch):
    def names(T, nn_functional):
        x, w, b = (T.ones(*s, requires_grad=True) for s in ((3, 4), (5, 4), (5,)))
        y = nn_functional.linear(x, w, b)
        return [fn.name().rpartition("::")[2] for fn, _ in y.grad_fn.next_functions]

    ours = names(tg, F)
    assert ours == ["AccumulateGrad", "AccumulateGrad", "TBackward0"]
    assert ours == names(torch, torch.nn.functional)


def test_dropout_keeps_the_mean_and_rests_in_eval():
    tg.manual_seed(0)
    x = tg.ones(10_000, requires_grad=True)
    y = F.dropout(x, 0.25)
    assert set(y.detach().numpy().round(4)) == {0.0, np.float32(1.3333)}
    assert abs(y.mean().item() - 1) < 0.02
    assert F.dropout(x, 0.25, training=False) is x
    assert F.dropout(x, 1.0).sum() == 0
    y.sum().backward()
    assert (x.grad == y.detach()).all()


ERRORS = [
    lambda T, F, x: F.cross_entropy(x, T.tensor([0, 1, 5])),
    lambda T, F, x: F.cross_entropy(x, T.tensor([0, 1, -1])),
    lambda T, F, x: F.cross_entropy(x, T.tensor([0, 1])),
    lambda T, F, x: F.cross_entropy(x, T.tensor([0., 1, 2])),
    lambda T, F, x: F.cross_entropy(x, T.tensor([0, 1, 2], dtype=T.int32)),
    lambda T, F, x: F.cross_entropy(x, T.zeros(3, 4).long()),
    lambda T, F, x: F.cross_entropy(x, T.zeros(3, 5)),
    lambda T, F, x: F.cross_entropy(x, T.tensor([0, 1, 2]), weight=T.ones(3)),
    lambda T, F, x: F.cross_entropy(x, T.tensor([0, 1, 2]), label_smoothing=2),
    lambda T, F, x: F.cross_entropy(x, T.tensor([0, 1, 2]), reduction="all"),
    lambda T, F, x: F.cross_entropy(T.zeros(2, 3, 4), T.zeros(2, 5).long()),
    lambda T, F, x: F.cross_entropy(T.zeros(4), T.tensor(7)),
    lambda T, F, x: F.mse_loss(x, x, reduction="all"), lambda T, F, x: F.huber_loss(x, x, delta=0.),
    lambda T, F, x: F.smooth_l1_loss(x, x, beta=-1.),
    lambda T, F, x: F.binary_cross_entropy(x + 2, x),
    lambda T, F, x: F.binary_cross_entropy(x, T.zeros(4)),
    lambda T, F, x: F.binary_cross_entropy_with_logits(x, T.zeros(4)),
    lambda T, F, x: F.linear(x, T.zeros(5, 3)),
    lambda T, F, x: F.linear(T.zeros(4), T.zeros(5, 3), T.zeros(5)),
    lambda T, F, x: F.dropout(x, 2), lambda T, F, x: F.gelu(x, approximate="some"),
]


@pytest.mark.parametrize("program", ERRORS, ids=body)
def test_bad_input_raises_torchs_error(torch, program):
    raised = []
    for T, space in ((torch, torch.nn.functional), (tg, F)):
        with pytest.raises(Exception) as caught:
            program(T, space, T.zeros(3, 4))
        raised.append((caught.type.__mro__[-4:], str(caught.value).replace("torch", "tracegrad")))
    (theirs, expected), (ours, message) = raised
    assert message == expected
    assert ours[0] is theirs[0] or issubclass(ours[0], RuntimeError)


def test_shapes_that_broadcast_in_a_loss_are_warned_of():
    with pytest.warns(UserWarning, match="Using a target size"):
        F.mse_loss(tg.zeros(3, 1), tg.zeros(3))
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax"):
        F.softmax(tg.zeros(2, 3))
