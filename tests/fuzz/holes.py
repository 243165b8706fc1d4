"""What may stand in the holes of a template: one method for each word, which gives text.

The first tensor of a statement is its subject; dims, shapes, indices and other tensors follow from
it. A tensor is one that the program has, or a new input. A few answers in a hundred are wrong on
purpose, since errors are compared as well.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from math import prod
from random import Random
from typing import Any

from .values import DTYPES, FLOATS, INTEGERS

FIRST = ("x", "f", "k", "b", "m", "v", "sq", "spd", "batch", "seq", "img", "vol", "vec3", "even")
WRONG = 0.02  # the share of dims, shapes and dtypes that do not fit


class Holes:
    """Fills the holes of one statement. `known` holds torch's tensors by name; `new(dtype, shape,
    low, high, ...)` adds an input to the program and gives its name.
    """

    def __init__(self, rng: Random, known: dict[str, Any], numbers: list[str], new: Callable,
                 floats: str, special: bool):
        self.rng, self.known, self.numbers, self.new = rng, known, numbers, new
        self.dtype_of_floats, self.special = floats, special
        self.subject: Any = None

    def fill(self, holes: list[str]) -> tuple[tuple[str, str], ...]:
        """The text of each, the subject's drawn first."""
        ordered = sorted(holes, key=lambda hole: hole not in FIRST)
        return tuple((hole, self.draw(hole)) for hole in ordered)

    def draw(self, hole: str) -> str:
        word = hole if hasattr(self, hole) else hole.rstrip("2")  # `num2` is another `num`
        text = getattr(self, word)()
        if self.subject is None and text in self.known:
            self.subject = self.known[text]
        return text

    # ---- tensors
    def kind(self, name: str) -> str:
        return str(self.known[name].dtype).removeprefix("torch.")

    def tensor(self, fits: Callable[[Any, str], bool], dtype: str, shape: tuple,
               **more: Any) -> str:
        """A tensor that fits, the later made the likelier, or else a new input."""
        found = [n for n in self.known if fits(self.known[n], self.kind(n))]
        if found and self.rng.random() < 0.85:
            return found[min(int(len(found) * self.rng.random() ** 0.5), len(found) - 1)]
        return self.new(dtype, shape, **more)

    def some_shape(self, ranks: tuple[int, ...] = (0, 1, 1, 2, 2, 3)) -> tuple[int, ...]:
        sizes = (3, 3, 2, 4, 1, 5) if self.rng.random() < 0.9 else (0, 1, 3)
        return tuple(self.rng.choice(sizes) for _ in range(self.rng.choice(ranks)))

    def x(self) -> str:
        dtype = self.dtype_of_floats if self.rng.random() < 0.6 else self.rng.choice(DTYPES)
        return self.tensor(lambda t, d: True, dtype, self.some_shape())

    def of_floats(self, fits: Callable, shape: tuple, **more: Any) -> str:
        return self.tensor(
            lambda t, d: d in FLOATS and fits(t.shape), self.dtype_of_floats, shape, **more
        )

    def f(self) -> str:
        return self.of_floats(lambda s: True, self.some_shape())

    def ranked(self, *ranks: int) -> str:
        return self.of_floats(lambda s: len(s) in ranks, self.some_shape(ranks))

    def m(self) -> str:
        return self.ranked(2)

    def v(self) -> str:
        return self.ranked(1)

    def batch(self) -> str:
        return self.ranked(3)

    seq = batch

    def img(self) -> str:
        return self.of_floats(lambda s: len(s) == 4, (self.rng.choice((1, 2)), 2, 3, 4))

    def sq(self) -> str:
        n = self.rng.choice((1, 2, 3))
        return self.of_floats(lambda s: len(s) == 2 and s[0] == s[1], (n, n))

    def spd(self) -> str:
        """A symmetric matrix with a large diagonal, of float32 or float64."""
        n = self.rng.choice((1, 2, 3))
        values = [[n + 2.0 if i == j else 0.25 * ((i + j) % 3) for j in range(n)] for i in range(n)]
        dtype = self.rng.choice(FLOATS[:2])
        return self.new(dtype, (n, n), values=tuple(sum(values, [])))

    def vec3(self) -> str:
        return self.of_floats(lambda s: s and s[-1] == 3, (2, 3))

    def even(self) -> str:
        return self.of_floats(lambda s: s and s[-1] % 2 == 0, (3, 4))

    def k(self) -> str:
        dtype = self.rng.choice((*INTEGERS, "bool"))
        return self.tensor(lambda t, d: d not in FLOATS, dtype, self.some_shape())

    def b(self) -> str:
        return self.tensor(lambda t, d: d == "bool", "bool", self.some_shape())

    def shape_below(self) -> tuple[int, ...]:
        """A shape that broadcasts with the subject's."""
        shape = tuple(self.subject.shape)
        if self.rng.random() < WRONG:
            return (*shape, 2)
        shape = tuple(1 if self.rng.random() < 0.15 else n for n in shape)
        return shape[self.rng.randint(0, len(shape)) if self.rng.random() < 0.2 else 0 :]

    def broadcasts(self, t: Any) -> bool:
        pairs = zip(reversed(t.shape), reversed(self.subject.shape), strict=False)
        return all(a == b or 1 in (a, b) for a, b in pairs)

    def t(self) -> str:
        likely = self.rng.random() < 0.6
        dtype = self.subject_dtype if likely else self.rng.choice(DTYPES)
        return self.tensor(lambda t, d: self.broadcasts(t), dtype, self.shape_below())

    def y(self) -> str:
        return self.num() if self.rng.random() < 0.3 else self.t()

    def kt(self) -> str:
        if self.rng.random() < 0.3:
            return str(self.rng.randint(0, 3))
        return self.tensor(lambda t, d: d not in FLOATS and self.broadcasts(t),
                           self.subject_dtype, self.shape_below())

    @property
    def subject_dtype(self) -> str:
        return str(self.subject.dtype).removeprefix("torch.")

    def shaped(self, shape: tuple, dtype: str | None = None, **more: Any) -> str:
        wanted = dtype or self.subject_dtype
        return self.tensor(lambda t, d: d == wanted and t.shape == shape, wanted, shape, **more)

    def like(self) -> str:
        """Of the subject's dtype, and broadcasts with it."""
        return self.tensor(lambda t, d: d == self.subject_dtype and self.broadcasts(t),
                           self.subject_dtype, self.shape_below())

    def same(self) -> str:
        dtype = self.rng.choice(DTYPES) if self.rng.random() < WRONG else None
        return self.shaped(tuple(self.subject.shape), dtype)

    def out(self) -> str:
        """Where an answer may be written: not over the subject, now and then of another shape."""
        likely = self.rng.random() < 0.7
        shape = tuple(self.subject.shape) if likely else self.some_shape()
        return self.tensor(lambda t, d: t is not self.subject and t.shape == shape,
                           self.subject_dtype, shape)

    def mask(self) -> str:
        return self.tensor(lambda t, d: d == "bool" and t.shape == self.subject.shape, "bool",
                           tuple(self.subject.shape))

    def size(self, k: int) -> int:
        rank = len(self.subject.shape)
        return self.subject.shape[k] if -rank <= k < rank else 1

    def zero(self) -> str:
        return self.shaped(())

    def y0(self) -> str:
        return self.num() if self.rng.random() < 0.5 else self.zero()

    def right(self) -> str:
        n = self.size(-1)
        return self.shaped(self.rng.choice(((n,), (n, 2), (n, 1))))

    def mright(self) -> str:
        return self.shaped((self.size(-1), self.rng.choice((1, 2, 3))))

    def vright(self) -> str:
        return self.shaped((self.size(-1),))

    lastvec = vright

    def bright(self) -> str:
        return self.shaped((self.size(0), self.size(-1), self.rng.choice((1, 2))))

    def sqright(self) -> str:
        return self.shaped((self.size(-1), self.size(-1)))

    sqm = sqright

    def weight(self) -> str:
        self.features = self.rng.choice((1, 2, 4))
        return self.shaped((self.features, self.size(-1)))

    def bias(self) -> str:
        return self.shaped((self.features,))

    def weight3(self) -> str:
        return self.shaped((2, self.size(-1), self.size(-1)))

    def kernel1(self) -> str:
        return self.shaped((2, self.size(-2), self.rng.choice((1, 2))))

    def tkernel1(self) -> str:
        return self.shaped((self.size(-2), 2, self.rng.choice((1, 2))))

    def kernel2(self) -> str:
        return self.shaped((2, self.size(1), 2, self.rng.choice((1, 2))))

    def tkernel2(self) -> str:
        return self.shaped((self.size(1), 2, 2, self.rng.choice((1, 2))))

    def vol(self) -> str:
        return self.of_floats(lambda s: len(s) == 5, (1, 2, 2, 3, 2))

    def kernel3(self) -> str:
        return self.shaped((2, self.size(1), 1, 2, self.rng.choice((1, 2))))

    def grid(self) -> str:
        return self.shaped((self.size(0), 2, 2, 2))

    def zeros(self) -> str:
        return self.shaped((self.size(1),), values=(0.0,) * self.size(1))

    def ones(self) -> str:
        return self.shaped((self.size(1),), values=(1.0,) * self.size(1))

    def one(self) -> str:
        return self.shaped((1,))

    def table(self) -> str:
        return self.of_floats(lambda s: len(s) == 2 and s[0] >= 3, (4, 3))

    # ---- indices
    def below(self, limit: int, shape: tuple, low: int = 0) -> str:
        count = prod(shape)
        values = tuple(self.rng.randint(low, limit - 1) if limit else 0 for _ in range(count))
        return self.new("int64", shape, values=values)

    def index(self) -> str:
        """Positions along the dim that was drawn last, else along the first."""
        limit = self.size(self.last) if self.subject is not None else 3
        return self.below(limit, (self.rng.choice((1, 2, 3)),))

    def index2(self) -> str:
        return self.below(3, (2, 2))

    def perm1(self) -> str:
        order = list(range(self.size(self.last)))
        self.rng.shuffle(order)
        return self.new("int64", (len(order),), values=tuple(order))

    def gindex(self) -> str:
        """For `gather`: of the subject's shape."""
        return self.below(self.size(self.last), tuple(self.subject.shape))

    def gindex1(self) -> str:
        """For `scatter`: no place twice, which would leave the answer open."""
        shape = list(self.subject.shape)
        if shape:
            shape[self.last] = min(1, shape[self.last])
        return self.below(self.size(self.last), tuple(shape))

    def tindex(self) -> str:
        return self.below(self.subject.numel(), (2,), -self.subject.numel())

    def tindex1(self) -> str:
        return self.below(self.subject.numel(), (1,))

    def classes(self) -> str:
        return self.below(self.size(1), (self.size(0),))

    def small1(self) -> str:
        return self.below(5, (4,))

    # ---- numbers and words
    def num(self) -> str:
        if self.special and self.rng.random() < 0.15:
            return self.rng.choice(("inf", "-inf", "nan", "-0.0", "1e8", "1e-30"))
        whole = self.subject is not None and self.subject_dtype not in FLOATS
        if self.rng.random() < (0.8 if whole else 0.3):
            return str(self.rng.randint(0 if whole and self.subject_dtype == "uint8" else -3, 4))
        return str(self.rng.randint(-8, 12) / 4) if self.rng.random() < 0.6 else "0.3"

    def fnum(self) -> str:
        return str(self.rng.choice((0.5, 0.25, -0.5, 1.5, 0.1)))

    def pos(self) -> str:
        return str(self.rng.choice((0.5, 1.0, 0.3, 2.0)))

    def int(self) -> str:
        return str(self.rng.randint(-3, 4))

    def small(self) -> str:
        return str(self.rng.randint(0, 4))

    def pint(self) -> str:
        return str(self.rng.randint(1, 3))

    def offset(self) -> str:
        return str(self.rng.choice((0, 0, 1, -1, 2)))

    def flag(self) -> str:
        return str(self.rng.random() < 0.5)

    def py(self) -> str:
        return self.rng.choice(self.numbers) if self.numbers else self.num()

    def numbers_list(self) -> str:
        return str([self.rng.randint(-3, 3) for _ in range(self.rng.randint(0, 4))])

    def dtype(self) -> str:
        return f"T.{self.rng.choice(DTYPES)}"

    def fdtype(self) -> str:
        return f"T.{self.rng.choice(FLOATS)}"

    def rounding(self) -> str:
        return self.rng.choice(('"floor"', '"trunc"', "None"))

    def reduction(self) -> str:
        return self.rng.choice(('"mean"', '"sum"', '"none"'))

    def reduce(self) -> str:
        return self.rng.choice(('"sum"', '"prod"', '"mean"', '"amax"', '"amin"'))

    def ireduce(self) -> str:
        return self.rng.choice(('"prod"', '"mean"', '"amax"', '"amin"'))

    def padding(self) -> str:
        return self.rng.choice(('"reflect"', '"replicate"', '"circular"', '"constant"'))

    def ord(self) -> str:
        return self.rng.choice(("1", "2", "3", "inf", "-inf", "0", "0.5"))

    # ---- dims, shapes, subscripts
    last = 0

    def dim(self) -> str:
        rank = len(self.subject.shape)
        if self.rng.random() < WRONG:
            return str(self.rng.choice((rank, -rank - 1, 5)))
        self.last = self.rng.randint(-rank, rank - 1) if rank else self.rng.choice((0, -1))
        return str(self.last)

    def dim0(self) -> str:
        return "0" if self.dim() else ""

    def dims(self) -> str:
        rank = len(self.subject.shape)
        chosen = self.rng.sample(range(rank), self.rng.randint(0, rank))
        return str(tuple(d - rank * (self.rng.random() < 0.3) for d in chosen))

    def start(self) -> str:
        n = self.size(self.last)
        return str(n if self.rng.random() < WRONG else self.rng.randint(-n, max(n - 1, 0)))

    def parts(self) -> str:
        n = self.size(self.last)
        first = self.rng.randint(0, n)
        return str([first, n - first])

    def perm(self) -> str:
        rank = len(self.subject.shape)
        return str(self.rng.choice(list(permutations(range(rank)))))

    def shape(self) -> str:
        n = self.subject.numel()
        if self.rng.random() < WRONG:
            return str((n + 1,))
        found = [(n,), (-1,), (1, n), (n, 1)]
        found += [(d, n // d) for d in (2, 3, 4) if n and n % d == 0]
        found += [(d, -1) for d in (2, 3) if n and n % d == 0]
        return str(self.rng.choice(found))

    def shape0(self) -> str:
        return str(self.some_shape((0, 1, 2)))

    def sizes(self) -> str:
        grown = tuple(self.rng.choice((2, 3) if n == 1 else (n, -1)) for n in self.subject.shape)
        return str((2, *grown) if self.rng.random() < 0.4 else grown)

    def basic(self, n: int) -> str:
        if self.rng.random() < 0.4:
            return str(self.rng.randint(-n, n - 1) if n and self.rng.random() > WRONG else n)
        bound = lambda: "" if self.rng.random() < 0.4 else str(self.rng.randint(-n - 1, n + 1))
        step = self.rng.choice(("", "", ":2", ":1", ":3"))
        return f"{bound()}:{bound()}{step}"

    def key(self) -> str:
        shape = self.subject.shape
        items = [self.basic(n) for n in shape[: self.rng.randint(min(1, len(shape)), len(shape))]]
        if self.rng.random() < 0.2:
            items.insert(self.rng.randint(0, len(items)), "None")
        if not items or self.rng.random() < 0.15:
            items.insert(self.rng.randint(0, len(items)), "...")
        return ", ".join(items)

    def akey(self) -> str:
        """A subscript with a list or a tensor of positions in it."""
        shape = self.subject.shape
        if not shape:
            return "..."
        at = self.rng.randrange(len(shape))
        n = shape[at]
        places = [self.rng.randint(-n, n - 1) for _ in range(self.rng.randint(1, 3))] if n else []
        items = [self.basic(n) if self.rng.random() < 0.4 else ":" for n in shape[:at]]
        return ", ".join([*items, str(places)])
