"""Attention by several heads, as a layer."""

from __future__ import annotations

from typing import Any

from ..functions.torch.creation import empty
from ..functions.torch.shape import transpose
from ..tracer.tensor.tensor import Tensor
from . import functional as F, init
from .linear import Linear
from .module import Module
from .parameter import Parameter


class NonDynamicallyQuantizableLinear(Linear):
    """The output projection of MultiheadAttention, under torch's name: a Linear."""


class MultiheadAttention(Module):
    """Attention by several heads: see `F.multi_head_attention_forward`.

    (L, N, E), or (N, L, E) if `batch_first`; gives the output and the weights, or None.

    Shape: (L, N, E), (S, N, E), (S, N, E) -> (L, N, E) and weights (N, L, S); (N, L, E) with
    `batch_first`; without N too. Vaswani et al. (2017).
    Raises AssertionError or RuntimeError for shapes that do not fit.

    >>> x = torch.randn(5, 2, 8)
    >>> output, weights = nn.MultiheadAttention(embed_dim=8, num_heads=2)(x, x, x)
    >>> output.shape, weights.shape
    (tracegrad.Size([5, 2, 8]), tracegrad.Size([2, 5, 5]))
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
                 add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
                 vdim: int | None = None, batch_first: bool = False, device: Any = None,
                 dtype: Any = None):
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                "embed_dim and num_heads must be greater than 0, got "
                f"embed_dim={embed_dim} and num_heads={num_heads} instead"
            )
        super().__init__()
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        self.batch_first, self.add_zero_attn = batch_first, add_zero_attn
        self.head_dim = embed_dim // num_heads
        assert self.head_dim * num_heads == embed_dim, "embed_dim must be divisible by num_heads"
        kind = {"device": device, "dtype": dtype}
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        widths = {"q_proj_weight": embed_dim, "k_proj_weight": self.kdim,
                  "v_proj_weight": self.vdim}
        for name, width in widths.items():
            apart = not self._qkv_same_embed_dim
            p = Parameter(empty(embed_dim, width, **kind)) if apart else None
            self.register_parameter(name, p)
        packed = Parameter(empty(3 * embed_dim, embed_dim, **kind))
        self.register_parameter("in_proj_weight", packed if self._qkv_same_embed_dim else None)
        biased = Parameter(empty(3 * embed_dim, **kind)) if bias else None
        self.register_parameter("in_proj_bias", biased)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, **kind)
        for name in ("bias_k", "bias_v"):
            p = Parameter(empty(1, 1, embed_dim, **kind)) if add_bias_kv else None
            self.register_parameter(name, p)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if getattr(self, name) is not None:
                init.xavier_uniform_(getattr(self, name))
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor,
                key_padding_mask: Tensor | None = None, need_weights: bool = True,
                attn_mask: Tensor | None = None, average_attn_weights: bool = True,
                is_causal: bool = False) -> tuple[Tensor, Tensor | None]:
        turn = self.batch_first and query.ndim == 3
        if turn:
            query, key, value = (transpose(x, 0, 1) for x in (query, key, value))
        y, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight,
            self.in_proj_bias, self.bias_k, self.bias_v, self.add_zero_attn, self.dropout,
            self.out_proj.weight, self.out_proj.bias, self.training, key_padding_mask,
            need_weights, attn_mask, not self._qkv_same_embed_dim, self.q_proj_weight,
            self.k_proj_weight, self.v_proj_weight, average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return (transpose(y, 0, 1) if turn else y), weights
