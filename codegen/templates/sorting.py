"""Sorting, selecting and searching: a row of the launch is one row to sort, or one number to place.

Long rows are sorted by their bits, eight at a time from the lowest on (a radix sort). A word has
the bits of a number, such that words are in the order of the numbers, above the number's position.
What all numbers of a row have in common is passed over. Short rows are sorted by a stable merge
sort from the bottom up, beginning with short runs sorted by insertion. Both go to and fro between
two lists in memory that is the part's own (loops.py).

The first few are selected: a list in order, into which goes what stands before the last of it. Most
numbers of a row do not, and are passed over by the block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...ir.dtype import DType, int64
from ...ir.node import Node
from ...ir.strides import View
from ..schedule.lower import Lowered
from ..text import Piece, load, store
from .buffer_parts import Loops

_RUN = 16  # sorted by insertion
_BY_BITS = 160  # numbers in a row from which on their bits are sorted
_LONGEST = 1 << 31  # positions that stand beside 32 bits in a word
_FEW = 64  # positions that are selected, at most, and not more than an eighth of the row
_BLOCK = 128  # numbers that are looked at together
_HALF, _LOW = 1 << 32, (1 << 32) - 1


class _Rows:
    """The rows along the axis of an anchor, and how its operand and it are read and written."""

    def __init__(self, low: Lowered, anchor: Node, place: Mapping[Node, Node], words: int):
        """`words` of scratch memory are taken for a row."""
        axis, self.descending = anchor.params["axis"], anchor.params["descending"]
        self.leaf, view = low.resolve(anchor.inputs[0])
        own = View.of(anchor.shape)
        rest = tuple(n for d, n in enumerate(anchor.shape) if d != axis)
        rows = [View(rest, tuple(s for d, s in enumerate(v.strides) if d != axis), v.offset)
                for v in (view, own)]
        self.loops = Loops(rest, [v.strides for v in rows], in_parts=True)
        args = self.loops.args
        self.is_float = self.leaf.dtype.kind == "float"
        self.src = args.pointer(place.get(self.leaf, self.leaf), self.leaf.dtype)
        self.dst = args.pointer(place.get(anchor, anchor), int64)
        self.length = anchor.inputs[0].shape[axis]
        self.n, self.count = (args.integer(size, name) for size, name in
                              ((self.length, "length"), (anchor.shape[axis], "count")))
        self.step, self.stride = (
            "" if v.strides[axis] == 1 else f" * {args.integer(v.strides[axis], name)}"
            for v, name in ((view, "step"), (own, "stride")))
        self.begin = [f"x = {self.loops.position(rows[0])}", f"o = {self.loops.position(rows[1])}"]
        if words:
            self.tmp = args.scratch(self.loops.parts * words * int64.itemsize)
            self.begin.append(f"a = part * {args.integer(words, 'words')}")

    def key(self, at: str) -> str:
        return load(self.src, self.leaf.dtype, f"x + {at}{self.step}")

    def before(self, a: str, b: str) -> str:
        """Whether a must stand before b; NaN is the greatest."""
        great, small = (a, b) if self.descending else (b, a)
        if not self.is_float:
            return f"({small} < {great})"
        return f"(({small} < {great}) | (({great} != {great}) & ({small} == {small})))"

    def listed(self, at: str) -> str:
        return load(self.tmp, int64, at)

    def put(self, at: str, value: str) -> str:
        return store(self.tmp, int64, at, value)

    def result(self, at: str) -> str:
        return load(self.dst, int64, f"o + {at}{self.stride}")

    def give(self, at: str, value: str) -> str:
        return store(self.dst, int64, f"o + {at}{self.stride}", value)

    def piece(self, name: str, lines: list[str], cost: int) -> Piece:
        piece = self.loops.piece(name, [*self.begin, *lines])
        return piece._replace(step_cost=max(piece.step_cost, 1) * self.length * cost)


# ---- merging
def _sorted_runs(r: _Rows) -> list[str]:
    """List `a`: the positions 0 to n, sorted within each run by insertion."""
    return [
        f"for low in range(0, {r.n}, {_RUN}):",
        f"    for j in range(low, minimum(low + {_RUN}, {r.n})):",
        f"        u = {r.key('j')}",
        "        i = j",
        "        while i > low:",
        f"            at = {r.listed('a + i - 1')}",
        f"            v = {r.key('at')}",
        f"            if not {r.before('u', 'v')}:",
        "                break",
        f"            {r.put('a + i', 'at')}",
        "            i -= 1",
        f"        {r.put('a + i', 'j')}",
    ]


def _merged_runs(r: _Rows) -> list[str]:
    """Runs of list `a` merged into list `b`, two and two; then the lists change names."""
    return [
        f"width = {_RUN}",
        f"while width < {r.n}:",
        f"    for low in range(0, {r.n}, 2 * width):",
        f"        middle = minimum(low + width, {r.n})",
        f"        high = minimum(low + 2 * width, {r.n})",
        "        i = low",
        "        j = middle",
        "        for k in range(low, high):",
        "            right = i >= middle",
        "            if i < middle and j < high:",
        f"                u = {r.key(r.listed('a + j'))}",
        f"                v = {r.key(r.listed('a + i'))}",
        f"                right = {r.before('u', 'v')}",
        "            if right:",
        f"                {r.put('b + k', r.listed('a + j'))}",
        "                j += 1",
        "            else:",
        f"                {r.put('b + k', r.listed('a + i'))}",
        "                i += 1",
        *(f"    {line}" for line in _EXCHANGED),
        "    width *= 2",
    ]


_EXCHANGED = ["t = a", "a = b", "b = t"]


# ---- sorting by bits
def _ordered(dtype: DType) -> list[str]:
    """From a number v to its key: a signed integer, in the order of the numbers."""
    if dtype.kind != "float":
        return ["key = i8(v)"]
    wide = dtype.bits == 64
    code, like, most = ("f8", "i8", (1 << 63) - 1) if wide else ("f4", "i4", (1 << 31) - 1)
    return [
        f"key = i8(bits(v + {code}(0.0), {like}(0)))",  # of both zeros the same
        f"key = select(key < 0, key ^ {most}, key)",
        f"key = select(v != v, i8({most}), key)",
    ]


def _digit(word: str, d: int) -> str:
    """Eight of the 32 bits above the position; those with the sign begin at 0, too."""
    return f"(({word} >> 56) + 128)" if d == 3 else f"(({word} >> {32 + 8 * d}) & 255)"


def _sorted_by_bits(r: _Rows) -> list[str]:
    """List `a`: words in order, of which the lower half is the position."""
    wide = r.leaf.dtype.itemsize == 8
    lines = []
    for part in range(1 + wide):
        key = _ordered(r.leaf.dtype)
        if r.descending:
            key.append("key = -1 - key")
        if wide:
            key.append("key = key >> 32" if part else f"key = (key & {_LOW}) - {_HALF >> 1}")
        lines += [
            "for j in range(1024):",
            f"    {r.put('h + j', '0')}",
            f"for j in range({r.n}):",
            f"    at = {r.listed('a + j')} & {_LOW}" if part else "    at = j",
            f"    v = {r.key('at')}",
            *(f"    {line}" for line in key),
            f"    word = key * {_HALF} + at",
            f"    {r.put('a + j', 'word')}",
        ]
        for d in range(4):
            lines += [f"    i = h + {256 * d} + {_digit('word', d)}",
                      f"    {r.put('i', r.listed('i') + ' + 1')}"]
        for d in range(4):
            lines += _by_digit(r, d)
    return lines


def _by_digit(r: _Rows, d: int) -> list[str]:
    """The words of list `a` by one of their digits into list `b`; then the lists change names."""
    count = f"h + {256 * d}"
    return [
        f"i = {count} + {_digit(r.listed('a'), d)}",
        f"if {r.listed('i')} < {r.n}:",
        "    total = i8(0)",
        "    for j in range(256):",
        f"        some = {r.listed(f'{count} + j')}",
        f"        {r.put(f'{count} + j', 'total')}",
        "        total += some",
        f"    for j in range({r.n}):",
        f"        word = {r.listed('a + j')}",
        f"        i = {count} + {_digit('word', d)}",
        f"        at = {r.listed('i')}",
        f"        {r.put('i', 'at + 1')}",
        f"        {r.put('b + at', 'word')}",
        *(f"    {line}" for line in _EXCHANGED),
    ]


def argsort(low: Lowered, anchor: Node, place: Mapping[Node, Node]) -> Iterator[Piece]:
    length = anchor.inputs[0].shape[anchor.params["axis"]]
    by_bits = _BY_BITS <= length < _LONGEST
    r = _Rows(low, anchor, place, 2 * length + 1024 * by_bits)
    at = f"{r.listed('a + j')} & {_LOW}" if by_bits else r.listed("a + j")
    lines = [
        f"b = a + {r.n}",
        *([f"h = b + {r.n}"] if by_bits else []),
        *(_sorted_by_bits(r) if by_bits else [*_sorted_runs(r), *_merged_runs(r)]),
        f"for j in range({r.count}):",
        f"    {r.give('j', at)}",
    ]
    yield r.piece("argsort", lines, 40 if by_bits else 8 * max(length.bit_length(), 1))


# ---- selecting
def top(low: Lowered, anchor: Node, place: Mapping[Node, Node]) -> Iterator[Piece]:
    axis = anchor.params["axis"]
    if anchor.shape[axis] > min(_FEW, anchor.inputs[0].shape[axis] // 8):
        yield from argsort(low, anchor, place)
        return
    r = _Rows(low, anchor, place, 0)
    lines = [
        f"for j in range({r.count}):",
        f"    u = {r.key('j')}",
        "    i = j",
        *(f"    {line}" for line in _inserted(r)),
        f"worst = {r.key(r.result(f'({r.count} - 1)'))}",
        f"for low in range({r.count}, {r.n}, {_BLOCK}):",
        f"    high = minimum(low + {_BLOCK}, {r.n})",
        "    better = i4(0)",
        "    for j in range(low, high):",
        f"        u = {r.key('j')}",
        f"        better = i4(maximum(better, select({r.before('u', 'worst')}, i4(1), i4(0))))",
        "    if better > i4(0):",
        "        for j in range(low, high):",
        f"            u = {r.key('j')}",
        f"            if {r.before('u', 'worst')}:",
        f"                i = {r.count} - 1",
        *(f"                {line}" for line in _inserted(r)),
        f"                worst = {r.key(r.result(f'({r.count} - 1)'))}",
    ]
    yield r.piece("top", lines, 2)


def _inserted(r: _Rows) -> list[str]:
    """Position j, where u is, into the list of i positions."""
    return [
        "while i > 0:",
        f"    at = {r.result('(i - 1)')}",
        f"    v = {r.key('at')}",
        f"    if not {r.before('u', 'v')}:",
        "        break",
        f"    {r.give('i', 'at')}",
        "    i -= 1",
        r.give("i", "j"),
    ]


# ---- searching
def searchsorted(low: Lowered, anchor: Node, place: Mapping[Node, Node]) -> Iterator[Piece]:
    (seq, rows), (leaf, values) = (low.resolve(x) for x in anchor.inputs)
    *lead, step = rows.strides
    per_row = (*lead, 0) if lead else (0,) * len(anchor.shape)
    base, own = View(anchor.shape, per_row, rows.offset), View.of(anchor.shape)
    loops = Loops(anchor.shape, [base.strides, values.strides, own.strides])
    args = loops.args
    src = args.pointer(place.get(seq, seq), seq.dtype)
    new = args.pointer(place.get(leaf, leaf), leaf.dtype)
    dst = args.pointer(place.get(anchor, anchor), int64)
    at = f"row + middle * {args.integer(step, 'step')}"
    sign = ">" if anchor.params["right"] else ">="
    lines = [
        f"row = {loops.position(base)}",
        f"x = {load(new, leaf.dtype, loops.position(values))}",
        "low = i8(0)",
        f"high = i8({args.integer(rows.shape[-1], 'length')})",
        "while low < high:",
        "    middle = (low + high) >> 1",
        f"    if {load(src, seq.dtype, at)} {sign} x:",
        "        high = middle",
        "    else:",
        "        low = middle + 1",
        store(dst, int64, loops.position(own), "low"),
    ]
    piece = loops.piece("searchsorted", lines)
    cost = max(piece.step_cost, 1) * max(rows.shape[-1].bit_length(), 1) * 8
    yield piece._replace(step_cost=cost)
