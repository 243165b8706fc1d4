"""How Python becomes ir: the Tensor, eager and traced, the autograd graph, the capture of calls."""

from .tensor.tensor import Size, Tensor
