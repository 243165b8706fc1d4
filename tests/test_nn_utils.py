"""nn.utils against torch: gradients that are clipped, parameters as a vector, padded sequences."""

import numpy as np
import pytest
from bodies import body

import tracegrad as tg


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def trained(T, clip, compiled=lambda f: f):
    """The norms that were found and the parameters after three clipped steps."""
    rng = np.random.default_rng(0)
    model = T.nn.Linear(3, 2).double()
    with T.no_grad():
        for p in model.parameters():
            p.copy_(T.tensor(rng.normal(size=tuple(p.shape))))
    optimizer = T.optim.SGD(model.parameters(), lr=0.3, momentum=0.5)

    def step(x):
        optimizer.zero_grad()
        (model(x) ** 2).sum().backward()
        norm = clip(T.nn.utils, model)
        optimizer.step()
        return norm

    run = compiled(step)
    norms = [run(T.tensor(rng.normal(size=(4, 3)))) for _ in range(3)]
    return [float(n) for n in norms if n is not None], T.nn.utils.parameters_to_vector(
        model.parameters()
    ).tolist()


CLIPS = {
    "norm": lambda U, m: U.clip_grad_norm_(m.parameters(), 1.0),
    "norm inf": lambda U, m: U.clip_grad_norm_(m.parameters(), 0.5, float("inf")),
    "norm of one": lambda U, m: U.clip_grad_norm_(m.weight, 0.5, 1, error_if_nonfinite=True),
    "norm of none": lambda U, m: U.clip_grad_norm_([], 0.5),
    "value": lambda U, m: U.clip_grad_value_(m.parameters(), 0.7),
}


@pytest.mark.parametrize("name", CLIPS)
def test_clipped_training_is_torchs_eager_and_compiled(torch, name):
    theirs = trained(torch, CLIPS[name])
    for compiled in (lambda f: f, tg.compile):
        for a, b in zip(trained(tg, CLIPS[name], compiled), theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10)


GRADIENTS = {  # f makes tensors of random numbers, g of others
    "some": lambda f, g: [f(3, 4), f(), f(5)],
    "across": lambda f, g: [f(70, 80).t(), f(4, 5, 6).permute(2, 0, 1), f(40)[::2]],
    "long": lambda f, g: [f(4095), f(4096), f(4097), f(3, 4096)],
    "empty": lambda f, g: [f(0, 3), f(2)],
    "no number": lambda f, g: [g([1, np.nan]), f(2)],
    "infinite": lambda f, g: [g([1, -np.inf]), f(2)],
    "huge": lambda f, g: [g([3e30])],
}
ACTS = {
    "norm": lambda U, p: U.clip_grad_norm_(p, 1.0),
    "norm, negative": lambda U, p: U.clip_grad_norm_(p, -1.0),
    "norm below": lambda U, p: U.clip_grad_norm_(p, 1e9),
    "norm 3": lambda U, p: U.clip_grad_norm_(p, 1.0, 3),
    "norm inf": lambda U, p: U.clip_grad_norm_(p[2:], 1.0, float("inf")),
    "value": lambda U, p: U.clip_grad_value_(p, 0.5),
    "value, negative": lambda U, p: U.clip_grad_value_(p, -0.5),
    "value nan": lambda U, p: U.clip_grad_value_(p, float("nan")),
}


@pytest.mark.parametrize("made", GRADIENTS.values(), ids=GRADIENTS)
def test_gradients_of_all_layouts_and_dtypes_are_clipped_as_torchs(torch, made):
    def clipped(T, act, dtypes):
        rng = np.random.default_rng(0)
        params = []
        numbers = made(lambda *s: T.tensor(rng.standard_normal(s)), T.tensor)
        for k, grad in enumerate(numbers):
            grad = grad.to(getattr(T, dtypes[k % len(dtypes)]))
            params += [T.nn.Parameter(T.zeros_like(grad)), T.nn.Parameter(T.zeros(2))]
            params[-2].grad = grad
        norm = act(T.nn.utils, params)
        grads = [p.grad.numpy() for p in params if p.grad is not None]
        return [np.float64(0 if norm is None else norm.item()), *grads]

    for dtypes in (["float32"], ["float64"], ["float32", "float64"]):
        rtol = 2e-5 if "float32" in dtypes else 1e-12
        for act in ACTS.values():
            for a, b in zip(clipped(tg, act, dtypes), clipped(torch, act, dtypes), strict=True):
                np.testing.assert_allclose(a, b, rtol=rtol)
                assert a.dtype == b.dtype


def test_memory_that_gradients_share_is_scaled_for_each_of_them():
    memory = tg.ones(4)
    params = [tg.zeros(3, requires_grad=True) for _ in range(2)]
    params[0].grad, params[1].grad = memory[:3], memory[1:]
    tg.nn.utils.clip_grads_with_norm_(params, 1.0, tg.tensor(2.0))
    np.testing.assert_allclose(memory, [0.5, 0.25, 0.25, 0.5], rtol=1e-6)


@pytest.mark.parametrize("act", ["norm", "value"])
def test_a_gradient_that_cannot_change_leaves_the_others_as_they_were(act):
    params = [tg.zeros(3, requires_grad=True) for _ in range(2)]
    params[0].grad, params[1].grad = tg.full((3,), 2.0), tg.full((1,), 2.0).expand(3)
    with pytest.raises(RuntimeError, match="more than one element"):
        ACTS[act](tg.nn.utils, params)
    assert params[0].grad.tolist() == [2.0, 2.0, 2.0] and params[0].grad._version == [0]


def test_a_backward_that_needs_an_unclipped_gradient_says_so():
    p = tg.ones(2, requires_grad=True)
    p.grad = tg.ones(2)
    x = tg.ones(2, requires_grad=True)
    y = (x * p.grad).sum()
    tg.nn.utils.clip_grad_value_(p, 0.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


@pytest.mark.parametrize(
    "program",
    [
        lambda T, U: U.rnn.pad_sequence([T.ones(2, 3), T.zeros(4, 3)]),
        lambda T, U: U.rnn.pad_sequence([T.ones(2), T.zeros(4)], True, 7.0, "left"),
        lambda T, U: U.rnn.unpad_sequence(T.arange(6).reshape(3, 2), T.tensor([3, 1])),
        lambda T, U: U.rnn.pad_sequence([]),
        lambda T, U: U.rnn.pad_sequence([T.ones(2)], padding_side="up"),
        lambda T, U: U.rnn.pad_sequence([T.ones(2, 3), T.ones(2, 4)]),
        lambda T, U: U.vector_to_parameters([1.0], [T.ones(1)]),
        lambda T, U: U.vector_to_parameters(T.ones(1), [T.ones(2)]),
        lambda T, U: U.parameters_to_vector([T.ones(2, 2), T.zeros(())]),
    ],
    ids=body,
)
def test_a_helper_answers_as_torchs(torch, program):
    def outcome(T):
        try:
            found = program(T, T.nn.utils)
        except Exception as e:
            return next(c.__name__ for c in type(e).__mro__ if c.__module__ == "builtins")
        return [t.tolist() for t in found] if isinstance(found, list) else found.tolist()

    assert outcome(tg) == outcome(torch)


def test_what_is_not_finite_is_refused_on_demand():
    p = tg.ones(2, requires_grad=True)
    p.grad = tg.tensor([float("nan"), 1.0])
    with pytest.raises(RuntimeError, match="is non-finite"):
        tg.nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
    assert p.grad[1] == 1
