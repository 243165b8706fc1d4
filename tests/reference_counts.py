"""Ways in which another Python may count references. It is found out when tracegrad is imported, so
nothing here imports it before.
"""

from __future__ import annotations

import sys

real = sys.getrefcount
WRONG = {
    "one too few": lambda x: real(x) - 2,  # this function holds one more
    "one too many": lambda x: real(x),
    "all that are asked for": lambda x: 3,
    "as is expected of a tensor": lambda x: 4,
    "one for everything": lambda x: 1,
    "too many to be true": lambda x: 0xFFFFFFFF,
}


def nothing_is_recycled(how: str) -> None:
    sys.getrefcount = WRONG[how]
    import tracegrad as T

    w = T.tensor([1.0, 2.0, 3.0]).requires_grad_()

    @T.compile
    def f(x):
        w.grad = None
        y = w * x
        y.sum().backward()
        return y.detach()

    held = []
    for i in range(20):
        y = f(T.full((3,), float(i)))
        held.append((i, w.grad, y.numpy()))
    for i, g, y in held:
        assert (g == float(i)).all() and y[-1] == 3.0 * i, (i, g, y)
    assert len({id(y) for _, _, y in held}) == len({id(g) for _, g, _ in held}) == 20
