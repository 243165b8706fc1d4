"""torch.nn.utils.parametrize: a parameter or buffer that is computed from others at every use.

The module gets a class of its own, where the name is a property; `module.parametrizations[name]`
holds the modules that compute it and what they compute it from: `original`, or `original0`, ...
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...tracer.mode import mode, no_grad
from ...tracer.tensor.tensor import Tensor
from ..container import ModuleDict, ModuleList
from ..module import Module
from ..parameter import Parameter

__all__ = [
    "ParametrizationList", "cached", "is_parametrized", "register_parametrization",
    "remove_parametrizations", "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]

_blocks = 0  # of `cached` that are open
_values: dict[tuple[int, str], Tensor] = {}


@contextmanager
def cached() -> Iterator[None]:
    """Within it a parametrized tensor is computed at its first use only.

    In a compiled function this changes nothing: there equal computations are made once anyway.
    """
    global _blocks
    _blocks += 1
    try:
        yield
    finally:
        _blocks -= 1
        if not _blocks:
            _values.clear()


def _register(module: Module, name: str, tensor: Tensor) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _inverse(module: Module, value: Any) -> Any:
    """What `module` computes `value` from, if it can tell; else `value`."""
    if hasattr(module, "right_inverse"):
        try:
            return module.right_inverse(value)
        except NotImplementedError:
            pass
    return value


def _refuse_other(what: str, new: Any, old: Tensor, way_out: str = "") -> None:
    """Raise ValueError where a parametrization changes type, dtype or shape."""
    if not isinstance(new, Tensor):
        raise ValueError(f"{what} must return a tensor. Got {type(new).__name__}.")
    for property in ("dtype", "shape"):
        was, now = getattr(old, property), getattr(new, property)
        if was != now:
            raise ValueError(
                f"{what} may not change the {property} of the tensor"
                f"{way_out if property == 'dtype' else ''}.\noriginal {property}: {was}\n"
                f"new {property}: {now}"
            )


class ParametrizationList(ModuleList):
    """The modules that compute a tensor, one after the other, and what the first is given."""

    original: Tensor
    unsafe: bool

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False):
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        with no_grad():
            new: Any = original
            for module in reversed(list(self)):
                new = _inverse(module, new)
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if self.is_tensor else len(_tensors(new, "Parametrization"))
        if self.is_tensor:
            if new.dtype != original.dtype:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                    f"original.dtype: {original.dtype}\nright_inverse(original).dtype: {new.dtype}"
                )
            before = original.data
            original.data = new.data  # the object stays, for optimizers that have it
        else:
            before = None
            for i, part in enumerate(new):
                if isinstance(original, Parameter):
                    part = Parameter(part, original.requires_grad)
                _register(self, f"original{i}", part.requires_grad_(original.requires_grad))
        if self.is_tensor:
            _register(self, "original", original)
        if not unsafe:
            try:
                _refuse_other("A parametrization", self(),
                              original if before is None else before)
            except ValueError:
                if before is not None:
                    original.data = before
                raise

    def originals(self) -> list[Tensor]:
        """What the first module is given."""
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def right_inverse(self, value: Tensor) -> None:
        """Set what the tensor is computed from, so that it becomes `value`."""
        with no_grad():
            new: Any = value
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {type(module).__name__} does not implement right_inverse."
                    )
                new = module.right_inverse(new)
            parts = [new] if self.is_tensor else _tensors(new, "right_inverse")
            if len(parts) != self.ntensors:
                raise ValueError(
                    f"'right_inverse' must return a sequence of tensors of length {self.ntensors}."
                    f" Got a sequence of length {len(parts)}."
                )
            olds = self.originals()
            for part, old in zip(parts, olds, strict=True):
                if not isinstance(part, Tensor):
                    raise ValueError(
                        f"`right_inverse` should return a tensor. Got {type(part).__name__}"
                    )
                if part.dtype != old.dtype:
                    raise ValueError(
                        f"The tensor returned by `right_inverse` has dtype {part.dtype} while "
                        f"`original` has dtype {old.dtype}"
                    )
            for part, old in zip(parts, olds, strict=True):
                if part.shape == old.shape:
                    old.copy_(part)
                else:
                    old.data = part.data

    def forward(self) -> Tensor:
        """The tensor."""
        first, *rest = self
        value = first(*self.originals())
        for module in rest:
            value = module(value)
        return value


def _tensors(new: Any, what: str) -> list[Tensor]:
    if not isinstance(new, Sequence):
        raise ValueError(
            "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
            f"Got {type(new).__name__}"
        )
    for i, part in enumerate(new):
        if not isinstance(part, Tensor):
            raise ValueError(
                f"{what}: 'right_inverse' must return a Tensor or a Sequence of tensors "
                f"(list, tuple...). Got element {i} of the sequence with type "
                f"{type(part).__name__}."
            )
    return list(new)


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module has a parametrized tensor; with a name, whether that one is."""
    lists = module.__dict__.get("_modules", {}).get("parametrizations")
    if not isinstance(lists, ModuleDict):
        return False
    return len(lists) > 0 if tensor_name is None else tensor_name in lists


def _copied(self: Any, memo: dict) -> Any:
    """A deep copy, whose class is its own: removing there changes nothing here."""
    kind: Any = type(self)
    new: Any = object.__new__(kind.__base__)
    memo[id(self)] = new
    new.__dict__.update(copy.deepcopy(dict(self.__dict__), memo))
    own = {k: v for k, v in vars(kind).items() if k not in ("__dict__", "__weakref__")}
    object.__setattr__(new, "__class__", type(kind.__name__, (kind.__base__,), own))
    return new


def _refuse_pickle(self: Any) -> Any:
    raise RuntimeError(
        "Serialization of parametrized modules is only supported through state_dict(). See: "
        "save the state_dict, build the module again, and load_state_dict into it."
    )


def _own_class(module: Module) -> None:
    kind = type(module)
    body: dict[str, Any] = {"__getstate__": _refuse_pickle}
    if not hasattr(kind, "__deepcopy__"):
        body["__deepcopy__"] = _copied
    module.__class__ = type(f"Parametrized{kind.__name__}", (kind,), body)


def _property(name: str) -> property:
    def get(self: Any) -> Tensor:
        key = (id(self), name)
        keeps = _blocks and mode.trace is None
        if keeps and key in _values:
            return _values[key]
        value = self.parametrizations[name]()
        if keeps:
            _values[key] = value
        return value

    def put(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, put)


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Compute a parameter or buffer by a module from now on; a second one goes after the first.

    Assigning to the name needs `right_inverse` of the parametrization. Unless `unsafe`, it must
    keep shape and dtype. Returns the module.

    Raises ValueError for a name that is no parameter or buffer, and for a parametrization that
    changes shape or dtype.

    >>> class Symmetric(nn.Module):
    ...     def forward(self, x):
    ...         return x.triu() + x.triu(1).T
    >>> layer = nn.utils.parametrize.register_parametrization(
    ...     nn.Linear(2, 2), "weight", Symmetric())
    >>> bool((layer.weight == layer.weight.T).all())
    True
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        chain = module.parametrizations[tensor_name]
        if not unsafe:
            _check_next(getattr(module, tensor_name), parametrization)
        chain.append(parametrization)
        chain.unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        chain = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _own_class(module)
            module.parametrizations = ModuleDict()
        setattr(type(module), tensor_name, _property(tensor_name))
        module.parametrizations[tensor_name] = chain
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element "
            f"with name '{tensor_name}'"
        )
    return module


def _check_next(value: Tensor, parametrization: Module) -> None:
    _refuse_other("A parametrization", parametrization(value), value)
    if hasattr(parametrization, "right_inverse"):
        try:
            back = parametrization.right_inverse(value)
        except NotImplementedError:
            return
        _refuse_other("The tensor returned by parametrization.right_inverse", back, value)


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make an ordinary parameter or buffer again: with its present value or, without
    `leave_parametrized`, with the original. Returns the module.

    Raises ValueError for a tensor that is not parametrized, and without `leave_parametrized` for
    one that is computed from several.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    chain = module.parametrizations[tensor_name]
    if not chain.is_tensor and not leave_parametrized:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is "
            "parametrized in terms of a sequence of tensors."
        )
    if chain.is_tensor:
        result = chain.original
        if leave_parametrized:
            with no_grad():
                result.data = getattr(module, tensor_name).data
    else:
        with no_grad():
            result = getattr(module, tensor_name)
        if any(isinstance(t, Parameter) for t in chain.originals()):
            result = Parameter(result, any(t.requires_grad for t in chain.originals()))
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, result)
    if not is_parametrized(module):
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class of a module, without what parametrizations added."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Give `to_module` copies of the parametrizations of `from_module`, and its values. Returns
    `to_module`.
    """
    if not is_parametrized(from_module):
        return to_module
    names = list(from_module.parametrizations) if tensor_name is None else [tensor_name]
    for name in names:
        if not hasattr(to_module, name):
            value = from_module.parametrizations[name].originals()[0]
            setattr(to_module, name, copy.deepcopy(value))
        chain = from_module.parametrizations[name]
        for parametrization in chain:
            register_parametrization(
                to_module, name, copy.deepcopy(parametrization), unsafe=chain.unsafe
            )
        with no_grad():
            for new, old in zip(to_module.parametrizations[name].originals(),
                                chain.originals(), strict=True):
                new.data = old.data.clone()
    return to_module
