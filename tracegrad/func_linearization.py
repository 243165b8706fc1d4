"""The common part of the transforms in func.py: a function linearised at the arguments of one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .tracer.autograd.transform import Pullback
from .tracer.pytree import flatten, map_leaves, unflatten
from .tracer.tensor.tensor import Tensor

Argnums = int | tuple[int, ...]


class Primals:
    """The arguments of a call that are differentiated: their leaves, and how to put them back."""

    def __init__(self, args: tuple, argnums: Argnums):
        self.args, self.single = args, isinstance(argnums, int)
        if not isinstance(argnums, (int, tuple)):
            raise RuntimeError(
                f"argnums must be int or Tuple[int, ...], got: {type(argnums)}"
            )
        if argnums == () and args:
            raise RuntimeError("argnums must be non-empty")
        chosen = (argnums,) if isinstance(argnums, int) else argnums
        for k in chosen:
            if not isinstance(k, int):
                raise RuntimeError(f"argnum must be int, got: {type(k)}")
            if not -len(args) <= k < len(args):
                raise RuntimeError(
                    f"Got argnum={k}, but only {len(args)} positional inputs"
                )
        self.positions = [k % len(args) for k in chosen]
        if len(set(self.positions)) < len(self.positions):
            raise RuntimeError(f"argnums elements must be unique, got {tuple(self.positions)}")
        self.leaves, self.structure = flatten(tuple(args[k] for k in self.positions))
        for x in self.leaves:
            if not isinstance(x, Tensor):
                raise ValueError(f"Thing passed to transform API must be Tensor, got {type(x)}")

    def floating(self) -> Primals:
        """Itself, if all leaves are floating point, as forward mode requires."""
        for x in self.leaves:
            if not x.dtype.is_floating_point:
                raise ValueError(
                    f"Expected primal to be floating point or complex, but got: {x.dtype}"
                )
        return self

    def all_arguments(self, leaves: Sequence[Tensor]) -> tuple:
        """All arguments, with other leaves in the differentiated ones."""
        full = list(self.args)
        for k, arg in zip(self.positions, unflatten(leaves, self.structure), strict=True):
            full[k] = arg
        return tuple(full)

    def like(self, leaves: Sequence[Any]) -> Any:
        """`leaves` in the structure of the differentiated arguments."""
        tree = unflatten(leaves, self.structure)
        return tree[0] if self.single else tree


class Linearization:
    """A function linearised at one point: its result, the output tensors, and their pullback.

    `call` is the transform as messages name it.
    """

    def __init__(self, call: str, func: Callable, chosen: Primals, kwargs: dict, has_aux: bool,
                 forward: bool = False):
        self.call, self.aux = call, None

        def run(leaves: list[Tensor]) -> Any:
            output = func(*chosen.all_arguments(leaves), **kwargs)
            if has_aux:
                if not isinstance(output, tuple) or len(output) != 2:
                    raise RuntimeError(
                        f"{call}: output of function f should be a tuple: (output, aux) if has_aux "
                        f"is True, got {type(output)}"
                    )
                output, self.aux = output
                for x in flatten(self.aux)[0]:
                    if not isinstance(x, Tensor):
                        raise RuntimeError(f"Expected tensors, got unsupported type {type(x)}")
            return output

        self.chosen = chosen
        self.back = Pullback(run, chosen.leaves, forward)
        self.outputs, self.structure = flatten(self.back.result)
        for y in self.outputs:
            if not isinstance(y, Tensor):
                raise RuntimeError(
                    f"{call}: expected f(*primals) to return only tensors, got unsupported type "
                    f"{type(y)}"
                )
        self.back.set_outputs(self.outputs)

    def refuse_integers(self) -> None:
        """Raise for integer outputs: reverse mode starts at the outputs."""
        for y in self.outputs:
            if not y.dtype.is_floating_point:
                raise RuntimeError(
                    "vjp(f, ...): All outputs of f must be floating-point or complex Tensors, got "
                    f"Tensor with dtype {y.dtype}"
                )

    def result(self) -> Any:
        return map_leaves(self.back.detached_outside, self.back.result)

    def with_aux(self, *results: Any, has_aux: bool) -> Any:
        """The result of a transform, with the aux if the function returns one."""
        full = (*results, map_leaves(self.back.detached_outside, self.aux)) if has_aux else results
        return full if len(full) > 1 else full[0]
