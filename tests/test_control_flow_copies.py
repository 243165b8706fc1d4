"""Arguments and results of control flow are copies: in eager and in compiled functions, what is
written into one of them is seen in no other.
"""

import pytest
from compiled import traces

import tracegrad as tg
from tracegrad.ir.op import Kind

ROWS = [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
WAYS = pytest.mark.parametrize("way", [lambda f: f, tg.compile], ids=["eager", "compiled"])


@WAYS
def test_a_carry_that_is_written_later_leaves_what_was_stacked(way):
    def add(total, x):
        total.add_(x)
        return total, total[:1]

    first = tg.zeros(2)
    total, parts = way(lambda xs: tg.scan(add, first, xs))(tg.tensor(ROWS))
    assert total.tolist() == [6, 9] and parts.tolist() == [[0], [2], [6]]
    assert first.tolist() == [0, 0]


@WAYS
def test_a_tensor_from_outside_is_stacked_as_it_was(way):
    total = tg.zeros(2)

    def add(x):
        total.add_(x)
        return total

    sums = way(lambda xs: tg.map(add, xs))(tg.tensor(ROWS))
    assert sums.tolist() == [[0, 1], [2, 4], [6, 9]] and total.tolist() == [6, 9]


@WAYS
def test_a_tensor_from_outside_that_is_carried_on_is_not_written(way):
    start = tg.tensor([10.0, 20.0])

    def restart(total, x):
        return start, total.add_(x)

    _, ys = way(lambda xs: tg.scan(restart, tg.zeros(2), xs))(tg.tensor(ROWS))
    assert ys.tolist() == [[0, 1], [12, 23], [14, 25]] and start.tolist() == [10, 20]


@WAYS
def test_two_carries_of_one_tensor_are_two(way):
    def both(i, value):
        a, b = value
        b.add_(1)
        return a, a

    a, b = way(lambda x: tg.fori_loop(0, 3, both, (x, x)))(tg.zeros(2))
    assert a.tolist() == [0, 0] and b.tolist() == [0, 0]


@WAYS
@pytest.mark.parametrize("checkpoints", [None, 2])
def test_a_condition_that_writes_its_arguments_changes_nothing(way, checkpoints):
    def below(x):
        return x.add_(1) < 4

    loop = way(lambda x: tg.while_loop(below, lambda x: (x + 1,), (x,), checkpoints=checkpoints))
    x = tg.tensor(0.0)
    assert loop(x)[0].item() == 3 and x.item() == 0


@WAYS
@pytest.mark.parametrize("second", [False, True])
def test_operands_may_be_written_before_backward(way, second):
    """A state that is kept for the next call, say, and a buffer that is filled again."""
    w = tg.tensor([0.5, 0.7], requires_grad=True)

    def loss(state, xs, write):
        last, ys = tg.scan(lambda h, x: (h * w * x + x, h), state, xs)
        if write:
            state.copy_(last.detach())
            xs.zero_()
        (g,) = tg.autograd.grad(last.sum() + (ys**2).sum(), w, create_graph=second)
        return tg.autograd.grad((g**2).sum(), w)[0] if second else g

    expected = loss(tg.ones(2), tg.tensor(ROWS), False)
    actual = way(loss)(tg.ones(2), tg.tensor(ROWS), True)
    assert tg.allclose(actual, expected)


@WAYS
def test_constants_may_not_be_written_before_backward(way):
    w = tg.tensor([0.5, 0.7], requires_grad=True)
    scale = tg.tensor([2.0, 3.0])

    def loss(xs):
        total = tg.scan(lambda h, x: (h * w + x * w * scale, None), tg.ones(2), xs)[0].sum()
        scale.zero_()
        total.backward()

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        way(loss)(tg.tensor(ROWS))


@WAYS
def test_checkpoints_have_no_effect_under_vmap(way):
    def grown(x):
        return tg.while_loop(lambda x: x < 10, lambda x: (x * 2,), (x,), checkpoints=2)[0]

    assert way(tg.vmap(grown))(tg.arange(1, 4)).tolist() == [16, 16, 12]


def test_a_compiled_while_loop_with_checkpoints_is_one_loop():
    @tg.compile
    def power(x, most):
        loop = tg.while_loop(
            lambda i, _: i < most, lambda i, y: (i + 1, y * x), (0, x), checkpoints=2)
        return loop[1]

    for most in (3, 9):
        x = tg.tensor(1.1, requires_grad=True)
        power(x, tg.tensor(most)).backward()
        assert tg.allclose(x.grad, (most + 1) * tg.tensor(1.1) ** most)
    assert traces(power) == 1
    assert any(y.op.kind is Kind.LOOP for y in power.graph().order())
