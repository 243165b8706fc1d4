"""tracegrad: PyTorch's names, eager and compiled, so that `import tracegrad as torch` is enough."""

from .import_pause import pause as _pause

# isort: split
from math import e, inf, nan, pi

from . import (
    _dynamo,
    _higher_order_ops,
    autograd,
    cuda,
    debug,
    func,
    linalg,
    masked,
    nn,
    optim,
    return_types,
    scipy,
    special,
    testing,
    utils,
)
from .absent import install_messages as _explain_absence
from .driver.api import compile, compile_step as _compile_step
from .driver.dynamic_sizes import mark_dynamic, mark_static, maybe_mark_dynamic
from .driver.gpus import OutOfMemoryError
from .driver.loaded_program import load_program
from .driver.thread_count import *
from .func import vmap
from .functions.conversion import clone, detach
from .functions.linalg.decompositions import old_lu as lu
from .functions.linalg.solvers import old_lu_solve as lu_solve
from .functions.methods import attach as _attach_methods
from .functions.namespace import *
from .functions.nn.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from .functions.nn.pooling import max_pool1d, max_pool1d_with_indices, max_pool2d, max_pool3d
from .functions.nn.recurrent import *
from .functions.nn.vision import (
    grid_sampler,
    grid_sampler_2d,
    grid_sampler_3d,
    native_channel_shuffle,
    pixel_shuffle,
    pixel_unshuffle,
)
from .functions.out_argument import accept as _accept_out
from .functions.torch.foreach import *
from .functions.torch.random_sampling import *
from .functions.torch.samplers import *
from .functions.torch.windows import *
from .functions.torch_function import attach as _attach_torch_function
from .ir.dtype import (
    DType as dtype,
    bfloat16,
    bool_ as bool,
    float16,
    float16 as half,
    float32,
    float32 as float,
    float64,
    float64 as double,
    int8,
    int16,
    int16 as short,
    int32,
    int32 as int,
    int64,
    int64 as long,
    uint8,
)
from .nn.functional import (
    adaptive_avg_pool1d,
    adaptive_max_pool1d_with_indices as adaptive_max_pool1d,
    alpha_dropout,
    avg_pool1d,
    celu,
    celu_,
    channel_shuffle,
    cosine_similarity,
    dropout,
    feature_alpha_dropout,
    group_norm,
    hardshrink,
    layer_norm,
    pairwise_distance,
    prelu,
    relu_,
    rms_norm,
    rrelu,
    rrelu_,
    selu,
    selu_,
    threshold,
    threshold_,
)
from .optim.eager_steps import register_compiler as _register_compiler
from .serialization import load, save
from .settings import *
from .settings import _assert
from .torch_import import as_torch
from .tracer import Size, Tensor
from .tracer.mode import (
    enable_grad,
    get_default_dtype,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_default_dtype,
    set_grad_enabled,
)
from .tracer.tensor import generator as random
from .tracer.tensor.device import device, get_default_device, set_default_device
from .tracer.tensor.generator import *
from .tracer.tensor.layout import *
from .tracer.tensor.printing import get_printoptions, printoptions, set_printoptions
from .tracer.tensor.promotion import can_cast, promote_types, result_type
from .typed import TYPES as _TYPES

__version__ = "0.1.0"

globals().update(_TYPES)
newaxis = None
Tensor.__module__ = __name__  # as it is shown, and where pickles look for it
_attach_methods()
_attach_torch_function()
_register_compiler(_compile_step)
_accept_out(globals())

_explain_absence()
del _pause
