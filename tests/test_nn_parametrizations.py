"""nn.utils: parametrize, weight and spectral norm in both forms, orthogonal, prune, fusion."""

from __future__ import annotations

import copy
import importlib
import pickle

import numpy as np
import pytest

import tracegrad as tg
from tracegrad import nn
from tracegrad.nn.utils import fusion, parametrizations, parametrize, prune, skip_init

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def _chosen(module, how, name="weight", **options):
    return how(module.nn.Linear(4, 3).double(), name=name, **options)


CASES = {
    "weight norm": lambda m, u: _chosen(m, u.parametrizations.weight_norm),
    "weight norm by columns": lambda m, u: _chosen(m, u.parametrizations.weight_norm, dim=1),
    "weight norm of all": lambda m, u: _chosen(m, u.parametrizations.weight_norm, dim=None),
    "weight norm of a bias": lambda m, u: _chosen(m, u.parametrizations.weight_norm, "bias"),
    "spectral norm": lambda m, u: _chosen(m, u.parametrizations.spectral_norm,
                                          n_power_iterations=2),
    "spectral norm of a bias": lambda m, u: _chosen(m, u.parametrizations.spectral_norm, "bias"),
    "orthogonal": lambda m, u: _chosen(m, u.parametrizations.orthogonal),
    "orthogonal without a base": lambda m, u: _chosen(
        m, u.parametrizations.orthogonal, use_trivialization=False),
    "Cayley": lambda m, u: _chosen(m, u.parametrizations.orthogonal, orthogonal_map="cayley"),
    "exponential": lambda m, u: _chosen(
        m, u.parametrizations.orthogonal, orthogonal_map="matrix_exp"),
    "weight norm by a hook": lambda m, u: _chosen(m, u.weight_norm),
    "spectral norm by a hook": lambda m, u: _chosen(m, u.spectral_norm),
    "pruned twice": lambda m, u: u.prune.random_unstructured(
        _chosen(m, u.prune.l1_unstructured, amount=0.3), "weight", 2),
    "pruned by rows": lambda m, u: _chosen(m, u.prune.ln_structured, amount=1, n=2, dim=0),
}


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES)
def test_three_steps_are_those_of_torch(case, compiled):
    torch = pytest.importorskip("torch")
    importlib.import_module("torch.nn.utils.prune")
    theirs, ours = CASES[case](torch, torch.nn.utils), CASES[case](tg, nn.utils)
    state = {k: tg.tensor(v.numpy().copy()) for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    assert repr(ours) == repr(theirs)
    opt_t = torch.optim.SGD(theirs.parameters(), 0.1, 0.9)
    opt_o = tg.optim.SGD(ours.parameters(), 0.1, 0.9)
    x = np.random.default_rng(0).normal(size=(6, 4))

    def step(x):
        opt_o.zero_grad()
        loss = (ours(x) ** 2).sum()
        loss.backward()
        opt_o.step()
        return loss

    run = tg.compile(step) if compiled else step
    for _ in range(3):
        opt_t.zero_grad()
        loss = (theirs(torch.tensor(x)) ** 2).sum()
        loss.backward()
        opt_t.step()
        np.testing.assert_allclose(run(tg.tensor(x)).item(), loss.item(), rtol=1e-10)
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name].numpy(), value.numpy(),
                                   rtol=1e-8, atol=1e-9, err_msg=name)


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).mT

    def right_inverse(self, x):
        return x.triu()


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


def test_a_chain_is_read_assigned_copied_and_removed():
    layer = nn.Linear(3, 3)
    before = layer.weight
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert parametrize.is_parametrized(layer, "weight")
    assert not parametrize.is_parametrized(layer, "bias")
    assert layer.parametrizations.weight.original is before  # optimizers keep it
    assert type(layer).__name__ == "ParametrizedLinear" and isinstance(layer, nn.Linear)
    assert parametrize.type_before_parametrizations(layer) is nn.Linear
    layer.weight = tg.ones(3, 3) * 2
    assert layer.weight.tolist() == [[2.0] * 3] * 3
    other = copy.deepcopy(layer)
    parametrize.register_parametrization(layer, "weight", Doubled())
    assert layer.weight[0, 0] == 4 and other.weight[0, 0] == 2
    with pytest.raises(RuntimeError, match="does not implement right_inverse"):
        layer.weight = tg.ones(3, 3)
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear and layer.weight is before and layer.weight[0, 0] == 4
    assert list(layer.state_dict()) == ["bias", "weight"] and other.weight[1, 0] == 2
    with pytest.raises(RuntimeError, match="state_dict"):
        pickle.dumps(other)


def test_cached_computes_once():
    calls = []

    class Counted(nn.Module):
        def forward(self, x):
            calls.append(1)
            return x * 1

    layer = parametrize.register_parametrization(nn.Linear(2, 2), "weight", Counted())
    calls.clear()
    with parametrize.cached():
        _ = layer.weight, layer(tg.ones(2))
    assert len(calls) == 1
    _ = layer.weight, layer.weight
    assert len(calls) == 3


def test_a_parametrization_that_does_not_fit_changes_nothing():
    class Wide(nn.Module):
        def forward(self, x):
            return tg.cat([x, x])

    layer = nn.Linear(2, 2)
    for name, words in (("weight", "change the shape"), ("none", "does not have")):
        with pytest.raises(ValueError, match=words):
            parametrize.register_parametrization(layer, name, Wide())
    assert type(layer) is nn.Linear and list(layer.state_dict()) == ["weight", "bias"]
    parametrize.register_parametrization(layer, "weight", Wide(), unsafe=True)
    assert layer.weight.shape == (4, 2)


def test_transferred_parametrizations():
    one = parametrizations.weight_norm(nn.Linear(2, 3))
    two = parametrize.transfer_parametrizations_and_params(one, nn.Linear(2, 3))
    assert tg.equal(one.weight, two.weight) and parametrize.is_parametrized(two, "weight")


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (3, 3), (2, 4, 3)])
@pytest.mark.parametrize("kind", ["householder", "matrix_exp", "cayley"])
def test_orthogonal_keeps_what_is_assigned(shape, kind):
    module = nn.Module()
    module.w = nn.Parameter(tg.randn(shape, dtype=tg.float64))
    parametrizations.orthogonal(module, "w", kind)
    q = tg.linalg.qr(tg.randn(*shape[:-2], 4, 4, dtype=tg.float64))[0]
    q = q[..., : shape[-2], : shape[-1]]
    q = tg.linalg.qr(q)[0] if shape[-2] == shape[-1] else q
    module.w = q
    assert (module.w - q).abs().max() < 1e-12
    short = module.w if shape[-2] >= shape[-1] else module.w.mT
    assert (short.mT @ short - tg.eye(short.shape[-1])).abs().max() < 1e-12


def test_householder_without_a_base_starts_at_the_weight():
    q = tg.linalg.qr(tg.randn(4, 3, dtype=tg.float64))[0]
    module = nn.Module()
    module.w = nn.Parameter(q.clone())
    parametrizations.orthogonal(module, "w", "householder", use_trivialization=False)
    assert (module.w - q).abs().max() < 1e-12


def test_states_of_the_older_weight_norm_are_loaded():
    old, new = nn.utils.weight_norm(nn.Linear(4, 3)), parametrizations.weight_norm(nn.Linear(4, 3))
    new.load_state_dict(old.state_dict())
    assert tg.equal(old.weight, new.weight)
    for module, remove in ((old, nn.utils.remove_weight_norm),
                           (nn.utils.spectral_norm(nn.Linear(4, 3)),
                            nn.utils.remove_spectral_norm)):
        value = module.weight if module is old else module(tg.eye(4)) is not None and module.weight
        remove(module)
        assert isinstance(module.weight, nn.Parameter) and tg.allclose(module.weight, value)
        with pytest.raises(ValueError, match="not found"):
            remove(module)


def test_pruning_by_scores_in_all_and_back():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    for layer, rows in zip(model, ([[1.0, -8.0], [3.0, 4.0]], [[5.0, 0.5]]), strict=True):
        layer.weight.data.copy_(tg.tensor(rows))
    pairs = [(layer, "weight") for layer in model]
    prune.global_unstructured(pairs, prune.L1Unstructured, amount=2)
    assert model[0].weight.tolist() == [[0.0, -8.0], [3.0, 4.0]]
    assert model[1].weight.tolist() == [[5.0, 0.0]] and prune.is_pruned(model)
    for layer, name in pairs:
        prune.remove(layer, name)
    assert not prune.is_pruned(model) and list(model[0].state_dict()) == ["bias", "weight"]
    prune.custom_from_mask(model[0], "bias", tg.tensor([0, 1]))
    prune.random_structured(model[0], "weight", 1, dim=0)
    assert (model[0].weight == 0).all(1).sum() == 1


@pytest.mark.parametrize(("amount", "kind"), [(-1, ValueError), (1.5, ValueError),
                                              ("1", TypeError), (99, ValueError)])
def test_amounts_out_of_range_leave_the_module_alone(amount, kind):
    layer = nn.Linear(2, 2)
    with pytest.raises(kind):
        prune.l1_unstructured(layer, "weight", amount)
    assert list(layer.state_dict()) == ["weight", "bias"] and not prune.is_pruned(layer)


def test_fused_layers_do_what_both_did():
    conv, norm = nn.ConvTranspose2d(3, 4, 2, bias=False).double(), nn.BatchNorm2d(4).double()
    x = tg.randn(2, 3, 5, 5, dtype=tg.float64)
    norm(conv(x))
    with pytest.raises(AssertionError, match="eval"):
        fusion.fuse_conv_bn_eval(conv, norm, transpose=True)
    both = nn.Sequential(conv, norm).eval()
    assert tg.allclose(fusion.fuse_conv_bn_eval(conv, norm, transpose=True)(x), both(x))
    both = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
    x = tg.randn(2, 3)
    assert tg.allclose(nn.utils.fuse_linear_bn_eval(*both)(x), both(x), atol=1e-6)


def test_skip_init_uses_no_random_numbers():
    tg.manual_seed(3)
    expected = tg.rand(1)
    tg.manual_seed(3)
    skip_init(nn.Linear, 2, 3)
    assert tg.equal(tg.rand(1), expected)
    with pytest.raises(RuntimeError, match="Expected a Module"):
        skip_init(dict)


def test_a_function_stays_where_a_module_has_its_name():
    with tg.as_torch():
        from torch.nn.utils import spectral_norm, weight_norm
        from torch.nn.utils.spectral_norm import SpectralNorm
        from torch.nn.utils.weight_norm import WeightNorm, weight_norm as same
    assert weight_norm is same and callable(spectral_norm)
    assert nn.utils.weight_norm is same and WeightNorm is not SpectralNorm
