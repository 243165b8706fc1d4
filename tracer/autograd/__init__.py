"""Derivatives while Python runs: the autograd graph, backward, transforms, `vmap`, Functions."""
