"""torch's old names for tensors of one dtype, and what is said of arguments that are no tensors."""

from __future__ import annotations

import pickle

import pytest
from bodies import body

import tracegrad as tg
from tracegrad.autograd import forward_ad

NAMES = ["Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"]


@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_type_makes_knows_and_converts(name):
    torch = pytest.importorskip("torch")
    for T in (tg, torch):
        kind = getattr(T, f"{name}Tensor")
        made = kind([1, 0])
        assert made.tolist() == [1, 0] and kind(2, 3).shape == (2, 3) and kind().shape == (0,)
        assert isinstance(made, kind) and not isinstance(T.ones(1).to(T.bfloat16), T.FloatTensor)
        assert T.ones(2).type(kind).dtype is made.dtype
        assert made.type().endswith(f".{name}Tensor") and repr(kind).endswith(f".{name}Tensor'>")


@pytest.mark.parametrize("call", [
    lambda: tg.sum(3), lambda: tg.exp([1.0]), lambda: tg.softmax(None, 0), lambda: tg.add(1, 2),
    lambda: tg.relu("x"), lambda: tg.squeeze(3), lambda: tg.nn.functional.relu(3),
    lambda: tg.nn.functional.dropout([1.0]), lambda: tg.nn.functional.max_pool2d(None, 2),
    lambda: tg.nn.functional.one_hot(3), lambda: tg.nn.functional.layer_norm(1, (1,)),
], ids=body)
def test_an_argument_that_is_no_tensor_is_a_type_error(call):
    with pytest.raises(TypeError, match="Tensor"):
        call()


def test_the_class_is_shown_and_pickled_by_its_public_name():
    assert repr(tg.Tensor) == "<class 'tracegrad.Tensor'>"
    assert pickle.loads(pickle.dumps(tg.Tensor)) is tg.Tensor


def test_a_tangent_has_a_history_only_where_it_leads_on():
    for trained in (False, True):
        x = tg.tensor([1.0, 2.0], requires_grad=trained)
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x, tg.tensor([1.0, 0.0]))
            tangent = forward_ad.unpack_dual(dual * dual).tangent
        assert tangent.tolist() == [2, 0] and tangent.requires_grad is trained
