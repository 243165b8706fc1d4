"""How results lie in memory, eagerly and compiled, against torch: new tensors like another, copies
in a memory format, and what is computed element by element.
"""

from __future__ import annotations

import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")

LAYOUTS = {
    "in order": lambda T: T.arange(24.0).reshape(2, 3, 4),
    "permuted": lambda T: T.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
    "matrix": lambda T: T.arange(6.0).reshape(2, 3).t(),
    "with gaps": lambda T: T.arange(48.0).reshape(2, 3, 8)[:, :, ::2],
    "permuted gaps": lambda T: T.arange(48.0).reshape(2, 3, 8)[:, :, ::2].transpose(0, 2),
    "expanded": lambda T: T.arange(12.0).reshape(1, 3, 4).expand(2, 3, 4),
    "expanded inside": lambda T: T.arange(6.0).reshape(2, 3, 1).expand(2, 3, 4),
    "expanded matrix": lambda T: T.arange(6.0).reshape(2, 3).t()[None].expand(4, 3, 2),
    "overlapping": lambda T: T.arange(10.0).as_strided((3, 4), (2, 1)),
    "one row": lambda T: T.arange(4.0).reshape(1, 4).t(),
    "channels last": lambda T: T.arange(120.0).reshape(2, 4, 5, 3).permute(0, 3, 1, 2),
    "images": lambda T: T.arange(120.0).reshape(2, 3, 4, 5),
    "one channel": lambda T: T.arange(40.0).reshape(2, 4, 5, 1).permute(0, 3, 1, 2),
    "0-d": lambda T: T.tensor(2.0),
    "channels last 3d": lambda T: T.arange(48.0).reshape(1, 2, 2, 4, 3).permute(0, 4, 1, 2, 3),
}
LIKE = "zeros_like ones_like empty_like rand_like randn_like".split()
FORMATS = "contiguous_format preserve_format channels_last channels_last_3d".split()
MADE = {
    **{name: lambda T, x, name=name: getattr(T, name)(x) for name in LIKE},
    **{f"{name} {form}": lambda T, x, name=name, form=form: getattr(T, name)(
        x, memory_format=getattr(T, form)) for name in ("zeros_like", "randn_like")
       for form in FORMATS},
    "full_like": lambda T, x: T.full_like(x, 2),
    "randint_like": lambda T, x: T.randint_like(x, 2),
    "clone": lambda T, x: x.clone(),
    "to": lambda T, x: x.to(T.float64),
    **{f"clone {form}": lambda T, x, form=form: x.clone(memory_format=getattr(T, form))
       for form in FORMATS},
    **{f"to {form}": lambda T, x, form=form: x.to(T.float64, memory_format=getattr(T, form))
       for form in FORMATS},
    **{f"to copy {form}": lambda T, x, form=form: x.to(
        T.float32, copy=True, memory_format=getattr(T, form)) for form in FORMATS},
    **{f"to itself {form}": lambda T, x, form=form: x.to(
        T.float32, memory_format=getattr(T, form)) for form in FORMATS},
    **{f"contiguous {form}": lambda T, x, form=form: x.contiguous(memory_format=getattr(T, form))
       for form in FORMATS},
}
COMPUTED = {
    "exp": lambda T, x: x.exp(),
    "bool": lambda T, x: x.bool(),
    "x + x": lambda T, x: x + x,
    "x + 1": lambda T, x: x + 1,
    "beside another order": lambda T, x: x + T.ones(tuple(x.shape)),
    "another order beside": lambda T, x: T.ones(tuple(x.shape)) + x,
    "a row beside": lambda T, x: T.ones(tuple(x.shape)[-1:]) * x,
    "x > 1": lambda T, x: x > 1,
    "where": lambda T, x: T.where(x > 0, x, 0.0),
    "clamp": lambda T, x: x.clamp(0, 1),
    "lerp": lambda T, x: T.lerp(x, x * 2, 0.5),
    "addcmul": lambda T, x: T.addcmul(x, x, x),
    "gelu": lambda T, x: T.nn.functional.gelu(x),
    "dropout": lambda T, x: T.nn.functional.dropout(x, 0.5),
    "masked_fill": lambda T, x: x.masked_fill(x > 3, 0.0),
    "softmax": lambda T, x: x.softmax(-1),
    "layer_norm": lambda T, x: T.nn.functional.layer_norm(x, tuple(x.shape)[-1:]),
    "batch_norm": lambda T, x: T.nn.functional.batch_norm(x, None, None, training=True),
    "sum": lambda T, x: x.sum(-1, keepdim=True),
    "clone().add_": lambda T, x: x.clone().add_(1),
    "a chain": lambda T, x: ((x + 1).transpose(0, -1) * 2 if x.ndim else x) / 3,
}


def strides(lib, function, layout, compiled=False):
    """Those that a position can be multiplied with, or the class of the refusal."""
    run = lambda x: function(lib, x)
    x = LAYOUTS[layout](lib)
    try:
        y = (tg.compile(run) if compiled else run)(x)
    except (RuntimeError, IndexError) as error:
        return next(c for c in type(error).__mro__ if c.__module__ == "builtins")
    return [s for n, s in zip(y.shape, y.stride(), strict=True) if n > 1], y is x


@pytest.mark.parametrize("name", [*MADE, *COMPUTED])
def test_results_lie_in_memory_as_torchs(name):
    function = {**MADE, **COMPUTED}[name]
    wrong = []
    for layout in LAYOUTS:
        want = strides(torch, function, layout)
        # what torch refuses of a shape is the business of other tests
        if isinstance(want, tuple) or name in MADE:
            found = strides(tg, function, layout), strides(tg, function, layout, compiled=True)
            wrong += [(layout, mine, want) for mine in found if mine != want]
    assert not wrong


def test_a_layout_asks_what_torch_answers():
    for layout, make in LAYOUTS.items():
        for form in FORMATS:
            if form != "preserve_format":
                mine, theirs = (
                    make(T).is_contiguous(memory_format=getattr(T, form)) for T in (tg, torch)
                )
                assert mine == theirs, (layout, form)


def test_a_reshape_of_a_compiled_result_shares_memory_as_an_eager_one():
    def views(x):
        y = x.t() + 1
        return y, y.t().reshape(-1)

    for f in (views, tg.compile(views)):
        y, flat = f(tg.arange(6.0).reshape(2, 3))
        flat[0] = -1
        assert y[0, 0].item() == -1 and y.stride() == (1, 3)
