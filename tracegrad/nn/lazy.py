"""Lazy layers: their first input says how many features there are."""

from __future__ import annotations

from typing import Any

from ..driver.record import RunUncompiled
from ..functions.torch.creation import tensor
from ..ir.dtype import int64
from ..tracer.mode import mode, no_grad
from ..tracer.tensor.tensor import Tensor
from .convolution import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from .linear import Linear
from .normalization import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from .parameter import UninitializedBuffer, UninitializedParameter, is_lazy

__all__ = [
    "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyConv1d", "LazyConv2d",
    "LazyConv3d", "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d",
    "LazyInstanceNorm1d", "LazyInstanceNorm2d", "LazyInstanceNorm3d", "LazyLinear",
    "LazyModuleMixin",
]


class LazyModuleMixin:
    """Goes before a Module class: parameters may be uninitialized until `initialize_parameters`,
    which the first call does; then the class becomes `cls_to_become`.
    """

    cls_to_become: type | None = None

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._load_hook = self._register_load_state_dict_pre_hook(  # type: ignore[attr-defined]
            self._lazy_load_hook)
        self._initialize_hook = self.register_forward_pre_hook(  # type: ignore[attr-defined]
            self._infer_parameters, with_kwargs=True)

    def initialize_parameters(self: Any, *args: Any, **kwargs: Any) -> None:
        """Give the parameters their shapes, from the arguments of `forward`."""
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {type(self).__name__}"
        )

    def has_uninitialized_params(self: Any) -> bool:
        """Whether a parameter or buffer has no shape yet."""
        return any(map(is_lazy, (*self._parameters.values(), *self._buffers.values())))

    def _infer_parameters(self: Any, module: Any, args: tuple, kwargs: dict | None = None) -> None:
        if mode.trace is not None:  # the next call is compiled
            raise RunUncompiled(f"{type(self).__name__} is initialized by its first call")
        with no_grad():
            module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(f"module {type(self).__name__} has not been fully initialized")
        module._initialize_hook.remove()
        module._load_hook.remove()
        del module._initialize_hook, module._load_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become

    def _lazy_load_hook(self: Any, state_dict: dict, prefix: str, *rest: Any) -> None:
        undoing = getattr(rest[-1], "undoing", [])
        for name, own in (*self._parameters.items(), *self._buffers.items()):
            loaded = state_dict.get(prefix + name)
            if is_lazy(own) and loaded is not None and not is_lazy(loaded):
                undoing.append(_unshape(own))
                own.materialize(loaded.shape)

    def _save_to_state_dict(self: Any, destination: dict, prefix: str, keep_vars: bool) -> None:
        for name, t in self._own_state().items():
            destination[prefix + name] = t if keep_vars or is_lazy(t) else t.detach()

    def _load_one(self: Any, key: str, name: str, old: Any, loaded: Any, *rest: Any) -> None:
        if not (is_lazy(old) and is_lazy(loaded)):
            super()._load_one(key, name, old, loaded, *rest)  # type: ignore[misc]


def _unshape(own: Any) -> Any:
    """How to make a tensor uninitialized again, which it is now."""
    kind, device = type(own), own.device

    def back() -> None:
        own.__class__ = kind
        own.__dict__["_device"] = device

    return back


class _LazyLayer(LazyModuleMixin):
    """A layer whose parameters all have their shapes from a number of input features."""

    def _wait(self: Any, kind: type, names: str, device: Any, dtype: Any) -> None:
        for name in names.split():
            setattr(self, name, kind(device=device, dtype=dtype))

    def _shapes(self: Any, input: Tensor) -> dict[str, tuple[int, ...]]:
        """Note the number of features; shape by name."""
        raise NotImplementedError

    def reset_parameters(self: Any) -> None:
        """Draw the initial values, once there are shapes."""
        if not self.has_uninitialized_params():
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self: Any, input: Tensor, *args: Any, **kwargs: Any) -> None:
        shapes, new = self._shapes(input), self.has_uninitialized_params()
        for name, shape in shapes.items():
            if is_lazy(t := getattr(self, name)):
                t.materialize(shape)
        if new:
            self.reset_parameters()


class LazyLinear(_LazyLayer, Linear):
    """Linear whose in_features are those of its first input: (*, in_features) -> (*, out_features).

    Shape: as above. Raises ValueError where its parameters are used before the first call.

    >>> layer = nn.LazyLinear(3)
    >>> layer(torch.ones(2, 5)).shape, layer
    (tracegrad.Size([2, 3]), Linear(in_features=5, out_features=3, bias=True))
    """

    cls_to_become = Linear

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__(0, 0, False)
        self.out_features = out_features
        self._wait(UninitializedParameter, "weight bias" if bias else "weight", device, dtype)

    def _shapes(self, input: Tensor) -> dict[str, tuple[int, ...]]:
        lazy = is_lazy(self.weight)
        self.in_features = input.shape[-1] if lazy else self.weight.shape[-1]
        return {"weight": (self.out_features, self.in_features), "bias": (self.out_features,)}


class _LazyConv(_LazyLayer):
    def _start(self: Any, out_channels: int, args: tuple, bias: bool, device: Any, dtype: Any,
               **options: Any) -> None:
        """Begin with no channels."""
        super().__init__(0, 0, *args, bias=False, **options)
        self.out_channels = out_channels
        if out_channels % self.groups:
            raise ValueError("out_channels must be divisible by groups")
        self._wait(UninitializedParameter, "weight bias" if bias else "weight", device, dtype)

    def reset_parameters(self: Any) -> None:
        """Draw the initial values, once there are channels."""
        if self.in_channels:
            super().reset_parameters()

    def _shapes(self: Any, input: Tensor) -> dict[str, tuple[int, ...]]:
        n, groups, out = self.rank, self.groups, self.out_channels
        if is_lazy(self.weight):
            if input.ndim not in (n + 1, n + 2):
                raise RuntimeError(
                    f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to "
                    f"{type(self).__name__}, but got input of size: {input.shape}"
                )
            channels = input.shape[-n - 1]
            if channels % groups:
                raise ValueError("in_channels must be divisible by groups")
        else:
            channels = self.weight.shape[0] if self.transposed else self.weight.shape[1] * groups
        self.in_channels = channels
        pair = (channels, out // groups) if self.transposed else (out, channels // groups)
        return {"weight": (*pair, *self.kernel_size), "bias": (out,)}


class _LazyForward(_LazyConv):
    def __init__(
        self, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ):
        self._start(
            out_channels, (kernel_size, stride, padding, dilation, groups), bias, device, dtype,
            padding_mode=padding_mode,
        )


class _LazyTransposed(_LazyConv):
    def __init__(
        self, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1,
        padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ):
        self._start(
            out_channels, (kernel_size, stride, padding, output_padding, groups), bias, device,
            dtype, dilation=dilation, padding_mode=padding_mode,
        )


class _LazyNorm(_LazyLayer):
    def __init__(
        self, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: Any = None, dtype: Any = None, *,
        bias: bool = True,
    ):
        super().__init__(0, eps, momentum, False, False)
        self.affine, self.track_running_stats = affine, track_running_stats
        if affine:
            names = "weight bias" if bias else "weight"
            self._wait(UninitializedParameter, names, device, dtype)
        if track_running_stats:
            self._wait(UninitializedBuffer, "running_mean running_var", device, dtype)
            self.num_batches_tracked = tensor(0, dtype=int64, device=device)

    def _shapes(self: Any, input: Tensor) -> dict[str, tuple[int, ...]]:
        if not self.affine and not self.track_running_stats:
            return {}
        known = self.weight if self.affine else self.running_mean
        self.num_features = input.shape[1] if is_lazy(known) else known.shape[0]
        names = ("weight", "bias", "running_mean", "running_var")
        return dict.fromkeys(names, (self.num_features,))


def _lazy(start: type, eager: type, call: str, x: str) -> Any:
    """The lazy form of a layer."""
    name = f"Lazy{eager.__name__}"
    text = f"""{eager.__name__} whose number of channels is that of its first input.

    Shape: that of {eager.__name__}. Raises ValueError where its parameters are used before.

    >>> layer = nn.{name}({call})
    >>> _ = layer(torch.ones({x}))
    >>> type(layer).__name__
    '{eager.__name__}'
    """
    body = {"cls_to_become": eager, "__doc__": text, "__module__": __name__}
    return type(name, (start, eager), body)


LazyConv1d = _lazy(_LazyForward, Conv1d, "4, 3", "2, 3, 8")
LazyConv2d = _lazy(_LazyForward, Conv2d, "4, 3", "2, 3, 8, 8")
LazyConv3d = _lazy(_LazyForward, Conv3d, "4, 3", "2, 3, 4, 4, 4")
LazyConvTranspose1d = _lazy(_LazyTransposed, ConvTranspose1d, "4, 3", "2, 3, 8")
LazyConvTranspose2d = _lazy(_LazyTransposed, ConvTranspose2d, "4, 3", "2, 3, 8, 8")
LazyConvTranspose3d = _lazy(_LazyTransposed, ConvTranspose3d, "4, 3", "2, 3, 4, 4, 4")
LazyBatchNorm1d = _lazy(_LazyNorm, BatchNorm1d, "", "4, 3")
LazyBatchNorm2d = _lazy(_LazyNorm, BatchNorm2d, "", "4, 3, 2, 2")
LazyBatchNorm3d = _lazy(_LazyNorm, BatchNorm3d, "", "4, 3, 2, 2, 2")
LazyInstanceNorm1d = _lazy(_LazyNorm, InstanceNorm1d, "", "4, 3, 5")
LazyInstanceNorm2d = _lazy(_LazyNorm, InstanceNorm2d, "", "4, 3, 2, 2")
LazyInstanceNorm3d = _lazy(_LazyNorm, InstanceNorm3d, "", "4, 3, 2, 2, 2")
