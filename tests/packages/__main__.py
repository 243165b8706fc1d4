"""Programs with packages that were written for torch, run with tracegrad or with torch.

`python -m tests.packages NAME [--compiled] [--torch]` prints the numbers of one as JSON.
`python -m tests.packages --write NAME ...` writes those of torch to `numbers/`, for the tests.
`python -m tests.packages --table docs/packages.md` runs all and writes the table of that page.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NAMES = sorted(p.stem for p in (HERE / "scripts").glob("[!_]*.py"))
# the name of a distribution, where it is not that of the module
DISTRIBUTIONS = {"pyro": "pyro-ppl"}
TOLERANCE = {"rtol": 1e-6, "atol": 1e-9}
# in float32 for some part
LOOSE = ("pytorch_msssim", "rotary_embedding_torch", "vector_quantize_pytorch", "x_transformers")
_BEGIN, _END = "<!-- the table -->\n", "<!-- its end -->\n"


def numbers(name: str, compiled: bool) -> list[Any]:
    """What the program gives, as nested lists."""
    results = importlib.import_module(f"tests.packages.scripts.{name}").run(compiled)
    return [np.asarray(r.detach() if hasattr(r, "detach") else r, dtype=float).tolist()
            for r in results]


def output(name: str, *options: str) -> list[Any]:
    """What the program gives in a process of its own. Raises RuntimeError with its last words."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.packages", name, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        raise RuntimeError("\n".join(done.stderr.strip().splitlines()[-12:]))
    return json.loads(done.stdout.strip().splitlines()[-1])


def stored(name: str) -> list[Any]:
    """What it gives with torch."""
    return json.loads((HERE / "numbers" / f"{name}.json").read_text())


def check(name: str, compiled: bool) -> None:
    """Raises AssertionError where tracegrad gives other numbers than torch."""
    got, wanted = output(name, *["--compiled"] * compiled), stored(name)
    # a compiled program gives no more than its values, where the eager one shows its graph
    wanted = wanted[: len(got)] if compiled else wanted
    assert len(got) == len(wanted), (len(got), len(wanted))
    tolerance = {"rtol": 2e-4, "atol": 2e-5} if name in LOOSE else TOLERANCE
    for g, w in zip(got, wanted, strict=True):
        np.testing.assert_allclose(np.array(g), np.array(w), **tolerance)


def write(name: str) -> None:
    text = json.dumps(_rounded(output(name, "--torch")), separators=(",", ":"))
    (HERE / "numbers" / f"{name}.json").write_text(text + "\n")


def _rounded(x: Any) -> Any:
    return [_rounded(y) for y in x] if isinstance(x, list) else float(f"{x:.9g}")


def verdict(name: str, compiled: bool) -> str:
    try:
        check(name, compiled)
    except RuntimeError as error:
        return re.sub(r" \(/.*", "", str(error).splitlines()[-1].partition(": ")[2])[:90]
    except AssertionError:
        return "other numbers"
    return "yes"


def table() -> str:
    """A row for each package: what runs, eagerly and compiled."""
    rows = ["| package | program | eager | compiled |", "|---|---|---|---|"]
    for name in NAMES:
        distribution = DISTRIBUTIONS.get(name, name)
        text = (HERE / "scripts" / f"{name}.py").read_text().split('"""')[1].rstrip(".")
        verdicts = [verdict(name, compiled) for compiled in (False, True)]
        rows.append(f"| {distribution} {version(distribution)} | {text} | {' | '.join(verdicts)} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.packages")
    parser.add_argument("names", nargs="*")
    for option in ("--compiled", "--torch", "--write"):
        parser.add_argument(option, action="store_true")
    parser.add_argument("--table", type=Path)
    told = parser.parse_args()
    if told.table:
        before, _, rest = told.table.read_text().partition(_BEGIN)
        after = rest.partition(_END)[2]
        told.table.write_text(before + _BEGIN + table() + _END + after)
    elif told.write:
        for name in told.names or NAMES:
            write(name)
    else:
        if not told.torch:
            importlib.import_module("tracegrad").as_torch()
        warnings.simplefilter("ignore")
        print(json.dumps(numbers(told.names[0], told.compiled)))


if __name__ == "__main__":
    main()
