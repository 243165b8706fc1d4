"""What `autocast` does with each operation: torch's lists for CPUs, by the names of functions.

`LOWER` compute in the lower precision, `FLOAT32` in float32; `WIDEST` in the widest dtype of their
operands. float64 stays as it is. Within such an operation nothing more is cast. All others take
what they are given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..functions.torch_function import watchers
from ..ir.dtype import DType, bfloat16, float16, float32
from ..tracer.mode import casting, mode
from ..tracer.pytree import flatten, unflatten
from ..tracer.tensor.tensor import Tensor

LOWER = frozenset("""
    __matmul__ __rmatmul__ addbmm addmm baddbmm bmm chain_matmul conv1d conv2d conv3d
    conv_transpose1d conv_transpose2d conv_transpose3d einsum inner linear matmul matrix_power mm
    multi_dot multi_head_attention_forward scaled_dot_product_attention tensordot vecdot
""".split())
FLOAT32 = frozenset("""
    adaptive_avg_pool3d adaptive_max_pool3d avg_pool3d binary_cross_entropy
    binary_cross_entropy_with_logits cdist cholesky cholesky_inverse cholesky_solve cond
    cosine_embedding_loss cross_entropy ctc_loss eigh eigvalsh fractional_max_pool2d
    fractional_max_pool3d grid_sample hinge_embedding_loss householder_product huber_loss inv
    inverse kl_div l1_loss lstsq margin_ranking_loss matrix_rank max_pool3d max_unpool2d
    max_unpool3d mse_loss multi_margin_loss multilabel_margin_loss nanquantile nll_loss pinverse
    poisson_nll_loss prod qr quantile smooth_l1_loss soft_margin_loss solve svd svdvals tensorinv
    tensorsolve trace triplet_margin_loss
""".split())
WIDEST = frozenset("cat concat concatenate index_copy stack".split())
_MOVED = ("reflect", "replicate")  # modes of `pad` that are operations of float32


def _cast(arguments: Any, dtype: DType) -> Any:
    leaves, structure = flatten(arguments)
    return unflatten([_fitting(x, dtype) for x in leaves], structure)


def _fitting(x: Any, dtype: DType) -> Any:
    castable = isinstance(x, Tensor) and x.dtype in (float16, bfloat16, float32)
    return x.to(dtype) if castable and x.dtype is not dtype else x


class Policy:
    """The casts of `autocast` to one dtype."""

    def __init__(self, lower: DType):
        self.lower = lower

    def dtype_for(self, name: str, args: tuple, kwargs: dict) -> DType | None:
        """What the operation computes in; None if it takes what it is given."""
        if name in LOWER:
            return self.lower
        if name in FLOAT32:
            return float32
        if name == "pad":
            how = kwargs.get("mode", args[2] if len(args) > 2 else "constant")
            return float32 if how in _MOVED else None
        if name in WIDEST:
            leaves = [x for x in flatten((args, kwargs))[0] if isinstance(x, Tensor)]
            return float32 if any(x.dtype is float32 for x in leaves) else None
        return None

    def call(self, function: Callable, args: tuple, kwargs: dict) -> Any:
        """Call the operation with operands that are cast; None if it is not this policy's."""
        dtype = self.dtype_for(function.__name__, args, kwargs)
        if dtype is None:
            return None
        args, kwargs = _cast((args, kwargs), dtype)
        with casting(None):
            return function(*args, **kwargs)


POLICIES = {dtype: Policy(dtype) for dtype in (bfloat16, float16)}


def _method(name: str, plain: Callable) -> Callable:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        policy = mode.autocast
        result = None if policy is None else policy.call(method, (self, *args), kwargs)
        return plain(self, *args, **kwargs) if result is None else result

    method.__name__, method.__doc__ = name, plain.__doc__
    return method


def take_part() -> None:
    """Let the public functions and the methods of Tensor ask for a policy, from now on."""
    if "autocast" in watchers:
        return
    watchers.append("autocast")
    for name in (LOWER | FLOAT32 | WIDEST) & set(dir(Tensor)):
        setattr(Tensor, name, _method(name, getattr(Tensor, name)))
