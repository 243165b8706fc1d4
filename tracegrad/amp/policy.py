"""What `autocast` does with each operation: torch's lists for CPUs and for GPUs, by the names of
functions.

Those of `lower` compute in the lower precision, those of `float32` in float32, those of `widest` in
the widest dtype of their operands. float64 stays as it is. Within such an operation nothing more is
cast. All others take what they are given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..functions.torch_function import watchers
from ..ir.dtype import DType, bfloat16, float16, float32
from ..tracer.mode import casting, mode
from ..tracer.pytree import flatten, unflatten
from ..tracer.tensor.tensor import Tensor


class Lists(NamedTuple):
    """The operations that are cast on one kind of device, and those that are refused."""

    lower: frozenset[str]
    float32: frozenset[str]
    widest: frozenset[str]
    refused: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        return self.lower | self.float32 | self.widest | self.refused


_PRODUCTS = """
    __matmul__ __rmatmul__ addbmm addmm baddbmm bmm chain_matmul conv1d conv2d conv3d
    conv_transpose1d conv_transpose2d conv_transpose3d einsum inner linear matmul matrix_power mm
    multi_dot multi_head_attention_forward scaled_dot_product_attention tensordot vecdot
"""
LISTS = {
    "cpu": Lists(
        frozenset(_PRODUCTS.split()),
        frozenset("""
            adaptive_avg_pool3d adaptive_max_pool3d avg_pool3d binary_cross_entropy
            binary_cross_entropy_with_logits cdist cholesky cholesky_inverse cholesky_solve cond
            cosine_embedding_loss cross_entropy ctc_loss eigh eigvalsh fractional_max_pool2d
            fractional_max_pool3d grid_sample hinge_embedding_loss householder_product huber_loss
            inv inverse kl_div l1_loss lstsq margin_ranking_loss matrix_rank max_pool3d max_unpool2d
            max_unpool3d mse_loss multi_margin_loss multilabel_margin_loss nanquantile nll_loss
            pinverse poisson_nll_loss prod qr quantile smooth_l1_loss soft_margin_loss solve svd
            svdvals tensorinv tensorsolve trace triplet_margin_loss
        """.split()),
        frozenset("cat concat concatenate index_copy stack".split()),
    ),
    "cuda": Lists(
        frozenset(f"{_PRODUCTS} addmv addr mv prelu".split()),
        frozenset("""
            __pow__ __rdiv__ __rpow__ __rtruediv__ acos asin binary_cross_entropy_with_logits cdist
            cosh cosine_embedding_loss cosine_similarity cross_entropy cumprod cumsum dist erfinv
            exp expm1 group_norm hinge_embedding_loss huber_loss kl_div l1_loss layer_norm log log10
            log1p log2 log_softmax logsumexp margin_ranking_loss mse_loss multi_margin_loss
            multilabel_margin_loss nll_loss norm pdist poisson_nll_loss pow prod reciprocal renorm
            rsqrt sinh smooth_l1_loss soft_margin_loss softmax softmin softplus sum tan
            triplet_margin_loss
        """.split()),
        frozenset("""
            addcdiv addcmul atan2 bilinear cat concat concatenate cross dot grid_sample index_copy
            index_put scatter_add stack vdot
        """.split()),
        frozenset(["binary_cross_entropy"]),
    ),
}
_UNSAFE = (
    "torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to autocast.\n"
    "Many models use a sigmoid layer right before the binary cross entropy layer.\n"
    "In this case, combine the two layers using "
    "torch.nn.functional.binary_cross_entropy_with_logits\n"
    "or torch.nn.BCEWithLogitsLoss.  binary_cross_entropy_with_logits and BCEWithLogits are\n"
    "safe to autocast."
)
_MOVED = ("reflect", "replicate")  # modes of `pad` that are operations of float32


def _cast(arguments: Any, dtype: DType) -> Any:
    leaves, structure = flatten(arguments)
    return unflatten([_fitting(x, dtype) for x in leaves], structure)


def _fitting(x: Any, dtype: DType) -> Any:
    castable = isinstance(x, Tensor) and x.dtype in (float16, bfloat16, float32)
    return x.to(dtype) if castable and x.dtype is not dtype else x


class Policy:
    """The casts of `autocast` to one dtype, of tensors on one kind of device."""

    def __init__(self, device: str, lower: DType):
        self.device, self.lower, self.lists = device, lower, LISTS[device]

    def dtype_for(self, name: str, args: tuple, kwargs: dict) -> DType | None:
        """What the operation computes in; None if it takes what it is given."""
        lists = self.lists
        if name in lists.lower:
            return self.lower
        if name in lists.float32:  # a reduction may be told
            return float32 if kwargs.get("dtype") is None else None
        if name == "pad" and self.device == "cpu":
            how = kwargs.get("mode", args[2] if len(args) > 2 else "constant")
            return float32 if how in _MOVED else None
        if name in lists.widest:
            leaves = [x for x in flatten((args, kwargs))[0] if isinstance(x, Tensor)]
            return float32 if any(x.dtype is float32 for x in leaves) else None
        if name in lists.refused:
            raise RuntimeError(_UNSAFE)
        return None

    def call(self, function: Callable, args: tuple, kwargs: dict) -> Any:
        """Call the operation with operands that are cast; None if it is not this policy's."""
        name = function.__name__
        if not (name in self.lists.names or name == "pad") or not self._is_here(args, kwargs):
            return None
        dtype = self.dtype_for(name, args, kwargs)
        if dtype is None:
            return None
        args, kwargs = _cast((args, kwargs), dtype)
        with casting(None):
            return function(*args, **kwargs)

    def _is_here(self, args: tuple, kwargs: dict) -> bool:
        """Whether an operation is one of this kind of device."""
        tensors = [x for x in flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        on_gpu = any(x.is_cuda for x in tensors)
        return bool(tensors) and on_gpu is (self.device == "cuda")


POLICIES = {
    (device, dtype): Policy(device, dtype) for device in LISTS for dtype in (bfloat16, float16)
}


def _method(name: str, plain: Callable) -> Callable:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        policy = mode.autocast
        result = None if policy is None else policy.call(method, (self, *args), kwargs)
        return plain(self, *args, **kwargs) if result is None else result

    method.__name__, method.__doc__ = name, plain.__doc__
    return method


def take_part(policy: Policy) -> None:
    """Let the public functions and the methods of Tensor ask for a policy, from now on."""
    if "autocast" not in watchers:
        watchers.append("autocast")
    for name in (policy.lists.names - _wrapped) & set(dir(Tensor)):
        _wrapped.add(name)
        setattr(Tensor, name, _method(name, getattr(Tensor, name)))


_wrapped: set[str] = set()  # methods that ask
