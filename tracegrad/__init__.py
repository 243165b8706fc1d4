"""tracegrad: PyTorch's names, eager and compiled, so that `import tracegrad as torch` is enough."""

from math import e, inf, nan, pi

from . import autograd, cuda, func, linalg, masked, nn, optim, return_types, special, testing, utils
from .absent import explain as _explain_absence
from .compile import compile
from .func import vmap
from .ir.dtype import (
    DType as dtype,
)
from .ir.dtype import (
    bfloat16,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from .ir.dtype import bool_ as bool
from .ir.dtype import float16 as half
from .ir.dtype import float32 as float
from .ir.dtype import float64 as double
from .ir.dtype import int16 as short
from .ir.dtype import int32 as int
from .ir.dtype import int64 as long
from .nn.functional import (
    adaptive_avg_pool1d,
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
from .nn.functional import adaptive_max_pool1d_with_indices as adaptive_max_pool1d
from .nn.functional.convolution import *
from .nn.functional.folding import native_channel_shuffle, pixel_shuffle, pixel_unshuffle
from .nn.functional.grids import grid_sampler, grid_sampler_2d, grid_sampler_3d
from .nn.functional.pooling import (
    max_pool1d,
    max_pool1d_with_indices,
    max_pool2d,
    max_pool3d,
)
from .out import accept as _accept_out
from .serialization import load, save
from .tracer import Size, Tensor
from .tracer import generator as random
from .tracer.device import device
from .tracer.functions import *
from .tracer.functions.conversion import clone, detach
from .tracer.functions.factors import old_lu as lu
from .tracer.functions.solving import old_lu_solve as lu_solve
from .tracer.generator import *
from .tracer.layout import *
from .tracer.lowrank import *
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
from .tracer.printing import get_printoptions, printoptions, set_printoptions
from .tracer.promotion import can_cast, promote_types, result_type
from .tracer.random import *
from .typed import TYPES as _TYPES

__version__ = "0.1.0"

globals().update(_TYPES)
Tensor.__module__ = __name__  # as it is shown, and where pickles look for it
_accept_out(globals())

_explain_absence()
