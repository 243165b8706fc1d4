"""Every entry of torch's operator database gives the verdict that is recorded of it.

What does not pass is named in tests/opdb/results.tsv with its reason, and in docs/operators.md.
"""

from __future__ import annotations

import pytest

from tests.opdb import names, results, table
from tracegrad.ir.value import REGISTRY


def test_the_table_lists_every_public_name_and_primitive():
    assert table.listed() == names.public(), "run `python -m tests.opdb --table`"
    text = table.FILE.read_text()
    assert [op for op in REGISTRY if f"\n| {op} | {REGISTRY[op].kind.value} |" not in text] == []


def test_the_table_says_what_is_recorded():
    assert table.FILE.read_text() == table.text(), "run `python -m tests.opdb --table`"


def test_every_recorded_failure_has_a_reason():
    silent = [r.name for r in results.recorded().values() if r.verdict not in ("pass", "random")
              and not r.reason]
    assert silent == []


@pytest.mark.slow
def test_every_entry_is_as_recorded():
    pytest.importorskip("torch")
    pytest.importorskip("expecttest")
    from tests.opdb.entries import entries, identity
    from tests.opdb.pool import run

    settings = {"samples": 1, "eager_only": False, "dtypes": False, "errors": False}
    found = run([identity(op) for op in entries()], settings, 2, 180, lambda record: None)
    want = results.recorded()
    assert sorted(want) == sorted(r["name"] for r in found)
    changed = [
        f"{r['name']}: {r['verdict']} ({r['reason']}), recorded as {want[r['name']].verdict}"
        for r in found
        if r["verdict"] != want[r["name"]].verdict
        # numbers that are drawn, or left as they were in memory, may agree by chance
        and (want[r["name"]].verdict, r["verdict"]) != ("random", "pass")
    ]
    assert not changed, "\n".join([*changed, "", "python -m tests.opdb --record NAME... records"])
