"""Names in C: of a function, its arguments and results."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

_WORDS = frozenset(
    "auto bool break case char const continue default do double else enum extern float for goto if "
    "inline int long register restrict return short signed sizeof static struct switch typedef "
    "union unsigned void volatile while".split()
)
# of functions that a program may have from the C library: no function of ours takes their place
_LIBRARY = frozenset(
    "abort abs acos asin atan atan2 calloc cbrt ceil cos cosh div erf erfc exit exp exp2 expm1 "
    "fabs fdim floor fma fmax fmin fmod free frexp gamma hypot index j0 j1 jn labs ldexp lgamma "
    "log log10 log1p log2 main malloc memcpy memmove memset modf pow printf rand random read "
    "realloc remainder rint round select signal sin sinh sqrt srand system tan tanh tgamma time "
    "trunc write y0 y1 yn".split()
)


def c_name(fn: Callable) -> str:
    """The name of a function, as one for C that no library has."""
    name = getattr(fn, "__name__", type(fn).__name__)
    return identifiers([name if name.isidentifier() else "function"], _LIBRARY)[0]


def parameters_of(fn: Callable, count: int) -> list[str]:
    """Names for the positional arguments."""
    try:
        names = [
            p.name for p in inspect.signature(fn).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        names = []
    return [names[k] if k < len(names) else f"argument_{k}" for k in range(count)]


def paths(tree: Any, prefix: str) -> Iterator[str]:
    """A name for each leaf of a tree."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from paths(value, f"{prefix}_{key}")
    elif isinstance(tree, (tuple, list)):
        for k, value in enumerate(tree):
            yield from paths(value, f"{prefix}_{k}")
    else:
        yield prefix


def identifiers(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """The names as identifiers of C, each another one."""
    out, used = list[str](), set(taken)
    for name in names:
        base = free = re.sub(r"\W", "_", name, flags=re.ASCII)
        count = 1
        while free in used or free in _WORDS:
            count += 1
            free = f"{base}_{count}"
        used.add(free)
        out.append(free)
    return out
