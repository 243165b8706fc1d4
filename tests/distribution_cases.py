"""Distributions with parameters and values, for the tests of torch.distributions."""

from __future__ import annotations

import numpy as np

_POSITIVE = {"a": [0.3, 1.0, 2.5], "b": [0.7, 2.0, 1.5]}
_UNIT = [0.05, 0.4, 0.85]
_REAL = [-1.2, 0.3, 2.0]
_ROWS = [[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]
_LOGITS = [[0.2, -0.5, 0.3], [1.6, 0.1, -0.3]]
_FACTOR = [[1.0, 0.0, 0.0], [0.5, 1.2, 0.0], [-0.3, 0.4, 0.8]]
_MATRIX = (np.array(_FACTOR) @ np.array(_FACTOR).T).tolist()
_VECTORS = [[0.5, -0.2, 1.0], [0.1, 0.9, -1.4]]
_CORR = [[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.48, 0.6, 0.64]]

# the class, its arguments (lists are tensors), and values
CASES = {
    "Bernoulli": ({"probs": _UNIT}, [0.0, 1.0, 1.0]),
    "Bernoulli of logits": ({"logits": _REAL}, [0.0, 1.0, 1.0]),
    "Beta": ({"concentration1": [0.5, 1.5, 3.0], "concentration0": [2.0, 0.7, 4.0]}, _UNIT),
    "Binomial": ({"total_count": 5, "probs": _UNIT}, [0.0, 2.0, 5.0]),
    "Binomial of logits": ({"total_count": [3.0, 9.0, 4.0], "logits": _REAL}, [0.0, 2.0, 4.0]),
    "Categorical": ({"probs": _ROWS}, [0, 2]),
    "Categorical of logits": ({"logits": _LOGITS}, [0, 2]),
    "Cauchy": ({"loc": _REAL, "scale": [0.3, 1.0, 2.0]}, [-1.0, 0.2, 5.0]),
    "Chi2": ({"df": [0.5, 2.0, 7.0]}, [0.3, 1.0, 4.0]),
    "ContinuousBernoulli": ({"probs": [0.05, 0.5, 0.85]}, _UNIT),
    "ContinuousBernoulli of logits": ({"logits": [-1.2, 0.0003, 2.0]}, _UNIT),
    "Dirichlet": ({"concentration": [[0.5, 1.5, 3.0], [2.0, 0.7, 4.0]]}, _ROWS),
    "Exponential": ({"rate": [0.3, 1.0, 2.0]}, [0.1, 1.0, 3.0]),
    "FisherSnedecor": ({"df1": [0.5, 3.0, 6.0], "df2": [1.0, 4.5, 8.0]}, [0.1, 1.0, 3.0]),
    "Gamma": ({"concentration": [0.3, 1.0, 2.5], "rate": [0.7, 2.0, 1.5]}, [0.1, 1.0, 3.0]),
    "GeneralizedPareto": (
        {"loc": [0.0, 1.0, -1.0], "scale": [0.3, 1.0, 2.0], "concentration": [-0.3, 0.0, 0.4]},
        [0.2, 1.5, 3.0],
    ),
    "Geometric": ({"probs": _UNIT}, [0.0, 2.0, 5.0]),
    "Geometric of logits": ({"logits": _REAL}, [0.0, 2.0, 5.0]),
    "Gumbel": ({"loc": _REAL, "scale": [0.3, 1.0, 2.0]}, [-1.0, 0.2, 5.0]),
    "HalfCauchy": ({"scale": [0.3, 1.0, 2.0]}, [0.1, 1.0, 3.0]),
    "HalfNormal": ({"scale": [0.3, 1.0, 2.0]}, [0.1, 1.0, 3.0]),
    "InverseGamma": ({"concentration": [0.3, 1.5, 2.5], "rate": [0.7, 2.0, 1.5]}, [0.1, 1.0, 3.0]),
    "Kumaraswamy": (
        {"concentration1": [0.5, 1.5, 3.0], "concentration0": [2.0, 0.7, 4.0]}, _UNIT
    ),
    "LKJCholesky": ({"dim": 3, "concentration": [0.5, 2.0]}, [_CORR, _CORR]),
    "Laplace": ({"loc": _REAL, "scale": [0.3, 1.0, 2.0]}, [-1.0, 0.2, 5.0]),
    "LogNormal": ({"loc": _REAL, "scale": [0.3, 1.0, 2.0]}, [0.1, 1.0, 3.0]),
    "LogisticNormal": (
        {"loc": [[0.1, 0.4], [1.0, -2.0]], "scale": [[0.5, 1.0], [2.0, 0.3]]}, _ROWS
    ),
    "LowRankMultivariateNormal": (
        {"loc": _VECTORS, "cov_factor": [[1.0, 0.2], [0.5, -1.0], [0.3, 0.8]],
         "cov_diag": [0.5, 1.0, 2.0]},
        [[0.0, 1.0, 2.0], [0.3, 0.2, 0.1]],
    ),
    "Multinomial": ({"total_count": 4, "probs": _ROWS}, [[1.0, 2.0, 1.0], [4.0, 0.0, 0.0]]),
    "Multinomial of logits": (
        {"total_count": 4, "logits": _LOGITS}, [[1.0, 2.0, 1.0], [4.0, 0.0, 0.0]]
    ),
    "MultivariateNormal": ({"loc": _VECTORS, "covariance_matrix": _MATRIX}, _VECTORS[::-1]),
    "MultivariateNormal of a factor": ({"loc": _VECTORS, "scale_tril": _FACTOR}, _VECTORS[::-1]),
    "MultivariateNormal of a precision": (
        {"loc": _VECTORS, "precision_matrix": _MATRIX}, _VECTORS[::-1]
    ),
    "NegativeBinomial": ({"total_count": [0.5, 3.0, 7.0], "probs": _UNIT}, [0.0, 2.0, 5.0]),
    "NegativeBinomial of logits": ({"total_count": 3, "logits": _REAL}, [0.0, 2.0, 5.0]),
    "Normal": ({"loc": _REAL, "scale": [0.3, 1.0, 2.0]}, [-1.0, 0.2, 5.0]),
    "OneHotCategorical": ({"probs": _ROWS}, [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    "OneHotCategoricalStraightThrough": (
        {"logits": _LOGITS}, [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    ),
    "Pareto": ({"scale": [0.1, 1.0, 2.0], "alpha": [0.5, 1.5, 3.0]}, [0.3, 1.5, 3.0]),
    "Poisson": ({"rate": [0.1, 1.0, 20.0]}, [0.0, 2.0, 15.0]),
    "RelaxedBernoulli": ({"temperature": 0.7, "probs": _UNIT}, [0.2, 0.5, 0.9]),
    "RelaxedBernoulli of logits": ({"temperature": [0.7], "logits": _REAL}, [0.2, 0.5, 0.9]),
    "RelaxedOneHotCategorical": ({"temperature": 0.7, "probs": _ROWS}, _ROWS[::-1]),
    "StudentT": (
        {"df": [0.5, 1.5, 4.0], "loc": _REAL, "scale": [0.3, 1.0, 2.0]}, [-1.0, 0.2, 5.0]
    ),
    "Uniform": ({"low": [-1.0, 0.0, 2.0], "high": [1.0, 0.5, 7.0]}, [-0.5, 0.2, 5.0]),
    "VonMises": ({"loc": _REAL, "concentration": [0.3, 1.0, 20.0]}, [-1.0, 0.2, 2.5]),
    "Weibull": ({"scale": [0.3, 1.0, 2.0], "concentration": [1.0, 1.5, 3.0]}, [0.1, 1.0, 3.0]),
    "Wishart": (
        {"df": [3.5, 6.0], "covariance_matrix": _MATRIX}, [_MATRIX, np.eye(3).tolist()]
    ),
    "Wishart of a factor": ({"df": 4.0, "scale_tril": _FACTOR}, _MATRIX),
}


# torch has these in float32 alone
NARROW = ("GeneralizedPareto",)


def tensor(T, value, grad=False, narrow=False):
    floating = T.float32 if narrow else T.float64
    made = T.tensor(value, dtype=T.int64 if np.array(value).dtype.kind == "i" else floating)
    return made.requires_grad_() if grad else made


def build(T, name, grad=False):
    """The distribution of this name, and its parameters that are tensors."""
    kwargs = {
        k: tensor(T, v, grad, name in NARROW) if isinstance(v, list)
        else tensor(T, v) if k == "temperature" else v
        for k, v in CASES[name][0].items()
    }
    if name == "Binomial of logits":
        kwargs["total_count"] = kwargs["total_count"].detach()
    made = getattr(T.distributions, name.partition(" ")[0])(**kwargs)
    return made, [v for v in kwargs.values() if hasattr(v, "requires_grad") and v.requires_grad]


def value_of(T, name):
    return tensor(T, CASES[name][1], narrow=name in NARROW)
