"""The functions of tensors, by theme. All are plain functions of primitives; none has a derivative
of its own.
"""

from .contract import *
from .creation import *
from .indexing import *
from .joining import *
from .moments import *
from .movement import *
from .parts import *
from .pointwise import *
from .positions import *
from .reduce import *
