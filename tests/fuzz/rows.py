"""The tables of what programs may do: `rows/*.txt`, one template a line.

Headings say how exactly a row's answers are known (`exact`, `near`, `rough`), whether it writes in
place, and whether it is for eager programs alone. What may stand in a hole is in holes.py.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from .program import Row

FOLDER = Path(__file__).parent / "rows"
CALLED = re.compile(r"(?:T|F|T\.linalg|T\.special|\})\.([A-Za-z_]\w*)")


@cache
def table() -> dict[str, tuple[Row, ...]]:
    """{name of file: its rows}"""
    found = {}
    for path in sorted(FOLDER.glob("*.txt")):
        rows, heading = [], ""
        for line in path.read_text().splitlines():
            if line.startswith("#"):
                heading = line.strip("# ")
            elif line.strip():
                rounding = heading.split(",")[0].split()[0]
                rows.append(Row(line.strip(), rounding, "writes" in heading, "eager" in heading))
        found[path.stem] = tuple(rows)
    return found


def functions() -> set[str]:
    """The names of functions and methods that the tables call."""
    rows = [r for group in table().values() for r in group]
    return {name for r in rows for name in CALLED.findall(r.template)} - {"linalg", "special"}
