"""What functions with several answers return: tuples whose parts have names, as torch's
`return_types`.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any


def _result(name: str, *fields: str) -> Any:
    """A named tuple that prints as torch's does."""
    kind = namedtuple(name, fields)

    def show(self: Any) -> str:
        parts = ",\n".join(f"{f}={v!r}" for f, v in zip(self._fields, self, strict=True))
        return f"tracegrad.return_types.{name}(\n{parts})"

    kind.__repr__ = show  # type: ignore[method-assign]
    kind.__module__ = __name__.replace("tracer.functions.results", "return_types")
    return kind


_VALUES_INDICES = (
    "cummax", "cummin", "kthvalue", "max", "median", "min", "mode", "nanmedian", "sort", "topk",
)  # fmt: skip
TYPES: dict[str, Any] = {name: _result(name, "values", "indices") for name in _VALUES_INDICES}
TYPES["aminmax"] = _result("aminmax", "min", "max")
TYPES["frexp"] = _result("frexp", "mantissa", "exponent")
TYPES["histogram"] = _result("histogram", "hist", "bin_edges")
