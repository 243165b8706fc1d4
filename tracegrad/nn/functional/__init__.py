"""Layers as functions: `F.relu(x)`, `F.linear(x, weight, bias)`, `F.cross_entropy(scores, target)`.

All are compositions of primitives, so they fuse and have derivatives of every order.
"""

from ..loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from .activation import *
from .adaptive import *
from .attention import *
from .convolution import *
from .folding import *
from .grids import *
from .noise import *
from .normalization import *
from .padding import *
from .pooling import *
from .products import *
from .resampling import *
from .sparse import *
