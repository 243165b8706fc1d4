"""Functions of tensors for SciPy's solvers: float64 arrays in and out, nothing is copied between.

Each function here takes a function of tensors and gives a compiled one of arrays, with the values
and derivatives that a solver asks for. SciPy's own functions stay where they are:

>>> from scipy.optimize import minimize
>>> def rosenbrock(x):
...     return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
>>> result = minimize(torch.scipy.value_and_grad(rosenbrock), [0.0, 3.0], jac=True)
>>> result.x.round(3).tolist()
[1.0, 1.0]

Numbers among the arguments, as the time of `solve_ivp`, arrive as tensors without dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any

import numpy as np

from . import func
from .driver.api import compile
from .func_modules import replaced
from .functions.torch.creation import from_numpy
from .functions.torch.slicing_joining import cat
from .ir.dtype import float64
from .nn.module import Module
from .nn.utils.convert_parameters import vector_to_parameters
from .tracer.tensor.device_memory import host
from .tracer.tensor.dispatch import from_numpy as shared
from .tracer.tensor.tensor import Tensor

__all__ = [
    "array_to_parameters", "function", "hess", "hessp", "jac", "parameters_to_array",
    "value_and_grad", "value_and_jac",
]


# ---- arrays in, arrays out
def _tensor(value: Any) -> Any:
    """What SciPy passes, as a tensor in the same memory; other objects as they are."""
    if type(value) is np.ndarray:
        if min(value.strides, default=0) < 0:
            value = value.copy()
        return shared(value)
    if isinstance(value, (float, np.floating)):
        return shared(np.array(value))
    return value


def _array(t: Tensor) -> np.ndarray:
    """A result as SciPy wants it, in memory of its own: not that of an argument."""
    if not isinstance(t, Tensor):
        raise TypeError(f"the function must return a tensor, not {type(t).__name__}")
    array = host(t._array)
    if array.dtype != np.float64:
        return t._dtype.decode(array).astype(np.float64)
    return array if array.base is None else array.copy()


def _of_arrays(f: Callable, made: Callable, results: Callable, argnum: int = 0) -> Callable:
    """`made`, compiled, as a function of arrays; argument number `argnum` is float64."""
    compiled = compile(made)

    @wraps(f)
    def of_arrays(*args: Any) -> Any:
        tensors = [_tensor(a) for a in args]
        x = tensors[argnum]
        if not isinstance(x, Tensor) or x._dtype is not float64:
            tensors[argnum] = shared(np.array(args[argnum], np.float64))
        return results(compiled(*tensors))

    return of_arrays


def function(f: Callable, *, argnum: int = 0) -> Callable[..., np.ndarray]:
    """`f` as a function of arrays, such as the `fun` of `least_squares`, `root` and `solve_ivp`.
    The unknown is argument number `argnum`.

    >>> import numpy as np
    >>> decay = torch.scipy.function(lambda t, y: -y * t.cos(), argnum=1)
    >>> decay(0.0, np.array([1.0, 2.0])).tolist()
    [-1.0, -2.0]
    """
    return _of_arrays(f, f, _array, argnum)


def _value_and_array(result: tuple[Tensor, Tensor]) -> tuple[float, np.ndarray]:
    value, gradient = result
    return float(value._dtype.decode(host(value._array))), _array(gradient)


def value_and_grad(
    f: Callable, module: Module | None = None
) -> Callable[..., tuple[float, np.ndarray]]:
    """The function from (x, *args) to the value of `f` and its gradient with respect to x, for
    `minimize(..., jac=True)`. `f` returns a tensor without dimensions.

    With a `module`, x has its parameters that require grad, one after the other, and `f` is called
    with `args` alone, while the module has these parameters: see `parameters_to_array`.

    >>> from scipy.optimize import minimize
    >>> model = nn.Linear(1, 1).double()
    >>> x, y = torch.tensor([[0.0], [1.0]]).double(), torch.tensor([[1.0], [3.0]]).double()
    >>> loss = torch.scipy.value_and_grad(lambda: nn.functional.mse_loss(model(x), y), model)
    >>> result = minimize(loss, torch.scipy.parameters_to_array(model), jac=True)
    >>> torch.scipy.array_to_parameters(result.x, model)
    >>> model.weight.round(decimals=2).item(), model.bias.round(decimals=2).item()
    (2.0, 1.0)
    """
    if module is None:
        return _of_arrays(f, func.value_and_grad(f), _value_and_array)
    return _of_arrays(f, _of_parameters(f, module), _value_and_array)


def _of_parameters(f: Callable, module: Module) -> Callable:
    """The function from a vector to the value of `f` and the gradient with respect to it."""

    def at(parameters: tuple[Tensor, ...], *args: Any) -> Any:
        with _with_parameters(module, parameters):
            return f(*args)

    both = func.value_and_grad(at)

    @wraps(f)
    def of_vector(x: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
        value, gradients = both(_parts(module, x), *args)
        return value, cat([g.reshape((-1,)).to(float64) for g in gradients])

    return of_vector


# ---- parameters
def _trained(module: Module) -> dict[str, Tensor]:
    """The parameters that require grad, by name."""
    trained: dict[str, Tensor] = {
        name: p for name, p in module.named_parameters() if p.requires_grad
    }
    if not trained:
        raise ValueError(f"{type(module).__name__} has no parameters that require grad")
    return trained


def _parts(module: Module, x: Tensor) -> tuple[Tensor, ...]:
    """The parameters as they lie in a vector."""
    trained = _trained(module)
    count = sum(p.numel() for p in trained.values())
    if tuple(x.shape) != (count,):
        raise ValueError(
            f"the parameters of {type(module).__name__} have {count} numbers; x has shape "
            f"{list(x.shape)}"
        )
    parts, start = [], 0
    for p in trained.values():
        parts.append(x[start : start + p.numel()].reshape(tuple(p.shape)).to(p.dtype))
        start += p.numel()
    return tuple(parts)


def _with_parameters(
    module: Module, parameters: tuple[Tensor, ...]
) -> AbstractContextManager[None]:
    names = _trained(module)
    return replaced(module, dict(zip(names, parameters, strict=True)), tie=True, strict=False)


def parameters_to_array(module: Module) -> np.ndarray:
    """The parameters that require grad, as one float64 vector: where a solver starts.

    >>> torch.scipy.parameters_to_array(nn.Linear(2, 1)).shape
    (3,)
    """
    parts = [np.ravel(host(p.detach().to(float64)._array)) for p in _trained(module).values()]
    return np.concatenate(parts)


def array_to_parameters(x: np.ndarray, module: Module) -> None:
    """Copy a vector, as a solver found it, into the parameters that require grad.

    Raises ValueError if it has another length.

    >>> import numpy as np
    >>> model = nn.Linear(2, 1)
    >>> torch.scipy.array_to_parameters(np.array([1.0, 2.0, 3.0]), model)
    >>> model.bias.item()
    3.0
    """
    vector = from_numpy(np.array(x, np.float64))
    _parts(module, vector)
    vector_to_parameters(vector, _trained(module).values())


# ---- Jacobians and Hessians
def _jacobian(f: Callable, argnum: int) -> Callable:
    """The function that computes value and Jacobian, in the mode that takes fewer passes."""

    @wraps(f)
    def value_and_jacobian(*args: Any) -> tuple[Tensor, Tensor]:
        y = f(*args)
        if not isinstance(y, Tensor):
            raise TypeError(f"the function must return a tensor, not {type(y).__name__}")
        mode = func.jacrev if y.numel() < args[argnum].numel() else func.jacfwd
        return y, mode(f, argnum)(*args)

    return value_and_jacobian


def value_and_jac(f: Callable) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """The function from (x, *args) to the values of `f` and their Jacobian, for
    `root(..., jac=True)`.

    >>> from scipy.optimize import root
    >>> f = torch.scipy.value_and_jac(lambda x: torch.stack((x[0] + x[1] - 3, x[0] * x[1] - 2)))
    >>> root(f, [0.0, 5.0], jac=True).x.round(6).tolist()
    [1.0, 2.0]
    """
    return _of_arrays(f, _jacobian(f, 0), lambda result: tuple(map(_array, result)))


def jac(f: Callable, *, argnum: int = 0) -> Callable[..., np.ndarray]:
    """The Jacobian of `f` with respect to argument number `argnum`, as the `jac` of `least_squares`
    and, with argnum=1, of `solve_ivp`.

    >>> import numpy as np
    >>> torch.scipy.jac(lambda x: x**2)(np.array([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    return _of_arrays(f, _jacobian(f, argnum), lambda result: _array(result[1]), argnum)


def hess(f: Callable) -> Callable[..., np.ndarray]:
    """The Hessian of `f`, which returns a tensor without dimensions, as the `hess` of `minimize`.

    >>> import numpy as np
    >>> torch.scipy.hess(lambda x: (x**3).sum())(np.array([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    return _of_arrays(f, func.hessian(f), _array)


def hessp(f: Callable) -> Callable[..., np.ndarray]:
    """The function from (x, p, *args) to the product of the Hessian of `f` with p, as the `hessp`
    of `minimize`: it takes about as long as a gradient.

    >>> import numpy as np
    >>> torch.scipy.hessp(lambda x: (x**3).sum())(np.array([1.0, 2.0]), np.ones(2)).tolist()
    [6.0, 12.0]
    """
    gradient = func.grad(f)

    @wraps(f)
    def product(x: Tensor, p: Tensor, *args: Any) -> Tensor:
        return func.jvp(lambda at: gradient(at, *args), (x,), (p,))[1]

    return _of_arrays(f, product, _array)
