"""Function transforms, by torch.func's names.

A transform takes a function and returns one that computes its derivative, or maps it over examples.
Transforms compose with one another and with `compile`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from math import prod
from typing import Any

from .func_linearization import Argnums, Linearization, Primals
from .func_modules import functional_call, stack_module_state
from .functions.torch.creation import eye
from .tracer.autograd.backward import filled_like
from .tracer.autograd.vmap import map_examples, vmap
from .tracer.mode import resolve
from .tracer.pytree import Structure, flatten, unflatten
from .tracer.tensor.tensor import Tensor

__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize",
    "stack_module_state", "value_and_grad", "vjp", "vmap",
]

# the names of the transforms in messages
_SCALAR, _VJP, _JVP = "grad_and_value(f)(*args)", "vjp(f, *primals)", "jvp(f, primals, tangents)"


def grad_and_value(func: Callable, argnums: Argnums = 0, has_aux: bool = False) -> Callable:
    """The function that computes (gradient, value) of `func`, which returns a scalar.

    The gradient has the structure of argument number `argnums`, or is a tuple of these. With
    `has_aux`, `func` returns (scalar, aux) and the value is that pair.

    Shape: that of the argument, and (). Raises RuntimeError unless the output is a scalar tensor.

    >>> torch.func.grad_and_value(lambda x: x**2)(torch.tensor(3.0))
    (tensor(6.), tensor(9.))
    """

    def one_tensor(*args: Any, **kwargs: Any) -> Any:
        output = func(*args, **kwargs)
        y = output[0] if has_aux and isinstance(output, tuple) and output else output
        if not isinstance(y, Tensor) and not (has_aux and y is output):
            raise RuntimeError(f"{_SCALAR}: Expected f(*args) to return a Tensor, got {type(y)}")
        return output

    @wraps(func)
    def differentiated(*args: Any, **kwargs: Any) -> tuple:
        point = Linearization(_SCALAR, one_tensor, Primals(args, argnums), kwargs, has_aux)
        (y,) = point.back.outputs
        if y.ndim:
            raise RuntimeError(
                f"{_SCALAR}: Expected f(*args) to return a scalar Tensor, got tensor with {y.ndim} "
                "dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
            )
        one = filled_like(y, 1.0) if y.dtype.is_floating_point else None
        gradients = point.chosen.like(point.back([one], keep=False))
        return gradients, point.with_aux(point.result(), has_aux=has_aux)

    return differentiated


def grad(func: Callable, argnums: Argnums = 0, has_aux: bool = False) -> Callable:
    """The function that computes the gradient of `func`, which returns a scalar.

    The gradient has the structure of argument number `argnums`, or is a tuple of these. With
    `has_aux`, `func` returns (scalar, aux) and the result is (gradient, aux).

    Shape: that of the argument. Raises RuntimeError unless the output is a scalar tensor.

    >>> torch.func.grad(torch.sin)(torch.tensor(0.0))
    tensor(1.)
    """
    both = grad_and_value(func, argnums, has_aux)

    @wraps(func)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        gradients, value = both(*args, **kwargs)
        return (gradients, value[1]) if has_aux else gradients

    return differentiated


def value_and_grad(func: Callable, argnums: Argnums = 0, has_aux: bool = False) -> Callable:
    """`grad_and_value` with the value first.

    Shape: (), and that of the argument. Raises RuntimeError unless the output is a scalar tensor.

    >>> torch.func.value_and_grad(lambda x: x**2)(torch.tensor(3.0))
    (tensor(9.), tensor(6.))
    """
    both = grad_and_value(func, argnums, has_aux)

    @wraps(func)
    def differentiated(*args: Any, **kwargs: Any) -> tuple:
        return both(*args, **kwargs)[::-1]

    return differentiated


def _same_structure(words: str, tree: Any, structure: Structure, of: str) -> list:
    leaves, own = flatten(tree)
    if own != structure:
        raise RuntimeError(f"{words}: {own}, {of}: {structure}")
    return leaves


def vjp(func: Callable, *primals: Any, has_aux: bool = False) -> tuple:
    """(output, pullback), and the aux if `has_aux`.

    The pullback takes a cotangent of the output and returns a tuple with a gradient for each
    primal. It may be called many times.

    Shape: a cotangent has the shape of its output. Raises RuntimeError otherwise.

    >>> y, pull = torch.func.vjp(torch.sin, torch.zeros(2))
    >>> pull(torch.tensor([1.0, 2.0]))
    (tensor([1., 2.]),)
    """
    point = Linearization(_VJP, func, Primals(primals, tuple(range(len(primals)))), {}, has_aux)
    point.refuse_integers()

    def pullback(
        cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None
    ) -> tuple:
        leaves = _same_structure(
            "Expected pytree structure of cotangents to be the same as pytree structure of outputs "
            "to the function. cotangents", cotangents, point.structure, "primal output",
        )
        for k, (g, y) in enumerate(zip(leaves, point.outputs, strict=True)):
            if not isinstance(g, Tensor):
                raise TypeError(
                    f"gradients can be either Tensors or None, but got {type(g).__name__}"
                )
            if resolve(g).shape != y.shape:
                raise RuntimeError(
                    f"Mismatch in shape: grad_output[{k}] has a shape of {g.shape} and output[{k}] "
                    f"has a shape of {y.shape}."
                )
        return point.chosen.like(point.back(leaves, create_graph, retain_graph))

    return point.with_aux(point.result(), pullback, has_aux=has_aux)


def _tangents_of(tangents: Any, chosen: Primals) -> list:
    leaves = _same_structure(
        f"{_JVP}: Expected primals and tangents to have the same python structure. tangents",
        tangents, chosen.structure, "primals",
    )
    for t, x in zip(leaves, chosen.leaves, strict=True):
        if not isinstance(t, Tensor):
            raise RuntimeError(f"{_JVP}: Expected tangents to only contain Tensors, got {type(t)}")
        if resolve(t).shape != resolve(x).shape:
            raise RuntimeError(
                "Trying to set a forward gradient that has a different size than that of the "
                f"original Tensor, this is not supported. Tensor is of size {list(x.shape)} while "
                f"the given forward gradient is of size {list(t.shape)}."
            )
    return leaves


def jvp(func: Callable, primals: Any, tangents: Any, *, strict: bool = False,
        has_aux: bool = False) -> tuple:
    """(output, its derivative along the tangents), and the aux if `has_aux`.

    `primals` and `tangents` are tuples of the same structure. `strict` refuses an output that does
    not depend on the primals.

    Shape: a tangent has the shape of its primal. Raises RuntimeError otherwise.

    >>> torch.func.jvp(torch.sin, (torch.zeros(2),), (torch.tensor([1.0, 2.0]),))
    (tensor([0., 0.]), tensor([1., 2.]))
    """
    if not isinstance(primals, tuple):
        raise RuntimeError(
            f"{_JVP}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals). "
            f"Got {type(primals)}"
        )
    leaves = flatten(primals)[0]
    if not leaves:
        raise RuntimeError(f"{_JVP}: Expected primals to contain at least one Tensor.")
    for x in leaves:
        if not isinstance(x, Tensor):
            raise RuntimeError(f"{_JVP}: Expected primals to only contain Tensors, got {type(x)}")
    chosen = Primals(primals, tuple(range(len(primals))))
    tangent_leaves = _tangents_of(tangents, chosen)
    point = Linearization(_JVP, func, chosen.floating(), {}, has_aux, forward=True)
    if strict and None in point.back.roots:
        raise RuntimeError(
            "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. "
            "This is not allowed with strict=True."
        )
    out = unflatten(point.back.pushforward()(tangent_leaves), point.structure)
    return point.with_aux(point.result(), out, has_aux=has_aux)


def linearize(func: Callable, *primals: Any) -> tuple:
    """(output, function from tangents to the derivative along them). `func` runs once.

    Shape: a tangent has the shape of its primal. Raises RuntimeError otherwise.

    >>> y, along = torch.func.linearize(torch.sin, torch.zeros(2))
    >>> along(torch.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    chosen = Primals(primals, tuple(range(len(primals)))).floating()
    point = Linearization("linearize(f, *primals)", func, chosen, {}, False, forward=True)
    forward = point.back.pushforward()

    def pushforward(*tangents: Any) -> Any:
        tangent_leaves = _tangents_of(tangents, chosen)
        for k, (t, x) in enumerate(zip(tangent_leaves, chosen.leaves, strict=True)):
            if t.dtype is not x.dtype:
                raise RuntimeError(
                    f"tangent:{k} with dtype {t.dtype} in flattened pytree doesn't match the dtype "
                    f"{x.dtype} of the corresponding primal."
                )
        return unflatten(forward(tangent_leaves), point.structure)

    return point.result(), pushforward


def _basis(like: Tensor) -> Tensor:
    """All unit tensors of this shape, stacked along a first axis."""
    n = prod(like.shape)
    return eye(n, dtype=like.dtype, device=like.device).reshape((n, *like.shape))


def _at_units(
    function: Callable, count: int, at: int, like: Tensor, chunk_size: int | None
) -> list[Tensor]:
    """A linear `function` of `count` tensors at all unit tensors of argument `at`; the others are
    None.

    The outputs have the units along their first axis.
    """

    def one(unit: Tensor) -> tuple:
        return tuple(function([unit if k == at else None for k in range(count)]))

    return list(map_examples(one, 0, 0, (_basis(like),), {}, chunk_size=chunk_size))


def jacrev(func: Callable, argnums: Argnums = 0, *, has_aux: bool = False,
           chunk_size: int | None = None) -> Callable:
    """The function that computes the Jacobian of `func` by reverse mode, one row per output
    element.

    For each tensor of the output it gives the structure of argument `argnums`, with Jacobians of
    shape (*output.shape, *input.shape). `chunk_size` limits how many rows are computed together.

    Shape: (*output, *input). Raises RuntimeError for outputs that are not tensors.

    >>> torch.func.jacrev(lambda x: x**2)(torch.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    if chunk_size is not None and chunk_size <= 0:
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        point = Linearization(_VJP, func, Primals(args, argnums), kwargs, has_aux)
        point.refuse_integers()
        ys, xs = point.back.outputs, point.back.primals
        blocks = []
        for k, y in enumerate(ys):
            rows = _at_units(point.back, len(ys), k, y, chunk_size)
            shaped = [r.reshape((*y.shape, *x.shape)) for r, x in zip(rows, xs, strict=True)]
            blocks.append(point.chosen.like(shaped))
        return point.with_aux(unflatten(blocks, point.structure), has_aux=has_aux)

    return jacobian


def jacfwd(func: Callable, argnums: Argnums = 0, has_aux: bool = False, *,
           chunk_size: int | None = None, randomness: str = "error") -> Callable:
    """The function that computes the Jacobian of `func` by forward mode, one column per input
    element.

    Its result has the structure of that of `jacrev`.

    Shape: (*output, *input). Raises RuntimeError for outputs that are not tensors.

    >>> torch.func.jacfwd(lambda x: x**2)(torch.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    if chunk_size is not None and chunk_size <= 0:
        raise ValueError("jacfwd: `chunk_size` should be greater than 0.")

    @wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        chosen = Primals(args, argnums).floating()
        point = Linearization(_JVP, func, chosen, kwargs, has_aux, forward=True)
        ys, xs = point.back.outputs, point.back.primals
        forward = point.back.pushforward()
        columns = []
        for k, x in enumerate(xs):
            tangents = _at_units(forward, len(xs), k, x, chunk_size)
            pairs = zip(tangents, ys, strict=True)
            columns.append([c.movedim(0, -1).reshape((*y.shape, *x.shape)) for c, y in pairs])
        blocks = [point.chosen.like(rows) for rows in zip(*columns, strict=True)]
        return point.with_aux(unflatten(blocks, point.structure), has_aux=has_aux)

    return jacobian


def hessian(func: Callable, argnums: Argnums = 0) -> Callable:
    """The function that computes the Hessian of `func`, forward over reverse.

    Shape: (*output, *input, *input). Raises RuntimeError for outputs that are not tensors.

    >>> torch.func.hessian(lambda x: (x**3).sum())(torch.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacfwd(jacrev(func, argnums), argnums)
