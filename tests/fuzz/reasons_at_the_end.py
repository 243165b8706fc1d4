"""Reasons for what the end of a program shows: gradients, and differences of a compiled run."""

from __future__ import annotations

from .operands import (
    of_bytes,
    of_correlated_rows,
    of_equal_rows,
    of_integers,
    of_least,
    of_nan,
    of_no_number,
    of_overlapping,
    of_singular_values_without_gap,
)
from .reason import NAN, Reason, names, unjudged, within_units_of_all
from .witness import as_kept, choice_is_open

TABLE = (
    Reason(
        "^grad[12]-error$", "", "^no error.*modified by an inplace operation",
        "which values a derivative keeps differs: ours is what torch's is from the ones that were",
        witness=as_kept,
    ),
    Reason(
        "^grad[12]-error$", "", "^no error.*(not implemented|not differentiable)",
        "torch has no derivative there",
    ),
    Reason(
        "^compiled error$", "", "^no error; expected RuntimeError: one of the variables needed",
        "a trace overwrites nothing: it has the gradient that eagerly is refused",
    ),
    Reason(
        "^grad2?$", "", NAN,
        "torch's formula is 0 * inf or 0 / 0 at a kink or a zero, ours has the limit",
    ),
    Reason(
        "^grad2?$",
        names("logcumsumexp i0 i0e i1 batch_norm sinc conv1d conv2d conv_transpose1d"),
        r"\(nan\) at",
        "an infinite gradient: ours adds its products with terms that cancel or are zero",
    ),
    Reason(
        "^grad2$",
        names("selu celu elu hardswish silu gelu mish logsigmoid softplus"), r"\(nan\) at",
        "an infinite second gradient: likewise",
    ),
    Reason(
        "^grad2?$", names("topk kthvalue median nanmedian mode quantile nanquantile"), "",
        "which of equal numbers is chosen is open, and so where the gradient goes",
        witness=choice_is_open,
    ),
    Reason(
        "^grad2?$", r"logical_\w+_\(", "",
        "torch keeps the history of what a logical operation overwrites; ours knows it is gone",
    ),
    Reason(
        "^grad2?$", names("lgamma digamma polygamma mvlgamma"), "",
        "torch's trigamma has nine digits", 1e-8,
    ),
    Reason(
        "^grad2?$", names("lgamma digamma polygamma mvlgamma"), r"\((-?inf|nan)\)",
        "torch's trigamma is finite at poles and NaN", witness=unjudged,
    ),
    Reason(
        "^grad2?$", names("hardsigmoid"), "", "torch's 1/6 in the derivative is a float32", 1e-7,
    ),
    Reason(
        "^grad2?$", "include_self=False", "",
        "torch counts an excluded `self` among the equal extremes that share a gradient",
    ),
    Reason(
        "^grad[12]-error$", "/|div|normalize|" +
        names("exp2 erfinv kron tensordot einsum scaled_dot_product_attention"),
        "modified by an inplace operation.*expected no error",
        "which values a derivative keeps differs: a quotient, an answer, given factors",
    ),
    Reason(
        "^grad2?$", names("binary_cross_entropy"), "", "torch adds 1e-12 to a denominator", 1e-7,
    ),
    Reason(
        "^grad[12]-error$", "",
        "^no error.*(invalid grad|Expected grad|(Subtraction|Negation), the `-`|escaped|Double"
        " backward is unsupported|can't be cast|doesn't match|Found dtype|must have the same dtype"
        "|must be positive)",
        "torch's own derivative fails there",
    ),
    Reason(
        "^grad2?$", names("celu"), "", "torch's constants of celu are float32", 1e-6,
    ),
    Reason(
        "^grad2?$", names("soft_margin_loss"), "",
        "torch's derivative negates bytes, which wrap", when=of_bytes,
    ),
    Reason(
        "^grad2?$", names("atan2 arctan2"), "",
        "torch squares integers in their own type, where they wrap", when=of_integers,
    ),
    Reason(
        "^grad2?$", names("prod cumprod vander index_reduce scatter_reduce"), r"\(-?(nan|inf)\)",
        "torch divides a product by its factors, of which one is not finite", when=of_no_number,
    ),
    Reason(
        "^grad2?$", names("prod cumprod"), r"np.float16\((nan|-?inf)\)",
        "which products of halves overflow on the way depends on their order",
    ),
    Reason(
        "^grad2$", names("atan2 arctan2"), r"expected np.float\d+\(-?0\.0\)",
        "the slope of an angle that is constant: large terms that cancel",
    ),
    Reason(
        "^grad2?$", names("hardshrink softshrink hardtanh relu6 threshold"), "",
        "at NaN torch's derivative is 0 or 1, by how its loop is vectorised", when=of_no_number,
    ),
    Reason(
        "^grad2?$", names("as_strided_scatter"), "",
        "torch's as_strided_scatter has a gradient where it was replaced, and none beside",
    ),
    Reason(
        "^grad2$", names("layer_norm batch_norm instance_norm group_norm rms_norm"),
        r"expected np.float\d+\(-?0\.0\)",
        "equal numbers less their rounded mean, divided by the root of eps",
    ),
    Reason(
        "^grad2?$", r"detach\(\)|jvp", "",
        "torch takes a view whose memory was written to as as_strided: overlapping places share",
        when=of_overlapping,
    ),
    Reason(
        "^grad2$", names("layer_norm batch_norm instance_norm group_norm rms_norm"), "",
        "a row of equal numbers, divided by the root of eps", when=of_equal_rows,
    ),
    Reason(
        "^grad[12]-error$", "", "modified by an inplace operation.*expected NotImplemented",
        "refused by both",
    ),
    Reason(
        "^grad2$", names("addcdiv"), r"expected np.float16\(-?inf\)",
        "torch multiplies halves in their own type, where they overflow",
    ),
    Reason(
        "^grad2?$", names("logit"), r"\((nan|inf)\)",
        "the derivatives of logit at its ends and at eps",
    ),
    Reason(
        "^grad2?$", names("var std var_mean std_mean"), r"\((nan|inf)\) at",
        "a variance without degrees of freedom",
    ),
    Reason(
        "^grad2?$", names("addcdiv addcmul addcmul_"), "",
        "torch multiplies integers by the number in their own type, where they wrap",
        when=of_integers,
    ),
    Reason(
        "^grad2?$", names("addcdiv addcmul addcmul_"), "",
        "torch takes integers beside doubles as floats", 1e-6,
    ),
    Reason(
        "^(compiled |)grad2?$", names("svdvals eigvalsh matrix_norm"), "",
        "equal singular values or eigenvalues have no derivatives of their own",
    ),
    Reason(
        "^(compiled |)grad2?$", names("svd eigh"), r"\((nan|inf)\)",
        "equal singular values or eigenvalues have no derivatives of their own", witness=unjudged,
    ),
    Reason(
        "^compiled value$", names("tanhshrink"), "",
        "x - tanh(x) cancels to the unit in the last place by which eager and compiled tanh differ",
        1e-3, witness=unjudged,
    ),
    Reason(
        "^compiled value$", r"linalg\.(pinv|lstsq).*(reciprocal|rsqrt|log)", "",
        "a zero of a solution is one but for rounding, and a reciprocal makes that a large number",
        witness=unjudged,
    ),
    Reason(
        "^compiled value$", names("sum mean nansum nanmean"), "",
        "terms that cancel, added in another order", witness=within_units_of_all(8),
    ),
    Reason(
        "^compiled grad2?$", names("svd svdvals"), "",
        "a singular value of zero, or equal ones, has no derivative of its own",
        when=of_singular_values_without_gap, witness=unjudged,
    ),
    Reason(
        "^compiled value$", names("gelu softmax softmin logaddexp logaddexp2"), "",
        "what cancels shows the unit in the last place by which eager and compiled tanh, exp and "
        "log may differ", witness=within_units_of_all(8),
    ),
    Reason(
        "^compiled value$", r"linalg\.pinv.*(ceil|floor|trunc|round|sign)",
        r"\((-?[01]\.0)\) at .*\((-?[01]\.0)\)",
        "a zero of a pseudo-inverse is one but for rounding, and a step makes that a whole number",
    ),
    Reason(
        "^compiled value$", names("cond"), r"\((inf|[\d.]+e\+\d+)\)",
        "the condition of a singular matrix: its least singular value is zero but for rounding",
        witness=unjudged,
    ),
    Reason(
        "^compiled value$", names("lstsq"), "",
        "singular values of LAPACK, in another order of additions", witness=within_units_of_all(32),
    ),
    Reason(
        "^compiled value$", r"svdvals.*\.bool\(", "(True|False)",
        "a singular value of zero is one but for rounding, and a step makes that a truth",
    ),
    Reason(
        "^compiled value$",
        names("cross_entropy gaussian_nll_loss multilabel_soft_margin_loss"), "float64",
        "the logarithms are of float32, the numbers beside them of float64", 1e-6,
    ),
    Reason(
        "^compiled refused$", "", r"view\(dtype\): .* within a compiled function",
        "a view as numbers of another size: refused",
    ),
    Reason(
        "^grad2?$", r"pow|\*\*", r"\((inf|nan)\)", "the derivatives of a power of zero",
    ),
    Reason(
        "^grad2?$", r"pow|\*\*", "", "torch takes 1 from the least integer, which wraps",
        when=of_least,
    ),
    Reason(
        "^grad2?$", names("corrcoef"), "",
        "a correlation of 1, which rounding puts on either side of where it is cut off",
        when=of_correlated_rows,
    ),
    Reason(
        "^grad2?$", names("entr"), r"\((nan|inf)\)",
        "of -inf: where entr is not a number to differentiate",
    ),
    Reason(
        "^grad2?$", names("as_strided"), "",
        "torch's as_strided has no gradient outside of its view",
    ),
    Reason(
        "^grad2?$", names("as_strided_scatter"), "",
        "torch gives the tensor a gradient where it is written over", witness=unjudged,
    ),
    Reason(
        "^grad2?$", names("max_pool1d max_pool2d adaptive_max_pool1d"), "",
        "which NaN of a window is its greatest number is open", when=of_nan,
    ),
    Reason(
        "^compiled grad2?$", r"linalg\.(qr|det|inv|solve)|inverse", r"\((nan|-?inf)\)",
        "the factors of a singular matrix have no derivatives",
    ),
    Reason(
        "^grad2$", names("prelu softplus elu selu celu"), "",
        "which side of its kink zero is on is open",
    ),
    Reason(
        "^grad2?$", r"batch_norm.*training=True", "",
        "torch reads running statistics that were written to since",
    ),
    Reason(
        "^grad2?$", names("narrow_copy"), "",
        "torch loses the gradient of narrow_copy from a negative start",
    ),
    Reason(
        "^grad2?$", names("logcumsumexp"), "", "torch's gradient goes by the logarithm, rounded",
    ),
    Reason(
        "^compiled (refused|error)$", "", "is not known while the function is compiled",
        "values are not known while a function is traced: refused, and said in the README",
    ),
    Reason(
        "^compiled refused$", "", "as_strided: the memory",
        "as_strided needs memory that is one row, and says so",
    ),
    Reason(
        "^compiled refused$", "", "as_strided: of elements beside",
        "a program has no elements beside those of its argument: refused, with the way out",
    ),
    Reason(
        "^compiled error$", "", "as_strided: of elements beside.*expected RuntimeError: setStorage",
        "refused by both: a program has no elements beside those of its argument",
    ),
    Reason(
        "^compiled refused$", "", "several elements of which lie at one place in memory",
        "writes to an argument that overlaps itself: refused, with the way out",
    ),
    Reason(
        "^compiled refused$", r"out=", "can resize a tensor that it was given",
        "a compiled function changes no argument's shape: refused, with the way out",
    ),
    Reason(
        "^compiled (refused|error)$", "register_hook|requires_grad_",
        "and (has a hook|requires grad, which the other no longer does): return a clone",
        "a result with gradients of its own cannot share memory with another: refused",
    ),
    Reason(
        "^compiled refused$", "", "cannot change the shape of a tensor from outside",
        "a compiled function changes no argument's shape: refused, with the way out",
    ),
    Reason(
        "^compiled refused$", "register_hook", "leaves the hook .* on a tensor from outside",
        "a compiled function leaves no hook on an argument: refused, with the way out",
    ),
    Reason(
        "^compiled refused$", "", "needs to run the function again, and this one (changes|draws)",
        "no second derivative through a compiled function that writes: refused, in the README",
    ),
    Reason(
        "^grad[12]-error$", r"batch_norm.*training=True",
        "^RuntimeError.*modified by an inplace operation.*expected no error",
        "torch does not count that batch_norm writes to its running statistics",
    ),
    Reason(
        "^grad1-error$", names("det logdet slogdet inverse inv"), "^no error.*matrix is singular",
        "torch's derivative solves, and refuses a singular matrix",
    ),
)
