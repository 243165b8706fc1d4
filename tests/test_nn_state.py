"""`state_dict` and `load_state_dict` against torch: what is returned and refused, versions, hooks,
and subclasses that read and write their part themselves.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict

import numpy as np
import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")


def net(T):
    inner = T.nn.Sequential(T.nn.Linear(3, 1, bias=False))
    return T.nn.Sequential(OrderedDict(a=T.nn.Linear(2, 3), b=T.nn.BatchNorm1d(3), c=inner))


def layer(T):
    m = T.nn.Linear(2, 3)
    with T.no_grad():
        m.weight.fill_(0.0)
        m.bias.fill_(0.0)
    return m


def good(T):
    return {"weight": T.ones(3, 2), "bias": T.ones(3)}


def loaded(m, state, **how):
    return [m.load_state_dict(state, **how), *m.state_dict().values()]


def without(state, key, version=None):
    del state[key]
    if version is not None:
        state._metadata[""]["version"] = version
    return state


def assigned(T, trained):
    m, state = layer(T), good(T)
    state["bias"] = T.nn.Parameter(state["bias"], requires_grad=not trained)
    m.requires_grad_(trained)
    was = m.weight
    found = m.load_state_dict(state, assign=True)
    return [
        found, m.weight, m.bias, m.bias is state["bias"], m.weight is was,
        m.weight.data_ptr() == state["weight"].data_ptr(),
    ]


def buffers_assigned(T):
    m = T.nn.BatchNorm1d(3)
    state = {k: t + 1 for k, t in m.state_dict().items()}
    m.load_state_dict(state, assign=True)
    return [m.running_mean is state["running_mean"], *m.state_dict().values()]


def hooked(T):
    log, m = [], net(T)

    def before(state, prefix, metadata, strict, *lists):
        log.append(("before", prefix, dict(metadata), strict, sorted(state)))

    m._register_load_state_dict_pre_hook(before)
    m.c.register_load_state_dict_pre_hook(
        lambda module, state, prefix, *rest: log.append((repr(module), prefix, list(state)))
    )
    m.register_load_state_dict_post_hook(
        lambda module, found: log.append(("after", list(found.missing_keys)))
    )
    m.b.register_state_dict_post_hook(
        lambda module, state, prefix, metadata: log.append((prefix, len(state), metadata))
    )
    m.a.register_state_dict_pre_hook(lambda module, prefix, keep: log.append((prefix, keep)))
    m._register_state_dict_hook(lambda module, state, prefix, metadata: {**state, "more": 1})
    state = m.state_dict()
    removed = m._register_load_state_dict_pre_hook(lambda *a: log.append("never"))
    removed.remove()
    return [log, list(state), m.load_state_dict(state, strict=False)]


def renamed(T):
    m, given = layer(T), {"w": T.ones(3, 2), "bias": T.ones(3)}

    def rename(module, state, prefix, *rest):
        state[f"{prefix}weight"] = state.pop(f"{prefix}w")

    m.register_load_state_dict_pre_hook(rename)
    return [*loaded(m, given), sorted(given)]


def forgiving(T, answer=None):
    m = layer(T)

    def forgive(module, found):
        found.missing_keys.clear()
        return answer

    m.register_load_state_dict_post_hook(forgive)
    return loaded(m, {"weight": T.ones(3, 2)})


def migrating(T):
    class Old(T.nn.Module):
        _version = 3

        def __init__(self):
            super().__init__()
            self.w = T.nn.Parameter(T.zeros(2))

        def _save_to_state_dict(self, destination, prefix, keep_vars):
            super()._save_to_state_dict(destination, prefix, keep_vars)
            destination[f"{prefix}more"] = T.ones(1)

        def _load_from_state_dict(self, state, prefix, metadata, *rest):
            if metadata.get("version", 1) < 3:
                state[f"{prefix}w"] = state.pop(f"{prefix}old") + 1
            super()._load_from_state_dict(state, prefix, metadata, *rest)

    m = T.nn.Sequential(Old())
    return [m.load_state_dict({"0.old": T.ones(2)}), m[0].w, list(m.state_dict())]


def overriding(T):
    class More(T.nn.Linear):
        def state_dict(self, *args, **how):
            return {**super().state_dict(*args, **how), "seen": T.ones(1)}

    return [list(More(1, 1).state_dict()), list(T.nn.Sequential(More(1, 1)).state_dict())]


def norm(T, **how):
    return T.nn.BatchNorm1d(3, **how)


CASES = {
    "all": lambda T: [net(T).load_state_dict(net(T).state_dict())],
    "in words": lambda T: repr(net(T).load_state_dict(net(T).state_dict())),
    "fields": lambda T: net(T).load_state_dict({}, strict=False)._asdict(),
    "missing": lambda T: net(T).load_state_dict({}),
    "unexpected": lambda T: net(T).load_state_dict({**net(T).state_dict(), "z": T.ones(1)}),
    "unexpected below": lambda T: net(T).load_state_dict({**net(T).state_dict(), "a.z.y": 1}),
    "both": lambda T: layer(T).load_state_dict({"z": T.ones(1), "bias": T.ones(3)}),
    "lenient": lambda T: loaded(layer(T), {"z": T.ones(1), "bias": T.ones(3)}, strict=False),
    "shape": lambda T: layer(T).load_state_dict({**good(T), "weight": T.ones(2, 2)}),
    "shape, lenient": lambda T: layer(T).load_state_dict({"weight": T.ones(2, 2)}, strict=False),
    "shape and missing": lambda T: layer(T).load_state_dict({"weight": T.ones(2, 2)}),
    "no tensor": lambda T: layer(T).load_state_dict({**good(T), "weight": 3}),
    "no dict": lambda T: layer(T).load_state_dict([1]),
    "other dtypes": lambda T: loaded(layer(T), {k: t.double() for k, t in good(T).items()}),
    "integers": lambda T: loaded(layer(T), {k: t.long() for k, t in good(T).items()}),
    "assigned": lambda T: assigned(T, True),
    "assigned, not trained": lambda T: assigned(T, False),
    "buffers assigned": buffers_assigned,
    "integers assigned": lambda T: layer(T).load_state_dict(
        {k: t.long() for k, t in good(T).items()}, assign=True
    ),
    "metadata": lambda T: {k: dict(v) for k, v in net(T).state_dict()._metadata.items()},
    "prefix": lambda T: [
        list(net(T).state_dict(prefix="x.")), list(net(T).state_dict(prefix="x.")._metadata)
    ],
    "destination": lambda T: (d := {}, net(T).state_dict(destination=d) is d, list(d))[1:],
    "kept": lambda T: [t.requires_grad for t in net(T).state_dict(keep_vars=True).values()],
    "an old norm": lambda T: loaded(norm(T), dict(without(norm(T).state_dict(),
                                                          "num_batches_tracked"))),
    "an old norm below": lambda T: [net(T).load_state_dict(
        dict(without(net(T).state_dict(), "b.num_batches_tracked")))],
    "a norm of version 1": lambda T: loaded(
        norm(T), without(norm(T).state_dict(), "num_batches_tracked", 1)
    ),
    "a norm that forgot": lambda T: norm(T).load_state_dict(
        without(norm(T).state_dict(), "num_batches_tracked")
    ),
    "a norm without": lambda T: norm(T, track_running_stats=False).load_state_dict(
        norm(T).state_dict()
    ),
    "a count": lambda T: (m := norm(T, momentum=None), [m(T.eye(3)) for _ in range(3)],
                          *m.state_dict().values())[2:],
    "hooks": hooked,
    "a hook renames": renamed,
    "a hook forgives": forgiving,
    "a hook answers": lambda T: forgiving(T, 3),
    "another version": migrating,
    "another state_dict": overriding,
    "hidden": lambda T: part(T).load_state_dict({"b": T.ones(1)}),
    "no bias": lambda T: T.nn.Linear(2, 3, bias=False).load_state_dict(good(T)),
}


def part(T):
    m = T.nn.Module()
    m.register_buffer("b", T.ones(1), persistent=False)
    return m


def described(v):
    if isinstance(v, (torch.Tensor, tg.Tensor)):
        kind = (type(v).__name__, str(v.dtype).split(".")[1], v.requires_grad)
        return (*kind, np.round(v.detach().double().numpy(), 6).tolist())
    if isinstance(v, dict):
        return {k: described(x) for k, x in v.items()}
    if isinstance(v, (tuple, list)) and not hasattr(v, "_fields"):
        return [described(x) for x in v]
    return repr(v)


def outcome(program, T):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return described(program(T))
        except Exception as error:
            return (type(error).__name__, str(error).replace("tracegrad", "torch").lower())


@pytest.mark.parametrize("name", CASES)
def test_state_is_as_in_torch(name):
    assert outcome(CASES[name], tg) == outcome(CASES[name], torch)


@pytest.mark.parametrize("assign", [False, True])
def test_nothing_is_loaded_unless_everything_is(assign):
    m = net(tg)
    was, tensors = {k: t.clone() for k, t in m.state_dict().items()}, list(m.parameters())
    state = {k: t + 1 for k, t in m.state_dict().items()}
    state["c.0.weight"] = tg.ones(4)
    with pytest.raises(RuntimeError, match="size mismatch for c.0.weight"):
        m.load_state_dict(state, assign=assign)

    def fails(*args):
        raise KeyError("no")

    m.c[0].register_load_state_dict_pre_hook(fails)
    with pytest.raises(KeyError):
        m.load_state_dict({k: t + 1 for k, t in was.items()}, assign=assign)
    assert all((t == was[k]).all() for k, t in m.state_dict().items())
    assert all(a is b for a, b in zip(m.parameters(), tensors, strict=True))


def test_a_compiled_function_sees_what_was_loaded():
    m = layer(tg)
    f = tg.compile(lambda x: m(x))
    x = tg.ones(1, 2)
    assert (f(x) == 0).all()
    m.load_state_dict(good(tg))
    assert (f(x) == 3).all()
    m.load_state_dict({k: t * 2 for k, t in good(tg).items()}, assign=True)
    assert (f(x) == 6).all()
