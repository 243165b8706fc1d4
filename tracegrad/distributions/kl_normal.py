"""Divergences between multivariate normal distributions:

(log det C_q - log det C_p + tr(C_q**-1 C_p) + (m_q - m_p)' C_q**-1 (m_q - m_p) - n) / 2
"""

from __future__ import annotations

from typing import Any

import tracegrad as torch

from .kl_registry import register_kl
from .lowrank_multivariate_normal import LowRankMultivariateNormal
from .multivariate_normal import MultivariateNormal, half_log_det, solved, squared_distance


def _squares(matrix: Any) -> Any:
    """tr(A A')"""
    return matrix.pow(2).sum((-2, -1))


def _log_det(d: Any) -> Any:
    if isinstance(d, LowRankMultivariateNormal):
        return d._log_det()
    return 2 * half_log_det(d._unbroadcasted_scale_tril)


def _squared_distance(d: Any, x: Any) -> Any:
    if isinstance(d, LowRankMultivariateNormal):
        return d._squared_distance(x)
    return squared_distance(d._unbroadcasted_scale_tril, x)


def _roots(d: Any) -> list[Any]:
    """Matrices A whose products A A' sum to the covariance."""
    if isinstance(d, LowRankMultivariateNormal):
        return [d._unbroadcasted_cov_factor, d._unbroadcasted_cov_diag.sqrt().diag_embed()]
    return [d._unbroadcasted_scale_tril]


def _trace(q: Any, root: Any) -> Any:
    """tr(C_q**-1 A A')"""
    if not isinstance(q, LowRankMultivariateNormal):
        return _squares(solved(q._unbroadcasted_scale_tril, root))
    whole = _squares(root * q._unbroadcasted_cov_diag.rsqrt().unsqueeze(-1))
    return whole - _squares(solved(q._capacitance_tril, q._scaled() @ root))


def _of_kind(words: str) -> Any:
    def divergence(p: Any, q: Any) -> Any:
        if p.event_shape != q.event_shape:
            raise ValueError(
                f"KL-divergence between two {words} with different event shapes cannot be computed"
            )
        trace: Any = sum(_trace(q, root) for root in _roots(p))
        away = _squared_distance(q, q.loc - p.loc)
        twice = _log_det(q) - _log_det(p) + trace + away - p.event_shape[0]
        return 0.5 * twice.expand(torch.broadcast_shapes(p.batch_shape, q.batch_shape))

    return divergence


_KINDS = {
    (MultivariateNormal, MultivariateNormal): "Multivariate Normals",
    (LowRankMultivariateNormal, LowRankMultivariateNormal): "Low Rank Multivariate Normals",
    (MultivariateNormal, LowRankMultivariateNormal): "(Low Rank) Multivariate Normals",
    (LowRankMultivariateNormal, MultivariateNormal): "(Low Rank) Multivariate Normals",
}
for _pair, _words in _KINDS.items():
    register_kl(*_pair)(_of_kind(_words))
