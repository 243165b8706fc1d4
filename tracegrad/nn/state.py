"""The state of a module, parameters and persistent buffers, as a dict of dotted names; and back.

Reads the tables of modules; knows nothing of what they compute.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..tracer.functions.creation import as_tensor
from ..tracer.mode import no_grad
from ..tracer.tensor import Tensor
from .parameter import Parameter


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` could not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not any(self):
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self[0]}, unexpected_keys={self[1]})"


class _Extra:
    """What a module says of itself in `get_extra_state`, as a table with one entry."""

    def __init__(self, module: Any):
        self.module = module

    def __getitem__(self, name: str) -> Any:
        return self.module.get_extra_state()

    def __setitem__(self, name: str, value: Any) -> None:
        self.module.set_extra_state(value)


def entries(module: Any) -> Iterator[tuple[str, Any, str]]:
    """Every entry of the state: its dotted name, the table it stands in, and its name there."""
    for prefix, part in module.named_modules(remove_duplicate=False):
        hidden = part._non_persistent_buffers_set
        for table in (part._parameters, part._buffers):
            for name, value in table.items():
                if value is not None and not (table is part._buffers and name in hidden):
                    yield f"{prefix}.{name}" if prefix else name, table, name
        if hasattr(part, "get_extra_state"):
            yield f"{prefix}._extra_state" if prefix else "_extra_state", _Extra(part), ""


def collect(module: Any, destination: Any, prefix: str, keep_vars: bool) -> dict[str, Tensor]:
    """The state; without `keep_vars`, detached from autograd."""
    out = OrderedDict() if destination is None else destination
    for key, table, name in entries(module):
        value = table[name]
        plain = keep_vars or not isinstance(value, Tensor)
        out[prefix + key] = value if plain else value.detach()
    return out


def _names(title: str, keys: list[str]) -> str:
    quoted = ", ".join(f'"{k}"' for k in keys)
    return f"{title} key(s) in state_dict: {quoted}. "


def _value(key: str, given: Any, old: Tensor) -> Tensor | str:
    """The tensor to load, or what is wrong with it, in words."""
    if not isinstance(given, Tensor) and not hasattr(given, "__array__"):
        return (
            f'While copying the parameter named "{key}", expected tracegrad.Tensor or Tensor-like '
            f"object from checkpoint but received {type(given)}"
        )
    new = given if isinstance(given, Tensor) else as_tensor(given.__array__())
    if new.shape == old.shape:
        return new
    return (
        f"size mismatch for {key}: copying a param with shape {new.shape} from checkpoint, "
        f"the shape in current model is {old.shape}."
    )


def load(module: Any, given: Mapping[str, Any], strict: bool, assign: bool) -> IncompatibleKeys:
    """Copy values in by name, or take the tensors; nothing is copied unless everything fits."""
    if not isinstance(given, Mapping):
        raise TypeError(f"Expected state_dict to be dict-like, got {type(given)}.")
    places = {key: (table, name) for key, table, name in entries(module)}
    missing = [key for key in places if key not in given]
    unexpected = [key for key in given if key not in places]
    values: dict[str, Any] = {
        k: given[k] if isinstance(t, _Extra) else _value(k, given[k], t[name])
        for k, (t, name) in places.items()
        if k in given
    }
    wrong = [
        v for k, v in values.items() if isinstance(v, str) and not isinstance(places[k][0], _Extra)
    ]
    if strict:
        names = (("Missing", missing), ("Unexpected", unexpected))
        wrong = [_names(title, keys) for title, keys in names if keys] + wrong
    if wrong:
        lines = "\n\t".join(wrong)
        kind = type(module).__name__
        raise RuntimeError(f"Error(s) in loading state_dict for {kind}:\n\t{lines}")
    with no_grad():
        for key, value in values.items():
            table, name = places[key]
            if isinstance(table, _Extra):
                table[name] = value
                continue
            old = table[name]
            if not assign:
                old.copy_(value)
            elif isinstance(old, Parameter) and not isinstance(value, Parameter):
                table[name] = Parameter(value, old.requires_grad)
            else:
                table[name] = value
    return IncompatibleKeys(missing, unexpected)
