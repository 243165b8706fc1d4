"""What the last recorded run found: results.tsv, a line per entry of the database.

The columns are the verdict, the entry, how far torch differentiates it, the dtypes whose values
agree, and why the verdict is not `pass`. The slow test compares a run with it, and
docs/operators.md is generated from it, so nothing that fails is hidden by a skip.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

RECORDED = Path(__file__).with_name("results.tsv")
SHORT = {
    "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16", "int64": "i64",
    "int32": "i32", "int16": "i16", "int8": "i8", "uint8": "u8", "bool": "b",
}


class Result(NamedTuple):
    """A line."""

    verdict: str
    name: str
    order: str  # 0, 1 or 2; `-` where torch's entry has no gradient in float64
    dtypes: str  # `f64 f32`; those that torch has and we have not after a `!`
    reason: str


def result(record: dict) -> Result:
    right = [SHORT[d] for d, why in record["dtypes"].items() if not why]
    wrong = ["!" + SHORT[d] for d, why in record["dtypes"].items()
             if why and not why.startswith("not comparable")]
    reason = " ".join(record["reason"].split())[:160]
    return Result(
        record["verdict"],
        record["name"],
        str(record["order"]) if record["autograd"] else "-",
        " ".join(right + wrong),
        reason,
    )


def recorded() -> dict[str, Result]:
    if not RECORDED.exists():
        return {}
    lines = RECORDED.read_text().splitlines()
    return {r.name: r for r in (Result(*line.split("\t")) for line in lines)}


def write(records: Iterable[dict]) -> dict[str, Result]:
    """Put these records in the place of what was recorded of their entries."""
    results = recorded() | {record["name"]: result(record) for record in records}
    results = dict(sorted(results.items()))
    RECORDED.write_text("".join("\t".join(r) + "\n" for r in results.values()))
    return results
