"""Padding, blocks, interpolation and grids: torch's numbers to second order, eager and compiled."""

from __future__ import annotations

import numpy as np
import pytest
from bodies import body
from images import assert_compiled, assert_same_error, assert_torchs, draw

import tracegrad as tg
import tracegrad.nn.functional as F


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


PLANE = (2, 4, 6, 5)
SIDES = [(1, 2), (1, 2, 0, 3), (-1, 2, 1, -2), (1, 1, 1, 1, 1, 1, 1, 1)]
CASES = [
    *(("pad", (PLANE,), (s,), {"value": v}) for s in SIDES for v in (None, 2.5)),
    *(
        ("pad", (shape,), (s,), {"mode": mode})
        for mode in ("reflect", "replicate", "circular")
        for shape, s in (
            (PLANE, (1, 2, 3, 0)), (PLANE, (1, -2, 3, 0)), (PLANE[1:], (1, 2)),
            (PLANE, (1, 0, 2, 1, 1, 1)),
        )
    ),
    ("unfold", (PLANE,), ((2, 3),), {}),
    ("unfold", (PLANE[1:],), (3,), {"padding": 1, "stride": 2, "dilation": (1, 2)}),
    ("fold", ((2, 12, 20),), ((5, 6), 2), {}),
    ("fold", ((8, 9),), ((5, 6), 2), {"padding": 1, "stride": (2, 3)}),
    ("pixel_shuffle", (PLANE,), (2,), {}),
    ("pixel_unshuffle", ((2, 3, 6, 4),), (2,), {}),
    ("channel_shuffle", (PLANE,), (2,), {}),
    *(
        ("interpolate", (PLANE,), (), {"mode": mode, **size})
        for mode in ("nearest", "nearest-exact", "area", "bilinear", "bicubic")
        for size in (
            {"size": (9, 4)}, {"scale_factor": 2}, {"scale_factor": (1.7, 0.6)}, {"size": (3, 5)},
            {"scale_factor": 1.7, "recompute_scale_factor": True},
        )
    ),
    *(
        ("interpolate", (PLANE,), (size,), {"mode": mode, "align_corners": True})
        for mode in ("bilinear", "bicubic")
        for size in ((9, 4), 1)
    ),
    *(
        ("interpolate", (PLANE,), (size,), {"mode": mode, "antialias": True})
        for mode in ("bilinear", "bicubic", "lanczos")
        for size in ((9, 4), (3, 2))
    ),
    ("interpolate", ((2, 3, 9),), (4,), {"mode": "linear"}),
    ("interpolate", ((1, 2, 3, 4, 5),), ((4, 3, 7),), {"mode": "trilinear"}),
    ("interpolate", ((1, 2, 3, 4, 5),), ((4, 3, 7),), {}),
    *(
        (
            "grid_sample", (PLANE, (2, 4, 3, 2)), (),
            {"mode": mode, "padding_mode": outside, "align_corners": align},
        )
        for mode in ("bilinear", "nearest", "bicubic")
        for outside, align in (
            ("zeros", False), ("border", True), ("reflection", False), ("reflection", True)
        )
    ),
    *(
        ("grid_sample", ((2, 3, 5, 4, 3), (2, 4, 3, 2, 3)), (), {"mode": m, "align_corners": False})
        for m in ("bilinear", "nearest")
    ),
    *(
        ("affine_grid", ((2, 2, 3),), ((2, 3, 4, 5),), {"align_corners": align})
        for align in (True, False)
    ),
    ("affine_grid", ((2, 3, 4),), ((2, 3, 4, 1, 2),), {"align_corners": True}),
]
IDS = [f"{i}-{name}-{options.get('mode', '')}" for i, (name, *_, options) in enumerate(CASES)]
SAMPLE = [5, 9, 12, 21, 22, 25, 27, 33, 38, 43, 53, 58, 64]


def operands(shapes):
    return [draw(*shapes[0]), *(1.3 * draw(*s, seed=3) for s in shapes[1:])]


@pytest.mark.parametrize("name, shapes, args, options", CASES, ids=IDS)
def test_it_is_torchs_to_second_order(torch, name, shapes, args, options):
    assert_torchs(torch, name, operands(shapes), *args, **options)


@pytest.mark.parametrize("k", SAMPLE, ids=[IDS[k] for k in SAMPLE])
def test_compiled_it_is_the_same(k):
    name, shapes, args, options = CASES[k]
    assert_compiled(lambda *xs: getattr(F, name)(*xs, *args, **options), operands(shapes))


def test_a_grid_may_leave_the_image_by_any_distance(torch):
    x = draw(1, 2, 3, 3)
    grid = np.array([[[[1e30, 0.0], [np.inf, -np.inf], [0.1, -1e18]]]])
    for outside in ("zeros", "border"):
        for mode in ("bilinear", "nearest"):
            y = F.grid_sample(tg.tensor(x), tg.tensor(grid), mode, outside, True)
            if outside == "zeros" and mode == "bilinear":
                assert not y[..., 0].any()
            want = torch.nn.functional.grid_sample(
                torch.tensor(x), torch.tensor(grid), mode, outside, True
            )
            if outside == "border" or mode == "nearest":
                np.testing.assert_allclose(y.numpy(), want.numpy(), rtol=1e-12)


def test_larger_by_a_whole_factor_is_repetition():
    grow = tg.compile(lambda x: F.interpolate(x, scale_factor=2) * 2)
    grow(tg.tensor(draw(*PLANE)))
    assert "i8" not in grow.program().source()  # no positions are read


ERRORS = [
    lambda T, F, x: F.unfold(x, 9), lambda T, F, x: F.unfold(x, 0),
    lambda T, F, x: F.unfold(x, 2, stride=0), lambda T, F, x: F.fold(T.zeros(2, 12, 9), (8, 8), 2),
    lambda T, F, x: F.fold(T.zeros(2, 13, 9), (4, 4), 2), lambda T, F, x: F.pad(x, (1, 1), "foo"),
    lambda T, F, x: F.pad(x, (1,)), lambda T, F, x: F.pad(x, (1,) * 10),
    lambda T, F, x: F.pad(x, (8, 1), "reflect"), lambda T, F, x: F.pad(x, (8, 1, 1, 1), "reflect"),
    lambda T, F, x: F.pad(x, (9, 1, 1, 1), "circular"), lambda T, F, x: F.pad(x, (-9, -1)),
    lambda T, F, x: F.pad(x, (1, 1), "reflect", value=2), lambda T, F, x: F.pixel_shuffle(x, 2),
    lambda T, F, x: F.pixel_shuffle(x, 0), lambda T, F, x: F.pixel_shuffle(T.zeros(3, 3), 2),
    lambda T, F, x: F.pixel_unshuffle(x, 3), lambda T, F, x: F.channel_shuffle(x, 2),
    lambda T, F, x: F.channel_shuffle(x, 0), lambda T, F, x: F.interpolate(x),
    lambda T, F, x: F.interpolate(x, size=3, scale_factor=2),
    lambda T, F, x: F.interpolate(x, size=(3, 3, 3)),
    lambda T, F, x: F.interpolate(x, scale_factor=(3, 3, 3)),
    lambda T, F, x: F.interpolate(x, size=3, mode="linear"),
    lambda T, F, x: F.interpolate(x, size=3, mode="foo"),
    lambda T, F, x: F.interpolate(x, size=3, align_corners=True),
    lambda T, F, x: F.interpolate(x, size=0),
    lambda T, F, x: F.interpolate(x, size=3, recompute_scale_factor=True),
    lambda T, F, x: F.interpolate(x, size=3, antialias=True),
    lambda T, F, x: F.interpolate(T.zeros(2, 3), size=3),
    lambda T, F, x: F.grid_sample(x, T.zeros(2, 4, 4, 3), align_corners=True),
    lambda T, F, x: F.grid_sample(x, T.zeros(3, 4, 4, 2), align_corners=True),
    lambda T, F, x: F.grid_sample(x, T.zeros(2, 4, 4, 2), mode="foo"),
    lambda T, F, x: F.grid_sample(x, T.zeros(2, 4, 4, 2), padding_mode="foo"),
    lambda T, F, x: F.affine_grid(T.zeros(2, 3, 3), (2, 3, 4, 4)),
    lambda T, F, x: F.affine_grid(T.zeros(2, 2, 3), (2, 3, 4)),
    lambda T, F, x: F.affine_grid(T.zeros(2, 2, 3).long(), (2, 3, 4, 4)),
    lambda T, F, x: F.affine_grid(T.zeros(2, 2, 3), (2, 3, 0, 4)),
]


@pytest.mark.parametrize("program", ERRORS, ids=body)
def test_bad_input_raises_torchs_error(torch, program):
    assert_same_error(torch, program, (2, 3, 8, 8))
