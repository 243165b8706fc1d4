"""Attention: means of values, weighted by how well their keys answer a query.

Scores are made by a product, weighed by a softmax along rows that stay in cache, and spent by a
second product. Half types compute in float32 and round once.
"""

from __future__ import annotations

import math
from typing import Any

from ...ir.dtype import bool_, float32
from ...ir.ops.elementwise import exp, stop_gradient, where
from ...tracer.autograd.graph import composite
from ...tracer.tensor.tensor import Tensor
from ..torch.blas import matmul
from ..torch.creation import arange, zeros
from ..torch.other_shapes import repeat_interleave
from ..torch.random_sampling import narrowed, wide
from ..torch.reduction import amax, mean, sum as sum_
from ..torch.shape import expand, permute, reshape, squeeze, unsqueeze
from ..torch.slicing_joining import cat, chunk
from .dropout import dropout
from .linear import linear

__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]


def _check(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool) -> None:
    three = {"query": query, "key": key, "value": value}
    if any(x.ndim < 2 for x in three.values()):
        told = ", ".join(f"{name}.dim(): {x.ndim}" for name, x in three.items())
        raise RuntimeError(
            "scaled_dot_product_attention: Expected query, key, and value to all be  at least 2 "
            f"dimensional, but got {told} instead."
        )
    if not query.dtype is key.dtype is value.dtype:
        told = ", ".join(f"{name}.dtype: {x.dtype.name}" for name, x in three.items())
        raise RuntimeError(
            f"Expected query, key, and value to have the same dtype, but got {told} instead."
        )
    if mask is not None and causal:
        raise RuntimeError(
            "_scaled_dot_product_attention: Explicit attn_mask should not be set when "
            "is_causal=True"
        )
    if mask is not None and mask.dtype not in (bool_, query.dtype, float32):
        raise RuntimeError(
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got "
            f"attn_mask.dtype: {mask.dtype.name} and  query.dtype: {query.dtype.name} instead."
        )


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor,
                                 attn_mask: Tensor | None = None, dropout_p: float = 0.0,
                                 is_causal: bool = False, scale: float | None = None,
                                 enable_gqa: bool = False) -> Tensor:
    """softmax(query @ key.T * scale + mask) @ value: (*, L, E), (*, S, E), (*, S, V) -> (*, L, V).

    A bool mask says what may be attended to; another is added. `is_causal` lets position i see
    those up to i. With `enable_gqa` several heads of queries share one of keys and values. A query
    that may attend to nothing gets zeros.

    Shape: as above. Dtype: that of all, which must agree; the mask is bool or of that dtype.
    Raises RuntimeError if shapes or dtypes do not fit, or for a mask beside `is_causal`.

    >>> q = torch.ones(1, 2, 4)
    >>> F.scaled_dot_product_attention(q, q, q, is_causal=True).shape
    tracegrad.Size([1, 2, 4])
    """
    _check(query, key, value, attn_mask, is_causal)
    if enable_gqa:
        heads = query.shape[-3]
        if heads % key.shape[-3] or heads % value.shape[-3]:
            raise RuntimeError(
                "Number of heads in key and value must divide the number of heads in query, but "
                f"got {key.shape[-3]}, {value.shape[-3]} and {heads}"
            )
        key, value = (repeat_interleave(x, heads // x.shape[-3], -3) for x in (key, value))
    return _attention(query, key, value, attn_mask, dropout_p, is_causal, scale)


@composite("ScaledDotProductFlashAttentionForCpuBackward0")
def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, p: float,
               causal: bool, scale: float | None) -> Tensor:
    d = wide(query.dtype)
    q, k, v = (narrowed(x, d) for x in (query, key, value))
    if scale is None:
        scale = 1 / math.sqrt(q.shape[-1]) if q.shape[-1] else 1.0
    hidden = mask is not None  # everything may be; causally, the first key never is
    if causal:
        mask = unsqueeze(arange(q.shape[-2]), 1) >= arange(k.shape[-2])
    scores = _masked(matmul(q, k.mT) * scale, mask)  # scaled in the loop of the softmax
    weights = dropout(_softmax(scores, hidden), p)
    return narrowed(matmul(weights, v), query.dtype)


def _masked(scores: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return scores
    if mask.dtype is bool_:
        return where(mask, scores, -math.inf)
    return scores + narrowed(mask, scores.dtype)


def _softmax(scores: Tensor, masked: bool) -> Tensor:
    """Weights that sum to 1 along the last dimension; all 0 where all is masked."""
    if scores.shape[-1] == 0:
        return scores
    peak = stop_gradient(amax(scores, -1, True))
    if masked:
        peak = where(peak == -math.inf, 0, peak)
    power = exp(scores - peak)
    total = sum_(power, -1, True)
    return power / (where(total == 0, 1, total) if masked else total)


# ---- several heads
def _canonical(mask: Tensor | None, name: str, dtype: Any) -> Tensor | None:
    """A mask as numbers to add; a bool one says what is left out."""
    if mask is None or mask.dtype.is_floating_point:
        return mask
    if mask.dtype is not bool_:
        raise AssertionError(f"only bool and floating types of {name} are supported")
    return where(mask, -math.inf, zeros((), dtype=dtype))


def _projected(query: Tensor, key: Tensor, value: Tensor, weights: list, bias: Tensor | None):
    """Queries, keys and values, each by its own weight."""
    biases = [None] * 3 if bias is None else chunk(bias, 3)
    pairs = zip((query, key, value), weights, biases, strict=True)
    return [linear(x, w, b) for x, w, b in pairs]


def _check_ranks(query: Tensor, key: Tensor, value: Tensor) -> None:
    if query.ndim not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query.ndim}-D query "
            "tensor"
        )
    if key.ndim != query.ndim or value.ndim != query.ndim:
        raise AssertionError(
            f"For a {query.ndim}-D query, expected key and value to be {query.ndim}-D but found "
            f"{key.ndim}-D and {value.ndim}-D tensors respectively"
        )


def _check_shapes(query: Tensor, key: Tensor, value: Tensor, embed_dim: int, heads: int) -> None:
    width = query.shape[-1]
    if width != embed_dim:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim}, but got {width}")
    if width % heads:
        raise AssertionError(f"embed_dim {width} not divisible by num_heads {heads}")
    if key.shape[:2] != value.shape[:2]:
        raise AssertionError(
            f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}"
        )


def multi_head_attention_forward(
    query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int,
    in_proj_weight: Tensor | None, in_proj_bias: Tensor | None, bias_k: Tensor | None,
    bias_v: Tensor | None, add_zero_attn: bool, dropout_p: float, out_proj_weight: Tensor,
    out_proj_bias: Tensor | None, training: bool = True, key_padding_mask: Tensor | None = None,
    need_weights: bool = True, attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False, q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None, v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None, static_v: Tensor | None = None,
    average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention by `num_heads` heads: queries (L, N, E), keys and values (S, N, E), or without N.

    Masks: True, or -inf, where a key is left out, `key_padding_mask` (N, S) and `attn_mask` (L, S)
    or (N * heads, L, S). Gives the result (L, N, E) and, if `need_weights`, the weights (N, L, S).

    Dtype: floating point, the same of all. Raises RuntimeError or AssertionError for shapes that do
    not fit.

    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> weights = torch.eye(2).repeat(3, 1), None, None, None, False, 0.0, torch.eye(2), None
    >>> F.multi_head_attention_forward(x, x, x, 2, 1, *weights)[0]
    tensor([[0.6698, 0.3302],
            [0.3302, 0.6698]])
    """
    _check_ranks(query, key, value)
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
    batched = query.ndim == 3
    if not batched:
        query, key, value = (unsqueeze(x, 1) for x in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else unsqueeze(key_padding_mask, 0)
    length, batch, width = query.shape
    _check_shapes(query, key, value, embed_dim_to_check, num_heads)
    padding = _canonical(key_padding_mask, "key_padding_mask", query.dtype)
    mask = _canonical(attn_mask, "attn_mask", query.dtype)
    if use_separate_proj_weight:
        weights: Any = [q_proj_weight, k_proj_weight, v_proj_weight]
    else:
        assert in_proj_weight is not None, "in_proj_weight is needed, or a weight for each"
        weights = chunk(in_proj_weight, 3)
    q, k, v = _projected(query, key, value, weights, in_proj_bias)
    if bias_k is not None and bias_v is not None:
        k, v = (cat([x, expand(b, (1, batch, width))]) for x, b in ((k, bias_k), (v, bias_v)))
    head = width // num_heads
    q = _by_head(q, num_heads, head)
    k = _by_head(k, num_heads, head) if static_k is None else _static(static_k, batch, num_heads)
    v = _by_head(v, num_heads, head) if static_v is None else _static(static_v, batch, num_heads)
    if add_zero_attn:
        none = zeros(batch, num_heads, 1, head, dtype=k.dtype)
        k, v = cat([k, none], 2), cat([v, none], 2)
    both = _both(mask, padding, batch, num_heads, (length, key.shape[0]), k.shape[2])
    p = dropout_p if training else 0.0
    if need_weights:
        scores = _softmax(_masked(matmul(q, k.mT) * (1 / math.sqrt(head)), both), False)
        spent = matmul(dropout(scores, p), v)
    else:
        scores, spent = None, scaled_dot_product_attention(q, k, v, both, p)
    y = linear(reshape(permute(spent, (2, 0, 1, 3)), length, batch, width), out_proj_weight,
               out_proj_bias)
    if scores is not None:
        scores = mean(scores, 1) if average_attn_weights else scores
    if not batched:
        y, scores = squeeze(y, 1), None if scores is None else squeeze(scores, 0)
    return y, scores


def _by_head(x: Tensor, heads: int, head: int) -> Tensor:
    """(L, N, E) -> (N, heads, L, E / heads)."""
    return permute(reshape(x, x.shape[0], x.shape[1], heads, head), (1, 2, 0, 3))


def _static(x: Tensor, batch: int, heads: int) -> Tensor:
    """(N * heads, S, E / heads) -> (N, heads, S, E / heads)."""
    return reshape(x, batch, heads, *x.shape[1:])


def _both(mask: Tensor | None, padding: Tensor | None, batch: int, heads: int,
          size: tuple[int, int], keys: int) -> Tensor | None:
    """The two masks as one, (N or 1, heads or 1, L or 1, keys), for all keys that were added."""
    if mask is not None and mask.ndim == 2:
        if tuple(mask.shape) != size:
            raise RuntimeError(
                f"The shape of the 2D attn_mask is {tuple(mask.shape)}, but should be {size}."
            )
        mask = reshape(mask, 1, 1, *size)
    elif mask is not None:
        if tuple(mask.shape) != (batch * heads, *size):
            raise RuntimeError(
                f"The shape of the 3D attn_mask is {tuple(mask.shape)}, but should be "
                f"{(batch * heads, *size)}."
            )
        mask = reshape(mask, batch, heads, *size)
    if padding is not None:
        if tuple(padding.shape) != (batch, size[1]):
            raise AssertionError(
                f"expecting key_padding_mask shape of {(batch, size[1])}, but got "
                f"{tuple(padding.shape)}"
            )
        padding = reshape(padding, batch, 1, 1, size[1])
        mask = padding if mask is None else mask + padding
    if mask is not None and keys > size[1]:
        more = zeros(*mask.shape[:3], keys - size[1], dtype=mask.dtype)
        mask = cat([mask, more], 3)
    return mask
