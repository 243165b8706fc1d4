"""torch.special: special functions of mathematics, with torch's names."""

from .functions.out_argument import accept as _accept_out
from .functions.special import (
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
    igamma as gammainc,
    igammac as gammaincc,
    lgamma as gammaln,
    log_ndtr,
    logit,
    mvlgamma as multigammaln,
    ndtr,
    ndtri,
    polygamma,
    sinc,
    xlog1py,
    xlogy,
    zeta,
)
from .functions.torch.pointwise import exp2, round
from .functions.torch.pointwise_primitives import erf, erfc, expm1, log1p, sigmoid as expit
from .functions.torch.reduction import log_softmax, logsumexp, softmax

psi, modified_bessel_i0, modified_bessel_i1 = digamma, i0, i1

__all__ = [
    "bessel_j0", "bessel_j1", "digamma", "entr", "erf", "erfc", "erfcx", "erfinv", "exp2",
    "expit", "expm1", "gammainc", "gammaincc", "gammaln", "i0", "i0e", "i1", "i1e", "log1p",
    "log_ndtr", "log_softmax", "logit", "logsumexp", "modified_bessel_i0", "modified_bessel_i1",
    "multigammaln", "ndtr", "ndtri", "polygamma", "psi", "round", "sinc", "softmax", "xlog1py",
    "xlogy", "zeta",
]

_accept_out(globals(), "special")
