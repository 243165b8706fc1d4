"""Layers as functions: `F.relu(x)`, `F.linear(x, weight, bias)`, `F.cross_entropy(scores, target)`.

All are compositions of primitives, so they fuse and have derivatives of every order.
"""

from typing import TYPE_CHECKING, Any

from ...out import accept as _accept_out
from .activation import *
from .adaptive import *
from .attention import *
from .classes import *
from .convolution import *
from .ctc import *
from .folding import *
from .fractional import *
from .grids import *
from .loss import *
from .margin import *
from .noise import *
from .normalization import *
from .padding import *
from .pooling import *
from .products import *
from .resampling import *
from .sparse import *

_accept_out(globals(), "nn.functional")

if TYPE_CHECKING:  # what tables of ranks made

    def __getattr__(name: str) -> Any: ...
