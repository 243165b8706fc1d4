"""Reasons for what transforms of functions show: vmap, gradients, Jacobians, forward mode."""

from __future__ import annotations

from .operands import of_empty, of_nan, of_overlapping, of_single_number
from .reason import Reason, names, unjudged

DERIVATIVE = r"(grad|vjp|jvp|jac\w+|hessian)\("

TABLE = (
    Reason(
        "^requires_grad$", DERIVATIVE + r".*(softmax|logcumsumexp)", "True$",
        "torch takes the derivative of these of one number for a constant",
    ),
    Reason(
        "^requires_grad$", "vmap.*" + names("fill"), "False$",
        "torch's vmap of a fill keeps a history that nothing reaches",
    ),
    Reason(
        "^value$", DERIVATIVE + ".*logcumsumexp", "",
        "torch's derivative goes by the logarithm, rounded", 1e-9, witness=unjudged,
    ),
    Reason(
        "^value$", DERIVATIVE + ".*logcumsumexp", r"\(0\.0\) at .*e-1\d\)",
        "torch's derivative goes by the logarithm, rounded: it leaves what should be zero",
        witness=unjudged,
    ),
    Reason(
        "^error$", "vmap.*index_select", "^IndexError: index .*expected RuntimeError: index",
        "refused by both, the dimension of torch's words is that behind the vmap",
    ),
    Reason(
        "^error$", "vmap", "^RuntimeError: Subtraction.*with a bool tensor.*expected no error",
        "torch's vmap subtracts bools, which torch refuses elsewhere",
    ),
    Reason(
        "^error$", "vmap.*view\\(T", "^NotImplementedError: view",
        "a view as numbers of another size: refused under vmap",
    ),
    Reason(
        "^error$", "jacfwd", "^no error; expected IndexError: select",
        "torch's jacfwd of a tensor without elements fails", when=of_empty,
    ),
    Reason(
        "^(error|grad1-error)$", DERIVATIVE + ".*(dist|vander)",
        "^no error; expected RuntimeError: one of the variables needed",
        "torch's own function writes into what it has saved", witness=unjudged,
    ),
    Reason(
        "^error$", DERIVATIVE, "^AttributeError: .*has no attribute .sum.; expected RuntimeError",
        "no function to differentiate; refused by both",
    ),
    Reason(
        "^dtype$", r"jac\w+\(.*(var|std)", "float16, expected float32",
        "torch's Jacobian of a variance of halves is of floats",
    ),
    Reason(
        "^value$", "vmap.*" + names("roll"), "",
        "torch rolls the examples where each has one number", when=of_single_number,
        witness=unjudged,
    ),
    Reason(
        "^value$", DERIVATIVE + ".*narrow_copy", "",
        "torch loses the gradient of narrow_copy from a negative start", witness=unjudged,
    ),
    Reason(
        "^value$", DERIVATIVE + ".*(mm|matmul)", r"expected np\.float\d+\(nan\)",
        "torch multiplies zeros of a tangent with NaN", when=of_nan, witness=unjudged,
    ),
    Reason(
        "^value$", DERIVATIVE + ".*i1e", r"\(nan\) at .*\((0\.0|-?0\.5)\)",
        "torch's derivative of i1e at NaN is 0.5", when=of_nan, witness=unjudged,
    ),
    Reason(
        "^value$", DERIVATIVE + ".*sinc", "", "torch's derivative of sinc cancels near zero",
        witness=unjudged,
    ),
    Reason(
        "^value$", r"jacrev.*cdist", "",
        "torch's vmap of the backward of cdist loses what t * 2 adds", witness=unjudged,
    ),
    Reason(
        "^error$", "vmap.*index_select", "^RuntimeError: shape .*expected no error",
        "torch's vmap selects several of a number, which torch refuses elsewhere",
    ),
    Reason(
        "^value$", DERIVATIVE + r".*ndtri\(.*sigmoid", "float32",
        "near one half, ndtri shows the unit in the last place by which sigmoids differ", 1e-4,
        witness=unjudged,
    ),
    Reason(
        "^value$", DERIVATIVE + ".*logit", r"\(nan\)|\(0\.0\)",
        "derivatives of logit outside of its domain", witness=unjudged,
    ),
    Reason(
        "^value$", DERIVATIVE + r".*\{num\} / t", "float16",
        "a number divided by halves is rounded first in torch", witness=unjudged,
    ),
    Reason(
        "^value$", "jacfwd", r"\((0|1)\.0\) at", "torch's forward mode of overlapping memory",
        when=of_overlapping, witness=unjudged,
    ),
)
