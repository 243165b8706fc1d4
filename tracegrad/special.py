"""torch.special: special functions of mathematics, with torch's names."""

from .out import accept as _accept_out
from .tracer.functions.normalized import log_softmax, logsumexp, softmax
from .tracer.functions.pointwise import erf, erfc, exp2, expm1, log1p, round
from .tracer.functions.pointwise import sigmoid as expit
from .tracer.functions.transcendental import (
    bessel_j0,
    bessel_j1,
    digamma,
    entr,
    erfcx,
    erfinv,
    i0,
    i0e,
    i1,
    i1e,
    log_ndtr,
    logit,
    ndtr,
    ndtri,
    polygamma,
    sinc,
    xlog1py,
    xlogy,
    zeta,
)
from .tracer.functions.transcendental import igamma as gammainc
from .tracer.functions.transcendental import igammac as gammaincc
from .tracer.functions.transcendental import lgamma as gammaln
from .tracer.functions.transcendental import mvlgamma as multigammaln

psi, modified_bessel_i0, modified_bessel_i1 = digamma, i0, i1

__all__ = [
    "bessel_j0", "bessel_j1", "digamma", "entr", "erf", "erfc", "erfcx", "erfinv", "exp2",
    "expit", "expm1", "gammainc", "gammaincc", "gammaln", "i0", "i0e", "i1", "i1e", "log1p",
    "log_ndtr", "log_softmax", "logit", "logsumexp", "modified_bessel_i0", "modified_bessel_i1",
    "multigammaln", "ndtr", "ndtri", "polygamma", "psi", "round", "sinc", "softmax", "xlog1py",
    "xlogy", "zeta",
]  # fmt: skip

_accept_out(globals(), "special")
