"""What functions with several results return: tuples whose parts have names, as torch's
`return_types`.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any


def _result(name: str, *fields: str) -> Any:
    """A named tuple that prints as torch's does."""
    kind: Any = namedtuple(name, fields)  # type: ignore[misc]

    def show(self: Any) -> str:
        parts = ",\n".join(f"{f}={v!r}" for f, v in zip(self._fields, self, strict=True))
        return f"tracegrad.return_types.{name}(\n{parts})"

    kind.__repr__ = show  # type: ignore[method-assign]
    kind.__module__ = __name__.replace("functions.named_results", "return_types")
    return kind


_VALUES_INDICES = (
    "cummax", "cummin", "kthvalue", "max", "median", "min", "mode", "nanmedian", "sort", "topk",
)
TYPES: dict[str, Any] = {name: _result(name, "values", "indices") for name in _VALUES_INDICES}
TYPES["aminmax"] = _result("aminmax", "min", "max")
TYPES["frexp"] = _result("frexp", "mantissa", "exponent")
TYPES["histogramdd"] = _result("histogramdd", "hist", "bin_edges")
TYPES["histogram"] = _result("histogram", "hist", "bin_edges")
_LINEAR = {
    "linalg_cholesky_ex": "L info", "linalg_eigh": "eigenvalues eigenvectors",
    "linalg_inv_ex": "inverse info", "linalg_lstsq": "solution residuals rank singular_values",
    "linalg_lu": "P L U", "linalg_lu_factor": "LU pivots", "linalg_lu_factor_ex": "LU pivots info",
    "linalg_qr": "Q R", "linalg_slogdet": "sign logabsdet", "linalg_solve_ex": "result info",
    "linalg_svd": "U S Vh", "lu_unpack": "P L U", "qr": "Q R", "slogdet": "sign logabsdet",
    "svd": "U S V", "triangular_solve": "solution cloned_coefficient",
}
TYPES |= {name: _result(name, *fields.split()) for name, fields in _LINEAR.items()}
