"""Control flow as functions: `scan`, `map`, `associative_scan`, `while_loop`, `fori_loop`, `cond`.

Eagerly they are Python loops over ordinary operations. In a compiled function a loop stays a loop:
the user's function is traced once. Functions get copies, so that what they write in place into
their arguments is theirs, and results are copies, which alias nothing. Those of `cond` get the
operands themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from ...ir.dtype import bool_, int64
from ...ir.faults import demand, out_of_bounds
from ...ir.ops import elementwise as ops
from ...tracer.autograd.batching import BatchTrace
from ...tracer.autograd.checkpoint import checkpointed
from ...tracer.autograd.function import Function
from ...tracer.autograd.vmap import vmap
from ...tracer.loops.body import NoLoop
from ...tracer.loops.branch import traced_cond
from ...tracer.loops.scan import in_a_trace, traced_scan
from ...tracer.loops.while_loop import differs, somewhere, traced_count, traced_while
from ...tracer.mode import mode, no_grad
from ...tracer.tensor.generator import get_rng_state, set_rng_state
from ...tracer.tensor.tensor import Tensor
from ..arguments import at_most, wrap_dim
from ..conversion import clone
from .control_flow_steps import Step, Tree, checked_tensors, type_of, where
from .creation import arange, as_tensor
from .other_shapes import flip
from .shape import movedim
from .slicing_joining import cat, select, stack

__all__ = ["associative_scan", "cond", "fori_loop", "map", "scan", "while_loop"]

Leaves = list[Tensor]
Run = Callable[[Leaves, Leaves], tuple[Leaves, Leaves]]  # carries, slices -> carries, outputs

_EMPTY = "All xs leaves must at least have 'dim' number of dimensions and scan dimension > 0"


class _Rows(Function):
    """A copy of each row; their gradients are stacked at once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(clone(select(x, 0, i)) for i in range(x.shape[0]))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return stack(grads)


# ---- a known number of iterations
def _iterate(
    name: str, run: Run, carries: Leaves, xs: Leaves, length: int, reverse: bool
) -> tuple[Leaves, Leaves]:
    """The last carries and the stacked outputs of `length` iterations over the rows of xs."""
    if length > 1 and in_a_trace():
        with suppress(NoLoop):
            return traced_scan(name, run, carries, xs, length, reverse)
    columns = [_Rows.apply(x) if length else () for x in xs]
    rows: list[Leaves] = [[]] * length
    for i in range(length)[:: -1 if reverse else 1]:
        # copies, so that what an iteration writes is seen neither by others nor outside
        carries, ys = run([clone(x) for x in carries], [column[i] for column in columns])
        rows[i] = [clone(y) for y in ys]
    stacked = [stack(ys) for ys in zip(*rows, strict=True)]
    return [clone(x) for x in carries], stacked


def _in_sections(
    name: str, run: Run, carries: Leaves, xs: Leaves, length: int, reverse: bool, sections: int
) -> tuple[Leaves, Leaves]:
    """The same; backward runs each section again, so that only its first carries are kept."""
    step = -(-length // sections)
    starts = range(0, length, step)[:: -1 if reverse else 1]
    parts: list[Leaves] = []

    def section(carries: Leaves, xs: Leaves) -> tuple[Leaves, Leaves]:
        return _iterate(name, run, carries, xs, xs[0].shape[0], reverse)

    for i in starts:
        part = [x[i : i + step] for x in xs]
        carries, ys = checkpointed(section, (carries, part), {}, True)
        parts.append(ys)
    columns = zip(*parts[:: -1 if reverse else 1], strict=True)
    return carries, [cat(ys) for ys in columns]


def _sections(name: str, checkpoints: Any, length: int) -> int:
    if checkpoints is None:
        return 0
    if isinstance(checkpoints, bool) or not isinstance(checkpoints, int) or checkpoints < 1:
        raise RuntimeError(f"{name}: checkpoints must be a positive int, but got {checkpoints!r}")
    return min(checkpoints, length)


def scan(combine_fn: Callable, init: Any, xs: Any, *, dim: int = 0, reverse: bool = False,
         checkpoints: int | None = None) -> tuple[Any, Any]:
    """Carry a value along a dimension: `carry, y = combine_fn(carry, x)` for each slice x of xs.

    Returns the last carry and the outputs y, stacked. init, xs, the carry and y are tensors, or
    nested tuples, lists and dicts of them. `reverse` goes from the last slice to the first; the
    outputs keep the places of their slices. combine_fn may use other tensors, whose gradients
    arrive. In a compiled function it is traced once, and the loop stays a loop. With `checkpoints`
    so many carries are kept for backward, which computes what lies between again.

    Shape: slices of xs lack `dim`, the stacked outputs have it (at 0 if they have fewer
    dimensions). Dtype: the carry keeps that of init; outputs have their own.
    Raises RuntimeError for a carry that changes its structure, shape or dtype, for slices of
    different lengths or none at all; IndexError for a dimension out of range.

    >>> def running(total, x):
    ...     return total + x, total * x
    >>> torch.scan(running, torch.tensor(1.0), torch.tensor([1.0, 2.0, 3.0]))
    (tensor(7.), tensor([ 1.,  4., 12.]))
    """
    if not callable(combine_fn):
        raise RuntimeError(f"Combine_fn must be a callable, but got {combine_fn}")
    if not isinstance(dim, int):
        raise RuntimeError(f"Dim must be an int, but got {type(dim)}")
    if not isinstance(reverse, bool):
        raise RuntimeError(f"Reverse must be a bool, but got {type(reverse)}")
    first, over = Tree(init), Tree(xs)
    if not over.leaves:
        return init, []
    if not first.leaves:
        raise RuntimeError("scan() operator requires init leaves.")
    checked_tensors("scan", first.leaves, "init")
    checked_tensors("scan", over.leaves, "xs")
    dim = wrap_dim(dim, over.leaves[0].ndim)
    length = _length("scan", over, dim, RuntimeError)
    step = Step("scan", combine_fn, "combine_fn")

    def run(carries: Leaves, slices: Leaves) -> tuple[Leaves, Leaves]:
        result = combine_fn(first.filled(carries), over.filled(slices))
        carry, y = step.pair(result, "carry, y")
        return step.like(first, carry, "the carry"), step.output(y, "y")

    slices = [movedim(x, dim, 0) for x in over.leaves]
    sections = _sections("scan", checkpoints, length)
    if sections:
        carries, ys = _in_sections(
            "scan", run, first.leaves, slices, length, reverse, sections)
    else:
        carries, ys = _iterate("scan", run, first.leaves, slices, length, reverse)
    ys = [movedim(y, 0, dim) if dim < y.ndim else y for y in ys]
    return first.filled(carries), step.outputs["y"].filled(ys)


def _length(name: str, xs: Tree, dim: int, error: type[Exception]) -> int:
    """The extent that all leaves have along `dim`."""
    if any(x.ndim <= dim or not x.shape[dim] for x in xs.leaves):
        raise error(_EMPTY)
    lengths = [x.shape[dim] for x in xs.leaves]
    if len(set(lengths)) > 1:
        named = zip(xs.names("xs"), lengths, strict=True)
        texts = ", ".join(f"{leaf} has {n}" for leaf, n in named)
        raise error(f"{name}: all xs must have one length along dimension {dim}, but {texts}")
    return lengths[0]


def map(f: Callable, xs: Any, *args: Any) -> Any:
    """`f(x, *args)` for each slice x of xs along the first dimension, the results stacked.

    xs and the results are tensors, or nested tuples, lists and dicts of them.

    Shape: (n, *A) for slices (*A). Dtype: that of the results.
    Raises RuntimeError for slices of different lengths, or none.

    >>> torch.map(lambda x, y: x.sum() + y, torch.tensor([[1, 2], [3, 4]]), 10)
    tensor([13, 17])
    """
    over = Tree(xs)
    if not over.leaves or not all(isinstance(x, Tensor) for x in over.leaves):
        kinds = [type(x).__name__ for x in over.leaves]
        raise RuntimeError(f"Mapped xs can only consist of tensors. Got xs {kinds}.")
    shapes = [tuple(x.shape) for x in over.leaves]
    if any(not shape or not shape[0] for shape in shapes):
        raise RuntimeError("Leading dimensions of mapped xs cannot be 0.")
    if len({shape[0] for shape in shapes}) > 1:
        raise RuntimeError(
            f"Leading dimensions of mapped xs must be consistent. Got shapes {shapes}."
        )
    step = Step("map", f, "f")

    def run(_: Leaves, slices: Leaves) -> tuple[Leaves, Leaves]:
        return [], step.output(f(over.filled(slices), *args), "the result")

    _, ys = _iterate("map", run, [], over.leaves, shapes[0][0], False)
    return step.outputs["the result"].filled(ys)


def fori_loop(lower: Any, upper: Any, body_fn: Callable, init: Any) -> Any:
    """`value = body_fn(i, value)` for i from `lower` to `upper` - 1, starting with init.

    The bounds are ints or tensors of one integer. i is a 0-d int64 tensor. The value is a tensor,
    or nested tuples, lists and dicts of them.

    Shape: that of init. Dtype: that of init.
    Raises RuntimeError for a value that changes its structure, shape or dtype.

    >>> torch.fori_loop(0, 4, lambda i, x: x + i, torch.tensor(1))
    tensor(7)
    """
    if not callable(body_fn):
        raise RuntimeError(f"fori_loop: body_fn must be callable, but got {body_fn!r}")
    first = Tree(init)
    checked_tensors("fori_loop", first.leaves, "init")
    step = Step("fori_loop", body_fn, "body_fn")

    def advance(i: Tensor, carries: Leaves) -> Leaves:
        return step.like(first, body_fn(i, first.filled(carries)), "the value")

    def run(carries: Leaves, slices: Leaves) -> tuple[Leaves, Leaves]:
        return advance(slices[0], carries), []

    bounds = [_bound(n) for n in (lower, upper)]
    if not any(isinstance(n, Tensor) for n in bounds):
        start, stop = bounds
        steps = arange(start, max(start, stop), dtype=int64)
        length = max(0, stop - start)
        carries, _ = _iterate("fori_loop", run, first.leaves, [steps], length, False)
        return first.filled(carries)
    start, stop = (as_tensor(n, dtype=int64).reshape(()) for n in bounds)
    carries = while_loop(
        lambda i, *_: i < stop, lambda i, *xs: (i + 1, *advance(i, list(xs))),
        (start, *first.leaves),
    )[1:]
    return first.filled(carries)


def _bound(n: Any) -> Any:
    if isinstance(n, Tensor):
        if n.numel() != 1 or n.dtype.kind not in ("int", "uint"):
            raise RuntimeError(f"fori_loop: a bound must be one integer, got {type_of(n)}")
        return n
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise RuntimeError(f"fori_loop: a bound must be an integer, got one {type_of(n)}")
    return n.__index__()


# ---- as long as a condition holds
def while_loop(cond_fn: Callable, body_fn: Callable, carried_inputs: Any, *,
               max_iterations: int | None = None, checkpoints: int | None = None) -> Any:
    """`values = body_fn(*values)` while `cond_fn(*values)` is true, starting with carried_inputs.

    carried_inputs is a tuple or list of tensors, or of nested tuples, lists and dicts of them;
    ints become 0-d int64 tensors. cond_fn gives a bool, or a 0-d bool tensor. The loop can be
    differentiated, whatever the number of iterations. With `checkpoints` so many states are kept
    for backward, which computes what lies between again: the functions run more than once, and may
    not write other tensors. Under vmap it has no effect.

    Shape: those of carried_inputs. Dtype: those of carried_inputs.
    Raises RuntimeError for a value that changes its structure, shape or dtype, for another
    condition, and if the condition still holds after `max_iterations`.

    >>> torch.while_loop(lambda x: x < 100, lambda x: (x * 3,), (torch.tensor(5.0),))
    (tensor(135.),)
    """
    if not callable(cond_fn) or not callable(body_fn):
        raise RuntimeError("Expect cond_fn and body_fn to be callable.")
    if not isinstance(carried_inputs, (tuple, list)):
        raise RuntimeError(
            f"carried_inputs must be a tuple or list but got {type(carried_inputs)}"
        )
    first = Tree(tuple(carried_inputs))
    first.leaves = [as_tensor(x, dtype=int64) if type(x) is int else x for x in first.leaves]
    if not all(isinstance(x, Tensor) for x in first.leaves):
        raise RuntimeError(
            "Expect carried_inputs to be a tuple of possibly nested dict/list/tuple that only "
            f"consists of tensor or int leaves, but got one {Tree(carried_inputs).structure}."
        )
    if max_iterations is not None and (
        isinstance(max_iterations, bool) or not isinstance(max_iterations, int)
        or max_iterations < 0
    ):
        raise RuntimeError(
            f"while_loop: max_iterations must be an int >= 0, but got {max_iterations!r}"
        )
    loop = _While(cond_fn, body_fn, first, max_iterations)
    sections = _sections("while_loop", checkpoints, 1 << 62)
    if isinstance(mode.trace, BatchTrace) or not mode.grad:
        sections = 0
    carries = loop.in_sections(sections) if sections else loop.run()
    return first.filled(carries)


class _While:
    def __init__(self, cond_fn: Callable, body_fn: Callable, first: Tree, most: int | None):
        self.cond_fn, self.body_fn, self.first, self.most = cond_fn, body_fn, first, most
        self.body = Step("while_loop", body_fn, "body_fn")
        self.condition = Step("while_loop", cond_fn, "cond_fn")

    def holds(self, carries: Leaves) -> Any:
        """The condition: a bool, or a 0-d bool tensor."""
        holds = self.cond_fn(*self.first.filled(carries))
        if isinstance(holds, bool):
            return holds
        if not isinstance(holds, Tensor) or holds.dtype is not bool_ or holds.ndim:
            raise self.condition.error(
                f"must return a boolean scalar tensor or a boolean but got one {type_of(holds)}"
            )
        return holds

    def advance(self, carries: Leaves) -> Leaves:
        values = self.body_fn(*self.first.filled(carries))
        if not isinstance(values, (tuple, list)):
            raise self.body.error(f"should return a tuple but got one {type_of(values)}")
        return self.body.like(self.first, tuple(values), "value")

    def run(self) -> Leaves:
        if in_a_trace():
            with suppress(NoLoop):
                return self.traced()
        count, carries = 0, self.first.leaves
        while somewhere(holds := as_tensor(self.holds([clone(x) for x in carries]))):
            self.refuse_more(count)
            new, count = self.advance([clone(x) for x in carries]), count + 1
            if differs(holds):  # other examples of a vmap have finished
                new = [ops.where(holds, x, y) for x, y in zip(new, carries, strict=True)]
            carries = new
        return [clone(x) for x in carries]

    def traced(self) -> Leaves:
        carries, still = traced_while(
            "while_loop", self.holds, self.advance, self.first.leaves, self.most)
        if still is not None:  # of iterations, there is one more to come
            at_most(still * ((self.most or 0) + 1), self.most or 0, "iterations")
        return carries

    def traced_in_sections(self, sections: int) -> Leaves:
        count = traced_count(
            "while_loop", self.holds, self.advance, self.first.leaves, self.most)
        if self.most is not None:
            at_most(count, self.most, "iterations")
        length = (count + (sections - 1)) // sections

        def section(carries: Leaves, slices: Leaves) -> tuple[Leaves, Leaves]:
            start = slices[0] * length
            stop = ops.minimum(start + length, count)
            return fori_loop(start, stop, lambda _, xs: self.advance(xs), carries), []

        places = arange(sections, dtype=int64)
        return traced_scan(
            "while_loop", section, self.first.leaves, [places], sections, False, again=True)[0]

    def refuse_more(self, count: int) -> None:
        if count == self.most:
            raise out_of_bounds(count + 1, count + 1, demand("iterations"))

    def in_sections(self, sections: int) -> Leaves:
        """The same, with as many sections of equal length, which backward runs again."""
        if mode.trace is not None:
            with suppress(NoLoop):
                return self.traced_in_sections(sections)
            return self.run()
        carries, state = self.first.leaves, get_rng_state()
        count = 0
        with no_grad():
            values = carries
            while self.holds([clone(x) for x in values]):
                self.refuse_more(count)
                values, count = self.advance([clone(x) for x in values]), count + 1
        set_rng_state(state)

        def section(steps: int, carries: Leaves) -> Leaves:
            for _ in range(steps):
                carries = self.advance([clone(x) for x in carries])
            return carries

        step = -(-count // sections) or 1
        for i in range(0, count, step):
            carries = checkpointed(section, (min(step, count - i), carries), {}, True)
        return [clone(x) for x in carries]


# ---- one of two
def cond(pred: Any, true_fn: Callable, false_fn: Callable, operands: Any = ()) -> Any:
    """`true_fn(*operands)` if `pred` is true, else `false_fn(*operands)`.

    pred is a bool, or a tensor with one element. The operands and results are tensors, or nested
    tuples, lists and dicts of them. In a compiled function both functions are traced, and one of
    them runs; both must return the same structure, shapes and dtypes.

    Shape: that of the result. Dtype: that of the result.
    Raises RuntimeError for another condition, and for branches that do not fit.

    >>> torch.cond(torch.tensor(3.0) > 2, lambda x: x + 1, lambda x: x - 1, (torch.tensor(5.0),))
    tensor(6.)
    """
    if not isinstance(pred, (bool, int, float, Tensor)):
        raise RuntimeError(f"Expected pred to be bool or tensor, but got {pred}.")
    if isinstance(pred, Tensor) and pred.numel() != 1:
        raise RuntimeError(
            f"Expected pred to be bool or single-element tensor, but got one {type_of(pred)}."
        )
    if not callable(true_fn) or not callable(false_fn):
        raise RuntimeError("Expect both branches to be callable.")
    if not isinstance(operands, (tuple, list)):
        raise RuntimeError(
            "Expect operands to be a tuple of possibly nested dict/list/tuple that only consists "
            f"of tensor leaves, but got one {type_of(operands)}."
        )
    tree = Tree(tuple(operands))
    operands = tree.filled([clone(x) if isinstance(x, Tensor) else x for x in tree.leaves])
    if not isinstance(pred, Tensor):
        return (true_fn if pred else false_fn)(*operands)
    branches = _Cond(true_fn, false_fn, operands)
    if in_a_trace():
        with suppress(NoLoop):
            return branches.traced(pred)
        branches = _Cond(true_fn, false_fn, operands)
    return branches.both(pred) if differs(pred) else branches.chosen(bool(pred))


class _Cond:
    def __init__(self, true_fn: Callable, false_fn: Callable, operands: tuple):
        self.steps = Step("cond", true_fn, "true_fn"), Step("cond", false_fn, "false_fn")
        self.operands = operands
        self.steps[1].reason = f"so does true_fn {where(true_fn)} return it"

    def traced(self, pred: Tensor) -> Any:
        true, false = (partial(self.outputs, step) for step in self.steps)
        leaves = traced_cond("cond", pred, (true, false), self.check)
        return self.steps[0].outputs["result"].filled(leaves)

    def chosen(self, pred: bool) -> Any:
        step = self.steps[0 if pred else 1]
        leaves = [clone(x) for x in self.outputs(step)]
        return step.outputs["result"].filled(leaves)

    def both(self, pred: Tensor) -> Any:
        """Of examples of a vmap that take different ways."""
        ys, zs = (self.outputs(step) for step in self.steps)
        self.check()
        pred = ops.ne(pred, 0).reshape(())
        leaves = [ops.where(pred, y, z) for y, z in zip(ys, zs, strict=True)]
        return self.steps[0].outputs["result"].filled(leaves)

    def outputs(self, step: Step) -> Leaves:
        return step.output(step.function(*self.operands), "result")

    def check(self) -> None:
        """Raise unless both functions give the same structure, shapes and dtypes."""
        first, second = (s.outputs["result"] for s in self.steps)
        result = second.filled(second.leaves)
        self.steps[1].like(first, result, "the result")


# ---- in the order of a tree
def associative_scan(combine_fn: Callable, xs: Any, dim: int, reverse: bool = False,
                     combine_mode: str = "pointwise") -> Any:
    """All prefixes of xs along `dim` combined: y[0] = x[0], y[i] = combine_fn(y[i - 1], x[i]).

    combine_fn must be associative, for it combines neighbours in the order of a tree. It is called
    for slices without `dim`, all at once. xs is a tensor, or nested tuples, lists and dicts of
    them. `reverse` combines from the end. Both values of `combine_mode` mean the same here.

    Shape: that of xs. Dtype: that of xs.
    Raises ValueError for arguments that do not fit; RuntimeError for a result that is not like xs.

    >>> torch.associative_scan(torch.add, torch.tensor([1, 2, 3, 4]), 0)
    tensor([ 1,  3,  6, 10])
    """
    if not callable(combine_fn):
        raise ValueError(f"Combine_fn must be a callable, but got {combine_fn}")
    if not isinstance(dim, int):
        raise ValueError(f"Dim must be an int, but got {type(dim)}")
    if not isinstance(reverse, bool):
        raise RuntimeError(f"Reverse must be a bool, but got {type(reverse)}")
    if combine_mode not in ("pointwise", "generic"):
        raise ValueError(
            f"Combine_mode must either 'pointwise' or 'generic', but got {combine_mode}"
        )
    over = Tree(xs)
    if not over.leaves:
        raise ValueError("Expected at least 1 xs leaf")
    if not all(isinstance(x, Tensor) for x in over.leaves):
        raise ValueError("xs leaves must be a Tensor")
    dim = wrap_dim(dim, over.leaves[0].ndim)
    _length("associative_scan", over, dim, ValueError)
    step = Step("associative_scan", combine_fn, "combine_fn")
    leaves = [movedim(x, dim, 0) for x in over.leaves]
    example = Tree(over.filled([x[0] for x in leaves]))

    def one(left: Sequence[Tensor], right: Sequence[Tensor]) -> tuple[Tensor, ...]:
        result = combine_fn(over.filled(left), over.filled(right))
        return tuple(step.like(example, result, "the result"))

    if reverse:
        leaves = [flip(x, (0,)) for x in leaves]
    ys = _prefixes(vmap(one, randomness="different"), tuple(leaves))
    if reverse:
        ys = tuple(flip(y, (0,)) for y in ys)
    return over.filled([movedim(y, 0, dim) for y in ys])


def _prefixes(combine: Callable, xs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Pairs of neighbours are combined, then their prefixes: those are the ones at odd places, of
    which the others follow.
    """
    n = xs[0].shape[0]
    if n < 2:
        return tuple(clone(x) for x in xs)
    odd = _prefixes(combine, combine(tuple(x[0 : n - 1 : 2] for x in xs),
                                     tuple(x[1:n:2] for x in xs)))
    even = [x[:1] for x in xs]
    if n > 2:
        left = tuple(y[: (n - 1) // 2] for y in odd)
        later = combine(left, tuple(x[2:n:2] for x in xs))
        even = [cat([first, y]) for first, y in zip(even, later, strict=True)]
    return tuple(_alternating(a, b) for a, b in zip(even, odd, strict=True))


def _alternating(even: Tensor, odd: Tensor) -> Tensor:
    """Rows of both by turns; `even` begins, and may have one more."""
    n = odd.shape[0]
    pairs = stack([even[:n], odd], 1).reshape(2 * n, *odd.shape[1:])
    return pairs if even.shape[0] == n else cat([pairs, even[n:]])
