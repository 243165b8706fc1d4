"""Which public functions of torch write their result into `out=`, and what dtype that may have.

Taken from torch 2.13: its signatures, and what each said to outputs of other dtypes. A function
that is not here yet has an entry all the same, and takes `out` from the day it comes.
"""

from __future__ import annotations

# the result is converted, where torch's `can_cast` allows it
CAST = """
    acos acosh add addcdiv addcmul addr angle arccos arccosh arcsin arcsinh arctan arctan2
    arctanh asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_or
    bitwise_right_shift bitwise_xor cat cholesky cholesky_inverse cholesky_solve clamp clamp_max
    clamp_min clip column_stack complex concat concatenate copysign cos cosh deg2rad diff
    digamma div divide dstack eq erf erfc erfinv exp exp2 expm1 floor_divide fmax fmin fmod
    frobenius_norm gcd ge geqrf ger greater greater_equal gt hardshrink hstack hypot i0 igamma
    igammac kron lcm ldexp le lerp less less_equal lgamma linalg.cond linalg.eig linalg.eigvals
    linalg.householder_product linalg.lstsq linalg.matrix_rank linalg.pinv linalg.tensorinv
    linalg.tensorsolve log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not
    logical_or logical_xor logit logsumexp lt max maximum mean min minimum mul multiply mvlgamma
    nanmean ne nextafter nn.functional.normalize normal not_equal nuclear_norm orgqr outer polar
    polygamma pow rad2deg randint reciprocal remainder row_stack rsqrt sigmoid sin sinc sinh
    slogdet special.airy_ai special.bessel_j0 special.bessel_j1 special.bessel_y0
    special.bessel_y1 special.chebyshev_polynomial_t special.chebyshev_polynomial_u
    special.chebyshev_polynomial_v special.chebyshev_polynomial_w special.digamma special.entr
    special.erf special.erfc special.erfcx special.erfinv special.exp2 special.expit
    special.expm1 special.gammainc special.gammaincc special.gammaln
    special.hermite_polynomial_h special.hermite_polynomial_he special.i0 special.i0e special.i1
    special.i1e special.laguerre_polynomial_l special.legendre_polynomial_p special.log1p
    special.log_ndtr special.logit special.logsumexp special.modified_bessel_i0
    special.modified_bessel_i1 special.modified_bessel_k0 special.modified_bessel_k1
    special.multigammaln special.ndtr special.ndtri special.polygamma special.psi
    special.scaled_modified_bessel_k0 special.scaled_modified_bessel_k1
    special.shifted_chebyshev_polynomial_t special.shifted_chebyshev_polynomial_u
    special.shifted_chebyshev_polynomial_v special.shifted_chebyshev_polynomial_w special.sinc
    special.spherical_bessel_j0 special.xlog1py special.xlogy special.zeta sqrt square stack std
    sub subtract tan tanh threshold true_divide var view_as_complex_copy view_as_real_copy
    vstack where xlogy
"""

# the dtype of the result
EXACT = """
    abs absolute addbmm addmm addmv alias_copy all amax amin aminmax any argmax argmin argsort
    as_strided_copy baddbmm bitwise_not bmm bucketize ceil chain_matmul conj_physical cross
    cummax cummin detach_copy diag diagonal_copy dot expand_copy fix float_power floor frac
    frexp gather hash_tensor heaviside histc histogram index_add index_copy index_select inner
    inverse isin isneginf isposinf kthvalue linalg.cholesky linalg.cholesky_ex linalg.cross
    linalg.det linalg.eigh linalg.eigvalsh linalg.inv linalg.inv_ex linalg.ldl_factor
    linalg.ldl_factor_ex linalg.ldl_solve linalg.lu linalg.lu_factor linalg.lu_factor_ex
    linalg.lu_solve linalg.matmul linalg.matrix_norm linalg.matrix_power linalg.multi_dot
    linalg.norm linalg.qr linalg.slogdet linalg.solve linalg.solve_ex linalg.svd linalg.svdvals
    linalg.vecdot linalg.vector_norm log_softmax logcumsumexp lu_solve lu_unpack masked_select
    matmul matrix_power median mm mode msort multinomial mv nan_to_num nanmedian nanquantile
    narrow_copy neg negative nn.functional.avg_pool2d nn.functional.avg_pool3d
    nn.functional.gelu nn.functional.hardshrink nn.functional.linear nn.functional.logsigmoid
    nn.functional.softplus nn.functional.softshrink nonzero norm ormqr permute_copy qr quantile
    renorm round scatter scatter_add searchsorted select_copy sgn sign signbit slice_copy
    slice_scatter softmax sort special.round split_copy split_with_sizes_copy squeeze_copy svd
    t_copy take take_along_dim tensordot topk transpose_copy triangular_solve tril triu trunc
    unbind_copy unfold_copy unsqueeze_copy vdot view_copy
"""

EXACT_OF_SEVERAL = ("max", "min")  # with `dim`; of two tensors they cast

# any dtype, which the function computes in
COMPUTED = """
    arange cumprod cumsum empty eye full linspace logspace nansum ones prod rand randn randperm
    range sum zeros
"""

# any dtype
ANY = "bernoulli"

RULES = {
    name: rule
    for rule, names in (("cast", CAST), ("exact", EXACT), ("computed", COMPUTED), ("any", ANY))
    for name in names.split()
}

# how many tensors a function wants that has several results (some only with `dim`)
SEVERAL = {
    "aminmax": 2, "cummax": 2, "cummin": 2, "frexp": 2, "geqrf": 2, "histogram": 2, "kthvalue":
    2, "linalg.cholesky_ex": 2, "linalg.eig": 2, "linalg.eigh": 2, "linalg.inv_ex": 2,
    "linalg.ldl_factor": 2, "linalg.ldl_factor_ex": 3, "linalg.lstsq": 4, "linalg.lu": 3,
    "linalg.lu_factor": 2, "linalg.lu_factor_ex": 3, "linalg.qr": 2, "linalg.slogdet": 2,
    "linalg.solve_ex": 2, "linalg.svd": 3, "lu_unpack": 3, "max": 2, "median": 2, "min": 2,
    "mode": 2, "nanmedian": 2, "qr": 2, "slogdet": 2, "sort": 2, "svd": 3, "topk": 2,
    "triangular_solve": 2,
}
