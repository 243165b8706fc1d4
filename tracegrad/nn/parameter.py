"""Parameter, the tensor that a Module trains. Knows nothing of modules."""

from __future__ import annotations

from typing import Any

from ..functions.torch.creation import empty
from ..functions.torch_function import disabled, takes_over
from ..tracer.autograd.plans import PLAIN
from ..tracer.tensor.promotion import as_dtype
from ..tracer.tensor.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that a Module registers when it is assigned to an attribute.

    data: a tensor, whose values are shared; requires_grad: whether it is trained.
    Shape and dtype: those of data. Raises RuntimeError for a dtype that is not floating point
    and for a tensor whose class has a `__torch_function__` of its own.

    >>> nn.Parameter(torch.tensor([1.0, 2.0]))
    Parameter containing:
    tensor([1., 2.], requires_grad=True)
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(
                f"Parameter(): argument 'data' must be Tensor, not {type(data).__name__}"
            )
        if takes_over(data):
            raise RuntimeError(
                f"a Parameter cannot keep the class of a {type(data).__name__}: give it "
                "x.as_subclass(torch.Tensor), or make a subclass of nn.Parameter"
            )
        if requires_grad and not data.dtype.is_floating_point:
            raise RuntimeError(
                "Only Tensors of floating point and complex dtype can require gradients"
            )
        return Tensor._make_subclass(cls, data, requires_grad)

    __torch_function__: Any = staticmethod(disabled)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    __str__ = __repr__


PLAIN.add(Parameter)


class UninitializedTensorMixin:
    """A tensor whose shape is not known yet: `materialize` gives it one. Nothing can be computed
    from it before.
    """

    cls_to_become: type
    _words = "an uninitialized parameter or buffer"
    requires_grad: bool

    def _where(self) -> tuple[Any, Any]:
        return self.__dict__["_device"], self.dtype  # type: ignore[attr-defined]

    @property
    def _array(self) -> Any:  # what every use of a tensor reads
        raise ValueError(
            "Attempted to use an uninitialized parameter. This error happens when you are using a "
            "`LazyModule` or explicitly manipulating `torch.nn.parameter."
            f"{type(self).__name__}` objects. When using LazyModules Call `forward` with a dummy "
            "batch to initialize the parameters before calling torch functions"
        )

    @_array.setter
    def _array(self, value: Any) -> None:
        """Drop it: the values of no elements."""

    @property
    def shape(self) -> Any:
        raise RuntimeError(
            f"Can't access the shape of {self._words}. This error usually happens in "
            "`load_state_dict` when trying to load an uninitialized parameter into an initialized "
            "one. Call `forward` to initialize the parameters before accessing their attributes."
        )

    @property
    def device(self) -> Any:
        return self._where()[0]

    @property
    def data(self) -> Any:
        return self._array

    @property
    def grad(self) -> None:
        """It has none."""

    @grad.setter
    def grad(self, new: None) -> None:
        if new is not None:
            raise ValueError(f"{self._words} cannot have a gradient")

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Become a parameter or buffer of this shape, with arbitrary values."""
        own_device, own_dtype = self._where()
        new = empty(tuple(shape), device=device or own_device, dtype=dtype or own_dtype)
        self.__class__ = self.cls_to_become
        self._dtype = new.dtype  # a leaf may not change it otherwise
        self.data = new  # type: ignore[misc]

    def move(self, device: Any, dtype: Any) -> None:
        """Be made there, and so, later."""
        own_device, own_dtype = self._where()
        self.__dict__["_device"] = empty(0, device=device or own_device).device
        self._dtype = own_dtype if dtype is None else as_dtype(dtype)

    def __deepcopy__(self, memo: dict) -> Any:
        if id(self) not in memo:
            kind: Any = type(self)
            memo[id(self)] = kind(self.requires_grad, *self._where())
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return (type(self), (self.requires_grad, *self._where()))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    __str__ = __repr__


def _unshaped(cls: type, requires_grad: bool, device: Any, dtype: Any) -> Any:
    place = empty(0, device=device, dtype=dtype)
    new = Tensor._make_subclass(cls, place, requires_grad)
    new.__dict__["_device"] = place.device
    return new


class UninitializedParameter(UninitializedTensorMixin, Parameter):  # type: ignore[misc,override]
    """A parameter whose shape is not known yet.

    Raises ValueError where its values are used, RuntimeError where its shape is.

    >>> w = nn.UninitializedParameter()
    >>> w.materialize((2, 3))
    >>> type(w).__name__, w.shape
    ('Parameter', tracegrad.Size([2, 3]))
    """

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None,
                dtype: Any = None) -> UninitializedParameter:
        return _unshaped(cls, requires_grad, device, dtype)


class UninitializedBuffer(UninitializedTensorMixin, Tensor):  # type: ignore[misc,override]
    """A buffer whose shape is not known yet.

    Raises ValueError where its values are used, RuntimeError where its shape is.

    >>> b = nn.UninitializedBuffer()
    >>> b.materialize((2,))
    >>> b.shape
    tracegrad.Size([2])
    """

    cls_to_become = Tensor

    def __new__(cls, requires_grad: bool = False, device: Any = None, dtype: Any = None,
                persistent: bool = True, **_: Any) -> UninitializedBuffer:
        new = _unshaped(cls, requires_grad, device, dtype)
        new.__dict__.update(persistent=persistent, _is_buffer=True)
        return new


class _BufferType(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and "_is_buffer" in getattr(instance, "__dict__", ())


class Buffer(metaclass=_BufferType):
    """A tensor that a Module registers as a buffer when it is assigned to an attribute.

    data: a tensor, whose values are shared; `persistent` ones are in `state_dict`. It is a Tensor.
    Shape and dtype: those of data. Raises TypeError for what is no tensor.

    >>> module = nn.Module()
    >>> module.scale = nn.Buffer(torch.ones(2))
    >>> list(module.state_dict())
    ['scale']
    """

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Any:
        if data is None:
            data = empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(f"Buffer(): argument 'data' must be Tensor, not {type(data).__name__}")
        new = data.detach().requires_grad_(data.requires_grad)
        new.__dict__.update(persistent=persistent, _is_buffer=True)
        return new


def is_lazy(param: object) -> bool:
    """Whether the shape of a parameter or buffer is not known yet."""
    return isinstance(param, UninitializedTensorMixin)


def forget_grad(p: Tensor, set_to_none: bool) -> None:
    """Drop the gradient of `p`, or fill it with zeros."""
    if set_to_none:
        p.grad = None  # unasked: a compiled step then does not depend on whether there was one
    elif p.grad is not None:
        p.grad.detach_().zero_()
