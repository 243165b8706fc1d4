"""Linear algebra, with the names of torch.linalg. Matrices are the last two dimensions, all before
them are batches. Complex numbers are not supported, so `eig` only says so.
"""

from .functions.linalg.decompositions import (
    cholesky_ex,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    linalg_cholesky as cholesky,
    linalg_qr as qr,
    linalg_svd as svd,
    lu,
    lu_factor,
    lu_factor_ex,
    svdvals,
)
from .functions.linalg.matrix_functions import (
    cond,
    householder_product,
    linalg_norm as norm,
    matrix_exp,
    matrix_norm,
    matrix_power,
    matrix_rank,
    tensorinv,
    tensorsolve,
    vander,
)
from .functions.linalg.solvers import (
    det,
    inv,
    inv_ex,
    linalg_slogdet as slogdet,
    lstsq,
    lu_solve,
    pinv,
    solve,
    solve_ex,
    solve_triangular,
)
from .functions.out_argument import accept as _accept_out
from .functions.torch.blas import linalg_cross as cross, matmul, multi_dot, vecdot
from .functions.torch.reduction_statistics import vector_norm
from .functions.torch.slicing_joining import diagonal as _diagonal
from .ir.faults import LinAlgError
from .tracer.tensor.tensor import Tensor

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh",
    "eigvals", "eigvalsh", "householder_product", "inv", "inv_ex", "lstsq", "lu", "lu_factor",
    "lu_factor_ex", "lu_solve", "matmul", "matrix_exp", "matrix_norm", "matrix_power",
    "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve", "solve_ex",
    "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot",
    "vector_norm",
]


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices.

    Shape: (*, N, M) -> (*, K), K the length of the diagonal. Dtype: that of A. A view.
    Raises IndexError for a dimension out of range.

    >>> torch.linalg.diagonal(torch.tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """
    return _diagonal(A, offset, dim1, dim2)


_accept_out(globals(), "linalg")
