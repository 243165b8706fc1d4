"""docs/capture.md says for each kind of thing what becomes of it; every row is tried."""

from __future__ import annotations

from pathlib import Path

import test_capture
import test_capture_effects
import test_capture_few
import test_capture_lockstep
import test_capture_numbers
import test_capture_values
import test_compile_dependencies
import test_compile_errors
import test_optim_of_users
import test_trainers_of_users
import test_values_leave

TABLE = Path(__file__).parent.parent / "docs" / "capture.md"


def _known():
    return {
        *test_capture.SCENARIOS, *test_capture_values.SCENARIOS,
        *test_capture_lockstep.PROGRAMS, *test_capture_few.FEW,
        *test_capture_effects.REPLAYED, *test_capture_effects._acts(),
        *test_capture_numbers._places(), "a number among the arguments",
        *test_compile_dependencies._effects(), *test_optim_of_users._settings(),
        *test_optim_of_users._schedulers(), *(k.__name__ for k in test_optim_of_users.OWN),
        *(f.__name__ for f in test_trainers_of_users.SETS), *test_values_leave.PROGRAMS,
        *test_compile_errors.ONCE,
    }


def test_every_row_is_tried():
    rows = [line.split("|")[1:4] for line in TABLE.read_text().splitlines() if line[:2] == "| "]
    rows = [tuple(cell.strip() for cell in row) for row in rows[1:]]
    assert len(rows) > 25
    for what, how, names in rows:
        assert any(w in how for w in ("watched", "re-read", "replayed", "refused", "run as it is"))
        tried = [name.strip() for name in names.split(",") if name.strip()]
        assert tried
        assert not set(tried) - _known(), what
