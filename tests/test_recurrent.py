"""Recurrent layers and cells against torch: values, first and second gradients, refusals, names."""

from __future__ import annotations

import numpy as np
import pytest
from bodies import body
from witness import refusal, same, torch

import tracegrad as tg

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
OPTIONS = {
    "plain": {},
    "deep and in both directions": {"num_layers": 2, "bidirectional": True},
    "batch first, without biases": {"batch_first": True, "bias": False},
    "deep": {"num_layers": 3, "dropout": 0.0},
}
KINDS = [(kind, options) for kind in GATES for options in OPTIONS.values()] + [
    ("RNN", {"nonlinearity": "relu", "num_layers": 2}),
    ("LSTM", {"proj_size": 2}),
    ("LSTM", {"proj_size": 2, "num_layers": 2, "bidirectional": True, "bias": False}),
]
LENGTHS = [2, 5, 3]


def layer(lib, kind, options, dtype="float64"):
    """A layer of 3 inputs and 4 hidden units with the same numbers for all libraries."""
    made = getattr(lib.nn, kind)(3, 4, dtype=getattr(lib, dtype), **options)
    rng = np.random.default_rng(0)
    with lib.no_grad():
        for p in made.parameters():
            p.copy_(lib.tensor(rng.normal(size=tuple(p.shape)) / 2))
    return made


def states(lib, kind, options):
    rng, rows = np.random.default_rng(1), options.get("num_layers", 1)
    rows *= 2 if options.get("bidirectional") else 1
    widths = [options.get("proj_size", 4), *([4] if kind == "LSTM" else [])]
    return [lib.tensor(rng.normal(size=(rows, 3, w)), requires_grad=True) for w in widths]


def outcome(lib, kind, options, with_state=True, packed=False, second=True, run=lambda f: f):
    """Outputs, last states, gradients, and gradients of their squares."""
    model = layer(lib, kind, options)
    rng = np.random.default_rng(2)
    shape = (3, 5, 3) if options.get("batch_first") else (5, 3, 3)
    x = lib.tensor(rng.normal(size=shape), requires_grad=True)
    first = states(lib, kind, options) if with_state else []
    wanted = [x, *model.parameters(), *first]

    def all_of_it(x, *first):
        hx = None if not first else first if len(first) > 1 else first[0]
        if packed:
            pack = lib.nn.utils.rnn.pack_padded_sequence
            y, last = model(pack(x, LENGTHS, model.batch_first, False), hx)
            y = y.data
        else:
            y, last = model(x, hx)
        last = last if isinstance(last, tuple) else (last,)
        weights = lib.arange(y.numel(), dtype=lib.float64).reshape(y.shape).cos()
        loss = (weights * y * y).sum() + sum((h * h).sum() for h in last)
        grads = lib.autograd.grad(loss, wanted, create_graph=second)
        if not second:
            return (y, *last, *grads)
        return (y, *last, *grads, *lib.autograd.grad(sum((g * g).sum() for g in grads), wanted))

    return run(all_of_it)(x, *first)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind, options", KINDS)
def test_a_layer_is_torchs_to_second_order(kind, options, packed):
    same(outcome(tg, kind, options, packed=packed), outcome(torch, kind, options, packed=packed))


@pytest.mark.parametrize("kind, options", KINDS)
def test_gradients_alone_are_torchs(kind, options):
    for packed in (False, True):
        how = {"with_state": False, "packed": packed, "second": False}
        same(outcome(tg, kind, options, **how), outcome(torch, kind, options, **how))


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_other_dtypes_are_near_torchs(kind, dtype):
    found = []
    for lib in (tg, torch):
        model = layer(lib, kind, {"num_layers": 2}, dtype)
        x = lib.tensor(np.random.default_rng(3).normal(size=(6, 2, 3))).to(getattr(lib, dtype))
        y, _ = model(x.requires_grad_())
        (y.float() ** 2).sum().backward()
        assert str(y.dtype).endswith(dtype)
        found.append([t.detach().float().numpy() for t in (y, x.grad, model.weight_hh_l0.grad)])
    limit = 1e-5 if dtype == "float32" else 0.02
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=limit, atol=limit * 2)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("batch_first", [False, True])
def test_one_sequence_needs_no_batch(kind, batch_first):
    found = []
    for lib in (tg, torch):
        model = layer(lib, kind, {"batch_first": batch_first, "bidirectional": True})
        x = lib.tensor(np.random.default_rng(4).normal(size=(5, 3)))
        first = [s[:, 0].detach() for s in states(lib, kind, {"bidirectional": True})]
        for hx in (None, tuple(first) if kind == "LSTM" else first[0]):
            y, last = model(x, hx)
            found.append([y, *(last if isinstance(last, tuple) else (last,))])
    same(found[0], found[2])
    same(found[1], found[3])


@pytest.mark.parametrize("kind", GATES)
def test_memory_that_is_not_contiguous_reads_the_same(kind):
    found = []
    for lib in (tg, torch):
        x = lib.tensor(np.random.default_rng(5).normal(size=(2, 3, 10)))
        found.append([layer(lib, kind, {})(x.permute(2, 0, 1)[::2])[0]])
    same(*found)


@pytest.mark.parametrize("kind", GATES)
def test_an_empty_batch_has_an_empty_result(kind):
    model = layer(tg, kind, {"num_layers": 2, "bidirectional": True})
    x = tg.zeros(5, 0, 3, dtype=tg.float64, requires_grad=True)
    y, last = model(x)
    assert y.shape == (5, 0, 8) and (last if kind != "LSTM" else last[0]).shape == (4, 0, 4)
    y.sum().backward()
    assert x.grad.shape == x.shape and not model.weight_hh_l0.grad.any()


@pytest.mark.parametrize("kind", GATES)
def test_what_is_not_a_number_stays_in_its_sequence(kind):
    for lib in (tg, torch):
        x = lib.tensor(np.random.default_rng(6).normal(size=(4, 3, 3)))
        x[1, 1] = float("nan")
        y, _ = layer(lib, kind, {})(x)
        assert y.isnan().any(2).tolist() == [[False] * 3] + [[False, True, False]] * 3


def test_dropout_lies_between_layers_and_only_in_training():
    tg.manual_seed(0)
    model, x = tg.nn.GRU(3, 64, 2, dropout=0.5), tg.ones(4, 2, 3)
    assert not tg.equal(model(x)[0], model(x)[0])
    assert not (model(x)[0] == 0).any()  # not after the last
    model.eval()
    assert tg.equal(model(x)[0], model(x)[0])
    model.train()
    model.dropout = 1.0  # the second layer reads zeros alone
    y, _ = model(x)
    assert tg.equal(y, model(-x)[0])


@pytest.mark.parametrize("kind, options", KINDS)
def test_names_shapes_and_text_are_torchs(kind, options):
    mine, theirs = (getattr(lib.nn, kind)(3, 4, **options) for lib in (tg, torch))
    shapes = [[(n, tuple(p.shape)) for n, p in m.named_parameters()] for m in (mine, theirs)]
    assert shapes[0] == shapes[1] and repr(mine) == repr(theirs)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    assert [len(ps) for ps in mine.all_weights] == [len(ps) for ps in theirs.all_weights]
    assert mine.flatten_parameters() is None
    for p in mine.parameters():
        assert 0 < abs(p.detach().numpy()).max() <= 0.5  # 1 / sqrt(4)


def test_outputs_may_be_changed_before_backward():
    found = []
    for lib in (tg, torch):
        model, x = layer(lib, "GRU", {}), lib.ones(4, 2, 3, dtype=lib.float64, requires_grad=True)
        y, h = model(x)
        y *= 2
        h += 1
        (y.sum() + (h**2).sum()).backward()
        found.append([y, h, x.grad])
    same(*found)


def test_a_state_that_changed_before_backward_is_refused():
    for lib in (tg, torch):
        h = lib.zeros(1, 2, 4, dtype=lib.float64)
        y, _ = layer(lib, "GRU", {})(lib.ones(4, 2, 3, dtype=lib.float64), h)
        h += 1
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


# ---- torch's functions
FUNCTIONS = {"lstm": ("LSTM", {}), "gru": ("GRU", {}), "rnn_tanh": ("RNN", {}),
             "rnn_relu": ("RNN", {"nonlinearity": "relu"})}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_torchs_arguments_in_both_forms(name, packed):
    kind, options = FUNCTIONS[name]
    found = []
    for lib in (tg, torch):
        function, weights = getattr(lib, name), list(layer(lib, kind, options).parameters())
        hx = [s.detach() for s in states(lib, kind, {})]
        hx = tuple(hx) if kind == "LSTM" else hx[0]
        x = lib.tensor(np.random.default_rng(8).normal(size=(8, 3) if packed else (5, 3, 3)))
        rest = {"params": weights, "has_biases": True, "num_layers": 1, "dropout": 0.0,
                "train": False, "bidirectional": False}
        if packed:
            named = {"data": x, "batch_sizes": lib.tensor([3, 2, 2, 1]), "hx": hx, **rest}
        else:
            named = {"input": x, "hx": hx, **rest, "batch_first": False}
        found.append([*function(**named), *function(*named.values())])
    same(*found)


# ---- cells
CELLS = [("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu"}), ("LSTMCell", {}),
         ("GRUCell", {}), ("GRUCell", {"bias": False})]


@pytest.mark.parametrize("kind, options", CELLS)
@pytest.mark.parametrize("batch", [(), (5,), (0,)])
def test_a_cell_is_torchs(kind, options, batch):
    found = []
    for lib in (tg, torch):
        cell, rng = layer(lib, kind, options), np.random.default_rng(7)
        x, h, c = (lib.tensor(rng.normal(size=(*batch, n)), requires_grad=True) for n in (3, 4, 4))
        hx = (h, c) if kind == "LSTMCell" else h
        ys = [y for s in (None, hx) for y in _listed(cell(x, s))]
        sum((y * y).sum() for y in ys).backward()
        found.append([*ys, x.grad, h.grad, *(p.grad for p in cell.parameters())])
    same(*found)
    assert repr(getattr(tg.nn, kind)(3, 4, **options)) == repr(
        getattr(torch.nn, kind)(3, 4, **options)
    )


def _listed(y):
    return list(y) if isinstance(y, tuple) else [y]


# ---- refusals
def z(lib, *shape, **kind):
    return lib.zeros(*shape, **kind)


REFUSED = [
    lambda L: L.nn.LSTM(3, 4)(z(L, 0, 2, 3)),
    lambda L: L.nn.LSTM(3, 4)(z(L, 3)),
    lambda L: L.nn.RNN(3, 4)(z(L, 3)),
    lambda L: L.nn.GRU(3, 4)(z(L, 5, 2, 3), z(L, 1, 4)),
    lambda L: L.nn.GRU(3, 4)(z(L, 5, 3), z(L, 1, 1, 4)),
    lambda L: L.nn.RNN(3, 4)(z(L, 5, 2, 3), z(L, 1, 3, 4)),
    lambda L: L.nn.LSTM(3, 4)(z(L, 5, 2, 3), (z(L, 1, 2, 4), z(L, 1, 2, 5))),
    lambda L: L.nn.LSTM(3, 4)(z(L, 5, 2, 3), (z(L, 1, 4), z(L, 1, 4))),
    lambda L: L.nn.LSTM(3, 4)(z(L, 5, 3), (z(L, 1, 1, 4), z(L, 1, 1, 4))),
    lambda L: L.nn.LSTM(3, 4)(z(L, 5, 2, 4)),
    lambda L: L.nn.GRUCell(3, 4)(z(L, 2, 2, 3)),
    lambda L: L.nn.LSTMCell(3, 4)(z(L, 2, 2, 3)),
    lambda L: L.nn.RNNCell(3, 4)(z(L, 2, 3), z(L, 1, 2, 4)),
    lambda L: L.nn.LSTMCell(3, 4)(z(L, 2, 3), (z(L, 2, 4), z(L, 1, 2, 4))),
    lambda L: L.nn.GRUCell(3, 4)(z(L, 2, 3), z(L, 3, 4)),
    lambda L: L.nn.GRUCell(3, 4)(z(L, 2, 4)),
    lambda L: L.nn.GRUCell(3, 4)(z(L, 2, 3), z(L, 2, 5)),
    lambda L: L.nn.LSTMCell(3, 4)(z(L, 2, 3), (z(L, 2, 4), z(L, 3, 4))),
    lambda L: L.nn.LSTMCell(3, 4)(z(L, 2, 3), (z(L, 2, 4),)),
    lambda L: L.nn.LSTMCell(3, 4)(z(L, 2, 3), z(L, 2, 4)),
    lambda L: L.nn.RNNCell(3, 4, nonlinearity="sin")(z(L, 2, 3)),
    lambda L: L.nn.LSTM(3, 4, dropout=2.0),
    lambda L: L.nn.LSTM(3, 4, dropout=True),
    lambda L: L.nn.LSTM(3, 4, bias=1),
    lambda L: L.nn.LSTM(3, 4, batch_first=1),
    lambda L: L.nn.LSTM(3, 4, proj_size=-1),
    lambda L: L.nn.LSTM(3, 4, proj_size=4),
    lambda L: L.nn.GRU(3, 4, proj_size=2),
    lambda L: L.nn.LSTM(3, 4, num_layers=0),
    lambda L: L.nn.RNN(3, 4, nonlinearity="sin"),
    lambda L: L.nn.LSTM(0, 4),
    lambda L: L.nn.LSTM(3, 0),
    lambda L: L.nn.LSTM(3.0, 4),
    lambda L: L.nn.RNNBase("sin", 3, 4),
    lambda L: L.nn.RNNBase("GRU", 3, 4)(z(L, 2, 3)),
    lambda L: L.lstm(z(L, 5, 2, 3), [z(L, 1, 2, 4)], [], True, 1, 0.0, False, False, False),
]
WORDED_OTHERWISE = [  # the same class, in other words
    lambda L: L.gru(z(L, 5, 2, 3), z(L, 1, 2, 4), [z(L, 12, 3)], True, 1, 0.0, False, False, False),
    lambda L: L.gru(z(L, 5, 2), z(L, 1, 2, 4), [z(L, 12, 3), z(L, 12, 4)], False, 1, 0.0, False,
                    False, False),
    lambda L: L.rnn_tanh(z(L, 5, 2, 3), z(L, 1, 2, 5), [z(L, 4, 3), z(L, 4, 4)], False, 1, 0.0,
                         False, False, False),
    lambda L: L.gru(),
    lambda L: L.gru(z(L, 5, 2, 3), z(L, 1, 2, 4), [z(L, 12, 3), z(L, 12, 4)], False, 1, 0.0, False,
                    False, False, train=True),
    lambda L: L.gru(z(L, 5, 2, 3), z(L, 1, 2, 4)),
    lambda L: L.nn.GRU(3, 4)(z(L, 5, 2, 3), z(L, 1, 2, 4).double()),
    lambda L: L.nn.RNN(3, 4)(z(L, 5, 2, 3).double()),
    lambda L: L.nn.LSTM(3, 4)(z(L, 5, 2, 3), (z(L, 1, 2, 4).double(), z(L, 1, 2, 4))),
    lambda L: L.nn.GRUCell(3, 4)(z(L, 2, 3).double()),
    lambda L: L.nn.GRUCell(3, 4)(z(L, 4, 3), z(L, 4)),
    lambda L: L.nn.GRU(3, 4, hidden=2),
    lambda L: L.nn.LSTM(3),
]


@pytest.mark.parametrize("program", REFUSED, ids=body)
def test_a_refusal_is_in_torchs_words(program):
    assert refusal(tg, program) == refusal(torch, program)


@pytest.mark.parametrize("program", WORDED_OTHERWISE, ids=body)
def test_a_refusal_has_torchs_class(program):
    assert refusal(tg, program)[0] is refusal(torch, program)[0]


def test_dropout_of_one_layer_warns_at_the_users_line():
    for make in (tg.nn.LSTM, tg.nn.GRU, tg.nn.RNN):
        with pytest.warns(UserWarning, match="expects num_layers greater than 1") as caught:
            make(3, 4, dropout=0.5)
        assert caught[0].filename == __file__
