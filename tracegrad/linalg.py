"""Linear algebra, with the names of torch.linalg. Matrices are the last two dimensions, all before
them are batches. Complex numbers are not supported, so `eig` only says so.
"""

from .ir.faults import LinAlgError
from .out import accept as _accept_out
from .tracer.functions.contract import matmul
from .tracer.functions.factors import (
    cholesky_ex,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    lu,
    lu_factor,
    lu_factor_ex,
    svdvals,
)
from .tracer.functions.factors import linalg_cholesky as cholesky
from .tracer.functions.factors import linalg_qr as qr
from .tracer.functions.factors import linalg_svd as svd
from .tracer.functions.matrices import (
    cond,
    householder_product,
    matrix_exp,
    matrix_norm,
    matrix_power,
    matrix_rank,
    tensorinv,
    tensorsolve,
    vander,
)
from .tracer.functions.matrices import linalg_norm as norm
from .tracer.functions.norms import vector_norm
from .tracer.functions.parts import diagonal as _diagonal
from .tracer.functions.products import linalg_cross as cross
from .tracer.functions.products import multi_dot, vecdot
from .tracer.functions.solving import (
    det,
    inv,
    inv_ex,
    lstsq,
    lu_solve,
    pinv,
    slogdet,
    solve,
    solve_ex,
    solve_triangular,
)
from .tracer.tensor import Tensor

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh",
    "eigvals", "eigvalsh", "householder_product", "inv", "inv_ex", "lstsq", "lu", "lu_factor",
    "lu_factor_ex", "lu_solve", "matmul", "matrix_exp", "matrix_norm", "matrix_power",
    "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve", "solve_ex",
    "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot",
    "vector_norm",
]  # fmt: skip


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices."""
    return _diagonal(A, offset, dim1, dim2)


_accept_out(globals(), "linalg")
