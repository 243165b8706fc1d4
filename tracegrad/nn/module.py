"""Module: parameters, buffers and other modules under names, and the call that runs `forward`.

What a compiled program may have relied on is reported to tracer.world: the tables are Watched
dicts, and setting an attribute to another object is a change. Running `forward` changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, Self

from ..functions.conversion import destination
from ..ir.dtype import bfloat16, float16, float32, float64
from ..tracer.change_counter import WatchedDict, changed
from ..tracer.mode import no_grad
from ..tracer.tensor.promotion import as_dtype
from ..tracer.tensor.tensor import Tensor
from . import hooks
from .hooks import Hooked
from .parameter import Buffer, Parameter, forget_grad, is_lazy
from .state import Stateful

_TABLES = ("_parameters", "_buffers", "_modules", *hooks.TABLES)


def _typename(value: object) -> str:
    return value.type() if isinstance(value, Tensor) else type(value).__name__


def _put(table: dict, name: str, value: Any) -> None:
    if name not in table or table[name] is not value:
        table[name] = value


def _dotted(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


class Module(Hooked, Stateful):
    """Base of all layers and models: subclass it, assign parameters and layers, define `forward`.

    Calling it calls `forward`, and the hooks around it. Shapes are those of `forward`. Raises
    NotImplementedError if there is no `forward`; AttributeError for a parameter or layer that is
    assigned before `super().__init__()`.

    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.layer = nn.Linear(2, 1)
    ...     def forward(self, x):                # x: (batch, 2) -> (batch, 1)
    ...         return self.layer(x).relu()
    >>> model = Net()
    >>> model(torch.ones(3, 2)).shape, [name for name, _ in model.named_parameters()]
    (tracegrad.Size([3, 1]), ['layer.weight', 'layer.bias'])
    """

    training: bool

    def __init__(self) -> None:
        for table in _TABLES:
            object.__setattr__(self, table, WatchedDict())
        object.__setattr__(self, "_non_persistent_buffers_set", frozenset())
        self.__dict__["training"] = True

    # ---- the call
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass defines it."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    # ---- attributes
    def __getattr__(self, name: str) -> Any:
        for table in ("_parameters", "_buffers", "_modules"):
            if name in (members := self.__dict__.get(table, ())):
                return members[name]
        text = f"'{type(self).__name__}' object has no attribute '{name}'"
        raise AttributeError(text, name=name, obj=self)  # Python adds what is near

    def __setattr__(self, name: str, value: Any) -> None:
        for table, kind, what in _KINDS:
            own = self.__dict__.get(table)
            if isinstance(value, kind) and kind is not Tensor:
                if own is None:
                    kinds = "module" if kind is Module else f"{what}s"
                    raise AttributeError(f"cannot assign {kinds} before Module.__init__() call")
                self._forget(name, keep=table)
                if kind is Parameter:
                    self.register_parameter(name, value)  # type: ignore[arg-type]
                else:
                    _put(own, name, value)
                return
            if own is not None and (name in own or kind is Tensor and isinstance(value, Buffer)):
                if kind is Tensor and isinstance(value, Buffer):
                    self._forget(name)
                    self.register_buffer(name, value, value.persistent)  # type: ignore
                    return
                if value is not None and not isinstance(value, kind):
                    of = "Tensor" if kind is Tensor else f"nn.{kind.__name__}"
                    raise TypeError(
                        f"cannot assign '{_typename(value)}' as {what} '{name}' "
                        f"(tracegrad.{of} or None expected)"
                    )
                _put(own, name, value)
                return
        if name not in self.__dict__ or self.__dict__[name] is not value:
            changed()
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__:
            changed()
            object.__delattr__(self, name)
        elif not self._forget(name):
            object.__delattr__(self, name)  # raises

    def _forget(self, name: str, keep: str = "") -> bool:
        """Remove `name` wherever it stands, except in the table `keep`; whether it was found."""
        removed = False
        for table in (self.__dict__, self._parameters, self._buffers, self._modules):
            if name in table and table is not self.__dict__.get(keep):
                del table[name]
                removed = True
        self._persist(name, True)
        return removed

    def __dir__(self) -> list[str]:
        tables = (self._parameters, self._modules, self._buffers)
        return sorted({*super().__dir__(), *chain(*tables)})

    # ---- registering
    def _free_name(self, name: Any, table: Mapping, what: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{what} name should be a string. Got {type(name).__name__}")
        if "." in name:
            raise KeyError(f'{what} name can\'t contain "."')
        if name == "":
            raise KeyError(f'{what} name can\'t be empty string ""')
        if name not in table and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None keeps the place of an optional one."""
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._free_name(name, self._parameters, "parameter")
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{_typename(param)}' object to parameter '{name}' "
                    "(tracegrad.nn.Parameter or None required)"
                )
            if param.grad_fn is not None:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must "
                    f"be created explicitly. To express '{name}' as a function of another Tensor, "
                    "compute the value in the forward() method."
                )
        _put(self._parameters, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but not trained; `persistent` ones are in `state_dict`."""
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._free_name(name, self._buffers, "buffer")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{_typename(tensor)}' object to buffer '{name}' "
                "(tracegrad Tensor or None required)"
            )
        self._buffers[name] = tensor
        self._persist(name, persistent)

    def _persist(self, name: str, yes: bool) -> None:
        """Whether `state_dict` holds the buffer of this name."""
        rest = self._non_persistent_buffers_set - {name}
        object.__setattr__(self, "_non_persistent_buffers_set", rest if yes else rest | {name})

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a child under a name."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._free_name(name, self._modules, "module")
        self._modules[name] = module

    add_module = register_module

    # ---- walking
    def named_modules(self, memo: set | None = None, prefix: str = "",
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """This module and everything below it, each with its dotted name."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, _dotted(prefix, name), remove_duplicate)

    def _members(self, table: str, prefix: str, recurse: bool, once: bool) -> Iterator[tuple]:
        seen: set = set()
        for at, module in self.named_modules(None, prefix, once) if recurse else ((prefix, self),):
            for name, value in getattr(module, table).items():
                if value is not None and value not in seen:
                    if once:
                        seen.add(value)
                    yield _dotted(at, name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """All parameters, each with its dotted name; a shared one occurs once."""
        yield from self._members("_parameters", prefix, recurse, remove_duplicate)

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """All buffers, each with its dotted name."""
        yield from self._members("_buffers", prefix, recurse, remove_duplicate)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below this one."""
        seen: set = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def modules(self) -> Iterator[Module]:
        return (m for _, m in self.named_modules())

    def children(self) -> Iterator[Module]:
        return (m for _, m in self.named_children())

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (p for _, p in self.named_parameters(recurse=recurse))

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module with a dotted name."""
        module = self
        for name in target.split(".") if target else ():
            module = _attribute(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Module) -> None:
        """Put a module in the place of the one with a dotted name."""
        path, _, name = target.rpartition(".")
        if not name:
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`{module}` is not an nn.Module, found {type(module)}.")
        setattr(self.get_submodule(path), name, module)

    def _member(self, target: str, table: str, what: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        member = _attribute(module, name)
        if name not in getattr(module, table):
            raise AttributeError(f"`{name}` is not {what}")
        return member

    def get_parameter(self, target: str) -> Parameter:
        """The parameter with a dotted name."""
        return self._member(target, "_parameters", "an nn.Parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer with a dotted name."""
        return self._member(target, "_buffers", "a buffer")

    # ---- changing everything at once
    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on everything below, then on this module; returns it."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Say whether the module is being trained; Dropout, for one, behaves differently then."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Say whether the parameters are trained."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        changed()
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or fill them with zeros."""
        for p in self.parameters():
            forget_grad(p, set_to_none)

    def to(self, *args: Any, device: Any = None, dtype: Any = None, non_blocking: bool = False,
           memory_format: Any = None) -> Self:
        """Convert what is floating point, and move all to a device: `to(dtype)`, `to(device)`,
        `to(device, dtype)`, `to(tensor)`.

        Raises TypeError for a dtype that is not floating point, RuntimeError for a device that is
        not there.

        >>> nn.Linear(2, 1).to("cpu", torch.float64).weight.dtype
        tracegrad.float64
        """
        device, dtype = destination(args, device, dtype)
        if dtype is not None and not as_dtype(dtype).is_floating_point:
            raise TypeError(
                "nn.Module.to only accepts floating point or complex dtypes, but got desired "
                f"dtype={dtype}"
            )
        with no_grad():
            for x in (x for t in chain(self.parameters(), self.buffers()) for x in (t, t.grad)):
                if is_lazy(x):
                    x.move(device, dtype)  # type: ignore[union-attr]
                elif x is not None:
                    d = dtype if x.is_floating_point() else None
                    _become(x, x.data.to(device, d, memory_format=memory_format))
        changed()
        return self

    def type(self, dst_type: Any) -> Self:
        """Convert what is floating point to a dtype."""
        return self.to(dst_type)

    def float(self) -> Self:
        return self.to(float32)

    def double(self) -> Self:
        return self.to(float64)

    def half(self) -> Self:
        return self.to(float16)

    def bfloat16(self) -> Self:
        return self.to(bfloat16)

    def cpu(self) -> Self:
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Self:
        return self.to("cuda" if device is None else device)

    # ---- printing
    def extra_repr(self) -> str:
        """What stands between the brackets of the `repr`; subclasses may define it."""
        return ""

    def _child_lines(self) -> list[str]:
        return [f"({name}): {indented(repr(child))}" for name, child in self._modules.items()]

    def __repr__(self) -> str:
        extra, children = self.extra_repr(), self._child_lines()
        lines = [*(extra.split("\n") if extra else ()), *children]
        if len(lines) > 1 or children:
            return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"
        return f"{type(self).__name__}({extra})"


_KINDS = (  # table, what stands in it, its name in messages
    ("_parameters", Parameter, "parameter"),
    ("_modules", Module, "child module"),
    ("_buffers", Tensor, "buffer"),
)


def _become(x: Tensor, new: Tensor) -> None:
    """`x.data = new`, where `new` may be of another dtype: whoever holds `x` sees it converted."""
    if new._array is not x._array:
        x._array, x._node, x._dtype, x._ptr = new._array, new._node, new._dtype, 0
        x._base = x._view = x._accumulator = x._memory_location = None


def _attribute(module: Module, name: str) -> Any:
    if not hasattr(module, name):
        raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
    return getattr(module, name)


def indented(text: str) -> str:
    return text.replace("\n", "\n  ")
