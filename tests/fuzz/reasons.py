"""Reasons for what a statement shows: values, types, errors, and what shares memory."""

from __future__ import annotations

from .operands import (
    laid_otherwise,
    of_empty,
    of_integers,
    of_itself,
    of_larger_memory,
    of_least,
    of_nan,
    of_no_number,
    of_other_number,
    of_overlapping,
    of_pole,
    of_shared,
    of_tiny,
    of_view,
    of_written_base,
)
from .reason import NAN, Reason, names, opposite, unjudged, within_units

TABLE = (
    Reason(
        "^error$", "", "^RuntimeError: unsupported operation: more than one.*expected no error",
        "torch sees overlap in what is written only by strides of zero; ours always",
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
        "^requires_grad$", names("eq_ lt_ ne_ ge_"), "False$",
        "torch gives a comparison a history, of zeros",
    ),
    Reason(
        "^requires_grad$", names("trapezoid"), "True$", "torch's sum over one point is a constant",
    ),
    Reason(
        "^value$", names("scaled_dot_product_attention"), r"\(nan\) at .*\(0.0\)",
        "torch's softmax of nothing but -inf is 0 in attention",
        witness=unjudged,
    ),
    Reason(
        "^value$", names("as_strided"), "", "where an empty view begins is not kept", when=of_empty,
        witness=unjudged,
    ),
    Reason(
        "^value$", "rounding_mode|floor_div|//", "float(32|16)", "torch rounds it twice", 0.1,
    ),
    Reason(
        "^requires_grad$", names("heaviside"), "False$", "a step has no derivative",
    ),
    Reason(
        "^error$", r"\]|fill_", "without overflow; expected no error",
        "torch lets a number too large become infinite in some writes",
    ),
    Reason(
        "^error$", names("topk"), "^no error.*not support bool", "torch has no topk of bool",
    ),
    Reason(
        "^value$|^error$|^alias$|^identity$", "", "",
        "the layout of a fresh result is each library's own, and with it what is a view",
        when=laid_otherwise,
    ),
    Reason(
        "^value$", r"(reshape|flatten|ravel).*_\(", "",
        "a write reaches the base or a copy of it, as the layout of a fresh result has it",
        when=laid_otherwise, witness=unjudged,
    ),
    Reason(
        "^error$", "", "^no error.*a leaf Variable that requires grad",
        "torch takes a view for a leaf until it is asked for the history that a write to its base"
        " gave it", when=of_written_base,
    ),
    Reason(
        "^error$", names("isin"), "^no error.*Unsupported input type", "torch has no isin for bool",
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
        "^value$", names("matrix_exp"), "", "torch's matrix_exp of float32 has four digits", 1e-3,
    ),
    Reason(
        "^value$", names("prod"), r"expected np.float16\((nan|-?inf)\)",
        "torch multiplies halves in their own type, where they overflow",
    ),
    Reason(
        "^value$", names("erf"), r"expected np.float16\(-?\d\.?\d*e-0[5-8]\)",
        "torch's erf of halves below the normal ones is two units off", 0.1,
    ),
    Reason(
        "^value$", names("ndtr"), "", "torch's ndtr of float32 has five digits", 1e-4,
    ),
    Reason(
        "^value$", names("ndtr"), r"expected np.float\d+\(0.0\)", "torch's ndtr is 0 below -8",
    ),
    Reason(
        "^value$", names("tanhshrink"), "", "x - tanh(x) cancels where x is small",
    ),
    Reason(
        "^value$", names("mode"), r"\(nan\)|\(-?0\.0\) at .*\(-?0\.0\)",
        "which of equally frequent numbers is the mode, with NaN",
        witness=unjudged,
    ),
    Reason(
        "^value$", names("mode"), "",
        "torch sorts by <, which beside NaN leaves equal numbers apart", when=of_nan,
        witness=unjudged,
    ),
    Reason(
        "^value$", names("pow pow_") + r"|\*\*", r"\(-(inf|0\.0)\) at .*float16\((inf|0\.0)\)",
        "torch's power of -0.0 by a half is a root in other types, but not in float16",
    ),
    Reason(
        "^value$", names("var_mean std_mean"), r"inf\) at .*\(nan\)",
        "torch's mean beside var is NaN",
        witness=unjudged,
    ),
    Reason(
        "^value$", names("interpolate conv1d conv2d conv_transpose1d linear gelu grid_sample"
                       " scaled_dot_product_attention"), r"(inf|nan)\)",
        "torch multiplies an infinity by a weight or padding of zero there", when=of_no_number,
        witness=unjudged,
    ),
    Reason(
        "^value$", names("cosine_similarity"), "",
        "torch keeps no type wide enough for the squares",
    ),
    Reason(
        "^value$", names("gcd"), "", "the most negative integer has no opposite", when=of_least,
    ),
    Reason(
        "^value$", names("lcm"), r"int(8|16|32)\(", "a multiple too large wraps with either sign",
        witness=opposite,
    ),
    Reason(
        "^value$", names("unique unique_consecutive"), r"\(-?0\.0\) at .*\(-?0\.0\)",
        "which of two zeros is kept is open",
    ),
    Reason(
        "^value$", names("addcdiv"), "", "torch multiplies before it divides, and loses digits",
        when=of_tiny,
    ),
    Reason(
        "^value$|^shape$|^error$",
        names("multi_margin_loss conv1d conv2d conv_transpose1d batch_norm roll cummin"
              " cummax index_fill index_fill_ addbmm addmm addmv addmm_ addmv_"), "",
        "of nothing at all: torch refuses less, and its mean of no rows is 0", when=of_empty,
        witness=unjudged,
    ),
    Reason(
        "^error$", names("repeat_interleave"), "^no error; expected IndexError",
        "torch takes no negative dim of a 0-d tensor there",
    ),
    Reason(
        "^strides$", "", r"offset \((\[.*?\]), .*expected \(\1,",
        "a detached view counts from its own beginning",
    ),
    Reason(
        "^(grad1-|)error$", "", "^no error.*This view is the output of a function that returns",
        "torch refuses writes under views of several by a rule of its own", witness=unjudged,
    ),
    Reason(
        "^value$",
        names("clamp clamp_ clamp_min clamp_max clip min max minimum maximum fmin fmax"
              " amin amax aminmax topk kthvalue cummax cummin relu relu_ hardtanh relu6"
              " max_pool1d max_pool2d adaptive_max_pool1d"), r"\(-?0\.0\) at .*\(-?0\.0\)",
        "which of two zeros is the smaller is open",
    ),
    Reason(
        "^error$", names("index_reduce index_reduce_"), "for 'Bool'",
        "torch has it for bool by some ways only",
    ),
    Reason(
        "^error$", names("cumsum_ kthvalue"), "Bool'?; expected no error",
        "torch returns early from one number",
    ),
    Reason(
        "^error$", names("logsumexp"), "^no error.*doesn't match the broadcast shape",
        "torch's logsumexp over no dims fails inside",
    ),
    Reason(
        "^error$", names("svdvals pinv matrix_norm"), "non-finite values.; expected no error",
        "torch's singular values beside an infinity are NaN; ours are refused",
    ),
    Reason(
        "^value$", names("trapezoid"), NAN,
        "torch takes the halved ends from the whole sum: infinity less infinity", when=of_no_number,
        witness=unjudged,
    ),
    Reason(
        "^value$", names("trapezoid cumulative_trapezoid"), "",
        "torch adds integers in their own type, where they wrap", when=of_integers,
    ),
    Reason(
        "^(value|grad2?)$", names("soft_margin_loss"), r"expected np.float\d+\((inf|nan)\)",
        "torch's log(1 + exp(x)) overflows",
        witness=unjudged,
    ),
    Reason(
        "^value$", names("layer_norm rms_norm instance_norm group_norm batch_norm"), NAN,
        "torch's squares overflow",
    ),
    Reason(
        "^value$", names("pow pow_ float_power") + r"|\*\*", r"\(nan\) at .*float(16|32)\(inf\)",
        "the root of -inf, of which torch has NaN in floats and, as a power, inf in halves",
    ),
    Reason(
        "^value$", names("matrix_power multi_dot chain_matmul prod cumprod"), r"(nan|inf)\) at",
        "which products meet an infinity depends on their order", when=of_no_number,
        witness=unjudged,
    ),
    Reason(
        "^error$", names("as_strided"), "", "torch's memory is larger than the tensor in it",
        when=of_larger_memory,
    ),
    Reason(
        "^error$", r"view\(T", "stride", "torch looks at strides that are never taken",
    ),
    Reason(
        "^error$", names("as_strided"),
        "^NotImplementedError: as_strided: (the memory|of elements)",
        "as_strided needs memory that is one row, and says so",
    ),
    Reason(
        "^requires_grad$", names("addmm addmv baddbmm addbmm addr"), "False$",
        "torch takes 0 * x as needing x",
    ),
    Reason(
        "^requires_grad$", "", "", "of nothing at all", when=of_empty,
    ),
    Reason(
        "^value$", r"/|\*|div|mul", r"float16|float32\(",
        "torch takes a 0-d operand of halves in its own precision", 1e-2, when=of_other_number,
        witness=unjudged,
    ),
    Reason(
        "^value$", names("i0 i1 sinh cosh"), r"expected np.float32\(inf\)",
        "torch's overflows before its time",
    ),
    Reason(
        "^value$", names("layer_norm batch_norm instance_norm group_norm rms_norm"),
        "",
        "equal numbers less their rounded mean, divided by the root of eps",
        witness=within_units(1024),
    ),
    Reason(
        "^value$", names("addmm addmv baddbmm addbmm addr"), r"(nan|inf)\) at",
        "which products meet an infinite alpha",
        witness=unjudged,
    ),
    Reason(
        "^value$", "fmod|remainder|%", NAN,
        "torch divides by numbers below the normal ones, and has infinity times zero",
        witness=unjudged,
    ),
    Reason(
        "^error$", names("einsum"), "same dtype.*no error",
        "torch mixes dtypes where nothing is summed",
    ),
    Reason(
        "^error$", r"t_\(|squeeze_|transpose_", "^no error.*a view of a leaf",
        "torch refuses to turn a view of a leaf, of which no number changes",
    ),
    Reason(
        "^error$", names("bilinear"), "", "torch cannot divide nothing by nothing", when=of_empty,
    ),
    Reason(
        "^error$", "matmul|@", "for 'Bool'; expected no error", "torch has it empty", when=of_empty,
    ),
    Reason(
        "^value$", names("digamma"), "", "torch's digamma near its root", 1e-4,
        witness=unjudged,
    ),
    Reason(
        "^requires_grad$", r"\] = ", "False$",
        "torch gives an integer that is written to a history",
    ),
    Reason(
        "^error$", names("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d"), "",
        "torch's pool of nothing", when=of_empty,
    ),
    Reason(
        "^error$", "",
        "^RuntimeError: unsupported operation: more.*expected Index"
        "|^RuntimeError: value cannot.*expected Index"
        "|^IndexError.*expected RuntimeError: "
        "(Expected dim|a leaf|a view of a leaf|cumulative_trapezoid"
        "|The function 'nll_loss_forward'|expected scalar type)",
        "refused by both",
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
        "^value$", names("std var std_mean var_mean"), r"\(inf\) at",
        "torch squares floats as doubles",
    ),
    Reason(
        "^error$", "", "^RuntimeError: a view of a leaf", "of nothing at all", when=of_empty,
    ),
    Reason(
        "^error$", names("clip clamp clamp_ clamp_min clamp_max"), "^no error.*without overflow",
        "a bound too large bounds nothing",
    ),
    Reason(
        "^value$", names("corrcoef cov"), "float16",
        "torch keeps no type wide enough for the squares",
    ),
    Reason(
        "^value$", r"_\(| .{1,2}= ", "",
        "torch reads what it has just written where memory overlaps", when=of_shared,
    ),
    Reason(
        "^value$", names("linspace"), r"\((nan|-?inf)\)",
        "what lies between an infinity and a number",
        witness=unjudged,
    ),
    Reason(
        "^value$", names("polygamma"), "", "torch's polygamma(1) has nine digits, and NaN at -inf",
        1e-8,
        witness=unjudged,
    ),
    Reason(
        "^value$", names("polygamma"), r"\(inf\) at",
        "torch's polygamma(1) at a pole and at -inf", when=of_pole,
        witness=unjudged,
    ),
    Reason(
        "^value$", names("median nanmedian"), "",
        "torch's median over a stride of zero reads other memory",
    ),
    Reason(
        "^error$", names("take_along_dim"), "^IndexError.*; expected no error",
        "torch checks no positions there where it broadcasts",
    ),
    Reason(
        "^error$", names("batch_norm"), "^no error.*mixed dtype", "torch mixes fewer dtypes there",
    ),
    Reason(
        "^value$", names("norm vector_norm matrix_norm normalize renorm dist pairwise_distance"),
        r"\((0.0|inf)\) at", "torch's norm of one number is its size, ours may underflow",
    ),
    Reason(
        "^requires_grad$", names("unique unique_consecutive"), "False$",
        "torch's `unique` claims a gradient and has none",
    ),
    Reason(
        "^error$",
        names("logical_and_ logical_or_ logical_xor_ logical_not_ eq_ lt_ ne_ ge_"),
        "^RuntimeError: (a (view of a |)leaf Variable|Output . of .* is a view)",
        "torch lets a leaf be overwritten by what has no derivative; ours never",
    ),
    Reason(
        "^error$", r"func\.|functional\.|vmap",
        "^no error.*(not implemented|[Bb]atching rule|vmap|functorch|written-to tensor|non-empty"
        "|saved tensor|forward AD)",
        "torch's transform fails there",
    ),
    Reason(
        "^error$", r"func\.", "^RuntimeError.*expected NotImplementedError.*forward AD",
        "refused by both, by torch for want of a derivative",
    ),
    Reason(
        "^error$", r"vmap|func\.(hessian|jac)",
        r"^no error.*in range of \[-1, 0\], but got (1\)|\[-1\])",
        "torch's vmap counts the dimensions of a 0-d example with the mapped one",
    ),
    Reason(
        "^value$", r"func\.hessian.*sinc", r"\(-3\.28986\d*\) at .*expected np\.float64\(0\.0\)",
        "torch's second derivative of sinc is 0 where squares vanish, ours -pi^2 / 3",
        witness=unjudged,
    ),
    Reason(
        "^value$", r"func\.(jacfwd|hessian)", r"expected np\.float\d+\(0\.0\)",
        "torch's forward mode writes tangents of tensors that overlap over one another",
        when=of_overlapping, witness=unjudged,
    ),
    Reason(
        "^value$", r"functional\.jacobian.*narrow_copy", r"expected np\.float\d+\(0\.0\)",
        "torch's narrow_copy from a negative start has no gradient",
        witness=unjudged,
    ),
    Reason(
        "^requires_grad$", "no_grad", "False$",
        "torch says that a view made without gradients requires one as its base does",
    ),
    Reason(
        "^(error|shape)$", "out=", "",
        "ours resizes no view, and says so before it begins", when=of_view,
    ),
    Reason(
        "^dtype$", r"jacfwd|jvp|hessian", "float(16|32), expected float64",
        "torch's forward mode widens a 0-d tensor by Python numbers",
    ),
    Reason(
        "^error$", "out=", "^RuntimeError.*expected TypeError", "refused by both",
    ),
    Reason(
        "^requires_grad$", r"func\.|functional\.", "False$",
        "torch takes a derivative that is constant as needing its input",
    ),
    Reason(
        "^requires_grad$", r"func\..* \*\* 0", "True$",
        "torch's derivative of a power of zero is a constant",
    ),
    Reason(
        "^error$", "out=", "^RuntimeError.*don't support automatic.*expected no error",
        "torch writes answers without a derivative where ours refuses",
    ),
    Reason(
        "^error$", "out=", "^no error.*storage that is not resizable", "torch's answer is a view",
    ),
    Reason("^resized$", "out=|addbmm_", "", "torch resizes what it then refuses to write"),
    Reason(
        "^error$", r"cumprod_", "^RuntimeError: result type Long can't be cast",
        "torch takes a bool without dimensions for its own product",
    ),
    Reason(
        "^error$", names("cross_entropy"), "^IndexError: Target", "of no classes: refused",
        when=of_empty,
    ),
    Reason(
        "^error$", r"ldexp_", "expected TypeError", "ours takes a number, torch a tensor only",
    ),
    Reason(
        "^error$", "nanmedian.*out=", "^no error; expected TypeError",
        "torch's nanmedian has out= only beside dim",
    ),
    Reason(
        "^value$", names("ndtri"), r"expected np\.float32\(-inf\)",
        "torch's ndtri of the least floats is -inf, ours the quantile", witness=unjudged,
    ),
    Reason(
        "^value$", names("norm"), r"expected np\.float\d+\(0\.0\)",
        "the norm of one number is its size; torch's square of it is below all numbers",
        when=of_tiny, witness=unjudged,
    ),
    Reason(
        "^value$", "max_pool.*return_indices", r"np\.int64",
        "which NaN of a window is its greatest number is open", when=of_nan, witness=unjudged,
    ),
    Reason(
        "^value$", names("multilabel_margin_loss"), "", "torch reads memory that nobody wrote",
        when=of_empty, witness=unjudged,
    ),
    Reason(
        "^value$", r"\.sum\(\)", "", "the last place of a sum",
        witness=within_units(2),
    ),
    Reason(
        "^error$", "vmap", "^RuntimeError: zero-dimensional.*expected IndexError",
        "refused by both",
    ),
    Reason(
        "^value$", names("masked_scatter_"), "",
        "torch reads what it has just written where memory overlaps", witness=unjudged,
        when=of_itself,
    ),
    Reason(
        "^value$", names("i1") + ".*jac|jac.*" + names("i1"), r"\(nan\) at .*\((0\.0|0\.5)\)",
        "torch's derivative of i1 at NaN is 0.5", witness=unjudged, when=of_nan,
    ),
    Reason(
        "^shape$", "vmap.*new_tensor", "", "torch maps no values of no elements: sizes of garbage",
    ),
)
