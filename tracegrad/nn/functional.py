"""Layers as functions: `F.relu(x)`, `F.linear(x, weight, bias)`, `F.cross_entropy(scores, target)`.

All are compositions of primitives, so they fuse and have derivatives of every order.
"""

from ..functions.nn.activation import *
from ..functions.nn.adaptive_pooling import *
from ..functions.nn.attention import *
from ..functions.nn.convolution import *
from ..functions.nn.distance import *
from ..functions.nn.dropout import *
from ..functions.nn.embedding import *
from ..functions.nn.interpolate import *
from ..functions.nn.linear import *
from ..functions.nn.loss import *
from ..functions.nn.margin_loss import *
from ..functions.nn.normalization import *
from ..functions.nn.pooling import *
from ..functions.nn.vision import *
from ..functions.out_argument import accept as _accept_out

_accept_out(globals(), "nn.functional")
