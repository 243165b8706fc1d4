"""Lists and dicts of parameters."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Self

from ..tracer.change_counter import WatchedDict
from ..tracer.tensor.tensor import Tensor
from .container import Named, Numbered
from .parameter import Parameter


def _parameter_line(name: str, p: Any, kind: Any) -> str:
    if not isinstance(p, Tensor):
        return f"  ({name}): Object of type: {type(p).__name__}"
    title = "Parameter" if isinstance(p, Parameter) else "Tensor"
    return f"  ({name}): {title} containing: [{kind} of size {'x'.join(map(str, p.shape))}]"


class ParameterList(Numbered):
    """A list of parameters; tensors put into it become parameters, other things stay what they
    are.

    Raises IndexError for a number out of range.

    >>> weights = nn.ParameterList([torch.ones(2), torch.zeros(3)])
    >>> [p.shape for p in weights.parameters()]
    [tracegrad.Size([2]), tracegrad.Size([3])]
    """

    def __init__(self, values: Iterable[Any] | None = None):
        super().__init__()
        if values is not None:
            self.extend(values)

    @property
    def _items(self) -> dict[str, Any]:
        both = chain(self.__dict__.items(), self._parameters.items())
        return dict(sorted((kv for kv in both if kv[0].isdigit()), key=lambda kv: int(kv[0])))

    def _fit(self, item: Any) -> Any:
        return _trained(item)

    def _store(self, name: str, item: Any) -> None:
        setattr(self, name, item)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, _trained(value) if name.isdigit() else value)

    def extra_repr(self) -> str:
        return "\n".join(
            _parameter_line(k, p, getattr(p, "dtype", None)) for k, p in self._items.items()
        )


class ParameterDict(Named):
    """A dict of parameters; tensors put into it become parameters, other things stay what they
    are.

    Raises AttributeError for a missing name.

    >>> weights = nn.ParameterDict({"scale": torch.ones(2)})
    >>> weights["scale"]
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    def __init__(self, parameters: Any = None):
        super().__init__()
        self.__dict__["_keys"] = WatchedDict()
        if parameters is not None:
            self.update(parameters)

    @property
    def _items(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self._keys}

    def _register(self, key: str, item: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(
                "Index given to ParameterDict cannot be used as a key as it is not a string "
                f"(type is '{type(key).__name__}')."
            )
        setattr(self, key, _trained(item))
        self._keys[key] = None

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, key)

    def clear(self) -> None:
        for key in list(self._keys):
            del self[key]

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise AttributeError(f"'ParameterDict' object has no attribute '{key}'")
        return self._items[key]

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self._items))

    def get(self, key: str, default: Any = None) -> Any:
        """One, or what is asked for where there is none."""
        return self._items.get(key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """One, which is put there first if there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def popitem(self) -> tuple[str, Any]:
        """Remove the last and return it with its name."""
        key = next(reversed(self))
        return key, self.pop(key)

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """Another dict with these keys and one value."""
        return ParameterDict((key, default) for key in keys)

    def copy(self) -> ParameterDict:
        """Another dict of the same parameters."""
        return ParameterDict(self)

    def update(self, items: Any) -> None:
        """Add everything of a mapping, in the order of its keys unless it has one, or of pairs."""
        unordered = isinstance(items, Mapping) and not isinstance(items, OrderedDict)
        super().update(sorted(items.items()) if unordered else items)

    def __ior__(self, items: Any) -> Self:
        self.update(items)
        return self

    def __or__(self, items: Any) -> ParameterDict:
        return self.copy().__ior__(items)

    def __ror__(self, items: Any) -> ParameterDict:
        return ParameterDict(items).__ior__(self)

    def extra_repr(self) -> str:
        return "\n".join(
            _parameter_line(k, p, p.type() if isinstance(p, Tensor) else None)
            for k, p in self._items.items()
        )


def _trained(value: Any) -> Any:
    plain = isinstance(value, Tensor) and not isinstance(value, Parameter)
    return Parameter(value) if plain else value
