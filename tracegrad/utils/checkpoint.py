"""Checkpointing: a part of a program that keeps none of its intermediate values, and is computed
again when its gradient is wanted.
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
) -> Any:  # fmt: skip
    """Call `function`, saving its arguments and nothing in between; backward calls it again.

    Gradients reach the arguments and everything else that the function uses, to any order. With
    `preserve_rng_state` random numbers are the same the second time. In a compiled function the
    compiler decides by itself what is worth saving. The other arguments are accepted for torch's
    sake.

    Shape: those of the function. Raises what it raises.

    >>> x = torch.ones(2, requires_grad=True)
    >>> torch.utils.checkpoint.checkpoint(torch.sin, x, use_reentrant=False).sum().backward()
    >>> x.grad
    tensor([0.5403, 0.5403])
    """
    return checkpointed(function, args, kwargs, preserve_rng_state)


def checkpoint_sequential(functions: Any, segments: int, input: Any,
                          use_reentrant: bool | None = None, **kwargs: Any) -> Any:  # fmt: skip
    """Call functions one after the other, in `segments` checkpoints; the last one is not
    checkpointed.
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
