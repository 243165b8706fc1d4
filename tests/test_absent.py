"""What is said of a name that is missing: torch's or nobody's, and what is near."""

from __future__ import annotations

import pickle

import pytest
from processes import start

import tracegrad as tg
from tracegrad.absent import SPACES
from tracegrad.torch_names import NAMES

HERE = {
    "a function of torch": (lambda: tg.sparse_coo_tensor, "torch.sparse_coo_tensor is not part of"),
    "with complex numbers": (lambda: tg.stft, "torch.stft .*: complex numbers are not"),
    "a method of torch": (lambda: tg.ones(2).to_sparse, "torch.Tensor.to_sparse is not part"),
    "of torch's optimizers": (
        lambda: tg.optim.swap_in_optimizer_params_and_state, "torch.optim.swap.* is not part"
    ),
    "nobody's": (lambda: tg.sofmax, "'sofmax'. Near: softmax"),
    "nobody's method": (lambda: tg.ones(2).logsofmax, "no attribute 'logsofmax'. Near: log"),
    "nobody's module": (lambda: tg.nn.Liner, "Near: Linear"),
    "somewhere else": (lambda: tg.cross_entropy, "Near: tracegrad.nn.functional.cross_entropy"),
    "a function, no method": (lambda: tg.ones(2).softplus, "tracegrad.nn.functional.softplus"),
    "a class elsewhere": (lambda: tg.Linear, "Near: tracegrad.nn.Linear"),
    "of a parameter": (lambda: tg.nn.Parameter(tg.ones(2)).grd, "'Parameter' object .* Near: grad"),
}


@pytest.mark.parametrize("name", HERE)
def test_a_missing_name_says_whose_it_is_and_what_is_near(name):
    call, words = HERE[name]
    with pytest.raises(AttributeError, match=words):
        call()


def test_hasattr_and_getattr_mean_what_they_mean():
    assert not hasattr(tg, "sparse") and not hasattr(tg.ones(2), "to_sparse")
    assert getattr(tg, "nothing", 3) == getattr(tg.ones(2), "nothing", 3) == 3
    with pytest.raises(ImportError):
        from tracegrad import nothing  # noqa: F401


def test_the_error_can_be_pickled():
    with pytest.raises(AttributeError) as caught:
        tg.nothing  # noqa: B018
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def misspelt():
    return tg.nn.Linear(1, 1).wieght


def test_an_attribute_of_a_module_names_its_neighbour():
    _, words = start(misspelt).communicate()
    assert "no attribute 'wieght'. Did you mean: 'weight'?" in words


def test_the_list_of_names_is_torchs():
    torch = pytest.importorskip("torch")
    for space in SPACES:
        root = torch
        for part in filter(None, space.split(".")):
            root = getattr(root, part)
        assert not [n for n in NAMES[space].split() if not hasattr(root, n)], space
    missing = [n for n in dir(torch.Tensor) if n[0] != "_" and n not in NAMES["Tensor"].split()]
    assert missing == []
