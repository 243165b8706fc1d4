"""What is known of an operation from the primitive and the dtypes of its operands: whether they
must be promoted, the dtype of the output, how it is computed. It is found once and kept.
"""

from __future__ import annotations

from ...ir.dtype import DType, bool_
from ...ir.op import Kind, OpDef, Types


class Lane:
    """How a primitive is applied to operands of certain kinds.

    promotes: the operands must be promoted first, and another lane found; number: the dtype that
    numbers among them become, or None if there are none; halves: the dtypes of the operands, empty
    if none is a half type; output: the dtype of the output, None if it depends on more; plain:
    NumPy computes it as it is stored.
    """

    __slots__ = (
        "aliases", "by_operands", "derivative", "halves", "number", "output", "plain", "promotes",
    )

    def __init__(
        self, op: OpDef, dtypes: tuple, number: DType | None, output: DType | None,
        promotes: bool = False,
    ):
        self.promotes, self.number, self.output = promotes, number, output
        self.halves = dtypes if any(d.is_half for d in dtypes) else ()
        self.aliases, self.by_operands = op.aliases, op.is_elementwise
        self.derivative = op.vjp is not None
        self.plain = not (self.halves or op.only_moves)


# (primitive, dtype or Python type of each operand)
lanes: dict[tuple, Lane] = {}
_promoted: dict[tuple, Lane] = {}


def promoted_lane(op: OpDef, dtypes: tuple[DType, ...]) -> Lane:
    """The lane of operands that are promoted."""
    lane = _promoted.get((op, dtypes))
    if lane is None:
        lane = _promoted[op, dtypes] = Lane(op, dtypes, None, None)
    return lane


def find_lane(op: OpDef, kinds: tuple) -> Lane:
    """The lane of operands of these kinds, dtypes of tensors and types of numbers."""
    lane = _find(op, kinds) or Lane(op, (), None, None, promotes=True)
    if all(isinstance(k, DType) or k in (bool, int, float) for k in kinds):
        lanes[op, *kinds] = lane
    return lane


def _find(op: OpDef, kinds: tuple) -> Lane | None:
    """None for operands that must be promoted. Numbers that do not change the common dtype need no
    promotion.
    """
    types, numbers = op.types, [k for k in kinds if not isinstance(k, DType)]
    dtypes = tuple(k for k in kinds if isinstance(k, DType))
    if any(d.kind in op.refused.kinds for d in dtypes[:1]):
        return None
    if op.refused.bools and dtypes[:1] == (bool_,):
        return None
    if types is Types.SELECT and kinds[0] is not bool_:
        return None
    common = set(dtypes[1:] if types is Types.SELECT else dtypes)
    dtype = common.pop() if len(common) == 1 else None
    known = op.aliases or op.is_elementwise or op.kind is Kind.REDUCE
    if types is Types.FREE:
        return None if numbers else Lane(op, dtypes, None, dtype if known else None)
    if (
        dtype is None
        or (types is Types.LOGICAL and (numbers or dtype is not bool_))
        or (types is Types.FLOAT and dtype.kind != "float")
        or (dtype is bool_ and (numbers or op.refused.one_bool))
        or (dtype.is_half and numbers)
        or (op.divides and dtype.kind in ("int", "uint"))
        or any(k is not int and (k is not float or dtype.kind != "float") for k in numbers)
    ):
        return None
    truth = types is Types.COMPARE or types is Types.LOGICAL
    output = (bool_ if truth else dtype) if known else None
    return Lane(op, dtypes, dtype if numbers else None, output)
