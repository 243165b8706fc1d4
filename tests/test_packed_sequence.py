"""nn.utils.rnn against torch: packed and padded sequences, their layout, refusals, and layers."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from bodies import body
from witness import refusal, torch

import tracegrad as tg


def z(L, *shape, **kind):
    return L.zeros(*shape, **kind)


def x(L):
    return L.arange(12.0).reshape(3, 2, 2)


def ints(L, *values):
    return L.tensor(values, dtype=L.int64)


def packed(L):
    return L.nn.utils.rnn.pack_padded_sequence(x(L), [2, 3], enforce_sorted=False)


def plain(y):
    """Lists in place of tensors and packed sequences."""
    if isinstance(y, (tuple, list)):
        return [plain(part) for part in y]
    return (str(y.dtype).split(".")[1], y.tolist()) if hasattr(y, "tolist") else y


RESULTS = [
    lambda L, R: R.pack_padded_sequence(x(L), [3, 2]),
    lambda L, R: R.pack_padded_sequence(x(L), ints(L, 3, 2)),
    lambda L, R: R.pack_padded_sequence(x(L), L.tensor([3, 1], dtype=L.int32)),
    lambda L, R: R.pack_padded_sequence(x(L), L.tensor([3.0, 2.0])),
    lambda L, R: R.pack_padded_sequence(x(L), [2, 3], enforce_sorted=False),
    lambda L, R: R.pack_padded_sequence(x(L), (2, 1)),
    lambda L, R: R.pack_padded_sequence(x(L).transpose(0, 1), [3, 2], batch_first=True),
    lambda L, R: R.pack_padded_sequence(x(L).transpose(0, 1), [1, 3], True, False),
    lambda L, R: R.pack_padded_sequence(x(L)[..., 0], [3, 1]),
    lambda L, R: R.pack_padded_sequence(x(L).reshape(3, 2, 1, 2).int(), [2, 2]),
    lambda L, R: R.pad_packed_sequence(packed(L)),
    lambda L, R: R.pad_packed_sequence(packed(L), True, -1.0, 5),
    lambda L, R: R.pad_packed_sequence(packed(L).long(), padding_value=7),
    lambda L, R: R.pad_packed_sequence(packed(L).long(), total_length=4),
    lambda L, R: R.pad_packed_sequence(packed(L).int(), padding_value=1.5),
    lambda L, R: R.pad_packed_sequence(packed(L).double(), False, 3, 4),
    lambda L, R: R.pad_packed_sequence(R.pack_padded_sequence(x(L)[..., 0], [3, 1]), True),
    lambda L, R: R.pack_sequence([z(L, 3, 2), L.ones(2, 2)]),
    lambda L, R: R.pack_sequence([z(L, 2), L.ones(3)], enforce_sorted=False),
    lambda L, R: R.unpack_sequence(packed(L)),
    lambda L, R: R.unpack_sequence(R.pack_sequence([z(L, 2), z(L, 3)], False)),
    lambda L, R: R.invert_permutation(None),
    lambda L, R: R.invert_permutation(ints(L, 2, 0, 1)),
    lambda L, R: R.pad_sequence(z(L, 2, 3)),
    lambda L, R: R.pad_sequence(iter([z(L, 2), z(L, 3)])),
    lambda L, R: R.pad_sequence([z(L, 0, 3), z(L, 0, 3)]),
    lambda L, R: R.pad_sequence([z(L, 2).long(), z(L, 3).long()], padding_value=2),
    lambda L, R: R.unpad_sequence(x(L)[:, 0], ints(L, 2, -1, 5), True),
    lambda L, R: R.PackedSequence(z(L, 3), ints(L, 2, 1), ints(L, 1, 0)),
    lambda L, R: R.PackedSequence((z(L, 3), ints(L, 1, 1, 1))),
    lambda L, R: packed(L)._replace(data=packed(L).data + 1),
    lambda L, R: [packed(L).double(), packed(L).half(), packed(L).int(), packed(L).short(),
                  packed(L).char(), packed(L).byte(), packed(L).to(L.float64)],
    lambda L, R: [packed(L).is_cuda, packed(L).is_pinned()],
]
REFUSED = [
    lambda L, R: R.pack_padded_sequence(x(L), [2, 3]),
    lambda L, R: R.pack_padded_sequence(x(L), [3, 0]),
    lambda L, R: R.pack_padded_sequence(x(L), [3]),
    lambda L, R: R.pack_padded_sequence(x(L), [3, 2, 1]),
    lambda L, R: R.pack_padded_sequence(x(L), L.tensor([[3, 2]])),
    lambda L, R: R.pack_padded_sequence(x(L), 3),
    lambda L, R: R.pack_padded_sequence(z(L, 0, 2, 2), [0, 0]),
    lambda L, R: R.pack_padded_sequence(z(L, 3, 0, 2), []),
    lambda L, R: R.pack_padded_sequence([1], [3]),
    lambda L, R: R.pad_packed_sequence(packed(L), total_length=2),
    lambda L, R: R.pad_packed_sequence(x(L)),
    lambda L, R: R.pack_sequence([z(L, 2), z(L, 3)]),
    lambda L, R: R.pack_sequence([]),
    lambda L, R: R.pack_sequence([z(L, 2), z(L, 0)]),
    lambda L, R: R.pad_sequence(3),
    lambda L, R: R.pad_sequence([3]),
    lambda L, R: R.PackedSequence(z(L, 3)),
    lambda L, R: packed(L).pin_memory(),
    lambda L, R: R.PackedSequence(z(L, 3), None),
    lambda L, R: L.nn.GRU(2, 4)(packed(L), z(L, 2, 4)),
    lambda L, R: L.nn.GRU(2, 4)(R.PackedSequence(z(L, 3, 2, 2), ints(L, 2, 1))),
]
WORDED_OTHERWISE = [
    lambda L, R: R.pack_padded_sequence(z(L, 3), [3]),
    lambda L, R: R.pad_packed_sequence(R.PackedSequence(z(L, 3, 2), ints(L, 2, 2))),
    lambda L, R: R.pad_packed_sequence(R.PackedSequence(z(L, 4, 2), ints(L, 1, 3))),
    lambda L, R: R.pad_sequence([z(L, 2), z(L, 2, 3)]),
    lambda L, R: R.pad_sequence([z(L, ())]),
    lambda L, R: R.unpad_sequence(z(L, 2, 3), ints(L, 3), True),
    lambda L, R: L.nn.RNN(3, 4)(packed(L)),
]


@pytest.mark.parametrize("program", RESULTS, ids=body)
def test_a_result_is_torchs(program):
    mine, theirs = (plain(program(L, L.nn.utils.rnn)) for L in (tg, torch))
    assert mine == theirs


@pytest.mark.parametrize("program", REFUSED, ids=body)
def test_a_refusal_is_in_torchs_words(program):
    mine, theirs = (refusal(L, lambda L: program(L, L.nn.utils.rnn)) for L in (tg, torch))
    assert mine == theirs


@pytest.mark.parametrize("program", WORDED_OTHERWISE, ids=body)
def test_a_refusal_has_torchs_class(program):
    mine, theirs = (refusal(L, lambda L: program(L, L.nn.utils.rnn))[0] for L in (tg, torch))
    assert mine is theirs


WRONG = {  # torch reads beyond the end of the memory, or computes something
    "longer than the tensor": lambda R: R.pack_padded_sequence(x(tg), [4, 2]),
    "rows that no sequence has": lambda R: tg.nn.GRU(3, 4)(
        R.PackedSequence(tg.zeros(6, 3), tg.tensor([2, 2, 1]))
    ),
    "sequences that begin later": lambda R: tg.nn.GRU(3, 4)(
        R.PackedSequence(tg.zeros(5, 3), tg.tensor([1, 2, 2])), tg.zeros(1, 1, 4)
    ),
    "states of more sequences": lambda R: tg.gru(
        tg.zeros(5, 3), tg.tensor([2, 2, 1]), tg.zeros(1, 3, 4),
        [tg.zeros(12, 3), tg.zeros(12, 4)], False, 1, 0.0, False, False
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_torch_does_not_look_at_is_refused(name):
    with pytest.raises(RuntimeError, match="batch_sizes|exceeds dimension size"):
        WRONG[name](tg.nn.utils.rnn)


def test_it_is_a_named_tuple():
    p = packed(tg)
    data, sizes, order, back = p
    assert isinstance(p, tuple) and len(p) == 4 and p[0] is p.data is data
    assert (sizes.tolist(), order.tolist(), back.tolist()) == ([2, 2, 1], [1, 0], [1, 0])
    assert p._fields == packed(torch)._fields and repr(p) == repr(packed(torch))
    assert p.to(tg.float32) is p and p.cpu() is p and p.float() is p
    assert type(p.double()) is tg.nn.utils.rnn.PackedSequence


def test_it_can_be_copied_and_pickled():
    for p in (copy.deepcopy(packed(tg)), pickle.loads(pickle.dumps(packed(tg)))):
        assert plain(p) == plain(packed(tg)) and type(p) is tg.nn.utils.rnn.PackedSequence


def test_gradients_go_through_packing_and_padding():
    found = []
    for L in (tg, torch):
        R, a = L.nn.utils.rnn, x(L).requires_grad_()
        p = R.pack_padded_sequence(a, [1, 3], enforce_sorted=False)
        y, _ = R.pad_packed_sequence(p._replace(data=p.data**2), total_length=4)
        (y * L.arange(16.0).reshape(4, 2, 2)).sum().backward()
        found.append(a.grad.numpy())
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_layer_treats_each_sequence_as_if_it_were_alone(kind):
    R = tg.nn.utils.rnn
    model = getattr(tg.nn, kind)(2, 4, 2, bidirectional=True)
    sequences = [tg.randn(n, 2) for n in (3, 5, 1)]
    y, last = model(R.pack_sequence(sequences, enforce_sorted=False))
    last = last if kind == "LSTM" else (last,)
    for k, (row, s) in enumerate(zip(R.unpack_sequence(y), sequences, strict=True)):
        alone, state = model(s)
        state = state if kind == "LSTM" else (state,)
        pairs = [(row, alone), *zip([h[:, k] for h in last], state, strict=True)]
        assert all(tg.allclose(a, b, atol=1e-6) for a, b in pairs)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("ill", [0, 1, 2])
def test_no_sequence_sees_the_nans_of_another(kind, ill):
    R, model = tg.nn.utils.rnn, getattr(tg.nn, kind)(2, 4, bidirectional=True)
    x = tg.randn(5, 3, 2)
    x[0, ill] = float("nan")
    x.requires_grad_()
    y, _ = R.pad_packed_sequence(model(R.pack_padded_sequence(x, [5, 3, 1]))[0])
    y.sum().backward()
    for k in range(3):
        assert (k == ill) == bool(x.grad[:, k].isnan().any())


@pytest.mark.parametrize("where", ["outside", "inside"])
def test_compiled_is_eager(where):
    R, model, data = tg.nn.utils.rnn, tg.nn.LSTM(2, 4, bidirectional=True), tg.randn(5, 3, 2)

    def pack(data):
        return R.pack_padded_sequence(data, [2, 5, 3], enforce_sorted=False)

    value = pack(data) if where == "outside" else data
    loss = model if where == "outside" else lambda data: model(pack(data))
    run = tg.compile(loss)
    for _ in range(2):
        (mine, (h, c)), (theirs, state) = run(value), loss(value)
        assert type(mine) is R.PackedSequence and plain(mine[1:]) == plain(theirs[1:])
        pairs = zip((mine.data, h, c), (theirs.data, *state), strict=True)
        assert all(tg.allclose(a, b, atol=1e-6) for a, b in pairs)
