"""Read a pickle from an untrusted source.

Takes the bytes of a pickle and returns its value. It makes numbers, strings, containers, and values
of the constructors in a given table; nothing else. It imports no name from the pickle. It sets
attributes only on OrderedDicts that it made. It never calls the result of a constructor. The cost
of every operation is bounded by the length of the pickle. Only what the user declared safe
(`TRUSTED`) is called, and has the state of its objects set, as by pickle.

Raises UnpicklingError for a refused pickle, and any Exception for a damaged one.
"""

from __future__ import annotations

import pickletools
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from pickle import UnpicklingError
from typing import Any, NamedTuple

from .tracer.change_counter import WatchedDict

MAX_KEY_DEPTH = 100  # of nested tuples as keys: Python hashes them recursively
_REFUSED = (
    "Weights only load failed. The file {}, which is not allowed. Loading it with "
    "weights_only=False may run any code that is in the file: do so only if you trust its source. "
    "torch.serialization.add_safe_globals allows single classes and functions."
)


class Constructor(NamedTuple):
    """A permitted call."""

    call: Callable[[tuple], Any]  # takes the tuple of its arguments


class Trusted(NamedTuple):
    """A class or function that the user declared safe."""

    value: Any

    def call(self, arguments: tuple) -> Any:
        """As pickle calls it."""
        return self.value(*arguments)


TRUSTED: dict[tuple[str, str], Any] = {}  # by module and name


def checked_key(value: Any, depth: int = 0) -> Any:
    """A value that may be the key of a dict or a member of a set."""
    if isinstance(value, tuple):
        if depth == MAX_KEY_DEPTH:
            raise UnpicklingError("the tuples in a key are nested too deeply")
        for part in value:
            checked_key(part, depth + 1)
    return value


def _pairs(pairs: Any) -> list[tuple]:
    return [(checked_key(k), v) for k, v in pairs]


def _dict(kind: type) -> Constructor:
    def make(args: tuple) -> Any:
        if not args:
            return kind()
        (items,) = args
        if not isinstance(items, (dict, list, tuple)):
            raise UnpicklingError(f"{kind.__name__} of a {type(items).__name__}")
        return kind(_pairs(items) if not isinstance(items, dict) else items)

    return Constructor(make)


def _set(args: tuple) -> set:
    (members,) = args or ((),)
    if not isinstance(members, (list, tuple)):
        raise UnpicklingError(f"a set of a {type(members).__name__}")
    return set(map(checked_key, members))


def _bytes(args: tuple) -> bytes:
    """The bytes of a string with one character for each byte, as older protocols write them."""
    if not args:
        return b""
    text, encoding = args
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnpicklingError(f"bytes of encoding {encoding!r}")
    return text.encode("latin1")


def _bytearray(args: tuple) -> bytearray:
    return bytearray(args[0] if args and isinstance(args[0], bytes) else _bytes(args))


def _complex(args: tuple) -> complex:
    if not all(isinstance(part, float) for part in args):
        raise UnpicklingError("a complex number of an object that is not a number")
    return complex(*args)


PLAIN_TYPES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _dict(OrderedDict),
    ("collections", "Counter"): _dict(Counter),
    ("_codecs", "encode"): Constructor(_bytes),
    (WatchedDict.__module__, "WatchedDict"): _dict(WatchedDict),  # of Modules
}
for _module in ("builtins", "__builtin__"):
    PLAIN_TYPES |= {
        (_module, "set"): Constructor(_set),
        (_module, "frozenset"): Constructor(lambda args: frozenset(_set(args))),
        (_module, "bytes"): Constructor(_bytes),
        (_module, "bytearray"): Constructor(_bytearray),
        (_module, "complex"): Constructor(_complex),
    }


class Reader:
    """One reading of a pickle.

    `names` gives the values and Constructors that a pickle may name. `persistent` gives the object
    of a persistent id.
    """

    def __init__(self, names: Mapping[tuple[str, str], Any], persistent: Callable[[Any], Any]):
        self.names, self.persistent = names, persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []  # the stack below each mark
        self.memo: dict[int, Any] = {}

    def load(self, data: bytes) -> Any:
        for operation, argument, _ in pickletools.genops(data):
            if operation.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[operation.name]())
            elif operation.name in _OPERATIONS:
                _OPERATIONS[operation.name](self, argument)
            else:
                raise UnpicklingError(_REFUSED.format(f"has the operation {operation.name}"))
        return self.pop_value()

    # ---- operations; the argument is the one in the pickle
    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_text(self, value: str) -> None:
        """Push a string of Python 2."""
        self.stack.append(value.encode("latin1").decode())

    def put(self, number: int) -> None:
        self.memo[number] = self.stack[-1]

    def memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, number: int) -> None:
        self.stack.append(self.memo[number])

    def mark(self, _: None) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop(self, _: None) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.stack = self.marks.pop()

    def pop_mark(self, _: None) -> None:
        self.stack = self.marks.pop()

    def make_list(self, _: None) -> None:
        values = self.pop_to_mark()
        self.stack.append(values)

    def make_tuple(self, _: None) -> None:
        values = self.pop_to_mark()
        self.stack.append(tuple(values))

    def make_dict(self, _: None) -> None:
        values = self.pop_to_mark()
        self.stack.append({})
        self.set_items(values)

    def add_members(self, _: None) -> None:
        members = self.pop_to_mark()
        if type(self.stack[-1]) is not set:
            raise UnpicklingError("members are added to an object that is not a set")
        self.stack[-1].update(map(checked_key, members))

    def find(self, name: str) -> None:
        module, _, name = name.partition(" ")
        self.push_global(module, name)

    def reduce(self, _: None) -> None:
        arguments, maker = self.pop_value(), self.stack.pop()
        if not isinstance(maker, (Constructor, Trusted)) or not isinstance(arguments, tuple):
            raise UnpicklingError(_REFUSED.format("calls an object that is not a function"))
        self.stack.append(maker.call(arguments))

    def make_object(self, _: None) -> None:
        arguments, kind = self.pop_value(), self.stack.pop()
        if not isinstance(kind, Trusted) or not isinstance(arguments, tuple):
            raise UnpicklingError(_REFUSED.format("makes an object of a class that is not known"))
        self.stack.append(kind.value.__new__(kind.value, *arguments))

    # ---- helpers of the operations
    def pop_value(self) -> Any:
        """Pop the top value."""
        (value,) = self.pop_values(1)
        return value

    def pop_values(self, count: int) -> list[Any]:
        """Pop the top `count` values."""
        if len(self.stack) < count:
            raise UnpicklingError("the pickle pops from an empty stack")
        values = self.stack[-count:]
        del self.stack[-count:]
        return _checked(values)

    def pop_to_mark(self) -> list[Any]:
        """Pop all values above the last mark."""
        values, self.stack = self.stack, self.marks.pop()
        return _checked(values)

    def push_global(self, module: str, name: str) -> None:
        if (module, name) in self.names:
            self.stack.append(self.names[module, name])
        elif (module, name) in TRUSTED:
            self.stack.append(Trusted(TRUSTED[module, name]))
        else:
            raise UnpicklingError(_REFUSED.format(f"names {module}.{name}"))

    def extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise UnpicklingError("values are appended to an object that is not a list")
        self.stack[-1].extend(values)

    def set_items(self, values: list[Any]) -> None:
        holder = self.stack[-1]
        if not isinstance(holder, dict):
            raise UnpicklingError("items are set on an object that is not a dict")
        for k, v in zip(values[::2], values[1::2], strict=True):
            holder[checked_key(k)] = v

    def build(self, state: Any) -> None:
        """Set the state of an object of a trusted class, or attributes of an OrderedDict, such as
        those of a state_dict.
        """
        made = self.stack[-1]
        if type(made) in TRUSTED.values():
            _set_state(made, state)
            return
        if type(made) is not OrderedDict or type(state) is not dict:
            raise UnpicklingError(_REFUSED.format(f"sets attributes of a {type(made).__name__}"))
        for name, value in state.items():
            if not isinstance(name, str) or hasattr(OrderedDict, name):
                raise UnpicklingError(_REFUSED.format(f"sets the attribute {name!r} of a dict"))
            made.__dict__[name] = value


def _checked(values: list[Any]) -> list[Any]:
    if any(isinstance(value, Constructor) for value in values):
        raise UnpicklingError(_REFUSED.format("has a function or a class as a value"))
    return [value.value if isinstance(value, Trusted) else value for value in values]


def _set_state(made: Any, state: Any) -> None:
    if hasattr(made, "__setstate__"):
        made.__setstate__(state)
        return
    state, slots = state if isinstance(state, tuple) else (state, None)
    vars(made).update(state or {})
    for name, value in (slots or {}).items():
        setattr(made, name, value)


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_PUSHED = (
    "BINUNICODE SHORT_BINUNICODE BINUNICODE8 UNICODE BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 "
    "BININT BININT1 BININT2 INT LONG LONG1 LONG4 BINFLOAT FLOAT"
)
_OPERATIONS: dict[str, Callable[[Reader, Any], Any]] = {
    **dict.fromkeys(_PUSHED.split(), Reader.push),
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING"), Reader.push_text),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "PUT"), Reader.put),
    **dict.fromkeys(("BINGET", "LONG_BINGET", "GET"), Reader.get),
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda reader, argument: None),
    "MEMOIZE": Reader.memoize,
    "MARK": Reader.mark,
    "POP": Reader.pop,
    "POP_MARK": Reader.pop_mark,
    "LIST": Reader.make_list,
    "TUPLE": Reader.make_tuple,
    "TUPLE1": lambda reader, _: reader.push(tuple(reader.pop_values(1))),
    "TUPLE2": lambda reader, _: reader.push(tuple(reader.pop_values(2))),
    "TUPLE3": lambda reader, _: reader.push(tuple(reader.pop_values(3))),
    "DICT": Reader.make_dict,
    "APPEND": lambda reader, _: reader.extend(reader.pop_values(1)),
    "APPENDS": lambda reader, _: reader.extend(reader.pop_to_mark()),
    "SETITEM": lambda reader, _: reader.set_items(reader.pop_values(2)),
    "SETITEMS": lambda reader, _: reader.set_items(reader.pop_to_mark()),
    "ADDITEMS": Reader.add_members,
    "GLOBAL": Reader.find,
    "STACK_GLOBAL": lambda reader, _: reader.push_global(*reader.pop_values(2)),
    "REDUCE": Reader.reduce,
    "NEWOBJ": Reader.make_object,
    "BUILD": lambda reader, _: reader.build(reader.pop_value()),
    "BINPERSID": lambda reader, _: reader.push(reader.persistent(reader.pop_value())),
}
