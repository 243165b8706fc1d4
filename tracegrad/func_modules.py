"""Modules as functions of their parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from .functions.torch.slicing_joining import stack
from .nn.module import Module
from .tracer.tensor.tensor import Tensor


def _owner(module: Module, path: str) -> tuple[dict, str] | None:
    """The dict that holds a parameter or buffer, and its key."""
    above, _, name = path.rpartition(".")
    owner = module.get_submodule(above)
    for table in (owner._parameters, owner._buffers):
        if name in table:
            return table, name
    return None


def _all_tensors(module: Module) -> dict[str, Tensor]:
    """Parameters and buffers by name. Tied ones appear under each of their names."""
    named = (module.named_parameters, module.named_buffers)
    return {k: t for f in named for k, t in f(remove_duplicate=False)}


@contextmanager
def replaced(module: Module, new: Mapping[str, Tensor], tie: bool, strict: bool) -> Iterator[None]:
    """Within it, the module has other parameters and buffers."""
    tensors = _all_tensors(module)
    if strict:
        unmatched = {
            "Unexpected": sorted(new.keys() - tensors.keys()),
            "Missing": sorted(tensors.keys() - new.keys()),
        }
        lines = [
            f"\n\t{what} key(s): {', '.join(map(repr, names))}."
            for what, names in unmatched.items()
            if names
        ]
        if lines:
            kind = type(module).__name__
            raise RuntimeError(f"Error(s) in reparametrizing for {kind}:{''.join(lines)}")
    for t in new.values():
        if not isinstance(t, Tensor):
            raise TypeError(f"{t} is not an instance of tracegrad.Tensor")
    full = dict(new)
    if tie:
        for name, t in new.items():
            for other, same in tensors.items():
                if same is tensors.get(name) and full.setdefault(other, t) is not t:
                    raise ValueError(
                        f"functional_call got different values for {name} and {other}, which are "
                        "tied"
                    )
    targets = [
        (*owner, t) for name, t in full.items() if (owner := _owner(module, name)) is not None
    ]
    before = [table[name] for table, name, _ in targets]
    try:
        for table, name, t in targets:
            table[name] = t
        yield
    finally:
        for (table, name, _), t in zip(targets, before, strict=True):
            table[name] = t


def functional_call(
    module: Module, parameter_and_buffer_dicts: Any, args: Any = None,
    kwargs: Mapping[str, Any] | None = None, *, tie_weights: bool = True, strict: bool = False,
) -> Any:
    """Call a module with other parameters and buffers, given by name in one or several dicts.

    Tensors that the dicts do not name are the module's own. Unknown names are ignored, unless
    `strict`. With `tie_weights`, a parameter that the module holds under two names is replaced
    under both.

    Shape: those of the module. Raises KeyError or RuntimeError for names that do not fit.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> torch.func.functional_call(model, {"weight": torch.ones(1, 2)}, (torch.tensor([1.0, 2.0]),))
    tensor([3.])
    """
    dicts = parameter_and_buffer_dicts
    if isinstance(dicts, Mapping):
        dicts = (dicts,)
    elif not isinstance(dicts, Sequence) or not all(isinstance(d, Mapping) for d in dicts):
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
            f"{type(dicts)}"
        )
    merged: dict[str, Tensor] = {}
    for d in dicts:
        if repeated := merged.keys() & d.keys():
            raise ValueError(
                f"{sorted(repeated)} appeared in multiple dictionaries; behavior of functional "
                "call is ambiguous"
            )
        merged |= d
    inputs = () if args is None else args if isinstance(args, tuple) else (args,)
    with replaced(module, merged, tie_weights, strict):
        return module(*inputs, **(kwargs or {}))


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(parameters, buffers) of modules of one class, stacked along a new first axis, for `vmap`.

    Shape: (number of modules, *) of each. Raises RuntimeError for modules of different kinds.

    >>> parameters, buffers = torch.func.stack_module_state([nn.Linear(2, 1), nn.Linear(2, 1)])
    >>> parameters["weight"].shape
    tracegrad.Size([2, 1, 2])
    """
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if any(m.training is not models[0].training for m in models):
        raise RuntimeError(
            "stack_module_state: Expected all models to have the same training/eval mode."
        )
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = {
        name: stack([dict(m.named_parameters())[name].detach() for m in models])
        .requires_grad_(p.requires_grad)
        for name, p in models[0].named_parameters()
    }
    buffers = {
        name: stack([dict(m.named_buffers())[name] for m in models])
        for name, _ in models[0].named_buffers()
    }
    return parameters, buffers
