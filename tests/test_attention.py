"""Attention and transformers against torch: values, gradients, masks, state; eager and compiled."""

import numpy as np
import pytest

import tracegrad as T
import tracegrad.nn.functional as F
from tracegrad import nn

SDPA = {
    "plain": ((2, 3, 4, 5), (2, 3, 6, 5), {}),
    "no batch": ((4, 5), (6, 5), {"scale": 0.3}),
    "causal": ((2, 4, 5), (2, 6, 5), {"is_causal": True}),
    "bool mask": ((2, 4, 5), (2, 6, 5), {"attn_mask": "bool"}),
    "float mask": ((2, 3, 4, 5), (2, 3, 6, 5), {"attn_mask": "float"}),
    "grouped": ((2, 6, 4, 5), (2, 2, 3, 5), {"enable_gqa": True}),
}


def arguments(T, name):
    rng = np.random.default_rng(0)
    q, kv, options = SDPA[name]
    tensors = [T.tensor(rng.standard_normal(s), requires_grad=True) for s in (q, kv, kv)]
    options = dict(options)
    if "attn_mask" in options:
        mask = T.tensor(rng.standard_normal((4, 6)))
        options["attn_mask"] = mask > 0.5 if options["attn_mask"] == "bool" else mask
        if options["attn_mask"].dtype is T.bool:
            options["attn_mask"][1] = False  # may attend to nothing
    return tensors, options


@pytest.mark.parametrize("name", SDPA)
def test_scaled_dot_product_attention_is_torch_s(name):
    torch = pytest.importorskip("torch")

    def run(T, wrap):
        tensors, options = arguments(T, name)
        f = wrap(lambda q, k, v: T.nn.functional.scaled_dot_product_attention(q, k, v, **options))
        y = f(*tensors)
        (y * y).sum().backward()
        return [y.detach(), *(t.grad for t in tensors)]

    want = run(torch, lambda f: f)
    for wrap in (lambda f: f, T.compile):
        for a, b in zip(run(T, wrap), want, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-12)


def test_half_types_attend_in_float32():
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).standard_normal((3, 2, 4, 8, 16))
    got, want = (
        t.nn.functional.scaled_dot_product_attention(
            *(t.tensor(v, dtype=t.bfloat16) for v in values)
        ).float()
        for t in (T, torch)
    )
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=2e-2, atol=1e-2)


def test_dropout_of_attention_keeps_the_mean_and_is_new_each_time():
    T.manual_seed(0)
    q, v = T.zeros(1, 1, 8), T.ones(1, 4000, 8)
    f = T.compile(lambda q, v: F.scaled_dot_product_attention(q, v, v, dropout_p=0.5))
    a, b = f(q, v), f(q, v)
    assert abs(a.mean().item() - 1) < 0.06 and (a != b).any()


HEADS = {
    "self": ({}, {}),
    "no weights": ({}, {"need_weights": False}),
    "weights of heads": ({}, {"average_attn_weights": False}),
    "batch first": ({"batch_first": True}, {}),
    "without bias": ({"bias": False}, {}),
    "extra keys": ({"add_bias_kv": True, "add_zero_attn": True}, {"key_padding_mask": True}),
    "masks": ({}, {"attn_mask": True, "key_padding_mask": True, "need_weights": False}),
    "other widths": ({"kdim": 6, "vdim": 10}, {}),
}


def copied(T, module, seed=0):
    rng = np.random.default_rng(seed)
    with T.no_grad():
        for p in module.parameters():
            p.copy_(T.tensor(rng.standard_normal(tuple(p.shape)).astype("f4") * 0.3))
    return module


@pytest.mark.parametrize("name", HEADS)
def test_several_heads_are_torch_s(name):
    torch = pytest.importorskip("torch")

    def run(T):
        options, call = HEADS[name]
        m = copied(T, T.nn.MultiheadAttention(8, 2, **options))
        rng = np.random.default_rng(1)
        widths = (8, options.get("kdim", 8), options.get("vdim", 8))
        shapes = [(n, 3, w) for n, w in zip((4, 5, 5), widths, strict=True)]
        if options.get("batch_first"):
            shapes = [(b, a, w) for a, b, w in shapes]
        xs = [T.tensor(rng.standard_normal(s).astype("f4"), requires_grad=True) for s in shapes]
        call = dict(call)
        if "key_padding_mask" in call:
            call["key_padding_mask"] = T.tensor([[False] * 4 + [k == 1] for k in range(3)])
        if "attn_mask" in call:
            call["attn_mask"] = T.tensor(np.triu(np.ones((4, 5), bool), 2))
        y, weights = m(*xs, **call)
        (y * y).sum().backward()
        grads = [p.grad for p in m.parameters()]
        return m, [y, *([] if weights is None else [weights]), *(x.grad for x in xs), *grads]

    ours, theirs = run(T), run(torch)
    assert list(ours[0].state_dict()) == list(theirs[0].state_dict())
    assert repr(ours[0]) == repr(theirs[0])
    for a, b in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-4, atol=2e-5)


LAYERS = {
    "encoder layer": lambda nn: nn.TransformerEncoderLayer(8, 2, 16, 0.0),
    "norm first": lambda nn: nn.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", norm_first=True),
    "encoder": lambda nn: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), 2, nn.LayerNorm(8)),
    "decoder layer": lambda nn: nn.TransformerDecoderLayer(8, 2, 16, 0.0, batch_first=True),
    "transformer": lambda nn: nn.Transformer(8, 2, 1, 1, 16, 0.0, batch_first=True),
}


@pytest.mark.parametrize("name", LAYERS)
def test_transformers_are_torch_s(name):
    torch = pytest.importorskip("torch")

    def run(T, wrap):
        m = copied(T, LAYERS[name](T.nn))
        x = T.tensor(np.random.default_rng(2).standard_normal((4, 3, 8)).astype("f4"))
        both = (x, x * 0.5) if "decoder" in name or name == "transformer" else (x,)
        y = wrap(m)(*both)
        (y * y * x).sum().backward()
        return m, [y, *(p.grad for p in m.parameters())]

    theirs = run(torch, lambda m: m)
    for wrap in (
        (lambda m: m, T.compile) if name in ("norm first", "decoder layer") else (lambda m: m,)
    ):
        ours = run(T, wrap)
        assert list(ours[0].state_dict()) == list(theirs[0].state_dict())
        for a, b in zip(ours[1], theirs[1], strict=True):
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-3, atol=2e-4)


BAD = {
    "rank": lambda T, x: T.nn.functional.scaled_dot_product_attention(x[0], x, x),
    "dtype": lambda T, x: T.nn.functional.scaled_dot_product_attention(x, x.double(), x),
    "mask and causal": lambda T, x: T.nn.functional.scaled_dot_product_attention(
        x, x, x, x > 0, is_causal=True),
    "integer mask": lambda T, x: T.nn.functional.scaled_dot_product_attention(x, x, x, x.int()),
    "heads": lambda T, x: T.nn.MultiheadAttention(6, 4),
    "width": lambda T, x: T.nn.MultiheadAttention(8, 2)(x, x, x),
    "mask": lambda T, x: T.nn.MultiheadAttention(6, 2)(x, x, x, attn_mask=x[:, :3] > 0),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_raises_what_torch_raises(name):
    torch = pytest.importorskip("torch")
    with pytest.raises(Exception) as theirs:
        BAD[name](torch, torch.ones(6, 6))
    with pytest.raises(theirs.type):
        BAD[name](T, T.ones(6, 6))


def test_the_causal_mask():
    m = nn.Transformer.generate_square_subsequent_mask(3)
    assert m.isinf().tolist() == [[False, True, True], [False, False, True], [False] * 3]
