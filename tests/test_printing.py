"""Tensors print what torch prints."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import tracegrad as T

FLOATS = {"float64": np.float64, "float32": np.float32, "float16": np.float16}
INTEGERS = ("int64", "int32", "int16", "int8", "uint8")


def same_text(array, **options):
    torch = pytest.importorskip("torch")
    with (
        T.printoptions(**options),
        pytest.MonkeyPatch.context() as patch,  # lines break where the names are long
    ):
        patch.setattr(T.dtype, "__repr__", lambda d: f"torch.{d.name}")
        ours = repr(T.from_numpy(array.copy()))
    with torch._tensor_str.printoptions(**options):
        theirs = repr(torch.from_numpy(array.copy()))
    assert ours == theirs


shapes = array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
numbers = st.one_of(
    st.floats(-10, 10, width=16),
    st.floats(width=16),
    st.integers(-2000, 2000).map(float),
    st.sampled_from([0.0, -0.0, 1e-5, 1e-4, 999.0, 1000.0, 1001.0, 60000.0]),
)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(sorted(FLOATS)), shapes, st.data())
def test_floats_print_as_in_torch(name, shape, data):
    same_text(data.draw(arrays(np.float64, shape, elements=numbers)).astype(FLOATS[name]))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from((*INTEGERS, "bool")), shapes, st.data())
def test_integers_and_bools_print_as_in_torch(name, shape, data):
    same_text(data.draw(arrays(name, shape)))


@settings(deadline=None, max_examples=40)
@given(
    array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=40),
    st.integers(0, 6),
    st.integers(0, 100),
    st.integers(0, 4),
    st.integers(20, 120),
    st.sampled_from([None, True, False]),
)
def test_summaries_and_options_print_as_in_torch(shape, precision, threshold, edge, width, sci):
    values = np.random.default_rng(0).normal(size=shape) * 100
    same_text(values, precision=precision, threshold=threshold, edgeitems=edge, linewidth=width,
              sci_mode=sci)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: T.tensor([1.0, 2.0]), "tensor([1., 2.])"),
        (lambda: T.tensor(3), "tensor(3)"),
        (lambda: T.tensor([1.5], dtype=T.float64), "tensor([1.5000], dtype=tracegrad.float64)"),
        (lambda: T.tensor([1.5], dtype=T.bfloat16), "tensor([1.5000], dtype=tracegrad.bfloat16)"),
        (lambda: T.zeros(0, 3), "tensor([], size=(0, 3))"),
        (lambda: T.zeros(0, dtype=T.int64), "tensor([], dtype=tracegrad.int64)"),
        (lambda: T.tensor([1.0], requires_grad=True), "tensor([1.], requires_grad=True)"),
        (lambda: T.tensor([1.0], requires_grad=True) * 2, "tensor([2.], grad_fn=<MulBackward0>)"),
        (lambda: T.tensor([0.1, 1e6]), "tensor([1.0000e-01, 1.0000e+06])"),
        (lambda: T.tensor([float("nan"), 1.0]), "tensor([nan, 1.])"),
        (lambda: T.tensor([True]), "tensor([True])"),
        (lambda: T.zeros(2, 3).shape, "tracegrad.Size([2, 3])"),
        (lambda: T.float32, "tracegrad.float32"),
        (lambda: T.device("cpu"), "device(type='cpu')"),
    ],
)
def test_the_text_is(make, text):
    assert repr(make()) == text


def test_a_scalar_formats_as_its_number():
    assert f"{T.tensor(2.345):.2f} {T.tensor(7):>3} {T.tensor(0.5)}" == "2.35   7 0.5"
    assert f"{T.tensor([1.0])}" == "tensor([1.])"
    with pytest.raises(TypeError):
        f"{T.tensor([1.0]):.2f}"


def test_a_view_of_bfloat16_prints_its_numbers():
    assert repr(T.tensor([[1.5, 2.0]], dtype=T.bfloat16).t()[1]) == (
        "tensor([2.], dtype=tracegrad.bfloat16)"
    )
