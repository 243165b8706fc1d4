"""Matrices that are not written out: products, solves and determinants, with gradients."""

import torch
from linear_operator import to_linear_operator
from linear_operator.operators import DiagLinearOperator, LowRankRootLinearOperator

from tests.packages.common import pattern


def run(compiled):
    root, noise = pattern(6, 2).requires_grad_(), (pattern(6).abs() + 1).requires_grad_()

    def step(b):
        matrix = LowRankRootLinearOperator(root) + DiagLinearOperator(noise)
        dense = to_linear_operator(matrix.to_dense())
        quadratic, logdet = dense.inv_quad_logdet(b, logdet=True)
        return matrix @ b, dense.solve(b), quadratic + logdet

    outputs = (torch.compile(step) if compiled else step)(pattern(6, 1))
    sum(o.sum() for o in outputs).backward()
    return [o.detach() for o in outputs] + [root.grad, noise.grad]
