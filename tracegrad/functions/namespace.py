"""All functions of tensors, in one namespace.

All are plain functions of primitives; none has a derivative of its own.
"""

from .linalg.decompositions import *
from .linalg.matrix_functions import *
from .linalg.solvers import *
from .nn.distance import cdist, pdist
from .nn.linear import bilinear
from .special import *
from .torch.blas import *
from .torch.comparison import *
from .torch.control_flow import *
from .torch.creation import *
from .torch.einsum import *
from .torch.floating_point import *
from .torch.gather import *
from .torch.indexing import *
from .torch.memory import *
from .torch.other_counting import *
from .torch.other_cumulative import *
from .torch.other_shapes import *
from .torch.pointwise import *
from .torch.pointwise_primitives import *
from .torch.reduction import *
from .torch.reduction_statistics import *
from .torch.scatter import *
from .torch.shape import *
from .torch.slicing_joining import *
from .torch.tensors import *
