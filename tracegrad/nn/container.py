"""Modules that hold modules, as lists and dicts; Sequential calls its in turn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import index
from typing import Any, Self

from ..tracer.tensor.tensor import Tensor
from .module import Module, indented


class Numbered(Module):
    """A list of things that a Module holds under the names '0', '1', ..."""

    @property
    def _items(self) -> dict[str, Any]:
        return self._modules

    def _name(self, i: Any) -> str:
        i, n = index(i), len(self)
        if not -n <= i < n:
            raise IndexError(f"index {i} is out of range")
        return list(self._items)[i]

    def _renumber(self, items: list[Any]) -> None:
        for name in list(self._items):
            delattr(self, name)
        for i, item in enumerate(items):
            self._store(str(i), item)

    def _store(self, name: str, item: Any) -> None:
        self.register_module(name, item)  # None has a place too

    def _fit(self, item: Any) -> Any:
        """The item, or TypeError where it has no place here."""
        if item is not None and not isinstance(item, Module):
            raise TypeError(f"{type(item).__name__} is not a Module subclass")
        return item

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items.values())

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return self._part(list(self._items.items())[i])
        return self._items[self._name(i)]

    def _part(self, items: list[tuple[str, Any]]) -> Any:
        make: Any = type(self)
        return make([item for _, item in items])

    def __setitem__(self, i: Any, item: Any) -> None:
        self._store(self._name(i), self._fit(item))

    def __delitem__(self, i: Any) -> None:
        items = list(self)
        del items[i if isinstance(i, slice) else index(i)]
        self._renumber(items)

    def append(self, item: Any) -> Self:
        """Add one at the end."""
        self._store(str(len(self)), self._fit(item))
        return self

    def extend(self, items: Iterable[Any]) -> Self:
        """Add several at the end."""
        if not isinstance(items, Iterable) or isinstance(items, Tensor):
            raise TypeError(
                f"{type(self).__name__}.extend should be called with an iterable, but got "
                f"{type(items).__name__}"
            )
        for item in [self._fit(item) for item in items]:
            self.append(item)
        return self

    def insert(self, i: int, item: Any) -> Any:
        """Add one before position i."""
        items = list(self)
        items.insert(i, self._fit(item))
        self._renumber(items)

    def pop(self, i: Any = -1) -> Any:
        """Remove one and return it."""
        item = self[i]
        del self[i]
        return item

    def __iadd__(self, items: Iterable[Any]) -> Self:
        return self.extend(items)

    def __add__(self, items: Iterable[Any]) -> Any:
        return self[:].extend(items)


class ModuleList(Numbered):
    """A list of modules whose parameters count as those of the module that holds it.

    Raises IndexError for a number out of range; TypeError for what is no module.

    >>> layers = nn.ModuleList([nn.Linear(2, 2), nn.ReLU()])
    >>> len(layers), len(list(layers.parameters()))
    (2, 2)
    """

    def __init__(self, modules: Iterable[Module] | None = None):
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def _child_lines(self) -> list[str]:
        """Equal neighbours share a line: `(0-2): 3 x ReLU()`."""
        lines, at = [], 0
        for shown, group in groupby(map(repr, self)):
            n = len(list(group))
            where = f"({at}-{at + n - 1}): {n} x" if n > 1 else f"({at}):"
            lines.append(f"{where} {indented(shown)}")
            at += n
        return lines


class Sequential(Numbered):
    """Calls modules in turn, each with the output before it: `Sequential(a, b)(x) == b(a(x))`.

    Shape: that of its modules. Raises TypeError for what is no module.

    >>> nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    Sequential(
      (0): Linear(in_features=2, out_features=3, bias=True)
      (1): ReLU()
    )
    """

    def __init__(self, *args: Any):
        super().__init__()
        ordered = len(args) == 1 and isinstance(args[0], OrderedDict)
        named = args[0].items() if ordered else enumerate(args)
        for name, module in named:
            self.register_module(str(name), module)

    def _part(self, items: list[tuple[str, Any]]) -> Any:
        return type(self)(OrderedDict(items))

    def insert(self, i: int, item: Any) -> Self:
        """Add one before position i."""
        if not isinstance(item, Module):
            raise AssertionError(f"module should be of type: {Module}")
        if not -len(self) <= i <= len(self):
            raise IndexError(f"Index out of range: {i}")
        super().insert(i, item)
        return self

    def _other(self, items: Any) -> Any:
        if not isinstance(items, Sequential):
            raise ValueError(
                f"add operator supports only objects of Sequential class, but {type(items)} is "
                "given."
            )
        return items

    def __iadd__(self, items: Iterable[Any]) -> Self:
        return super().__iadd__(self._other(items))

    def __add__(self, items: Iterable[Any]) -> Any:
        return super().__add__(self._other(items))

    def _times(self, times: Any) -> list[Module]:
        if not isinstance(times, int):
            raise TypeError(f"unsupported operand type(s) for *: {type(self)} and {type(times)}")
        if times <= 0:
            raise ValueError(f"Non-positive multiplication factor {times} for {type(self)}")
        return list(self) * times

    def __mul__(self, times: int) -> Sequential:
        """As many times in a row: the same modules, not copies."""
        return Sequential(*self._times(times))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Self:
        return self.extend(self._times(times)[len(self) :])

    def forward(self, input: Any) -> Any:
        for module in self:
            input = module(input)
        return input


class Named(Module):
    """A dict of things that a Module holds."""

    @property
    def _items(self) -> dict[str, Any]:
        return self._modules

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __setitem__(self, key: str, item: Any) -> None:
        self._register(key, item)

    def _register(self, key: str, item: Any) -> None:
        self.register_module(key, item)

    def __delitem__(self, key: str) -> None:
        del self._items[key]

    def keys(self) -> Iterable[str]:
        return self._items.keys()

    def values(self) -> Iterable[Any]:
        return self._items.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        return self._items.items()

    def clear(self) -> None:
        """Remove everything."""
        self._items.clear()

    def pop(self, key: str) -> Any:
        """Remove one and return it."""
        item = self[key]
        del self[key]
        return item

    def update(self, items: Any) -> None:
        """Add everything of a mapping, or of pairs."""
        if not isinstance(items, Iterable):
            raise TypeError(
                f"{type(self).__name__}.update should be called with an iterable of key/value "
                f"pairs, but got {type(items).__name__}"
            )
        pairs = list(items.items() if isinstance(items, (Mapping, Named)) else items)
        for n, pair in enumerate(pairs):
            if not isinstance(pair, Iterable) or len(tuple(pair)) != 2:
                raise (ValueError if isinstance(pair, Iterable) else TypeError)(
                    f"{type(self).__name__} update sequence element #{n} should be a pair, but "
                    f"got {pair!r}"
                )
        for key, item in pairs:
            self[key] = item


class ModuleDict(Named):
    """A dict of modules whose parameters count as those of the module that holds it.

    Raises KeyError for a missing name; TypeError for what is no module.

    >>> layers = nn.ModuleDict({"in": nn.Linear(2, 3), "act": nn.ReLU()})
    >>> layers["act"]
    ReLU()
    """

    def __init__(self, modules: Any = None):
        super().__init__()
        if modules is not None:
            self.update(modules)
