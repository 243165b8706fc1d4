"""Equal groups are written once, and come out as if each had been written by itself."""

from __future__ import annotations

import pytest

import tracegrad as tg
from tracegrad.codegen.build import build
from tracegrad.codegen.equal_groups import Bound, EqualGroups
from tracegrad.driver import lowering, program_store

F = tg.nn.functional


def beginnings(a, b, k):
    """Equal and different ones in two buffers, and none."""
    pairs = [(0, 0), (1, 1), (1, 2), (2, 1), (3, 3), (0, 5), (5, 0)]
    return [(a[i] * b[j] + a[j]).exp().sum() for i, j in pairs]


def apart(a, b):
    """Rows in buffers of their own, so that what is computed from them is in groups of its own."""
    return [x[i].cumsum(0) for x in (a, b) for i in range(6)]


def which_buffers(a, b, k):
    v = apart(a, b)
    return [v[0] * v[0] + v[1], v[2] * v[3] + v[4], v[5] * v[6] + v[5], v[7] * v[8] + v[8],
            v[9] * v[9] + v[9], v[10] * v[11] + v[10]]


def constants(a, b, k):
    numbers = (0.5, -0.5, 1.0, 3.0, 5.0, float("inf"), -0.0, 0.0)
    return [x.exp() * c for x, c in zip(apart(a, b), numbers, strict=False)]


def lookups(a, b, k):
    return [a[i:][:2, k] * 2 + b[i].index_select(0, k) for i in range(4)]


def in_place(a, b, k):
    for i in range(1, 6):
        a[i].mul_(2).add_(a[i - 1] * b[i])
    return a.sum(0), a.sum(1)


def strides(a, b, k):
    x = [(b * c).cumsum(0) for c in (1.0, 2.0, 3.0, 4.0, 5.0)]
    seen = (x[0][:, :3], x[1][:, ::2], x[2].t()[:, :3], x[3][::2].t(), x[4][:1, :3].expand(6, 3))
    return [y.softmax(-1) * 2 for y in seen]


def other_templates(a, b, k):
    m = a @ a.t() + 20 * tg.eye(6)
    return [
        (a[i].sort().values, b[i].cumsum(0), F.pad(a[i], (i, 1)), tg.cat((a[i], b[0])),
         a.index_add(0, k, b * i), tg.linalg.cholesky(m * (i + 1)), a[i:].sum(0),
         F.relu(a[i : i + 2] @ b + b[i]), tg.searchsorted(a[0].sort().values, b[i]))
        for i in range(3)
    ]


def training(a, b, k):
    w, loss = a.detach().requires_grad_(), 0
    for i in range(5):
        loss = loss + (F.layer_norm(w[i] * b[i], (6,)).tanh() @ w.t()).pow(2).sum()
    loss.backward()
    return w.grad


PROGRAMS = (
    beginnings, which_buffers, constants, lookups, in_place, strides, other_templates, training
)


def one_by_one(self, group):
    return [Bound(piece.kernel, piece.args.values, piece.args.scratch_bytes, *piece[2:])
            for piece in self.write(group)]


@pytest.mark.parametrize("dtype", [tg.float32, tg.float16])
@pytest.mark.parametrize("function", PROGRAMS)
def test_each_group_is_as_if_it_had_been_written_alone(function, dtype, monkeypatch):
    if dtype is tg.float16 and function is other_templates:
        pytest.skip("LAPACK has no float16")
    made = []

    def twice(*args, **options):
        made.append(build(*args, **options))
        with monkeypatch.context() as changed:
            changed.setattr(EqualGroups, "launches", one_by_one)
            made.append(build(*args, **options))
        return made[0]

    monkeypatch.setattr(lowering, "build", twice)
    monkeypatch.setattr(program_store, "name_of", lambda *_: None)
    tg.manual_seed(0)
    a, b = tg.randn(6, 6).to(dtype), tg.randn(6, 6).to(dtype)
    tg.compile(function)(a, b, tg.tensor([2, 0, 5, 5, 1, 3]))
    shared, alone = made[:2]
    assert str(shared) == str(alone)
    assert [one.kernel for one in shared.launches] == [one.kernel for one in alone.launches]
