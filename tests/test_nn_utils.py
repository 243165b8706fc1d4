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
