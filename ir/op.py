"""OpDef, the one record that holds all facts of a primitive, and the makers of the common kinds of
record.

From a record alone follow the NumPy oracle, the eager operation, the derivative, the generated
kernels, the gradient test and the printed form. Adding a primitive means adding a record; nothing
else knows its name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from .cached import cached_property
from .dtype import DType, bool_
from .quiet import quietly
from .strides import View
from .value import OPERATORS, REGISTRY, Value

# rough cost of one element in vector code, in additions; functions that take longer say how long
CHEAP, DIVIDE, TRANSCENDENTAL = 1, 4, 12


Rule = Callable[..., Any]  # rule(g, y, *inputs, **params): the cotangent of one input, or None
# one per input, or found by its number
Rules = tuple[Rule | None, ...] | Callable[[int], Rule | None]


class Kind(Enum):
    SOURCE = "source"
    ELEMENTWISE = "elementwise"
    REDUCE = "reduce"
    MOVEMENT = "movement"
    INDEX = "index"
    CONTRACT = "contract"
    LINALG = "linalg"  # a factorisation by LAPACK
    IMPLICIT = "implicit"  # its first operand, with a derivative by others
    PREFIX = "prefix"
    ORDER = "order"
    LOOP = "loop"  # with bodies, which are Graphs


class Lowering(Enum):
    """What becomes of a primitive in generated code."""

    NONE = "none"  # an input or constant, or gone before kernels are made
    EXPRESSION = "expression"  # inlined into the loops that need its value
    VIEW = "view"  # index arithmetic over a buffer
    LOOP = "loop"  # a buffer of its own, computed by a loop nest that may be fused with others
    EXTERN = "extern"  # launches of its own, by a template of its own
    BODY = "body"  # those of its bodies, again and again, or not at all


class Types(Enum):
    """How the inputs' dtypes are brought together before the primitive applies (by Tensor; a Node's
    already agree).
    """

    SAME = "same"  # promote all; the result has that type
    FLOAT = "float"  # the same, and integers become the default float
    COMPARE = "compare"  # promote all; the result is bool
    LOGICAL = "logical"  # each input is cast to bool; the result is bool
    SELECT = "select"  # the first is bool, the rest are promoted
    FREE = "free"  # left as they are


@dataclass(frozen=True)
class Reduction:
    """How numbers are reduced to one: `init` maps a DType to the neutral element, `pair` is the
    primitive of two numbers, `combine` its expression, and `accumulate` that of an accumulator and
    one more number, in an order that LLVM may choose.
    """

    init: Callable[[DType], Any]
    combine: str
    accumulate: str
    pair: OpDef


@dataclass(frozen=True)
class Scan:
    """How each element along an axis follows from the one before, as expressions: the `first`, and
    each `step` from {h}, the one before. In a banded recurrence {h0}, {h1}, .. are of the row
    before, and `none` stands for one that there is none of. `wide`: float32 numbers are accumulated
    in float64, as torch does it.
    """

    first: str
    step: str
    wide: bool = False
    none: float = 0.0


@dataclass(frozen=True)
class Check:
    """What must hold of an operand, else the program ends with an error: `index`, an expression of
    it, is in the range of `size` along `dim` (see faults.py); both are numbers or parameters.
    """

    index: str = "{0}"
    size: str | int = "size"
    dim: str | int = "dim"
    dtype: DType | None = None  # of the index, if not the operand's


@dataclass(frozen=True)
class Law:
    """What a graph may rely on and `infer` does not check, in words; holds(*inputs, **params)."""

    words: str
    holds: Callable[..., bool]


def are_axes(axes: Any, rank: int) -> bool:
    """Whether it is a sorted tuple of different axes."""
    return type(axes) is tuple and list(axes) == sorted({*axes} & {*range(rank)})


@dataclass(frozen=True)
class Refused:
    """The dtypes that torch's function does not take, and its words for that."""

    kinds: tuple[str, ...] = ()  # bool, int, uint, float
    name: str | Callable[[int], str] = ""  # torch's name for it there, given the rank, if another
    bools: str = ""  # the whole message, of operands that are all bool
    one_bool: str = ""  # and where one of them is


def floats_only(name: str) -> Refused:
    """Of functions that make no floats of integers."""
    return Refused(("bool", "int", "uint"), f"{name}_cpu")


class ShapeError(RuntimeError):
    """Shapes that do not go together; a RuntimeError, as torch raises."""


class Access(ABC):
    """How a loop over the elements of a result reads the memory of its first operand at places
    that the other operands, the indices, give: at base + the sum of index * step.
    """

    @abstractmethod
    def base(self, x: View, shape: tuple[int, ...], params: dict[str, Any]) -> View:
        """Over the result's `shape`: where its elements stand in x if all indices are 0."""

    @abstractmethod
    def steps(self, x: View, params: dict[str, Any]) -> tuple[int, ...]:
        """By how many elements of x's memory each index moves."""

    @abstractmethod
    def index(self, i: View, rank: int, shape: tuple[int, ...], params: dict[str, Any]) -> View:
        """Over the result's `shape`: where its elements find their index in i, one of the indices
        into an operand of this rank.
        """


@dataclass(frozen=True, eq=False, repr=False)
class OpDef:
    """A primitive.

    ref(*arrays, **params) computes it with NumPy, on decoded numbers (see dtype.py); infer(*avals,
    **params) gives (shape, dtype) or raises; vjp holds one Rule or None per input, written in the
    operators of Value; expr is a scalar expression over {0}, {1}, ... for elementwise kernels;
    domain is the interval in which gradient tests draw inputs.

    view(View of the operand, **params) is the View of the result, where strides can express the
    movement; None where only a copy can. `aliases` says that torch's function gives such a view and
    not a copy. access says how a loop reads an operand at computed places.

    public has the names of torch's functions that are this primitive and nothing more, the usual
    one first; torch.special's have its prefix. operator is the method of Python that means it. Of
    op_math operands torch takes a number beside half tensors in float32; others are rounded first.
    If `divides`, an integer 0 as the second operand is an error. check is what it demands of its
    operand. If it `draws`, an element is a random number that depends on its place.

    Of an expression: `exact`, the result is an operand, or needs no more digits than the operands
    have; `chooses`, it compares, and takes an operand; beside_number is used for floats beside a
    constant that is not NaN. adds(params) says whether numbers are combined one by one. used_with
    are the parameters of an implicit primitive. bodies are parameters that are Graphs; ref gives
    the results of all siblings, and takes the interpreter.
    """

    name: str
    kind: Kind
    ref: Callable[..., Any]
    infer: Callable[..., tuple[tuple[int, ...], DType]]
    vjp: Rules | None = None
    expr: str | None = None
    types: Types = Types.FREE
    cost: int = CHEAP
    domain: tuple[float, float] = (-3.0, 3.0)
    grad_name: str = ""
    view: Callable[..., View | None] | None = None
    access: Access | None = None
    aliases: bool = False
    public: tuple[str, ...] = ()
    operator: str = ""
    commutative: bool = False
    refused: Refused = Refused()
    op_math: tuple[int, ...] = ()
    divides: bool = False
    check: Check | None = None
    law: Law | None = None
    draws: bool = False
    exact: bool = False
    chooses: bool = False
    beside_number: str = ""
    adds: Callable[[dict[str, Any]], bool] | None = None
    reduction: Reduction | None = None
    scan: Scan | None = None
    used_with: tuple[dict[str, Any], ...] = ({},)
    bodies: tuple[str, ...] = ()

    @cached_property
    def is_elementwise(self) -> bool:
        return self.kind is Kind.ELEMENTWISE

    @cached_property
    def only_moves(self) -> bool:
        """Whether it makes no new numbers, so that stored ones can be moved as they are."""
        return self.kind is Kind.MOVEMENT and self.adds is None

    @cached_property
    def lowering(self) -> Lowering:
        if self.kind in (Kind.SOURCE, Kind.IMPLICIT):
            return Lowering.NONE
        if self.kind is Kind.ELEMENTWISE:
            return Lowering.EXPRESSION
        if self.view is not None:
            return Lowering.VIEW
        if self.bodies:
            return Lowering.BODY
        loop = self.kind is Kind.REDUCE or self.access is not None
        return Lowering.LOOP if loop else Lowering.EXTERN

    @cached_property
    def recomputed(self) -> bool:
        """Whether computing it again is cheaper than to read it from memory: views, cheap
        expressions, and random numbers, which take no memory then.
        """
        if self.lowering is Lowering.EXPRESSION:
            return self.draws or (self.cost < DIVIDE and self.check is None)
        return self.lowering is Lowering.VIEW

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        for x in inputs:
            if isinstance(x, Value):
                return type(x).bind(self, inputs, params)
        raise TypeError(
            f"{self.name}(): expected a Tensor among the arguments, got "
            f"{[type(x).__name__ for x in inputs]}"
        )

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return (primitive, (self.name,))


def primitive(name: str) -> OpDef:
    """The record of this name; a pickled OpDef is its name."""
    return REGISTRY[name]


def register(op: OpDef) -> OpDef:
    if op.name in REGISTRY:
        raise ValueError(f"primitive {op.name!r} is registered twice")
    REGISTRY[op.name] = op
    if op.operator:
        OPERATORS[op.operator] = op
    return op


def always(params: dict[str, Any]) -> bool:
    """As `adds` of a primitive: whatever its parameters are, it combines numbers one by one."""
    return True


def _camel(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in name.split("_")) + "Backward0"


def broadcast(name: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's broadcasting; the error is torch's."""
    if shapes and shapes.count(shapes[0]) == len(shapes):
        return tuple(shapes[0])
    rank = max((len(s) for s in shapes), default=0)
    out = [1] * rank
    for shape in shapes:
        for d in reversed(range(rank - len(shape), rank)):  # torch names the last that disagree
            extent = shape[d - rank]
            if extent != 1 and out[d] != extent:
                if out[d] != 1:
                    raise ShapeError(
                        f"{name}: The size of tensor a ({out[d]}) must match the size of tensor b "
                        f"({extent}) at non-singleton dimension {d}: the shapes are "
                        f"{', '.join(str(list(s)) for s in shapes)}"
                    )
                out[d] = extent
    return tuple(out)


def elementwise(
    name: str,
    *,
    ref: Callable[..., Any],
    expr: str,
    types: Types = Types.SAME,
    grad_name: str = "",
    **fields: Any,
) -> OpDef:
    """A function of numbers, with NumPy's broadcasting; `fields` are more of OpDef."""
    truth, select = types in (Types.COMPARE, Types.LOGICAL), types is Types.SELECT

    def infer(*avals: Any, **params: Any) -> tuple[tuple[int, ...], DType]:
        shape = broadcast(name, *[a.shape for a in avals])
        if "dtype" in params:
            return shape, params["dtype"]
        if truth:
            return shape, bool_
        operands = avals[1:] if select else avals
        dtype = operands[0].dtype
        for a in operands:
            if a.dtype is not dtype:
                raise TypeError(
                    f"{name}: the operands have different dtypes: "
                    f"{[a.dtype.name for a in operands]}"
                )
        return shape, dtype

    grad_name = grad_name or _camel(name)
    return register(
        OpDef(name, Kind.ELEMENTWISE, ref, infer, expr=expr, types=types, grad_name=grad_name,
              **fields)
    )


def reduction(
    name: str,
    *,
    ref: Callable[..., Any],
    init: Callable[[DType], Any],
    combine: str,
    accumulate: str,
    pair: OpDef,
    grad_name: str = "",
    **fields: Any,
) -> OpDef:
    """A reduction over the sorted tuple `dims`, which it removes."""

    def infer(x: Any, *, dims: tuple[int, ...]) -> tuple[tuple[int, ...], DType]:
        return tuple(n for d, n in enumerate(x.shape) if d not in dims), x.dtype

    how = Reduction(init, combine, accumulate, pair)
    grad_name = grad_name or _camel(name)
    return register(
        OpDef(name, Kind.REDUCE, ref, infer, types=Types.SAME, grad_name=grad_name,
              exact=pair.exact, reduction=how, **fields)
    )


def movement(
    name: str,
    *,
    ref: Callable[..., Any],
    shape: Callable[..., Any],
    vjp: Rules,
    grad_name: str = "",
    **fields: Any,
) -> OpDef:
    """A movement of elements; with `adds` some meet and are summed: those must be numbers."""

    def infer(x: Any, **params: Any) -> tuple[tuple[int, ...], DType]:
        return shape(x.shape, **params), x.dtype

    return register(
        OpDef(name, Kind.MOVEMENT, ref, infer, vjp, grad_name=grad_name or _camel(name), **fields)
    )


def evaluate(
    op: OpDef, arrays: list[Any], dtypes: Sequence[DType], out: DType, params: dict[str, Any]
) -> np.ndarray:
    """Run the oracle on stored arrays: decode, compute, encode. `dtypes` may be empty if none of
    the arrays is of a half type.
    """
    if op.only_moves:
        return op.ref(*arrays, **params)
    if dtypes:
        arrays = [d.decode(a) for a, d in zip(arrays, dtypes, strict=True)]
    y = quietly(op.ref, *arrays, **params)
    stored = type(y) is np.ndarray and y.dtype is out.storage and not out.is_half
    return y if stored else out.encode(y)
