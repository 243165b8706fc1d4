"""torch.nn.utils.prune: parameters of which some entries are kept at zero by a mask.

A pruned parameter `weight` is `weight_orig * weight_mask`, computed before every call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from ...functions.torch.creation import ones_like, zeros_like
from ...functions.torch.random_sampling import rand, rand_like
from ...functions.torch.reduction_statistics import vector_norm
from ...functions.torch.slicing_joining import cat
from ...tracer.mode import no_grad
from ...tracer.tensor.tensor import Tensor
from ..module import Module
from .convert_parameters import parameters_to_vector

__all__ = [
    "BasePruningMethod", "CustomFromMask", "Identity", "L1Unstructured", "LnStructured",
    "PruningContainer", "RandomStructured", "RandomUnstructured", "custom_from_mask",
    "global_unstructured", "identity", "is_pruned", "l1_unstructured", "ln_structured",
    "random_structured", "random_unstructured", "remove",
]

Amount = int | float


class BasePruningMethod(ABC):
    """A way to choose what is pruned: subclasses say `PRUNING_TYPE` and `compute_mask`."""

    _tensor_name: str
    PRUNING_TYPE = "unstructured"

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """The mask for t: that of before, with more zeros."""

    def apply_mask(self, module: Module) -> Tensor:
        """The pruned tensor."""
        name = getattr(self, "_tensor_name", None)
        if name is None:
            raise AssertionError(f"Module {module} has to be pruned")
        orig = getattr(module, f"{name}_orig")
        return getattr(module, f"{name}_mask").to(dtype=orig.dtype) * orig

    @classmethod
    def apply(cls, module: Module, name: str, *args: Any, importance_scores: Any = None,
              **kwargs: Any) -> BasePruningMethod:
        """Prune the parameter of this name, more if it is pruned already."""
        before = [
            (key, hook) for key, (hook, _) in module._forward_pre_hooks.items()
            if isinstance(hook, BasePruningMethod) and hook._tensor_name == name
        ]
        if len(before) > 1:
            raise AssertionError(
                f"Avoid adding multiple pruning hooks to the same tensor {name} of module {module}."
            )
        method = cls(*args, **kwargs)
        method._tensor_name = name
        orig = getattr(module, f"{name}_orig" if before else name)
        if importance_scores is None:
            importance_scores = orig
        elif importance_scores.shape != orig.shape:
            raise AssertionError(
                "importance_scores should have the same shape as parameter "
                f"{name} of {module}"
            )
        mask = getattr(module, f"{name}_mask") if before else ones_like(orig)
        if before:
            method = PruningContainer._after(before[0][1], method)
        with no_grad():
            mask = method.compute_mask(importance_scores.detach(), mask)
        if before:
            del module._forward_pre_hooks[before[0][0]]
            setattr(module, f"{name}_mask", mask.to(orig.dtype))
        else:
            module.register_parameter(f"{name}_orig", orig)
            del module._parameters[name]
            module.register_buffer(f"{name}_mask", mask.to(orig.dtype))
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(self, t: Tensor, default_mask: Any = None, importance_scores: Any = None) -> Tensor:
        """t, pruned, without a module."""
        scores = t if importance_scores is None else importance_scores
        if scores.shape != t.shape:
            raise AssertionError("importance_scores should have the same shape as tensor t")
        mask = ones_like(t) if default_mask is None else default_mask
        return t * self.compute_mask(scores, mask)

    def remove(self, module: Module) -> None:
        """Make an ordinary parameter again, with the zeros in it."""
        name = getattr(self, "_tensor_name", None)
        if name is None:
            raise AssertionError(f"Module {module} has to be pruned before pruning can be removed")
        with no_grad():
            weight = self.apply_mask(module)
        if hasattr(module, name):
            delattr(module, name)
        orig = module._parameters[f"{name}_orig"]
        orig.data = weight.data
        del module._parameters[f"{name}_orig"], module._buffers[f"{name}_mask"]
        setattr(module, name, orig)


class PruningContainer(BasePruningMethod):
    """Several methods, one after the other: each sees what those before left."""

    def __init__(self, *args: Any):
        methods = args[0] if len(args) == 1 and isinstance(args[0], Iterable) else args
        self._pruning_methods: tuple = ()
        if len(args) == 1 and isinstance(args[0], BasePruningMethod):
            self._tensor_name = args[0]._tensor_name
            methods = args
        for method in methods:
            self.add_pruning_method(method)

    @classmethod
    def _after(cls, before: Any, method: BasePruningMethod) -> PruningContainer:
        """A container of what was there, and one method more."""
        own = tuple(before) if isinstance(before, PruningContainer) else (before,)
        return cls((*own, method))

    def add_pruning_method(self, method: Any) -> None:
        """Put a method at the end. Raises TypeError for what is none, and ValueError for one of
        another tensor.
        """
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        name = getattr(self, "_tensor_name", None)
        if name not in (None, getattr(method, "_tensor_name", name)):
            raise ValueError(
                "Can only add pruning methods acting on the parameter named "
                f"'{name}' to PruningContainer {self}. Found '{method._tensor_name}'"
            )
        if name is None and hasattr(method, "_tensor_name"):
            self._tensor_name = method._tensor_name
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Any:
        return iter(self._pruning_methods)

    def __getitem__(self, idx: Any) -> Any:
        return self._pruning_methods[idx]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask after the last method alone: those before it have had their part."""
        method, mask = self._pruning_methods[-1], default_mask.to(dtype=t.dtype)
        if method.PRUNING_TYPE == "unstructured":
            chosen: Any = mask == 1
        elif method.PRUNING_TYPE == "structured":
            axis = method.dim if method.dim >= 0 else t.ndim + method.dim
            others = tuple(d for d in range(t.ndim) if d != axis)
            left = mask.sum(others) != 0 if others else mask != 0
            chosen = (slice(None),) * axis + (left,)
        elif method.PRUNING_TYPE == "global":
            chosen = (slice(None),) * t.ndim
        else:
            raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
        new = mask.clone()
        new[chosen] = method.compute_mask(t[chosen], default_mask=mask[chosen]).to(mask.dtype)
        return new


class Identity(BasePruningMethod):
    """Prunes nothing, but makes the names of a pruned parameter."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return default_mask


class _Scored(BasePruningMethod):
    def __init__(self, amount: Amount):
        _check_amount(amount)
        self.amount = amount

    def _scores(self, t: Tensor) -> Tensor:
        """Of entries or slices: the lowest are pruned."""
        raise NotImplementedError


class _Unstructured(_Scored):
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        n = _count(self.amount, t.numel())
        mask = default_mask.clone().contiguous()
        if n:
            mask.view(-1)[self._scores(t).reshape(-1).topk(n, largest=False).indices] = 0
        return mask


class RandomUnstructured(_Unstructured):
    """Prunes entries at random."""

    def _scores(self, t: Tensor) -> Tensor:
        return rand_like(t)


class L1Unstructured(_Unstructured):
    """Prunes the entries nearest to zero."""

    def _scores(self, t: Tensor) -> Tensor:
        return t.abs()


class _Structured(_Scored):
    PRUNING_TYPE = "structured"

    def __init__(self, amount: Amount, dim: int = -1):
        super().__init__(amount)
        self.dim = dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        if t.ndim <= 1:
            raise ValueError(
                "Structured pruning can only be applied to multidimensional tensors. Found tensor "
                f"of shape {t.shape} with {t.ndim} dims"
            )
        if not -t.ndim <= self.dim < t.ndim:
            raise IndexError(f"Invalid index {self.dim} for tensor of size {t.shape}")
        extent = t.shape[self.dim]
        n = _count(self.amount, extent)
        if not n:
            return default_mask
        keep = zeros_like(t)
        chosen = self._scores(t).topk(extent - n).indices
        at = (slice(None),) * (self.dim % t.ndim)
        keep[(*at, chosen)] = 1
        return keep * default_mask.to(dtype=keep.dtype)


class RandomStructured(_Structured):
    """Prunes whole slices at random."""

    def _scores(self, t: Tensor) -> Tensor:
        return rand(t.shape[self.dim])


class LnStructured(_Structured):
    """Prunes the slices of the least n-norm."""

    def __init__(self, amount: Amount, n: Any, dim: int = -1):
        super().__init__(amount, dim)
        self.n = n

    def _scores(self, t: Tensor) -> Tensor:
        rows = t.movedim(self.dim, 0).flatten(1)
        if self.n == "fro":
            return vector_norm(rows, 2, 1)
        if not isinstance(self.n, (int, float)):
            raise RuntimeError(f"prune.ln_structured: no norm n={self.n!r} of a slice")
        return vector_norm(rows, float(self.n), 1)


class CustomFromMask(BasePruningMethod):
    """Prunes where the user's mask is zero."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor):
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        if default_mask.shape != self.mask.shape:
            raise AssertionError(
                f"mask has shape {self.mask.shape}, the parameter {default_mask.shape}"
            )
        return default_mask * self.mask.to(dtype=default_mask.dtype)


def identity(module: Module, name: str) -> Module:
    """Give a parameter the names of a pruned one, with a mask of ones. Returns the module."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: Amount) -> Module:
    """Prune entries at random: a number of them or, for a float, a part. Returns the module."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(
    module: Module, name: str, amount: Amount, importance_scores: Tensor | None = None
) -> Module:
    """Prune the entries nearest to zero, or of the lowest scores. Returns the module.

    Raises ValueError or RuntimeError for an amount out of range.

    >>> layer = nn.Linear(2, 1)
    >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, -1.0]]))
    >>> nn.utils.prune.l1_unstructured(layer, "weight", 1).weight.detach()
    tensor([[3., -0.]])
    """
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: Amount, dim: int) -> Module:
    """Prune whole slices of a dimension at random. Returns the module."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Module, name: str, amount: Amount, n: Any, dim: int,
    importance_scores: Tensor | None = None,
) -> Module:
    """Prune the slices of a dimension whose n-norms are least. Returns the module."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Prune where `mask` is zero. Returns the module."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]], pruning_method: Callable,
    importance_scores: dict | None = None, **kwargs: Any,
) -> None:
    """Prune several parameters as if they were one; each gets its part of the mask."""
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    if importance_scores is not None and not isinstance(importance_scores, dict):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    pairs, scores = list(parameters), importance_scores or {}
    values = [getattr(module, name) for module, name in pairs]
    with no_grad():
        t = parameters_to_vector([scores.get(p, v) for p, v in zip(pairs, values, strict=True)])
        masks = [getattr(m, f"{n}_mask", ones_like(v))
                 for (m, n), v in zip(pairs, values, strict=True)]
        container = PruningContainer()
        container._tensor_name = "temp"
        method: Any = pruning_method(**kwargs)
        method._tensor_name = "temp"
        if method.PRUNING_TYPE != "unstructured":
            raise TypeError(
                'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method '
                f"{pruning_method} of type {method.PRUNING_TYPE}"
            )
        container.add_pruning_method(method)
        final = container.compute_mask(t, cat([m.reshape(-1) for m in masks]))
        parts = final.split([v.numel() for v in values])
    for (module, name), value, part in zip(pairs, values, parts, strict=True):
        custom_from_mask(module, name, part.view(value.shape))


def remove(module: Module, name: str) -> Module:
    """Make a pruned parameter an ordinary one, with the zeros in it. Returns the module; raises
    ValueError if it is not pruned.
    """
    for key, (hook, _) in module._forward_pre_hooks.items():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            hook.remove(module)
            del module._forward_pre_hooks[key]
            return module
    raise ValueError(
        f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed"
    )


def is_pruned(module: Module) -> bool:
    """Whether this module, or one below it, has a pruned parameter."""
    return any(
        isinstance(hook, BasePruningMethod)
        for m in module.modules() for hook, _ in m._forward_pre_hooks.values()
    )


def _check_amount(amount: Any) -> None:
    if not isinstance(amount, (int, float)):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if amount < 0 or isinstance(amount, float) and not amount <= 1:
        raise ValueError(
            f"amount={amount} should either be a float in the range [0, 1] or a non-negative "
            "integer"
        )


def _count(amount: Any, size: int) -> int:
    """How many to prune of `size`."""
    if isinstance(amount, float):
        return round(amount * size)
    if amount > size:
        raise ValueError(
            f"amount={amount} should be smaller than the number of parameters to prune={size}"
        )
    return int(amount)
