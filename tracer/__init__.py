"""How Python becomes ir: the Tensor, eager and traced, its functions, the gradient tape."""

from . import methods
from .tensor import Size, Tensor
