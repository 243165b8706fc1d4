"""Checkpointing: save no intermediate values of a part of a program, and compute them again in
backward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tracer.autograd.checkpoint import checkpointed

__all__ = ["checkpoint", "checkpoint_sequential"]


def checkpoint(
    function: Callable, *args: Any, use_reentrant: bool | None = None, context_fn: Any = None,
    determinism_check: str = "default", debug: bool = False, preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """Call `function` and save only its arguments. backward calls it again.

    Gradients reach the arguments and everything else that the function uses, to any order. With
    `preserve_rng_state` the second call draws the same random numbers. In a compiled function the
    compiler decides what is saved. The other arguments are accepted for compatibility.

    Shape: those of the function. Raises the errors of the function.

    >>> x = torch.ones(2, requires_grad=True)
    >>> torch.utils.checkpoint.checkpoint(torch.sin, x, use_reentrant=False).sum().backward()
    >>> x.grad
    tensor([0.5403, 0.5403])
    """
    return checkpointed(function, args, kwargs, preserve_rng_state)


def checkpoint_sequential(functions: Any, segments: int, input: Any,
                          use_reentrant: bool | None = None, **kwargs: Any) -> Any:
    """Call functions one after the other, in `segments` checkpoints.

    The last segment is not checkpointed.

    >>> from tracegrad.utils.checkpoint import checkpoint_sequential
    >>> steps = [torch.sin, torch.exp]
    >>> checkpoint_sequential(steps, 2, torch.zeros(2, requires_grad=True), use_reentrant=False)
    tensor([1., 1.], grad_fn=<ExpBackward0>)
    """
    steps = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = len(steps) // segments

    def run(start: int, stop: int) -> Callable:
        def section(x: Any) -> Any:
            for step in steps[start:stop]:
                x = step(x)
            return x

        return section

    for start in range(0, size * (segments - 1), size or 1):
        input = checkpoint(run(start, start + size), input, use_reentrant=use_reentrant, **kwargs)
    return run(size * (segments - 1), len(steps))(input)
