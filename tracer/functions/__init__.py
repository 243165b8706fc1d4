"""The functions of tensors, by theme. All are plain functions of primitives; none has a derivative
of its own.
"""

from typing import TYPE_CHECKING, Any

from .bounds import *
from .broadcasting import *
from .contract import *
from .counting import *
from .creation import *
from .differences import *
from .distance import *
from .einsum import *
from .factors import *
from .facts import *
from .filling import *
from .floats import *
from .joining import *
from .limits import *
from .matrices import *
from .moments import *
from .movement import *
from .normalized import *
from .norms import *
from .ordering import *
from .parts import *
from .pointwise import *
from .positions import *
from .prefix import *
from .products import *
from .questions import *
from .reduce import *
from .scattering import *
from .sharing import *
from .solving import *
from .statistics import *
from .transcendental import *
from .triangles import *

if TYPE_CHECKING:  # what tables made

    def __getattr__(name: str) -> Any: ...
