"""torch.library: operators of the user's own, under names such as `torch.ops.mine.f`.

An operator is Python: its function, and the derivative that `register_autograd` gives it. Eagerly
the function runs without recording; a compiled function traces it. What is registered for the parts
of torch's dispatcher that have no meaning here (tensors without values, vmap, subclasses) is
accepted and not used.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .refusals import refused
from .tracer.autograd.function import Function
from .tracer.mode import no_grad
from .tracer.tensor.tensor import Tensor

__all__ = [
    "CustomOpDef", "Library", "custom_op", "define", "fallthrough_kernel", "impl", "impl_abstract",
    "register_autocast", "register_autograd", "register_fake", "register_kernel",
    "register_torch_dispatch", "register_vmap",
]
ALL_DEVICES = ""
operators: dict[tuple[str, str], CustomOpDef] = {}  # by namespace and name


def _split(qualname: str) -> tuple[str, str]:
    namespace, _, name = qualname.partition("::")
    if not namespace or not name:
        raise ValueError(
            f"Expected `namespace::name`, such as 'mine::add', for the name of an operator; got "
            f"{qualname!r}"
        )
    return namespace, name.removesuffix(".default")


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    return [v for v in values if isinstance(v, Tensor)]


class CustomOpDef:
    """An operator: call it. `custom_op` makes it, and `torch.ops` has it."""

    def __init__(self, namespace: str, name: str):
        self.namespace, self.name = namespace, name
        self.kernels: dict[str, Callable] = {}  # by the type of the device
        self.composite: Callable | None = None  # whose operations are differentiated
        self.signature: inspect.Signature | None = None
        self.backward: Callable | None = None
        self.setup_context: Callable | None = None
        self._differentiable: type[Function] | None = None

    def __repr__(self) -> str:
        return f"<CustomOpDef({self.namespace}::{self.name})>"

    @property
    def default(self) -> CustomOpDef:
        """The operator itself: it has no overloads."""
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.composite is not None:
            return self.composite(*args, **kwargs)
        args = self._bound(args, kwargs)
        if any(t.requires_grad for t in _tensors(args)):
            return self._differentiated().apply(*args)
        for arg in args:
            if isinstance(arg, (list, tuple)) and any(t.requires_grad for t in _tensors(arg)):
                raise RuntimeError(
                    f"{self!r}: tensors in a list cannot require gradients; pass them one by one"
                )
        return self._run(*args)

    def _bound(self, args: tuple, kwargs: dict[str, Any]) -> tuple:
        """The arguments by position, with the defaults."""
        if self.signature is None:
            raise NotImplementedError(f"{self!r} has no kernel: its C++ code cannot be loaded")
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise RuntimeError(
                f"{self.namespace}::{self.name}(): {error}. Declaration: {self.name}"
                f"{self.signature}"
            ) from None
        bound.apply_defaults()
        return tuple(bound.arguments.values())

    def _run(self, *args: Any) -> Any:
        tensors = _tensors(args)
        kind = tensors[0].device.type if tensors else "cpu"
        kernel = self.kernels.get(kind, self.kernels.get(ALL_DEVICES))
        if kernel is None:
            raise NotImplementedError(f"{self!r} has no kernel for tensors on {kind!r}")
        assert self.signature is not None
        by_name = dict(zip(self.signature.parameters, args, strict=True))
        keywords = [p.name for p in self.signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
        named = {name: by_name.pop(name) for name in keywords}
        with no_grad():
            result = kernel(*by_name.values(), **named)
        for out in result if isinstance(result, (list, tuple)) else [result]:
            if any(out is t for t in tensors):
                raise RuntimeError(
                    f"{self!r}: an output of a custom operator must not also be an input to it; "
                    "return a clone of it"
                )
        return result

    def _differentiated(self) -> type[Function]:
        if self._differentiable is None:
            operator = self

            def backward(ctx: Any, *grads: Any) -> Any:
                if operator.backward is None:
                    raise RuntimeError(
                        f"Trying to backward through {operator.namespace}.{operator.name}.default "
                        "but no autograd formula was registered. Please use register_autograd to "
                        "add one."
                    )
                return operator.backward(ctx, *grads)

            def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
                if operator.setup_context is not None:
                    operator.setup_context(ctx, inputs, output)

            self._differentiable = type(f"{self.namespace}_{self.name}", (Function,), {
                "forward": staticmethod(self._run), "backward": staticmethod(backward),
                "setup_context": staticmethod(setup_context),
            })
        return self._differentiable

    def register_kernel(self, device_types: str | Sequence[str] | None,
                        fn: Callable | None = None) -> Any:
        """Let this function compute for tensors on these devices."""
        if fn is None:
            return lambda f: self.register_kernel(device_types, f)
        if self.signature is None:
            self.signature = inspect.signature(fn)
        kinds = [device_types] if device_types is None or isinstance(device_types, str) else (
            device_types)
        for kind in kinds:
            self.kernels[kind or ALL_DEVICES] = fn
        return fn

    def register_autograd(self, backward: Callable, /, *,
                          setup_context: Callable | None = None) -> None:
        """Give the operator a derivative: `backward(ctx, *grads)` gives a gradient for each input,
        with what `setup_context(ctx, inputs, output)` saved.
        """
        self.backward, self.setup_context = backward, setup_context

    def register_fake(self, fn: Callable | None = None, /) -> Any:
        """Accepted and not used: a compiled function traces the kernel."""
        return (lambda f: f) if fn is None else fn

    def register_vmap(self, func: Callable | None = None) -> Any:
        """Accepted and not used: `vmap` maps what the kernel does."""
        return self.register_fake(func)


def operator(op: str | CustomOpDef) -> CustomOpDef:
    """The operator of this name, `namespace::name`; a new one without a kernel if there is none."""
    if isinstance(op, CustomOpDef):
        return op
    key = _split(op)
    return operators.setdefault(key, CustomOpDef(*key))


def custom_op(name: str, fn: Callable | None = None, /, *, mutates_args: Any,
              device_types: str | Sequence[str] | None = None, schema: str | None = None,
              tags: Any = None) -> Any:
    """Make a function an operator, `torch.ops.namespace.name`.

    It has no derivative before `register_autograd`. Inputs that the function changes in place must
    not require gradients. Raises ValueError for a name without a namespace and for a parameter
    without annotation.

    >>> @torch.library.custom_op("docs::twice", mutates_args=())
    ... def twice(x: torch.Tensor) -> torch.Tensor:
    ...     return x * 2
    >>> twice.register_autograd(lambda ctx, grad: grad * 2)
    >>> x = torch.ones(2, requires_grad=True)
    >>> torch.ops.docs.twice(x).sum().backward()
    >>> x.grad
    tensor([2., 2.])
    """
    if fn is None:
        return lambda f: custom_op(name, f, mutates_args=mutates_args, device_types=device_types,
                                   schema=schema, tags=tags)
    signature = inspect.signature(fn)
    for parameter in signature.parameters.values():
        if schema is None and parameter.annotation is parameter.empty:
            raise ValueError(f"infer_schema(func): Parameter {parameter.name} must have a type "
                             f"annotation. Got func with signature {signature}")
    key = _split(name)
    made = operators[key] = CustomOpDef(*key)
    made.register_kernel(device_types, fn)
    return made


def register_kernel(op: str | CustomOpDef, device_types: str | Sequence[str] | None,
                    func: Callable | None = None, /, *, lib: Any = None) -> Any:
    """`CustomOpDef.register_kernel`, by name."""
    return operator(op).register_kernel(device_types, func)


def register_autograd(op: str | CustomOpDef, backward: Callable, /, *,
                      setup_context: Callable | None = None, lib: Any = None) -> None:
    """`CustomOpDef.register_autograd`, by name."""
    operator(op).register_autograd(backward, setup_context=setup_context)


def register_fake(op: Any, func: Callable | None = None, /, *, lib: Any = None,
                  _stacklevel: int = 1, allow_override: bool = True) -> Any:
    """Accepted and not used: a compiled function traces the kernel."""
    return (lambda f: f) if func is None else func


impl_abstract = register_vmap = register_fake


def register_torch_dispatch(op: Any, torch_dispatch_class: Any, func: Callable | None = None, /, *,
                            lib: Any = None) -> Any:
    """Accepted and not used."""
    return register_fake(op, func)


def register_autocast(op: Any, device_type: str, cast_inputs: Any, /, *, lib: Any = None) -> None:
    """Accepted and not used: the kernel's operations follow autocast's lists."""


def define(qualname: str, schema: str, *, lib: Any = None, tags: Any = ()) -> None:
    """Declare an operator, whose kernels `impl` gives."""
    operator(qualname)


def impl(qualname: str, types: str | Sequence[str], func: Callable | None = None, *,
         lib: Any = None) -> Any:
    """`register_kernel`, by name: `types` are devices, or "default" for all."""
    kinds = [types] if isinstance(types, str) else types
    kinds = [ALL_DEVICES if kind == "default" else kind for kind in kinds]
    return operator(qualname).register_kernel(kinds, func)


def fallthrough_kernel(*args: Any) -> Any:
    """What `Library.impl` is given for a key that does nothing. Raises NotImplementedError."""
    raise NotImplementedError("fallthrough_kernel() should never be called.")


class Library:
    """The operators of a namespace; kernels by torch's dispatch keys.

    >>> library = torch.library.Library("docs", "DEF")
    >>> library.define("thrice(Tensor x) -> Tensor")
    'thrice'
    >>> library.impl("thrice", lambda x: x * 3, "CompositeImplicitAutograd")
    >>> torch.ops.docs.thrice(torch.ones(1))
    tensor([3.])
    """

    def __init__(self, ns: str, kind: str, dispatch_key: str = ""):
        if kind not in ("DEF", "IMPL", "FRAGMENT"):
            raise ValueError(f"Unsupported kind: {kind}")
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """Declare the operator of a schema, such as "f(Tensor x) -> Tensor"; its name."""
        name = schema.partition("(")[0].strip()
        operator(f"{self.ns}::{name}")
        return name

    def impl(self, op_name: str | CustomOpDef, fn: Callable, dispatch_key: str = "", *,
             with_keyset: bool = False, allow_override: bool = False) -> None:
        """Give an operator a kernel. That of the keys for autograd, and of no key, is
        differentiated through its operations; other keys than those and the devices' are accepted
        and not used.
        """
        name = op_name if isinstance(op_name, CustomOpDef) else f"{self.ns}::{op_name}"
        key = dispatch_key or self.dispatch_key
        if key in ("", "CompositeImplicitAutograd", "Autograd", "AutogradCPU"):
            operator(name).composite = fn
        elif key in ("CPU", "CUDA"):
            operator(name).register_kernel(key.lower(), fn)
        elif key == "CompositeExplicitAutograd":
            operator(name).register_kernel(None, fn)


globals().update(refused(
    "library", "get_ctx get_kernel infer_schema opcheck triton_op wrap_triton",
    "operators are Python functions here",
))
