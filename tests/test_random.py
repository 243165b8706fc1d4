"""Random numbers: one stream, whoever computes it; distributions; and the generator as state of a
compiled program.
"""

import threading

import numpy as np
import pytest
from machine_code import on_vectors, print_map
from processes import run
from scipy import stats

import tracegrad as T
import tracegrad.nn.functional as F
from tracegrad import nn
from tracegrad.ir.ops.random import random_bits
from tracegrad.runtime.cpu.philox import plain
from tracegrad.testing import assert_kernels


def words(seed, counter):
    """The two words that the primitive gives, as unsigned numbers."""
    bits = int(random_bits.ref(np.array(seed), np.array([counter]))[0]) % 2**64
    assert bits == int(plain(np.int64(seed), np.int64(counter))) % 2**64
    return bits % 2**32, bits >> 32


def test_the_bits_are_those_of_the_authors_of_philox():
    # their kat_vectors: counter and key all zeros; the third words of ours are always zero
    assert words(0, 0) == (0x6627E8D5, 0xE169C58D)
    assert len({words(s, c) for s in (0, 1, -1, 2**40) for c in (0, 1, 2**33)}) == 12


# name -> (what draws 20000 numbers of it, the distribution they should follow)
CONTINUOUS = {
    "rand": (lambda: T.rand(20000), stats.uniform()),
    "rand float64": (lambda: T.rand(20000, dtype=T.float64), stats.uniform()),
    "randn": (lambda: T.randn(20000), stats.norm()),
    "randn float64": (lambda: T.randn(20000, dtype=T.float64), stats.norm()),
    "randn bfloat16": (lambda: T.randn(20000, dtype=T.bfloat16).float() + T.randn(20000) / 64,
                       stats.norm(scale=(1 + 2**-12) ** 0.5)),
    "normal": (lambda: T.normal(2.0, 3.0, (20000,)), stats.norm(2, 3)),
    "normal of tensors": (lambda: T.normal(T.ones(20000), T.full((20000,), 0.5)),
                          stats.norm(1, 0.5)),
    "normal mean": (lambda: T.normal(T.ones(20000)), stats.norm(1)),
    "normal std": (lambda: T.normal(1, T.ones(20000)), stats.norm(1)),
    "uniform_": (lambda: T.empty(20000).uniform_(-1, 3), stats.uniform(-1, 4)),
    "normal_": (lambda: T.empty(20000).normal_(1, 2), stats.norm(1, 2)),
    "exponential_": (lambda: T.empty(20000).exponential_(2.0), stats.expon(scale=0.5)),
    "cauchy_": (lambda: T.empty(20000).cauchy_(1, 2), stats.cauchy(1, 2)),
    "trunc_normal_": (lambda: nn.init.trunc_normal_(T.empty(20000), 1.0, 2.0, -1.0, 2.0),
                      stats.truncnorm(-1, 0.5, 1, 2)),
    "log_normal_": (lambda: T.empty(20000).log_normal_(0.5, 0.25),
                    stats.lognorm(s=0.25, scale=np.exp(0.5))),
}
DISCRETE = {
    "randint": (lambda: T.randint(-2, 5, (20000,)), stats.randint(-2, 5)),
    "random_": (lambda: T.empty(20000, dtype=T.int32).random_(3, 9), stats.randint(3, 9)),
    "bernoulli": (lambda: T.bernoulli(T.full((20000,), 0.3)), stats.bernoulli(0.3)),
    "bernoulli_": (lambda: T.empty(20000).bernoulli_(0.7), stats.bernoulli(0.7)),
    "bernoulli_ of a tensor": (lambda: T.empty(20000).bernoulli_(T.full((20000,), 0.7)),
                               stats.bernoulli(0.7)),
    "geometric_": (lambda: T.empty(20000).geometric_(0.4), stats.geom(0.4)),
    "multinomial": (lambda: T.multinomial(T.tensor([1.0, 0, 3]), 20000, True),
                    stats.rv_discrete(values=([0, 1, 2], [0.25, 0, 0.75]))),
    "poisson": (lambda: T.poisson(T.full((20000,), 2.5)), stats.poisson(2.5)),
    "poisson, rarely": (lambda: T.poisson(T.full((20000,), 0.1)), stats.poisson(0.1)),
    "dropout": (lambda: F.dropout(T.ones(20000), 0.25) * 0.75, stats.bernoulli(0.75)),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_a_continuous_distribution(name):
    draw, expected = CONTINUOUS[name]
    T.manual_seed(11)
    assert stats.kstest(draw().double().numpy(), expected.cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", DISCRETE)
def test_a_discrete_distribution(name):
    draw, expected = DISCRETE[name]
    T.manual_seed(12)
    values, counts = np.unique(draw().double().numpy().round(6), return_counts=True)
    p = expected.pmf(values)
    assert p.min() > 0 and p.sum() > 0.999
    common = p * 20000 > 5
    p, counts = p[common], counts[common]
    assert stats.chisquare(counts, p / p.sum() * counts.sum()).pvalue > 1e-3


def test_positions_and_seeds_are_independent():
    x = T.randn(4, 5000, generator=T.Generator().manual_seed(1), dtype=T.float64)
    y = T.randn(5000, generator=T.Generator().manual_seed(2), dtype=T.float64)
    together = np.corrcoef(np.concatenate([x.numpy(), y.numpy()[None]]))
    assert np.abs(together - np.eye(5)).max() < 0.06


def test_permutations_and_draws_without_replacement():
    T.manual_seed(4)
    assert sorted(T.randperm(100).tolist()) == list(range(100)) and T.randperm(0).shape == (0,)
    w = T.tensor([[0.1, 0.2, 0.3, 0.0], [5.0, 1.0, 1.0, 1.0]])
    first = [T.multinomial(w, 2)[1, 0].item() == 0 for _ in range(600)]
    assert abs(np.mean(first) - 5 / 8) < 0.07
    for _ in range(20):
        drawn = T.multinomial(w, 3)
        assert sorted(drawn[0].tolist()) == [0, 1, 2] and len(set(drawn[1].tolist())) == 3


BAD = {
    "low above high": (lambda: T.randint(3, 3, (2,)), RuntimeError, "from=3 >= to=3"),
    "too high": (lambda: T.randint(0, 300, (2,), dtype=T.uint8), RuntimeError, "unsigned char"),
    "no generator": (lambda: T.rand(2, generator=3), TypeError, "generator must be"),
    "seed": (lambda: T.manual_seed(2**64), ValueError, "Overflow"),
    "integer rand": (lambda: T.rand(2, dtype=T.int64), RuntimeError, "not implemented for 'Long'"),
    "negative std": (lambda: T.normal(0.0, -1.0, (2,)), RuntimeError, "std >= 0.0"),
    "probability": (lambda: T.bernoulli(T.tensor([1.5])), RuntimeError, "p_in <= 1"),
    "too many": (lambda: T.multinomial(T.ones(3), 4), RuntimeError, "without replacement"),
    "none": (lambda: T.multinomial(T.ones(3), 0), RuntimeError, "n_sample <= 0"),
    "no weight": (lambda: T.multinomial(T.zeros(3), 1), RuntimeError, "sum of probabilities"),
    "negative weight": (lambda: T.multinomial(-T.ones(3), 1), RuntimeError, "element < 0"),
    "rate": (lambda: T.ones(2).exponential_(0), RuntimeError, "lambda=0"),
    "state": (lambda: T.set_rng_state(T.zeros(3, dtype=T.uint8)), RuntimeError, "wrong size"),
    "poisson": (lambda: T.poisson(-T.ones(2)), RuntimeError, "invalid Poisson rate"),
    "dropout": (lambda: F.dropout(T.ones(2), 1.5), ValueError, "between 0 and 1, but got 1.5"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_and_uses_no_numbers(name):
    draw, error, match = BAD[name]
    T.manual_seed(5)
    with pytest.raises(error, match=match):
        draw()
    assert T.get_rng_state().tolist() == T.Generator().manual_seed(5).get_state().tolist()


# ---- compiled
def everything(x):
    return (
        x + T.rand(300, 2), T.randn(5, 300), T.randn(9, dtype=T.float64), T.randint(0, 9, (7,)),
        T.bernoulli(x.abs().clamp(max=1)), F.dropout(x, 0.3), F.dropout2d(x[:, :, None], 0.5),
        T.multinomial(x[:3], 2), T.multinomial(x[:, 0], 4, True), T.randperm(9),
        T.rand(3, dtype=T.float16), T.empty(6).exponential_(), F.alpha_dropout(x, 0.2, True),
    )


def test_compiled_numbers_are_the_eager_ones_and_new_at_every_call():
    compiled, x = T.compile(everything), T.rand(300, 2)
    T.manual_seed(8)
    got = [compiled(x) for _ in range(3)]
    state = T.get_rng_state()
    T.manual_seed(8)
    want = [everything(x) for _ in range(3)]
    assert T.get_rng_state().tolist() == state.tolist()
    for a, b in zip(sum(got, ()), sum(want, ()), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-6, atol=1e-6)
    assert all((a != b).any() for a, b in zip(got[0], got[1], strict=True))
    assert compiled.cache_info().misses == 1


def test_integers_of_the_widest_ranges():
    for low, high in ((-(2**63), 2**63), (0, 2**63), (-5, 2**63), (-(2**63), 2**62), (-3, 3)):
        x = T.randint(low, high, (4000,)).double() / 2.0**63
        middle, width = (low / 2 + high / 2) / 2**63, (high - low) / 2**63
        assert abs(x.mean().item() - middle) < 0.2 * width or width > 1.2
        assert low / 2**63 <= x.min() and x.max() <= high / 2**63
    assert T.empty(999, dtype=T.int64).random_().min() >= 0
    assert T.manual_seed(-1).initial_seed() == 2**64 - 1


def test_initial_values_with_structure():
    for shape in ((5, 3), (3, 5), (4, 2, 3)):
        q = nn.init.orthogonal_(T.empty(shape), gain=2.0).reshape(shape[0], -1).double()
        small = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
        np.testing.assert_allclose(small.numpy(), 4 * np.eye(min(q.shape)), atol=1e-5)
    w = nn.init.sparse_(T.empty(10, 400), 0.25)
    assert ((w == 0).sum(0) == 3).all() and abs(w[w != 0].std().item() - 0.01) < 0.001
    for shape, groups in (((4, 2, 3), 1), ((4, 2, 3, 4), 2), ((6, 1, 3, 3, 3), 3)):
        torch = pytest.importorskip("torch")
        ours, theirs = (t.nn.init.dirac_(t.empty(shape), groups) for t in (T, torch))
        assert ours.tolist() == theirs.tolist()


def test_what_numbers_were_drawn_from_has_gradient_zero():
    p = T.full((3,), 0.5, requires_grad=True)
    for draw in (T.bernoulli, T.normal, T.poisson):
        (g,) = T.autograd.grad(draw(p).sum(), p)
        assert g.tolist() == [0, 0, 0]


def test_a_generator_may_be_an_argument_or_captured():
    mine = T.Generator()
    captured = T.compile(lambda x: x + T.rand(4, generator=mine))
    passed = T.compile(lambda x, g: x + T.rand(4, generator=g))
    for g in (T.Generator(), T.Generator()):
        for f in (captured, lambda x, g=g: passed(x, g)):
            g.manual_seed(3), mine.manual_seed(3)
            first, second = f(T.zeros(4)), f(T.zeros(4))
            fresh = T.Generator().manual_seed(3)
            assert (first == T.rand(4, generator=fresh)).all()
            assert (second == T.rand(4, generator=fresh)).all()


def test_seeding_and_forking_inside_a_compiled_function():
    def program(x):
        with T.random.fork_rng():
            a = T.rand(3)
        b = T.rand(3)
        T.manual_seed(99)
        return x + a, b, T.rand(3)

    compiled = T.compile(program)
    for _ in range(2):
        T.manual_seed(1)
        a, b, c = compiled(T.zeros(3))
        after = T.rand(2)
        T.manual_seed(1)
        wanted = program(T.zeros(3))
        assert all((g == w).all() for g, w in zip((a, b, c), wanted, strict=True))
        assert (a == b).all() and (after == T.rand(2)).all()


def test_a_call_that_raises_uses_no_numbers():
    f = T.compile(lambda x, i: (x + T.rand(4))[i])
    T.manual_seed(2)
    f(T.zeros(4), T.tensor([1]))
    state = T.get_rng_state().tolist()
    with pytest.raises(IndexError):
        f(T.zeros(4), T.tensor([4]))
    assert T.get_rng_state().tolist() == state


def test_a_branch_on_a_random_value_is_taken_as_eagerly():
    def program(x):
        return x + 1 if T.rand(()) < 0.5 else x - T.rand(2)

    compiled = T.compile(program)
    T.manual_seed(6)
    got = [compiled(T.zeros(2)) for _ in range(12)]
    T.manual_seed(6)
    assert all((g == program(T.zeros(2))).all() for g in got)


def test_backward_outside_uses_the_mask_of_its_own_forward():
    forward = T.compile(lambda x: F.dropout(x, 0.4) * 2)
    x = T.rand(500).add(1).requires_grad_()
    ys = [forward(x), forward(x)]
    for y in ys:
        (g,) = T.autograd.grad(y.sum(), x)
        np.testing.assert_allclose((g * x).detach().numpy(), y.detach().numpy(), rtol=1e-6)
    assert (ys[0] != ys[1]).any()


def test_a_whole_step_has_one_mask():
    @T.compile
    def step(x):
        y = F.dropout(x, 0.4)
        y.sum().backward()
        return y.detach(), x.grad

    x = T.rand(50, 7).add(1).requires_grad_()
    y, g = step(x)
    np.testing.assert_allclose((g * x).detach().numpy(), y.numpy(), rtol=1e-6)


def test_dropout_is_one_kernel_with_its_surroundings():
    f = T.compile(lambda x: F.dropout(x * 2 + 1, 0.4).tanh())
    f(T.rand(30, 4))
    assert_kernels(f, 1)


DRAWS = {"dropout": lambda x: F.dropout(x, 0.5), "numbers": lambda x: x + T.randn(1000)}


def code_of_a_loop(draw):
    T.compile(DRAWS[draw])(T.ones(1000))
    print_map()


@pytest.mark.parametrize("draw", DRAWS)
def test_a_loop_that_draws_is_vectorised(draw, tmp_path):
    code = run(code_of_a_loop, draw, env={"TRACEGRAD_CACHE_DIR": str(tmp_path)})
    assert on_vectors(code, "mul"), "the rounds were not vectorised"


def test_threads_draw_what_one_thread_draws():
    f = T.compile(lambda x: x + T.rand(1 << 18))
    T.manual_seed(1)
    big = f(T.zeros(1 << 18))
    T.manual_seed(1)
    assert (big == T.rand(1 << 18)).all()


def test_calls_in_two_threads_draw_different_numbers():
    f = T.compile(lambda x: x + T.rand(64))
    x, out = T.zeros(64), []
    f(x)
    T.manual_seed(1)
    workers = [
        threading.Thread(target=lambda: out.extend(f(x) for _ in range(40))) for _ in range(2)
    ]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    T.manual_seed(1)
    assert {t[0].item() for t in out} == {T.rand(64)[0].item() for _ in range(80)}
