"""Differences that are as they should be, each with its reason.

A row says which differences it speaks of: the kind, the statement's template, the words. What no
row explains is a fault, of ours or of the fuzzer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

from .compare import Difference
from .operands import laid_otherwise, of_empty, of_least, of_shared, of_tiny, of_wider_number
from .program import Program


@dataclass(frozen=True)
class Reason:
    kind: str  # regular expressions, found anywhere
    template: str
    detail: str
    reason: str
    within: float = inf  # the relative error that the reason excuses
    when: Callable[[Program, int], bool] = lambda program, at: True  # what else must hold


TABLE = (
    Reason(
        "^grad[12]-error$", "", "^no error.*modified by an inplace operation",
        "which values a derivative keeps differs: ours does not need the one that was overwritten",
    ),
    Reason(
        "^grad[12]-error$", "", "^no error.*(not implemented|not differentiable)",
        "torch has no derivative there",
    ),
    Reason(
        "^error$", "", "^RuntimeError: unsupported operation: more than one.*expected no error",
        "torch sees overlap in what is written only by strides of zero; ours always",
    ),
    Reason(
        "^compiled error$", "", "^no error; expected RuntimeError: one of the variables needed",
        "a trace overwrites nothing: it has the gradient that eagerly is refused",
    ),
    Reason(
        "^grad", "topk|kthvalue|median|mode|quantile", "",
        "which of equal numbers is chosen is open, and so where the gradient goes",
    ),
    Reason(
        "^grad", r"logical_\w+_\(", "",
        "torch keeps the history of what a logical operation overwrites; ours knows it is gone",
    ),
    Reason(
        "^grad", "gamma", "", "torch's trigamma has nine digits", 1e-8,
    ),
    Reason(
        "^grad", "gamma", r"\((-?inf|nan)\)", "torch's trigamma is finite at poles and NaN",
    ),
    Reason(
        "^grad", "hardsigmoid", "", "torch's 1/6 in the derivative is a float32", 1e-7,
    ),
    Reason(
        "^grad", "include_self=False", "",
        "torch counts an excluded `self` among the equal extremes that share a gradient",
    ),
    Reason(
        "^grad[12]-error$", "", "modified by an inplace operation.*expected no error",
        "which values a derivative keeps differs: that of a division keeps the quotient",
    ),
    Reason(
        "^grad", "binary_cross_entropy", "", "torch adds 1e-12 to a denominator", 1e-9,
    ),
    Reason(
        "^grad", "kl_div|amax|amin|sinc|cross_ent|triplet|pairwise|renorm|multi_margin",
        r"expected np.float\d+\(nan\)",
        "torch's formula is 0 * inf or 0 / 0 at a kink or a zero, ours has the limit",
    ),
    Reason(
        "^grad", "logcumsumexp", r"\(nan\) at .* expected",
        "torch's logcumsumexp drops NaN from what flows back",
    ),
    Reason(
        "^error$", "", "^no error; expected (NotImplemented|Runtime)Error: .*not implemented for",
        "torch has no kernel for that dtype",
    ),
    Reason(
        "^error$", "", "^(RuntimeError.*expected NotImpl|NotImplementedError.*expected Runtime)",
        "refused by both, NotImplementedError is a RuntimeError",
    ),
    Reason(
        "^error$", "", "^no error.*some elements of the input tensor and the written-to",
        "torch sees overlap in a view of the same elements; ours reads before it writes",
    ),
    Reason(
        "^requires_grad$", "eq_|lt_", "False$", "torch gives a comparison a history, of zeros",
    ),
    Reason(
        "^requires_grad$", "trapezoid", "True$", "torch's sum over one point is a constant",
    ),
    Reason(
        "^grad", "i0|i1|selu|celu|elu", r"\(nan\) at", "torch's derivative at NaN is a number",
    ),
    Reason(
        "^value$", "scaled_dot_product", r"\(nan\) at .*\(0.0\)",
        "torch's softmax of nothing but -inf is 0 in attention",
    ),
    Reason(
        "^value$", "as_strided", "", "where an empty view begins is not kept", when=of_empty,
    ),
    Reason(
        "^value$", "rounding_mode|floor_div|//", "float(32|16)", "torch rounds it twice", 0.1,
    ),
    Reason(
        "^requires_grad$", "heaviside", "False$", "a step has no derivative",
    ),
    Reason(
        "^error$", r"\]|fill_", "without overflow; expected no error",
        "torch lets a number too large become infinite in some writes",
    ),
    Reason(
        "^error$", "topk", "^no error.*not support bool", "torch has no topk of bool",
    ),
    Reason(
        "^value$|^error$|^alias$|^identity$", "", "",
        "the layout of a fresh result is each library's own, and with it what is a view",
        when=laid_otherwise,
    ),
    Reason(
        "^error$", "isin", "^no error.*Unsupported input type", "torch has no isin for bool",
    ),
    Reason(
        "^error$", "", "^no error.*is not differentiable with respect to argument",
        "torch has no derivative with respect to that argument",
    ),
    Reason(
        "^value$", "remainder|%", r"\(-?0\.0\) at .*\(-?0\.0\)",
        "the sign of a remainder of zero is the divisor's, as in Python; torch's varies",
    ),
    Reason(
        "^value$", "matrix_exp", "", "torch's matrix_exp of float32 has four digits", 1e-3,
    ),
    Reason(
        "^value$", "ndtr", "", "torch's ndtr of float32 has five digits, and none below -8",
    ),
    Reason(
        "^value$", "tanhshrink", "", "x - tanh(x) cancels where x is small", 1e-2,
    ),
    Reason(
        "^value$", "mode", r"\(nan\)", "which of equally frequent numbers is the mode, with NaN",
    ),
    Reason(
        "^value$", "(var|std)_mean", r"inf\) at .*\(nan\)", "torch's mean beside var is NaN",
    ),
    Reason(
        "^value$", "interpolate|conv|linear|gelu", r"(inf|nan)\) at",
        "torch multiplies an infinity by a weight or padding of zero there",
    ),
    Reason(
        "^value$", "cosine_similarity", "", "torch keeps no type wide enough for the squares",
    ),
    Reason(
        "^value$", "gcd", "", "the most negative integer has no opposite", when=of_least,
    ),
    Reason(
        "^value$", "lcm", r"int(8|16|32)\(", "a multiple too large wraps with either sign",
    ),
    Reason(
        "^value$", "unique", r"\(-?0\.0\) at .*\(-?0\.0\)", "which of two zeros is kept is open",
    ),
    Reason(
        "^value$", "addcdiv", "", "torch multiplies before it divides, and loses digits",
        when=of_tiny,
    ),
    Reason(
        "^value$|^shape$|^error$",
        "multi_margin|conv|batch_norm|roll|cummin|cummax|index_fill|add(b|)m(m|v)", "",
        "of nothing at all: torch refuses less, and its mean of no rows is 0", when=of_empty,
    ),
    Reason(
        "^error$", "repeat_interleave", "^no error; expected IndexError",
        "torch takes no negative dim of a 0-d tensor there",
    ),
    Reason(
        "^strides$", "", r"offset \((\[.*?\]), .*expected \(\1,",
        "a detached view counts from its own beginning",
    ),
    Reason(
        "^grad[12]-error$", "",
        "^no error.*(invalid grad|Expected grad|can't be cast|doesn't match|Found dtype"
        "|must have the same dtype|must be positive)",
        "torch's own derivative fails there",
    ),
    Reason(
        "^grad", "celu", "", "torch's constants of celu are float32", 1e-6,
    ),
    Reason(
        "^(grad1-|)error$", "", "^no error.*This view is the output of a function that returns",
        "torch refuses writes under views of several by a rule of its own",
    ),
    Reason(
        "^value$", "clamp|clip|min|max|topk|kthvalue", r"\(-?0\.0\) at .*\(-?0\.0\)",
        "which of two zeros is the smaller is open",
    ),
    Reason(
        "^error$", "index_reduce", "for 'Bool'", "torch has it for bool by some ways only",
    ),
    Reason(
        "^error$", "cumsum_", "Bool; expected no error", "torch returns early from one number",
    ),
    Reason(
        "^value$", "trapezoid", "", "torch has the ends once more, halved, in their own type",
    ),
    Reason(
        "^error$", r"view\(T", "stride", "torch looks at strides that are never taken",
    ),
    Reason(
        "^error$", "as_strided", "^NotImplementedError: as_strided: the memory",
        "as_strided needs memory that is one row, and says so",
    ),
    Reason(
        "^requires_grad$", "addmm|addmv|baddbmm|addr", "False$", "torch takes 0 * x as needing x",
    ),
    Reason(
        "^requires_grad$", "", "", "of nothing at all", when=of_empty,
    ),
    Reason(
        "^grad", "logit", r"\((nan|inf)\)", "the derivatives of logit at its ends and at eps",
    ),
    Reason(
        "^value$", r"/|\*|div|mul", r"float16|float32\(",
        "torch takes a 0-d operand of halves in its own precision", 1e-2, when=of_wider_number,
    ),
    Reason(
        "^value$", "i0|i1", r"expected np.float32\(inf\)", "torch's overflows before its time",
    ),
    Reason(
        "^value$", "_norm", r"expected np.float\d+\(-?0.0\)",
        "equal numbers less their rounded mean, divided by the root of eps",
    ),
    Reason(
        "^value$", "addmm|addmv|baddbmm|addbmm", r"(nan|inf)\) at",
        "which products meet an infinite alpha",
    ),
    Reason(
        "^value$", "fmod|remainder|%", r"expected np.float\d+\(nan\)",
        "torch divides by numbers below the normal ones, and has infinity times zero",
    ),
    Reason(
        "^error$", "einsum", "same dtype.*no error", "torch mixes dtypes where nothing is summed",
    ),
    Reason(
        "^error$", r"t_\(|squeeze_|transpose_", "^no error.*a view of a leaf",
        "torch refuses to turn a view of a leaf, of which no number changes",
    ),
    Reason(
        "^error$", "bilinear", "", "torch cannot divide nothing by nothing", when=of_empty,
    ),
    Reason(
        "^error$", "matmul|@", "for 'Bool'; expected no error", "torch has it empty", when=of_empty,
    ),
    Reason(
        "^value$", "digamma", "", "torch's digamma near its root", 1e-4,
    ),
    Reason(
        "^grad", "var|std", r"\((nan|inf)\) at", "a variance without degrees of freedom",
    ),
    Reason(
        "^grad", "addcdiv|addcmul", "", "torch takes integers beside doubles as floats", 1e-6,
    ),
    Reason(
        "^(compiled |)grad", "svdvals|eigvalsh|matrix_norm", "",
        "equal singular values or eigenvalues have no derivatives of their own",
    ),
    Reason(
        "^requires_grad$", r"\] = ", "False$",
        "torch gives an integer that is written to a history",
    ),
    Reason(
        "^error$", "adaptive", "", "torch's pool of nothing", when=of_empty,
    ),
    Reason(
        "^error$", "", "^RuntimeError: unsupported operation: more.*expected Index"
        "|^IndexError.*expected RuntimeError: Expected dim", "refused by both",
    ),
    Reason(
        "^compiled refused$", "", r"view\(dtype\): .* within a compiled function",
        "a view as numbers of another size: refused",
    ),
    Reason(
        "^error$", "", "^no error.*(view size is not compatible|INTERNAL ASSERT)",
        "torch's own code fails there",
    ),
    Reason(
        "^error$", "", "^no error.*(expected scalar type|have the same dtype)",
        "torch mixes fewer dtypes there",
    ),
    Reason(
        "^value$", "std|var", r"\(inf\) at", "torch squares floats as doubles",
    ),
    Reason(
        "^error$", "", "^RuntimeError: a view of a leaf", "of nothing at all", when=of_empty,
    ),
    Reason(
        "^value$", "_norm", "", "a row of equal numbers, divided by the root of eps", 1e-3,
    ),
    Reason(
        "^grad", r"pow|\*\*", r"\((inf|nan)\)", "the derivatives of a power of zero",
    ),
    Reason(
        "^grad2$", "layer_norm|rms_norm|instance_norm|group_norm", r"\(nan\)",
        "of a row of equal numbers in halves, whose variance is lost",
    ),
    Reason(
        "^error$", "clip|clamp", "^no error.*without overflow", "a bound too large bounds nothing",
    ),
    Reason(
        "^value$", "corrcoef|cov", "float16", "torch keeps no type wide enough for the squares",
    ),
    Reason(
        "^grad", "entr", r"\((nan|inf)\)", "of -inf: where entr is not a number to differentiate",
    ),
    Reason(
        "^value$", r"_\(| .{1,2}= ", "",
        "torch reads what it has just written where memory overlaps", when=of_shared,
    ),
    Reason(
        "^value$", "linspace", r"\((nan|-?inf)\)", "what lies between an infinity and a number",
    ),
    Reason(
        "^grad", "as_strided", "", "torch's as_strided has no gradient outside of its view",
    ),
    Reason(
        "^grad", "max_pool", "", "which NaN of a window is its greatest number is open",
    ),
    Reason(
        "^compiled grad", r"linalg\.(qr|det|inv|solve)|inverse", r"\((nan|-?inf)\)",
        "the factors of a singular matrix have no derivatives",
    ),
    Reason(
        "^grad2$", "prelu|softplus", "", "which side of its kink zero is on is open",
    ),
    Reason(
        "^grad", r"batch_norm.*training=True", "",
        "torch reads running statistics that were written to since",
    ),
    Reason(
        "^grad", "narrow_copy", "", "torch loses the gradient of narrow_copy from a negative start",
    ),
    Reason(
        "^grad", "logcumsumexp", "", "torch's gradient goes by the logarithm, rounded",
    ),
    Reason(
        "^value$", "polygamma", "", "torch's polygamma(1) has nine digits, and NaN at -inf", 1e-8,
    ),
    Reason(
        "^value$", "polygamma", r"\(inf\) at", "torch's polygamma(1) at a pole and at -inf",
    ),
    Reason(
        "^value$", "median", "", "torch's median over a stride of zero reads other memory",
    ),
    Reason(
        "^error$", "take_along_dim", "^IndexError.*; expected no error",
        "torch checks no positions there where it broadcasts",
    ),
    Reason(
        "^error$", "batch_norm", "^no error.*mixed dtype", "torch mixes fewer dtypes there",
    ),
    Reason(
        "^grad", "nextafter", "", "nextafter has no agreed derivative where its arguments are one",
    ),
    Reason(
        "^value$", "norm", r"\((0.0|inf)\) at",
        "torch's norm of one number is its size, ours may underflow",
    ),
    Reason(
        "^requires_grad$", "unique", "False$", "torch's `unique` claims a gradient and has none",
    ),
    Reason(
        "^error$", "logical_|eq_|lt_", "^RuntimeError: a (view of a |)leaf Variable",
        "torch lets a leaf be overwritten by what has no derivative; ours never",
    ),
    Reason(
        "^compiled refused$", "", "is not known while the function is compiled",
        "values are not known while a function is traced: refused, and said in the README",
    ),
    Reason(
        "^compiled refused$", "", "as_strided: the memory",
        "as_strided needs memory that is one row, and says so",
    ),
    Reason(
        "^compiled refused$", "", "several elements of which lie at one place in memory",
        "writes to an argument that overlaps itself: refused, with the way out",
    ),
    Reason(
        "^compiled refused$", "", "cannot change the shape of a tensor from outside",
        "a compiled function changes no argument's shape: refused, with the way out",
    ),
    Reason(
        "^compiled refused$", "", "needs to run the function again, and this one (changes|draws)",
        "no second derivative through a compiled function that writes: refused, in the README",
    ),
)  # fmt: skip


def template(program: Program, at: int) -> str:
    """That of a statement; after the last one, where gradients are, all of them."""
    if at < len(program.statements):
        return program.statements[at].row.template if at >= 0 else ""
    return " ".join(s.row.template for s in program.statements)


NUMBERS = re.compile(r"\(?(?:np\.\w+\()?(-?[\d.]+(?:e[-+]?\d+)?)\)? at .*expected "
                     r"(?:np\.\w+\()?(-?[\d.]+(?:e[-+]?\d+)?)")


def error_of(detail: str) -> float:
    """The relative error that the words tell of."""
    if not (found := NUMBERS.search(detail)):
        return inf
    mine, theirs = map(float, found.groups())
    return abs(mine - theirs) / max(abs(theirs), 1e-300)


def explained(program: Program, found: Difference) -> Difference:
    """The difference with its reason, if there is one."""
    whole = found.kind.startswith("compiled")
    of_statement = template(program, len(program.statements) if whole else found.at)
    for row in TABLE:
        if (re.search(row.kind, found.kind) and re.search(row.template, of_statement)
                and re.search(row.detail, found.detail)
                and (row.within == inf or error_of(found.detail) <= row.within)
                and row.when(program, found.at)):  # fmt: skip
            return replace(found, reason=row.reason)
    return found
