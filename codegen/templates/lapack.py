"""Factorisations by LAPACK: a step of the launch is one matrix of the stack.

LAPACK wants the columns of a matrix one after the other. A row-major matrix is the transpose of
such a one, which triangular solves and Cholesky take in place; others work on a transposed copy.
The routines are builtins, `<routine>_<type>`, whose pointers each come with a
position; they answer `info`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from ...ir.dtype import int32
from ...ir.faults import NAMES
from ...ir.node import Node
from ...ir.op import OpDef
from ...ir.ops import linalg
from ...ir.ops.linalg import qr_shapes
from ..program import Kernel
from ..schedule.lower import Lowered
from ..text import Arguments, Piece, load, storage_code, store

BLOCK = 32  # columns that LAPACK works on at once: rows of its workspace
STRIP = 16  # columns that are transposed together
L, N, R, S, T, U, V = (ord(c) for c in "LNRSTUV")  # what LAPACK is told in letters
A = ord("A")


class _Writer:
    """The text of one factorisation of matrix number `b`."""

    def __init__(self, low: Lowered, anchor: Node, place: Mapping[Node, Node]):
        self.anchor, self.dtype, self.args = anchor, anchor.dtype, Arguments()
        self.code = storage_code(anchor.dtype)
        self.lines: list[str] = []
        self.floats = self.ints = 0  # scratch of one matrix
        leaves = [low.resolve(x)[0] for x in anchor.inputs]
        self.inputs = [self.args.pointer(place.get(x, x), self.dtype) for x in leaves]
        self.out = self.args.pointer(place.get(anchor, anchor), self.dtype)
        a = anchor.inputs[0].shape
        self.batched = len(a) > 2
        self.batch = math.prod(a[:-2])
        self.m, self.n = (self.args.integer(d, key) for key, d in zip("mn", a[-2:], strict=True))
        self.rows, self.columns = a[-2:]
        for name, x in (("a", anchor.inputs[0]), ("o", anchor)):
            size = math.prod(x.shape) // max(self.batch, 1)
            self.line(f"{name} = b * {self.args.integer(size, ('size', name))}")

    def line(self, text: str, depth: int = 0) -> None:
        self.lines.append("    " * depth + text)

    def number(self, value: int, key: str) -> str:
        return self.args.integer(value, key)

    def workspace(self, floats: dict[str, int], ints: dict[str, int]) -> None:
        """Scratch of this many numbers, by name; the names stand for positions from here on."""
        width, words = sum(floats.values()), -(-sum(ints.values()) // 2) * 2
        start = -(-self.batch * width * self.dtype.itemsize // 8) * 8
        nbytes = start + self.batch * words * 4
        self.work = self.args.scratch(nbytes, self.dtype)
        self.whole = self.args.scratch(nbytes, int32) if ints else ""
        for sizes, first, step in ((floats, 0, width), (ints, start // 4, words)):
            at = first
            for name, size in sizes.items():
                here, each = self.number(at, f"at {name}"), self.number(step, f"step {step}")
                self.line(f"{name} = {here} + b * {each}")
                at += size

    def get(self, pointer: str, at: str) -> str:
        return load(pointer, self.dtype, at)

    def put(self, pointer: str, at: str, value: str, depth: int = 0) -> None:
        self.line(store(pointer, self.dtype, at, value), depth)

    def loops(self, rows: str, columns: str) -> None:
        self.line(f"for i in range({rows}):")
        self.line(f"    for j in range({columns}):")

    def strips(self, rows: str, columns: str) -> None:
        """As `loops`, in an order that keeps both sides of a transposition in the cache."""
        self.line(f"for j0 in range(0, {columns}, {STRIP}):")
        self.line(f"    for i in range({rows}):")
        self.line(f"        for j in range(j0, minimum(j0 + {STRIP}, {columns})):")

    def turned(self) -> None:
        """The matrix, column by column, as `w` of the scratch."""
        self.strips(self.m, self.n)
        value = self.get(self.inputs[0], f"a + i * {self.n} + j")
        self.put(self.work, f"w + j * {self.m} + i", value, 3)

    def call(self, routine: str, *arguments: object, depth: int = 0) -> None:
        self.line(f"info = {routine}_{self.code}({', '.join(map(str, arguments))})", depth)

    def failed(self, condition: str = "info != 0") -> bool:
        """Begin what is done after a failure; report it if that is asked for."""
        check = self.anchor.params["check"]
        self.line(f"if {condition}:")
        if check is not None:
            status = self.args.pointer("status")
            at = "b" if self.batched else "-1"
            code = self.number(NAMES.index(check), "check")
            self.line(f"    report_factor({status}, info, {code}, {at})")
        return check is None

    def nothing(self, size: int) -> None:
        """All of the answer becomes NaN."""
        self.line(f"    for i in range({self.number(size, 'all')}):")
        self.put(self.out, "o + i", f"{self.code}(nan)", 2)

    def piece(self, work: int) -> Piece:
        body = "".join(f"        {line}\n" for line in self.lines)
        head = "".join(f"    {line}\n" for line in self.args.lines)
        source = f"{head}    for b in range(start, stop):\n{body}"
        return Piece(Kernel(self.anchor.op.name, source), self.args, self.batch, max(work, 1))


def _cholesky(w: _Writer) -> int:
    """The lower triangle row by row is the upper one column by column."""
    n, out = w.n, w.out
    w.loops(n, n)
    value = f"select(j <= i, {w.get(w.inputs[0], f'a + i * {n} + j')}, {w.code}(0))"
    w.put(out, f"o + i * {n} + j", value, 2)
    w.call("potrf", U, n, out, "o", n)
    diagonal = w.get(out, f"o + i * ({n} + 1)")
    w.line("lost = False")
    w.line(f"for i in range({n}):  # a pivot which LAPACK may pass: of NaN, and in float32, as in")
    w.line(f"    lost = lost or {diagonal} != {diagonal}  # torch, after an infinite one")
    w.line("    if lost and (info == 0 or i < info):")
    w.line("        info = i + 1")
    if w.code == "f4":
        w.line(f"    lost = {diagonal} == f4(inf)")
    w.failed("info > 0")
    w.line(f"    for i in range(info - 1, {n}):")
    w.line("        for j in range(info - 1, i + 1):")
    w.put(out, f"o + i * {n} + j", f"{w.code}(nan)", 3)
    return w.rows**3 // 3


def _triangular_solve(w: _Writer) -> int:
    """Of the transposed matrices, X op(A) = B."""
    p, columns = w.anchor.params, w.anchor.shape[-1]
    k = w.number(columns, "k")
    size = w.number(w.rows * columns, "b")
    w.line(f"for i in range({size}):")
    w.put(w.out, "o + i", w.get(w.inputs[1], "o + i"), 1)
    w.call("trsm", R, L if p["upper"] else U, T if p["trans"] else N, U if p["unit"] else N,
           k, w.n, f"{w.code}(1.0)", w.inputs[0], "a", w.n, w.out, "o", k)
    return w.rows**2 * columns


def _eliminated(w: _Writer, k: str) -> None:
    """What getrf means: see ir/ops/linalg.py."""

    def at(i: str, j: str) -> str:
        return f"w + ({j}) * {w.m} + {i}"

    def get(i: str, j: str) -> str:
        return w.get(w.work, at(i, j))

    w.line("info = 0", 1)
    w.line(f"for i in range({k}):", 1)
    w.line("r = i", 2)
    w.line(f"for j in range(i + 1, {w.m}):", 2)
    w.line(f"if absolute({get('j', 'i')}) > absolute({get('r', 'i')}):", 3)
    w.line("r = j", 4)
    w.line(store(w.whole, int32, "p + i", "r + 1"), 2)
    w.line(f"for j in range({w.n}):", 2)
    w.line(f"t = {get('i', 'j')}", 3)
    w.put(w.work, at("i", "j"), get("r", "j"), 3)
    w.put(w.work, at("r", "j"), "t", 3)
    w.line(f"if info == 0 and {get('i', 'i')} == 0:", 2)
    w.line("info = i + 1", 3)
    w.line(f"for r in range(i + 1, {w.m}):", 2)
    w.line(f"if {get('i', 'i')} != 0:", 3)
    w.put(w.work, at("r", "i"), f"{get('r', 'i')} / {get('i', 'i')}", 4)
    w.line(f"for j in range(i + 1, {w.n}):", 3)
    w.put(w.work, at("r", "j"), f"{get('r', 'j')} - {get('r', 'i')} * {get('i', 'j')}", 4)


def _lu(w: _Writer) -> int:
    m, n, out = w.m, w.n, w.out
    k = min(w.rows, w.columns)
    wide = w.number(w.columns + 2, "wide")
    w.workspace({"w": w.rows * w.columns}, {"p": max(k, 1)})
    w.turned()
    w.line("finite = True")
    w.loops(m, n)
    number = w.get(w.work, f"w + j * {m} + i")
    w.line(f"        finite = finite and {number} - {number} == 0")
    w.line("if finite:")
    w.call("getrf", m, n, w.work, "w", m, w.whole, "p", depth=1)
    w.line("else:")
    _eliminated(w, w.number(k, "k"))
    w.failed("info > 0")
    w.line("    pass")
    w.line(f"for i in range({m}):")
    w.line(f"    for j in range({n}):")
    w.put(out, f"o + i * {wide} + j", w.get(w.work, f"w + j * {m} + i"), 2)
    w.put(out, f"o + i * {wide} + {n}", f"{w.code}(i)", 1)
    w.put(out, f"o + i * {wide} + {n} + 1", f"{w.code}(0)", 1)
    w.line(f"for i in range({w.number(k, 'k')}):")
    w.line(f"    r = {load(w.whole, int32, 'p + i')} - 1")
    w.put(out, f"o + i * {wide} + {n} + 1", f"{w.code}(r)", 1)
    w.line(f"    t = {w.get(out, f'o + i * {wide} + {n}')}")
    w.put(out, f"o + i * {wide} + {n}", w.get(out, f"o + r * {wide} + {n}"), 1)
    w.put(out, f"o + r * {wide} + {n}", "t", 1)
    return w.rows * w.columns * k


def _qr(w: _Writer) -> int:
    m, n, out = w.m, w.n, w.out
    (_, k), _ = qr_shapes((w.rows, w.columns), w.anchor.params["complete"])
    least, most = min(w.rows, w.columns), max(w.columns, k, 1)
    w.workspace({"w": w.rows * most, "t": max(least, 1), "x": BLOCK * most}, {})
    count, room = w.number(k, "k"), w.number(BLOCK * most, "room")
    w.turned()
    w.call("geqrf", m, n, w.work, "w", m, w.work, "t", w.work, "x", room)
    w.line(f"lost = {m}")
    pivot = w.get(w.work, f"w + i * ({m} + 1)")
    w.line(f"for i in range({w.number(least, 'least')}):  # LAPACK may leave later columns alone")
    w.line(f"    if i < lost and {pivot} - {pivot} != 0:")
    w.line("        lost = i")
    vectors = w.anchor.params.get("vectors", True)
    w.line(f"r = o + {m} * {count}" if vectors else "r = o")
    w.loops(count, n)
    w.line("        if i > j:")
    w.put(out, f"r + i * {n} + j", f"{w.code}(0)", 3)
    w.line("        else:")
    value = w.get(w.work, f"w + j * {m} + i")
    value = f"select(i >= lost and j > lost, {w.code}(nan), {value})"
    w.put(out, f"r + i * {n} + j", value, 3)
    if not vectors:
        return w.rows * w.columns * most
    w.call("orgqr", m, count, w.number(least, "least"), w.work, "w", m, w.work, "t", w.work, "x",
           room)
    w.loops(m, count)
    value = w.get(w.work, f"w + j * {m} + i")
    value = f"select(i > lost and j > lost, {w.code}(nan), {value})"
    w.put(out, f"o + i * {count} + j", value, 2)
    return 2 * w.rows * w.columns * most


def _eigh(w: _Writer) -> int:
    n, out, size = w.n, w.out, w.rows
    vectors = w.anchor.params.get("vectors", True)
    room = 1 + 6 * size + 2 * size * size if vectors else 1 + (2 + BLOCK) * size
    words = 3 + 5 * size if vectors else 1
    w.workspace({"w": size * size, "x": room}, {"y": words})
    w.turned()
    triangle = U if w.anchor.params["upper"] else L
    w.call("syevd", V if vectors else N, triangle, n, w.work, "w", n, out, "o", w.work, "x",
           w.number(room, "room"), w.whole, "y", w.number(words, "words"))
    if vectors:
        w.loops(n, n)
        w.put(out, f"o + {n} + i * {n} + j", w.get(w.work, f"w + j * {n} + i"), 2)
    w.failed()
    w.nothing(w.anchor.shape[-1])
    return (10 if vectors else 2) * size**3


def _turned_for_svd(w: _Writer) -> None:
    """LAPACK refuses NaN, but may not come back from an infinity."""
    w.turned()
    w.line(f"for i in range({w.m} * {w.n}):")
    number = w.get(w.work, "w + i")
    w.put(w.work, "w + i", f"{number} + ({number} - {number})", 1)


def _singular_values(w: _Writer, k: int) -> int:
    """Alone, by a routine that then reads no place for vectors."""
    if k == 0:
        w.line("pass")
        return 1
    room = 10 * k + (BLOCK + 1) * (w.rows + w.columns)
    w.workspace({"w": w.rows * w.columns, "x": room}, {"y": 8 * k})
    _turned_for_svd(w)
    x = w.work
    w.call("gesdd", N, w.m, w.n, x, "w", w.m, w.out, "o", x, "x", w.m, x, "x", w.n, x, "x",
           w.number(room, "room"), w.whole, "y")
    w.failed()
    w.nothing(k)
    return 4 * w.rows * w.columns * k


def _svd(w: _Writer) -> int:
    m, n, out = w.m, w.n, w.out
    full, k = w.anchor.params["full"], min(w.rows, w.columns)
    if not w.anchor.params.get("vectors", True):
        return _singular_values(w, k)
    left, right = (w.rows, w.columns) if full else (k, k)
    room = 4 * k * k + 7 * k + BLOCK * (w.rows + w.columns) + 1
    w.workspace(
        {"w": w.rows * w.columns, "u": w.rows * left, "v": right * w.columns, "x": room},
        {"y": 8 * k + 1},
    )
    nu, nv = w.number(left, "left"), w.number(right, "right")
    w.line(f"s = o + {m} * {nu}")
    w.line(f"t = s + {w.number(k, 'k')}")
    if k == 0:  # LAPACK says nothing of the vectors then: they are those of the identity
        for at, size in (("o", nu), ("t", nv)):
            w.loops(size, size)
            w.put(out, f"{at} + i * {size} + j", f"{w.code}(i == j)", 2)
        return w.rows + w.columns
    _turned_for_svd(w)
    w.call("gesdd", A if full else S, m, n, w.work, "w", m, out, "s", w.work, "u", m, w.work, "v",
           nv, w.work, "x", w.number(room, "room"), w.whole, "y")
    w.loops(m, nu)
    w.put(out, f"o + i * {nu} + j", w.get(w.work, f"u + j * {m} + i"), 2)
    w.loops(nv, n)
    w.put(out, f"t + i * {n} + j", w.get(w.work, f"v + j * {nv} + i"), 2)
    w.failed()
    w.nothing(w.anchor.shape[-1])
    return 20 * w.rows * w.columns * k


WRITERS: dict[OpDef, Callable[[_Writer], int]] = {
    linalg.cholesky: _cholesky, linalg.eigh: _eigh, linalg.lu: _lu, linalg.qr: _qr,
    linalg.svd: _svd, linalg.triangular_solve: _triangular_solve,
}


def library(low: Lowered, anchor: Node, place: Mapping[Node, Node]) -> Iterator[Piece]:
    writer = _Writer(low, anchor, place)
    yield writer.piece(WRITERS[anchor.op](writer))
