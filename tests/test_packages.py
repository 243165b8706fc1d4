"""Packages for torch, run with tracegrad: their numbers are those that torch gives."""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest

from tests.packages.__main__ import NAMES, ROOT, check

# what a program needs and is not here, or why it is not compiled
WAITING = {"higher": "optim.Adadelta", "pytorch_optimizer": "optim.LBFGS", "timm": "torchvision"}
EAGER_ALONE = {
    "skorch": "a compiled NLLLoss is no instance of NLLLoss, so it takes no logarithm",
    "torchdiffeq": "a saved value is taken for changed where steps are accepted by value",
    "torchsummary": "its hooks keep tensors of the program in a dict of their own",
}


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", NAMES)
def test_a_package_computes_what_it_does_with_torch(name, compiled, request):
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    reason = WAITING.get(name) or (EAGER_ALONE.get(name) if compiled else None)
    if reason:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=False))
    check(name, compiled)


def test_every_program_has_a_row_in_the_table():
    page = (ROOT / "docs" / "packages.md").read_text()
    rows = re.findall(r"^\| ([\w-]+) [\d.]+ \|", page, re.M)
    assert [r.replace("-", "_").removesuffix("_ppl") for r in rows] == NAMES
