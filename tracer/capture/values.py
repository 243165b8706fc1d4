"""ValueLog: the values of a program that Python looks at while it is traced, in order.

A number that is only computed with is a Scalar, read at each call. A value that decides something
(a branch, an index) is a question: the program fits a call only if its value is the same there.
What needs a value to go on (a number in an operation, a shape) cuts the program: what was asked so
far is computed by a segment of its own, and the rest of the program reads it as an input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...ir.dtype import DType, bool_
from ...ir.graph import postorder
from ...ir.interpret import compute
from ...ir.node import Node, Site, input_node, is_constant, user_site
from ...ir.ops.elementwise import ne
from ...ir.ops.movement import reshape, slice as slice_
from ...ir.ops.source import input as input_
from ..tensor.device_memory import host
from ..tensor.tensor import Tensor, traced
from .inputs import Input
from .scalar import Scalar, ScalarLog, UnknownValue

LOOK_OUTSIDE = "Return the tensor and look at it outside the compiled function."
_DECIDING = ("bool", "int", "index")  # ways to ask that give numbers of few values


class Question(NamedTuple):
    """The trace depends on this value: that of a node or a Scalar, or the shapes of what is
    computed. `stage` is the number of cuts before it.
    """

    of: Node | Scalar | Computed
    value: Any
    site: Site | None
    stage: int


class Read(NamedTuple):
    """A number that Python reads at each call: an element of a node, as `scalar`."""

    scalar: Scalar
    node: Node
    element: int
    site: Site | None


class Computed:
    """Tensors that NumPy computes from values, after segment `stage`: `function` takes the arrays
    of `operands` and gives pairs of an array and its dtype. Their shapes are a question.
    """

    def __init__(self, function: Callable, operands: list[Node], stage: int, site: Site | None):
        self.function, self.operands, self.stage, self.site = function, operands, stage, site
        self.shapes: list[tuple[int, ...]] = []
        self.results: list[Node] = []

    def arrays(self, *operands: np.ndarray) -> list[np.ndarray]:
        """At a call."""
        return [array for array, _ in self.function(*operands)]


class ValueLog:
    """`numbers` are the values of the inputs at the call that is traced."""

    def __init__(self, numbers: dict[Node, np.ndarray], log: ScalarLog) -> None:
        self.numbers, self.log = numbers, log
        self.expect(frozenset(), set(), ())
        self.questions: list[Question] = []
        self.reads: list[Read] = []
        self.cuts: list[int] = []  # the number of questions before each
        self.computed: list[Computed] = []
        log.ask = self.ask

    def expect(self, constant: frozenset, divided: set[tuple], answers: tuple) -> None:
        """`constant` are the origins of numbers that the function needs as constants; `divided` are
        beginnings of `way` after which calls went several ways; `answers` are those of this call to
        the first questions, as a program has computed them.
        """
        self.constant, self.divided, self.answers = constant, divided, answers

    @property
    def way(self) -> tuple:
        """The answers to all questions so far."""
        return tuple(q.value for q in self.questions)

    def value(self, node: Node, what: str, instead: str) -> np.ndarray:
        """The value of a node at the call that is traced."""
        numbers = self.numbers
        for x in postorder([node], stop=numbers.__contains__):
            if x in numbers:
                numbers[x] = host(numbers[x])
            elif x.op is input_:
                raise refusal(what, node, instead)
        compute([node], numbers)
        return numbers[node]

    def ask(self, of: Node | Scalar, value: Any) -> Any:
        """The answer to a question: `value`, unless a program has computed another one. If calls
        have gone several ways from here, the program is cut: what precedes is computed once,
        whichever way is taken.
        """
        count = len(self.questions)
        if count < len(self.answers) and self.way == self.answers[:count]:
            value = self.answers[count]
        divided = bool(self.divided) and self.way in self.divided
        self.questions.append(Question(of, value, user_site(), len(self.cuts)))
        if divided:
            self.cut()
        return value

    def cut(self) -> None:
        self.cuts.append(len(self.questions))

    def decide(self, node: Node, what: str) -> Any:
        """The value of one element, as a question."""
        value = node.dtype.decode(self.value(node, what, LOOK_OUTSIDE)).item()
        if is_constant(node):
            return value
        if what == "bool" and node.dtype is not bool_:  # the truth value alone is asked
            node, value = ne(node, 0), bool(value)
        return self.ask(node, value)

    def read(self, node: Node, what: str) -> list[Any]:
        """The elements of a node, in a row, as numbers that are read at each call."""
        if what in _DECIDING:
            return [self.decide(node, what)]
        values = node.dtype.decode(self.value(node, what, LOOK_OUTSIDE)).reshape(-1).tolist()
        if is_constant(node):
            return values
        site = user_site()
        if ("value", site) in self.constant:
            flat = reshape(node, shape=(len(values),))
            parts = (slice_(flat, slices=((k, k + 1, 1),)) for k in range(len(values)))
            return [self.ask(part, value) for part, value in zip(parts, values, strict=True)]
        scalars = []
        for k, value in enumerate(values):
            scalar = Scalar(self.log, value, ("value", site))
            scalar._stage = len(self.cuts)
            self.reads.append(Read(scalar, node, k, site))
            scalars.append(scalar)
        return scalars

    def compute(
        self, function: Callable, nodes: list[Node], what: str, instead: str, inputs: list[Input]
    ) -> list[Tensor]:
        """New tensors of what `function` gives, for values of nodes; it becomes inputs."""
        for call in self.computed:  # the same again
            if (call.function, call.operands) == (function, nodes):
                return list(map(traced, call.results))
        arrays = [self.value(node, what, instead) for node in nodes]
        call = Computed(function, nodes, len(self.cuts), user_site())
        self.computed.append(call)
        for k, (array, dtype) in enumerate(function(*arrays)):
            call.results.append(self._input(inputs, "computed", (call, k), array, dtype))
            call.shapes.append(array.shape)
        self.questions.append(Question(call, tuple(call.shapes), call.site, len(self.cuts)))
        self.cut()
        return list(map(traced, call.results))  # not those of the inputs: they may be written

    def _input(
        self, inputs: list[Input], kind: str, key: Any, array: np.ndarray, dtype: DType
    ) -> Node:
        node = input_node(array.shape, dtype, kind)
        inputs.append(Input(node, kind, key, None, traced(node)))
        self.numbers[node] = array
        return node

    def nodes(self) -> list[Node]:
        """All that Python looks at."""
        asked = [q.of for q in self.questions if isinstance(q.of, Node)]
        operands = [node for call in self.computed for node in call.operands]
        return [*asked, *(r.node for r in self.reads), *operands]

    def forget(self) -> None:
        """The program is made: drop what only the trace needs."""
        self.numbers.clear()
        self.log.ask, self.log.closed = _over, True
        for call in self.computed:
            call.operands, call.results = [], []

    # ---- for a pass that is undone (hook_effects.py)
    def mark(self) -> tuple[int, ...]:
        return tuple(map(len, self._lists()))

    def undo(self, mark: Sequence[int]) -> None:
        """Forget what came after `mark`."""
        for items, count in zip(self._lists(), mark, strict=True):
            del items[count:]

    def first_since(self, mark: Sequence[int] = (0, 0)) -> Site | None:
        """The line of the first value that was looked at, since a mark."""
        sites = [q.site for q in self.questions[mark[0] :]]
        return next(iter([*sites, *(r.site for r in self.reads[mark[1] :])]), None)

    def _lists(self) -> tuple[list, ...]:
        return self.questions, self.reads, self.cuts, self.computed, self.log.risky


def _over(of: Any, value: Any) -> Any:
    raise RuntimeError("the trace is over")


def refusal(what: str, node: Node, instead: str) -> UnknownValue:
    return UnknownValue(
        f"{what}: the value of a traced tensor of shape {list(node.shape)} is not known "
        f"while the function is compiled (line {user_site()}). {instead}"
    )
