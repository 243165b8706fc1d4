"""The modules of torch that are here: the path of each, and where it lies if that is elsewhere.

Some are imported with the package, the others at their first use: as an attribute (`torch.jit`), or
by an import statement under torch's name (`as_torch`). The same holds for names that lie in them.
"""

from __future__ import annotations

import importlib
from types import ModuleType

PACKAGE = __name__.rpartition(".")[0]

# torch's path, and the path here if it is another one; "." is the package itself
_PATHS = """
    _C _custom_ops=library _dynamo _dynamo.eval_frame=_dynamo _dynamo.utils=_dynamo
    _higher_order_ops _jit_internal=jit _tensor=. _utils accelerator amp amp.autocast_mode
    amp.grad_scaler ao=quantization ao.quantization=quantization autograd autograd.forward_ad
    autograd.function autograd.functional autograd.grad_mode=autograd autograd.gradcheck
    autograd.graph autograd.profiler=profiler autograd.variable backends backends.cpu backends.cuda
    backends.cudnn backends.mkl backends.mkldnn backends.mps backends.openmp backends.opt_einsum
    compiler cpu cpu.amp=amp.cpu cuda cuda.amp=amp.cuda distributed distributed.nn=distributed_nn
    distributions distributions.bernoulli distributions.beta distributions.binomial
    distributions.categorical distributions.cauchy distributions.chi2
    distributions.constraint_registry distributions.constraints distributions.continuous_bernoulli
    distributions.dirichlet distributions.distribution distributions.exp_family
    distributions.exponential distributions.fishersnedecor distributions.gamma
    distributions.generalized_pareto distributions.geometric distributions.gumbel
    distributions.half_cauchy distributions.half_normal distributions.independent
    distributions.inverse_gamma distributions.kl distributions.kumaraswamy distributions.laplace
    distributions.lkj_cholesky distributions.log_normal distributions.logistic_normal
    distributions.lowrank_multivariate_normal distributions.mixture_same_family
    distributions.multinomial distributions.multivariate_normal distributions.negative_binomial
    distributions.normal distributions.one_hot_categorical distributions.pareto
    distributions.poisson distributions.relaxed_bernoulli distributions.relaxed_categorical
    distributions.studentT distributions.transformed_distribution distributions.transforms
    distributions.uniform distributions.utils distributions.von_mises distributions.weibull
    distributions.wishart
    fft func functional=. fx fx.graph_module=fx hub jit jit.annotations=jit library linalg masked
    mps multiprocessing nn nn.attention=nn.attention_backends nn.common_types=types nn.functional
    nn.init nn.modules.activation=nn.activation nn.modules.adaptive=nn.adaptive
    nn.modules.batchnorm=nn.normalization nn.modules.channelshuffle=nn.upsampling nn.grad
    nn.modules.container=nn.container
    nn.modules.conv=nn.convolution nn.modules.distance=nn nn.modules.dropout=nn.dropout
    nn.modules.flatten=nn nn.modules.fold=nn nn.modules.instancenorm=nn.normalization
    nn.modules.lazy=nn.lazy nn.modules.linear=nn.linear nn.modules.loss=nn.loss
    nn.modules.module=nn.module nn.modules.normalization=nn.normalization nn.modules.padding=nn
    nn.modules.pixelshuffle=nn nn.modules.pooling=nn.pooling nn.modules.rnn=nn.rnn
    nn.modules.sparse=nn.embedding nn.modules.transformer=nn.transformer
    nn.modules.upsampling=nn.upsampling nn.modules.utils=nn.tuples nn.modules=nn nn.parallel
    nn.parallel.data_parallel=nn.parallel nn.parallel.distributed=nn.parallel nn.parameter nn.utils
    nn.utils.clip_grad nn.utils.convert_parameters nn.utils.fusion nn.utils.init
    nn.utils.memory_format nn.utils.parametrizations nn.utils.parametrize nn.utils.prune
    nn.utils.rnn nn.utils.spectral_norm=nn.utils.spectral_norm_hooks nn.utils.stateless
    nn.utils.weight_norm=nn.utils.weight_norm_hooks onnx
    onnx.symbolic_helper=onnx onnx.symbolic_opset11=onnx ops optim optim._adafactor=optim.adafactor
    optim._muon=optim.muon optim.adadelta optim.adagrad optim.adam optim.adamax
    optim.adamw=optim.adam optim.asgd optim.lbfgs optim.lr_scheduler optim.nadam optim.optimizer
    optim.radam optim.rmsprop optim.rprop optim.sgd optim.sparse_adam optim.swa_utils overrides
    profiler quantization random=tracer.tensor.generator return_types serialization special
    storage=functions.torch.storage testing torch_version types utils utils._foreach_utils
    utils._pytree utils.checkpoint utils.data utils.data._utils=utils.data
    utils.data._utils.collate=utils.data.collate utils.data._utils.worker=utils.data.worker
    utils.data.dataloader utils.data.dataset utils.data.distributed utils.data.sampler utils.dlpack
    utils.hooks utils.model_zoo version xpu
"""
PATHS = {path: here or path for path, _, here in (w.partition("=") for w in _PATHS.split())}

# names of torch, by the module here that they lie in
_HOMES = {
    "amp": "GradScaler autocast",
    "amp.autocast_mode": """
        clear_autocast_cache get_autocast_dtype is_autocast_cpu_enabled is_autocast_enabled""",
    "functions.inplace_functions": """
        abs_ acos_ acosh_ addmv_ arccos_ arccosh_ arcsin_ arcsinh_ arctan_ arctanh_ asin_ asinh_
        atan_ atanh_ ceil_ clamp_ clamp_max_ clamp_min_ clip_ cos_ cosh_ deg2rad_ detach_ erf_
        erfc_ exp2_ exp_ expm1_ fix_ floor_ frac_ gcd_ i0_ index_put_ lcm_ ldexp_ log10_ log1p_
        log2_ log_ logit_ nan_to_num_ neg_ negative_ rad2deg_ reciprocal_ resize_as_ round_ rsqrt_
        sigmoid_ sin_ sinc_ sinh_ sqrt_ square_ tan_ tanh_ trunc_ xlogy_""",
    "functions.torch.storage": "TypedStorage UntypedStorage",
    "nn.adaptive": "nn.AdaptiveLogSoftmaxWithLoss",
    "nn.attention": "nn.modules.linear.NonDynamicallyQuantizableLinear",
    "nn.lazy": """
        nn.LazyBatchNorm1d nn.LazyBatchNorm2d nn.LazyBatchNorm3d nn.LazyConv1d nn.LazyConv2d
        nn.LazyConv3d nn.LazyConvTranspose1d nn.LazyConvTranspose2d nn.LazyConvTranspose3d
        nn.LazyInstanceNorm1d nn.LazyInstanceNorm2d nn.LazyInstanceNorm3d nn.LazyLinear
        nn.modules.lazy.LazyModuleMixin""",
    "nn.hooks": """
        nn.modules.module.register_module_forward_hook
        nn.modules.module.register_module_forward_pre_hook
        nn.modules.module.register_module_full_backward_hook
        nn.modules.module.register_module_full_backward_pre_hook""",
    "nn.lesser": """
        nn.CrossMapLRN2d nn.LinearCrossEntropyLoss nn.NLLLoss2d
        nn.functional.linear_cross_entropy nn.modules.loss.LinearCrossEntropyLoss
        nn.modules.loss.NLLLoss2d nn.modules.normalization.CrossMapLRN2d""",
    "nn.parallel": "nn.DataParallel",
    "nn.sync_batchnorm": "nn.SyncBatchNorm",
    "nn.utils.fusion": """
        nn.utils.fuse_conv_bn_eval nn.utils.fuse_conv_bn_weights nn.utils.fuse_linear_bn_eval
        nn.utils.fuse_linear_bn_weights""",
    "nn.utils.init": "nn.utils.skip_init",
    "nn.utils.memory_format": """
        nn.utils.convert_conv2d_weight_memory_format nn.utils.convert_conv3d_weight_memory_format
        """,
    "nn.utils.spectral_norm_hooks": "nn.utils.remove_spectral_norm nn.utils.spectral_norm",
    "nn.utils.weight_norm_hooks": "nn.utils.remove_weight_norm nn.utils.weight_norm",
    "optim.for_packages": """
        optim.optimizer.ParamsT optim.optimizer._params_t optim.optimizer.required
        optim.optimizer._use_grad_for_differentiable optim.optimizer._get_value
        optim.optimizer._default_to_fused_or_foreach
        optim.optimizer._get_capturable_supported_devices""",
    "optim.hooks": """
        optim.optimizer.register_optimizer_step_post_hook
        optim.optimizer.register_optimizer_step_pre_hook""",
    "overrides": """
        nn.functional.handle_torch_function nn.functional.has_torch_function
        nn.functional.has_torch_function_unary nn.functional.has_torch_function_variadic""",
    "safe_globals": """
        serialization.add_safe_globals serialization.clear_safe_globals
        serialization.get_safe_globals serialization.safe_globals""",
    "symbolic": """
        SymBool SymFloat SymInt sym_float sym_int sym_ite sym_max sym_min sym_not sym_sum""",
    "types": "serialization.FileLike serialization.MAP_LOCATION",
    "unsupported_dtypes": """
        cdouble cfloat chalf complex128 complex32 complex64 float4_e2m1fn_x2 float8_e4m3fn
        float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu uint16 uint32 uint64""",
}
HOMES = {name: home for home, names in _HOMES.items() for name in names.split()}
# modules that torch hides: their name is, in the module around them, that of a function in them
HIDDEN = tuple(PATHS.keys() & HOMES.keys())


def load(path: str) -> ModuleType | None:
    """The module with torch's path (`nn.modules.linear`), imported now if it was not; None if it is
    not here.
    """
    here = PATHS.get(path)
    return None if here is None else imported(here)


def imported(here: str) -> ModuleType:
    """The module at this path here."""
    return importlib.import_module(PACKAGE if here == "." else f"{PACKAGE}.{here}")
