"""The autograd nodes of primitives, and what they save.

dispatch calls `record` for every operation on a tensor that requires grad. `record` saves only the
values that the derivative rules read. Saved values are kept without their Tensors, so the graph has
no reference cycles.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

from numpy import ndarray

from ...ir.autodiff import cotangent
from ...ir.node import Aval
from ...ir.op import OpDef
from ..mode import mode, sequence_numbers
from ..tensor.data_changes import follow_data, refuse_changed_data
from ..tensor.promotion import SCALAR_TYPE
from ..tensor.tensor import Tensor, fill_slots
from .graph import AccumulateGrad, GradFn, edge
from .node_classes import FREED, SavedValues
from .operands_read import Reads, reads_of
from .rule_lines import CALLS, MOST, new_line

_INPLACE_HINT = (
    " Hint: the operation that changed it is an in-place one (a name that ends in _, or an "
    "augmented assignment) between the forward computation and backward()."
)


class Saved:
    """A value saved for backward: the payload and its version, without the Tensor."""

    __slots__ = ("array", "dtype", "node", "tensor", "version", "version_counter")

    def __init__(self, t: Tensor):
        self.array, self.node, self.dtype, self.tensor = t._array, t._node, t._dtype, ref(t)
        self.version_counter, self.version = t._version, t._version[0]

    def copy_value(self) -> None:
        """Keep a copy: the operation is about to overwrite a value that its derivative reads."""
        self.array = None if self.array is None else self.array.copy()
        self.version_counter, self.version = [0], 0

    def unpack(
        self, made_by: GradFn | None, of: GradFn | str | None, output: bool = False
    ) -> Tensor:
        """The value as a Tensor made by node `made_by`. Raises if it was changed in place; `of` is
        what the error calls it: the output of a node, an input, or by these words. An output of
        the node that saved it stays what it was if its `.data` is set.
        """
        if len(self.version_counter) > 1 and not output:
            follow_data(self)
        t: Tensor = fill_slots(
            object.__new__(Tensor), self.array, self.node, self.dtype, made_by is not None
        )
        if self.version_counter[0] != self.version:
            of = "an input" if of is None else of
            of = of if isinstance(of, str) else f"output 0 of {of.title}"
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an "
                f"inplace operation: [tracegrad.{SCALAR_TYPE[self.dtype]}Tensor {list(t.shape)}], "
                f"which is {of}, is at version {self.version_counter[0]}; expected version "
                f"{self.version} instead.{_INPLACE_HINT}"
            )
        t._version = self.version_counter
        if isinstance(made_by, AccumulateGrad):
            t._accumulator = ref(made_by)
        else:
            t._grad_fn = made_by
        return t


LIKE_OUTPUT: Any = "like the output"  # of an operand that no rule reads: its shape and dtype


class OpBackward(SavedValues, GradFn):
    """The node of one primitive. `inputs` are its operands: saved ones, and of the others the Aval
    or LIKE_OUTPUT; of an output that is not saved, `y` is the dtype. Both are None where only edges
    are recorded.
    """

    __slots__ = ("freed", "inputs", "op", "params", "reads", "y")

    def __init__(
        self, op: OpDef, params: dict, inputs: tuple, edges: tuple, reads: Reads, y: Any
    ):
        self.title, self.edges, self.sequence = op.grad_name, edges, next(sequence_numbers)
        self.composite = self.prehooks = self.posthooks = self.metadata_ = None
        self.retainers = ()
        self.op, self.params, self.inputs = op, params, inputs
        self.reads, self.y, self.freed = reads, y, False

    def apply(self, g: Tensor) -> tuple[Tensor | None, ...]:
        if self.freed:
            raise RuntimeError(FREED)
        if self.composite is not None:
            refuse_changed_data(self.title, *self.composite[1:])
        now = mode.__dict__
        if now["grad"] or now["trace"] is not None or self.params or not self.reads.saves:
            return self._by_rules(g)
        return self._by_lines(g)

    def _by_rules(self, g: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients, by the rules applied to tensors."""
        y, edges, history = self.y, self.edges, mode.grad
        if isinstance(y, Saved):
            y = y.unpack(self if history else None, self, output=True)
        else:
            y = g if g._dtype is y else Aval(tuple(g.shape), y)
        inputs = []
        for x, e in zip(self.inputs, edges):  # noqa: B905  # `strict` takes time
            if x is LIKE_OUTPUT:
                x = y
            elif isinstance(x, Saved):
                x = x.unpack(e if history else None, e)
            inputs.append(x)
        grads: list[Tensor | None] = [None] * len(inputs)
        for k, rule in self.reads.rules:
            if edges[k] is not None:
                grads[k] = cotangent(rule, g, y, inputs, k, self.params)
        return tuple(grads)

    def _by_lines(self, g: Tensor) -> tuple[Tensor | None, ...]:
        """The same, by a function of arrays if there is one."""
        array, dtype = g._array, g._dtype
        arrays: list = [array]
        parts: list = [dtype]
        for x in (self.y, *self.inputs):
            if type(x) is Saved:
                array = x.array
                if x.version_counter != [x.version]:
                    return self._by_rules(g)  # which raises, or takes new data
                arrays.append(array)
                parts.append(x.dtype)
            elif x is LIKE_OUTPUT or x is dtype or type(x) is Aval:
                parts.append(x)
            else:
                return self._by_rules(g)
        for array in arrays:
            if type(array) is not ndarray:
                return self._by_rules(g)
            shape = array.shape
            parts.append(shape if array.flags.c_contiguous else (shape, array.strides))
        lines, key = self.reads.lines, tuple(parts)
        line = lines.get(key, 0)
        if line is None or type(line) is int:
            grads = self._by_rules(g)
            if line is not None and line < CALLS:
                if len(lines) > MOST:
                    lines.clear()
                lines[key] = line + 1
            elif line is not None and None not in [self.edges[k] for k, _ in self.reads.rules]:
                new_line(self.reads, key, self._avals(g), g, arrays, grads)
            return grads
        return line.gradients(g, arrays, len(self.inputs))

    def _avals(self, g: Tensor) -> list[Any]:
        """The shapes and dtypes of the output and the operands; None if like the output's."""
        return [
            (x.array.shape, x.dtype) if type(x) is Saved else x if type(x) is Aval else None
            for x in (self.y, *self.inputs)
        ]

    def has_saved_values(self) -> bool:
        return self.reads.saves and not self.freed

    def release(self) -> None:
        if self.reads.saves:
            self.freed, self.inputs, self.y = True, (), None


def record(op: OpDef, inputs: tuple, params: dict, y: Tensor) -> None:
    """Add a node for the operation that made `y`, if an input that requires grad has a rule."""
    reads = reads_of(op, inputs, params, y)
    if not reads.rules:
        return
    now = mode.__dict__
    keep: Any = _nothing if now["edges_only"] else now["make_saved"] or Saved
    array, dtype = y._array, y._dtype
    shape = y._node.shape if array is None else array.shape
    edges: list[GradFn | None] = []
    saved = []
    for x, (is_wanted, is_read) in zip(inputs, reads.operands):  # noqa: B905
        edges.append(x._grad_fn or edge(x) if is_wanted else None)
        if is_read:
            saved.append(keep(x))
            continue
        array = x._array
        extents = x._node.shape if array is None else array.shape
        like = extents == shape and x._dtype is dtype
        saved.append(LIKE_OUTPUT if like else Aval(extents, x._dtype))
    y._grad_fn = fn = OpBackward(op, params, tuple(saved), tuple(edges), reads, dtype)
    if reads.output:
        fn.y = keep(y)
    fn.freed, y._requires_grad = now["edges_only"], True


def _nothing(x: Tensor) -> None:
    """What is saved of a tensor if only edges are recorded."""
