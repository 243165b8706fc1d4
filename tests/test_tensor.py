"""What torch cannot witness about tensors: memory, copies, devices, random numbers, and life inside
a trace.
"""

import copy
import pickle
import warnings

import numpy as np
import pytest
from programs_of_torch import traced_arrays

import tracegrad as T
from tracegrad.tracer.capture.trace import Trace, tracing


# ---- memory
def test_from_numpy_and_numpy_share_memory():
    a = np.arange(3.0)
    t = T.from_numpy(a)
    t[0] = 7
    t.numpy()[1] = 8
    a[2] = 9
    assert t.tolist() == a.tolist() == [7, 8, 9]


def test_views_share_memory_and_copies_do_not():
    x = T.zeros(2, 3)
    for view in (x[0], x.t(), x.view(6), x[:, ::2], x.detach(), x.data, x.reshape(3, 2), x[None]):
        assert np.shares_memory(view._array, x._array)
    for other in (x.clone(), x[[0, 1]], x.t().reshape(6), x + 0, T.tensor(x), x.flip(0)):
        assert not np.shares_memory(other._array, x._array)


LOUD = {
    "overflow": lambda x: x * 3e38,
    "division by zero": lambda x: x / 0,
    "an invalid operation": lambda x: (x - 9).log(),
    "a sum": lambda x: (x * 2e38).sum(),
    "a cumulative product": lambda x: (x * 1e30).cumprod(0),
    "a product": lambda x: (x * 1e30)[None] @ (x * 1e30)[:, None],
    "a conversion": lambda x: (x.double() * 1e300).float(),
    "a conversion to integers": lambda x: (x * float("nan")).long() * 0,
    "half numbers": lambda x: (x * 60000).half() * 2 + (x * 1e38).bfloat16() * 9,
    "a number that is too large": lambda x: x * 1e300,
    "a gradient": lambda x: T.autograd.grad((z := (x * 0).requires_grad_()).sqrt().sum(), z)[0],
}


@pytest.mark.parametrize("loud", LOUD.values(), ids=LOUD)
def test_what_numpy_does_about_errors_is_nothing_to_tensors(loud):
    x = T.tensor([1.0, 2.0, 3.0])
    with np.errstate(all="ignore"):
        want = loud(x)
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert T.equal(loud(x).nan_to_num(7.0), want.nan_to_num(7.0))
        with pytest.raises(FloatingPointError):  # the user's own setting is as it was
            np.float32(3e38) * np.float32(9)


def test_a_number_keeps_its_sign_and_its_type_however_often_it_is_used():
    one = T.ones(2)
    for _ in range(2):
        assert (one / 0.0).tolist() == [np.inf] * 2 and (one / -0.0).tolist() == [-np.inf] * 2
        assert (one / 0).tolist() == [np.inf] * 2 and (one * True).tolist() == [1, 1]
        assert (T.tensor([1]) * 0).dtype is T.int64 and (T.tensor([1]) * 0.0).dtype is T.float32


def test_a_read_only_array_is_not_written_to():
    a = np.zeros(2)
    a.flags.writeable = False
    with pytest.raises(RuntimeError, match="read-only"):
        T.from_numpy(a).add_(1)


def test_copies_and_pickles_keep_class_values_and_grad():
    x = T.tensor([1.0, 2.0], requires_grad=True)
    x.sum().backward()
    y, z = copy.deepcopy(x), pickle.loads(pickle.dumps(x))
    assert y.tolist() == z.tolist() == [1, 2] and y.requires_grad and z.requires_grad
    assert y.grad.tolist() == [1, 1] and y.grad is not x.grad
    assert pickle.loads(pickle.dumps(T.float16)) is T.float16
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(x * 2)


def test_tensors_hash_by_identity_and_compare_by_element():
    x, y = T.ones(2), T.ones(2)
    assert len({x, y}) == 2 and (x == y).all() and (x == None) is False  # noqa: E711


# ---- devices
def test_devices_have_names():
    assert T.zeros(1).device == T.device("cpu") and str(T.device("cuda", 1)) == "cuda:1"
    with pytest.raises(RuntimeError, match="Expected one of cpu, cuda"):
        T.device("gpu")


def test_the_default_dtype_decides_what_floats_become():
    T.set_default_dtype(T.float64)
    try:
        assert (
            T.tensor(1.5).dtype
            is T.zeros(1).dtype
            is (T.ones(1, dtype=T.int64) / 2).dtype
            is T.float64
        )
    finally:
        T.set_default_dtype(T.float32)
    with pytest.raises(TypeError, match="only floating-point types"):
        T.set_default_dtype(T.int64)


# ---- random numbers
def test_a_seed_gives_the_same_numbers_again():
    draw = lambda: (T.rand(3), T.randn(2), T.randint(0, 10, (4,)), T.randperm(5))
    T.manual_seed(7)
    first = draw()
    T.manual_seed(7)
    assert all((a == b).all() for a, b in zip(first, draw(), strict=True))
    state = T.get_rng_state()
    a = T.rand(2)
    T.set_rng_state(state)
    assert (a == T.rand(2)).all()


def test_generators_are_streams_of_their_own():
    T.manual_seed(0)
    expected = T.rand(2)
    T.manual_seed(0)
    g = T.Generator().manual_seed(5)
    T.rand(9, generator=g)
    assert (T.rand(2) == expected).all() and g.initial_seed() == 5


def test_uniform_numbers_stay_below_one_in_every_dtype():
    for dtype in (T.float16, T.bfloat16, T.float32, T.float64):
        x = T.rand(20000, dtype=dtype, generator=T.Generator().manual_seed(1))
        assert x.max() < 1 and x.min() >= 0 and abs(x.double().mean().item() - 0.5) < 0.01


# ---- NumPy's functions
def test_numpys_functions_take_tensors():
    x = T.tensor([0.5, 1.0], requires_grad=True)
    np.tanh(x).sum().backward()
    assert x.grad is not None
    assert isinstance(np.ones(2) * x, T.Tensor) and (np.float64(2) * x).dtype is T.float32
    assert np.exp(T.zeros(2)).tolist() == [1, 1]


# ---- half types
def test_half_types_compute_in_float32_and_round_once():
    x = T.full((4096,), 1.0, dtype=T.bfloat16)
    assert x.sum().item() == 4096 and (x * 3).dtype is T.bfloat16
    assert (T.tensor(1.0, dtype=T.bfloat16) + 2**-9).item() == 1
    assert T.tensor([70000.0]).half().item() == float("inf")


# ---- inside a trace
def test_writes_through_every_sort_of_view_reach_the_base_in_a_trace():
    def program(x):
        y = x * 1
        y[0].add_(10)
        y.view(-1)[3] = 7
        y.t()[1:, ::2].mul_(2)
        y.detach()[1] = 5
        y.data[0, 0] = -1
        y[None, :, 1:2].zero_()
        row, rest = y[0], y.permute(1, 0)
        y.mul_(3)
        return y, row, rest, y.detach()

    x = T.arange(12.0).reshape(3, 4)
    for (array, _), t in zip(traced_arrays(program, x), program(x), strict=True):
        assert (array == t.numpy()).all()


def test_gradients_flow_through_writes_in_a_trace():
    def program(x, w):
        y = x * 1
        y[1:, 0] = w * 2
        y[y > 5] = 0
        v = y.view(-1)
        v[2:4] *= w.sum()
        (y * y).sum().backward()
        return x.grad, w.grad

    fresh = lambda: (
        T.arange(6.0).reshape(3, 2).requires_grad_(),
        T.tensor([1.0, 2.0], requires_grad=True),
    )
    for (array, _), t in zip(traced_arrays(program, *fresh()), program(*fresh()), strict=True):
        assert np.allclose(array, t.numpy())


def test_a_trace_leaves_concrete_tensors_alone():
    x = T.ones(2, requires_grad=True)
    with tracing(Trace([x])):
        x.sum().backward()
        with T.no_grad():
            x += 1
    assert x.tolist() == [1, 1] and x.grad is None and x._version == [0]


def test_a_leaked_traced_tensor_names_its_line():
    x = T.ones(2)
    with tracing(Trace([x])):
        kept = x * 2
    with pytest.raises(RuntimeError, match=r"made at test_tensor\.py:\d+ is used outside"):
        kept + 1
    assert "traced" in repr(kept)


def test_values_are_not_known_in_a_trace():
    x = T.ones(2)
    with tracing(Trace([x])):
        with pytest.raises(RuntimeError, match="not known"):
            x.numpy()
        with pytest.raises(RuntimeError, match="not known"):
            T.initial_seed()


def test_what_a_trace_makes_from_python_data_is_new_at_every_call():
    def program(x):
        t = T.tensor([1.0, 2.0])
        t += x
        z = T.zeros(2)
        z[0] = 3
        return t, z, T.arange(2), T.arange(0, 1, 0.5), T.eye(2)

    x = T.ones(2)
    found = [a.tolist() for a, _ in traced_arrays(program, x)]
    assert found == [[2, 3], [3, 0], [0, 1], [0, 0.5], [[1, 0], [0, 1]]]


def test_a_name_that_needs_complex_numbers_says_so():
    with pytest.raises(AttributeError, match="torch.stft is not .* complex numbers are not supp"):
        T.stft  # noqa: B018
    with pytest.raises(RuntimeError, match="torch.fft.rfft is not .* complex numbers are not supp"):
        T.fft.rfft(T.ones(4))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        T.nonsense  # noqa: B018
    with pytest.raises(TypeError, match="dtype must be a dtype of tracegrad, not .*complex64"):
        T.zeros(2, dtype=T.complex64)
