"""The text of small test programs, as names of test cases."""

from __future__ import annotations

import dis
import linecache
from types import FunctionType


def body(value: object) -> str | None:
    """The expression of a lambda, as it is written; None for other values. For `ids=`."""
    if not isinstance(value, FunctionType):
        return None
    file = value.__code__.co_filename
    spans = [i.positions for i in dis.get_instructions(value)]
    spans = [p for p in spans if p is not None and p.end_col_offset]  # of what is in the source
    first = min((p.lineno, p.col_offset) for p in spans)
    last = max((p.end_lineno, p.end_col_offset) for p in spans)
    lines = [linecache.getline(file, n) for n in range(first[0], last[0] + 1)]
    lines[-1] = lines[-1].encode()[: last[1]].decode()
    lines[0] = lines[0].encode()[first[1] :].decode()
    return " ".join(line.strip() for line in lines)
