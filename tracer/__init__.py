"""How Python becomes ir: the Tensor, eager and traced, its functions, and the eager gradient tape."""

from . import methods
from .tensor import Size, Tensor
