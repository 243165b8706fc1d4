"""Our operators against torch's own operator database.

    python -m tests.opdb                      # all entries
    python -m tests.opdb cumsum 'linalg.*'    # entries by name or pattern (`max/binary`, `conv2d`)
    python -m tests.opdb --eager-only --samples 5 -v where
    python -m tests.opdb --dtypes --errors cumsum   # also: every dtype's value, wrong calls
    python -m tests.opdb --record             # all of it into results.tsv and docs/operators.md
    python -m tests.opdb --table              # docs/operators.md anew, as after a new public name

The database (`torch.testing._internal.common_methods_invocations.op_db`) has about 700 entries, of
which 540 have gradients in float64. For each, our function of the same name is called on the
database's own sample inputs and compared with torch: the value, the gradient for random cotangents,
and the gradient of that along random directions, with respect to inputs and cotangents. All of it
eagerly; then with the function compiled and the gradient taken outside; then with all orders
compiled into one program. The verdicts:

    pass                  everything agrees, as far as torch itself differentiates
    eager-fail(stage)     the eager value, grad or gradgrad differs or raises
    compiled-fail(stage)  eager is right, compiled is not
    absent                we have no such function (the reason says so if it is complex or random)
    random                torch's answer is drawn; shapes and dtypes of value and gradient agree
    incomparable          needs complex or sparse tensors
    broken                the process died, hung, or the runner itself failed

Needs torch and expecttest, which are in the `peers` extra.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from . import results, table
from .entries import entries, identity
from .pool import run

FINE = ("pass", "random", "incomparable")


def line(record: dict, verbose: bool) -> str:
    text = f"{record['verdict']:22} {record['name']}"
    if record["verdict"] in ("pass", "random"):
        text += f" (order {record['order']}, {record['seconds']} s)"
    else:
        text += f": {record['reason']}"
        if verbose and record["sample"]:
            text += f"\n{'':25} {record['sample']}"
    wrong = [f"{dtype}: {why}" for dtype, why in record["dtypes"].items() if why]
    return "\n".join([text, *(f"{'':25} {why}" for why in wrong + record["errors"])])


def summary(records: list[dict]) -> str:
    lines = [""]
    for title, chosen in (
        ("entries with autograd", [r for r in records if r["autograd"]]),
        ("entries without", [r for r in records if not r["autograd"]]),
    ):
        counts = Counter(r["status"] for r in chosen)
        if counts:
            told = ", ".join(f"{n} {status}" for status, n in counts.most_common())
            lines.append(f"{len(chosen)} {title}: {told}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        "tests.opdb", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="names or patterns of entries; none: all")
    parser.add_argument("--eager-only", action="store_true", help="compile nothing")
    parser.add_argument("--samples", type=int, default=1, help="samples per entry (1)")
    parser.add_argument("--jobs", type=int, default=2, help="worker processes (2)")
    parser.add_argument("--timeout", type=float, default=120, help="seconds per entry (120)")
    parser.add_argument("--dtypes", action="store_true", help="compare values in every dtype too")
    parser.add_argument("--errors", action="store_true", help="compare wrong calls too")
    parser.add_argument(
        "--record", action="store_true", help="into results.tsv and docs/operators.md"
    )
    parser.add_argument(
        "--table", action="store_true", help="only write docs/operators.md anew from results.tsv"
    )
    parser.add_argument("--json", type=Path, help="write the records there")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the failing sample")
    options = parser.parse_args()
    if options.table:
        table.write()
        return 0
    names = [identity(op) for op in entries(options.names)]
    if not names:
        parser.error(f"no entry matches {options.names}")
    records = run(
        names,
        {
            "samples": options.samples,
            "eager_only": options.eager_only,
            "dtypes": options.dtypes or options.record,
            "errors": options.errors,
        },
        options.jobs,
        options.timeout,
        lambda record: print(line(record, options.verbose), flush=True),
    )
    print(summary(records))
    if options.record:
        results.write(records)
        table.write()
    if options.json:
        options.json.write_text(json.dumps(records, indent=1))
    return int(any(r["status"] not in FINE for r in records))


if __name__ == "__main__":
    raise SystemExit(main())
