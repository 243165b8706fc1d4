"""All functions of tensors, in one namespace.

All are plain functions of primitives; none has a derivative of its own.
"""

from .linalg.chained_products import *
from .linalg.decompositions import *
from .linalg.einsum import *
from .linalg.matmul import *
from .linalg.matrix_functions import *
from .linalg.solving import *
from .math.clamp import *
from .math.cumulative import *
from .math.differences import *
from .math.distance import *
from .math.dtype_limits import *
from .math.elementwise import *
from .math.floating_point import *
from .math.histogram import *
from .math.norms import *
from .math.pointwise import *
from .math.predicates import *
from .math.reduction import *
from .math.softmax_family import *
from .math.sorting import *
from .math.special import *
from .math.statistics import *
from .math.var_std import *
from .tensors.broadcasting import *
from .tensors.creation import *
from .tensors.fill import *
from .tensors.gather import *
from .tensors.interop import *
from .tensors.joining import *
from .tensors.metadata import *
from .tensors.scatter import *
from .tensors.shape import *
from .tensors.slicing import *
from .tensors.triangular import *
