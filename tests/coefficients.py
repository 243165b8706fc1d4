"""Derive the coefficients of the elementary functions: `python -m tests.coefficients` writes
runtime/cpu/coefficients.py anew.

Each row is the polynomial with the least largest error (minimax) on an interval, by the exchange
algorithm of Remez (1934) in 40 digits, rounded to the type. It needs mpmath.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import mpmath
import numpy as np
from mpmath import mp, mpf

FILE = Path(__file__).parents[1] / "runtime" / "cpu" / "coefficients.py"
HEADER = '''"""Polynomials of the functions in vector_*.py, the highest power first, and constants
as sums of two or three numbers; each for float32 and for float64.

Written by tests/coefficients.py, which says what each is an approximation of; change them there.
"""

# fmt: off
'''


class Fit(NamedTuple):
    """A polynomial that is near a function on [low, high]; `weight` multiplies the error."""

    function: Callable[[Any], Any]
    low: Any
    high: Any
    degrees: tuple[int | None, int | None]  # for float32 and float64
    weight: Callable[[Any], Any] = lambda x: mpf(1)


def minimax(fit: Fit, degree: int) -> tuple[list[Any], Any]:
    """The coefficients, the highest power first, and the largest weighted error."""
    count, many = degree + 2, 12 * (degree + 2)
    middle, half = (mpf(fit.low) + fit.high) / 2, (mpf(fit.high) - fit.low) / 2
    at = [mpmath.cos(mpmath.pi * (many - k) / many) for k in range(many + 1)]
    values = [fit.function(middle + half * t) for t in at]
    weights = [fit.weight(middle + half * t) for t in at]
    weights = [max(w, max(weights) / 10**20) for w in weights]  # else the equations are singular
    chosen = [round(many * k / (count - 1)) for k in range(count)]
    for _ in range(20):
        rows = [[*(at[i] ** c for c in range(count - 1)), (-1) ** k / weights[i]]
                for k, i in enumerate(chosen)]
        *powers, level = mpmath.lu_solve(mpmath.matrix(rows), [values[i] for i in chosen])
        errors = [w * (v - mpmath.polyval(powers[::-1], t))
                  for t, v, w in zip(at, values, weights, strict=True)]
        peaks: list[int] = []
        for i, error in enumerate(errors):
            if not peaks or (error > 0) != (errors[peaks[-1]] > 0):
                peaks.append(i)
            elif abs(error) > abs(errors[peaks[-1]]):
                peaks[-1] = i
        while len(peaks) > count:
            peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
        worst = max(map(abs, errors))
        if len(peaks) < count or peaks == chosen or worst <= abs(level) * mpf("1.02"):
            break
        chosen = peaks
    return _of_x(powers, middle, half), worst


def _of_x(powers: list[Any], middle: Any, half: Any) -> list[Any]:
    """The powers of t = (x - middle) / half as powers of x, the highest first."""
    whole = [mpf(0)]
    for c in powers[::-1]:
        shifted = [mpf(0), *(v / half for v in whole)]
        whole = [a - b * middle / half for a, b in zip(shifted, [*whole, mpf(0)], strict=True)]
        whole[0] += c
    return whole[: len(powers)][::-1]


def _odd(function: Callable[[Any], Any], leading: int = 1) -> Callable[[Any], Any]:
    """(f(x) / x - leading) / x**2 as a function of x**2."""

    def rest(z: Any) -> Any:
        x = mpmath.sqrt(max(z, mpf("1e-16")))
        return (function(x) / x - leading) / (x * x)

    return rest


def _exp(r: Any) -> Any:
    """(e**r - 1 - r) / r**2"""
    return (mpmath.exp(r) - 1 - r) / r**2 if abs(r) > 1e-10 else mpf(1) / 2 + r / 6


def _log(z: Any) -> Any:
    """(2 atanh(s) / s - 2) / s**2 of z = s**2"""
    return 2 * _odd(mpmath.atanh)(z)


def _erf(z: Any) -> Any:
    """erf(x) / x - 1 of z = x**2"""
    x = mpmath.sqrt(max(z, mpf("1e-30")))
    return mpmath.erf(x) / x - 1


def _of_log_erfc(top: float, degrees: tuple[int | None, int | None]) -> Fit:
    """log erfc(x) of x - 1 up to that; what counts is the error of erfc"""
    erfc = lambda t: mpmath.erfc(1 + t)  # noqa: E731
    return Fit(lambda t: mpmath.log(erfc(t)), 0, top - 1, degrees, erfc)


def _erfcx(scale: float) -> Callable[[Any], Any]:
    """(x + 1/2) exp(x**2) erfc(x) of t = (x - scale) / (x + scale)"""

    def value(t: Any) -> Any:
        if 1 - t < 1e-3:  # from x = 5000 on, a few terms of DLMF 7.12.1
            y = (1 - t) / (scale * (1 + t))
            z = y * y / 2
            series = 1 - z * (1 - 3 * z * (1 - 5 * z * (1 - 7 * z * (1 - 9 * z))))
            return (1 + y / 2) * series / mpmath.sqrt(mpmath.pi)
        x = scale * (1 + t) / (1 - t)
        return (x + mpf(1) / 2) * mpmath.exp(x * x) * mpmath.erfc(x)

    return value


@cache
def _erfinv(w: Any) -> Any:
    """erfinv(x) / x where 1 - x**2 = e**-w, by Newton's steps for log erfc"""
    if w < 1e-15:
        return mpmath.sqrt(mpmath.pi) / 2
    rest = mpmath.exp(-w)
    x = mpmath.sqrt(1 - rest)
    other = rest / (1 + x)  # 1 - x
    y = x if w < 3 else mpmath.sqrt(max(w - mpmath.log(2 * mpmath.sqrt(mpmath.pi * w)), 1))
    for _ in range(40):
        erfc = mpmath.erfc(y)
        step = erfc * mpmath.log(erfc / other) / (2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-y * y))
        y += step
        if abs(step) < mpf(10) ** -36 * y:
            break
    return y / x


def _erfinv_piece(
    low: float, high: float, origin: float, degrees: tuple[int | None, int | None], kind: str
) -> Fit:
    """That of w, of s = sqrt(w), or divided by s of 1 / s; less a number within the interval"""
    value = {
        "w": _erfinv, "s": lambda s: _erfinv(s * s), "1/s": lambda v: _erfinv(1 / v**2) * v,
    }[kind]
    return Fit(lambda t: value(origin + t), low - origin, high - origin, degrees,
               lambda t: 1 / value(origin + t))


# ---- of v = 1 / x**2 what the first terms for large x leave of the logarithm of the gamma function
# times x, and of its derivative times x**2: DLMF 5.11.1 and 5.11.2
def _stirling(v: Any) -> Any:
    if v < 1e-10:
        return mpf(1) / 12 - v / 360 + v * v / 1260
    x = 1 / mpmath.sqrt(v)
    first = (x - 0.5) * (mpmath.log(x) - 1) + (mpmath.log(2 * mpmath.pi) - 1) / 2
    return (mpmath.loggamma(x) - first) * x


def _digamma_far(v: Any) -> Any:
    if v < 1e-10:
        return mpf(1) / 12 - v / 120 + v * v / 252
    x = 1 / mpmath.sqrt(v)
    return (mpmath.log(x) - 1 / (2 * x) - mpmath.digamma(x)) * x * x


def _lgamma(t: Any) -> Any:
    """log gamma(2 + t) / t"""
    if abs(t) < 1e-20:
        return 1 - mpmath.euler
    return mpmath.loggamma(2 + t) / t


def _digamma(t: Any) -> Any:
    """digamma(x) over the distance from its root, of x - 3/2"""
    distance = mpf(3) / 2 + t - _ROOT
    if abs(distance) < 1e-20:
        return mpmath.polygamma(1, _ROOT)
    return mpmath.digamma(mpf(3) / 2 + t) / distance


def _cos(z: Any) -> Any:
    """(cos(x) - 1 + x**2 / 2) / x**4 of z = x**2"""
    z = max(z, mpf("1e-12"))
    return (mpmath.cos(mpmath.sqrt(z)) - 1 + z / 2) / z**2


mp.dps = 50
_HALF = mpmath.log(2) / 2 * mpf("1.0001")
_ROOT = mpmath.findroot(mpmath.digamma, mpf("1.46"))
_SLIGHTLY = mpf("1.001")
_LOG_END = ((mpmath.sqrt(2) - 1) / (mpmath.sqrt(2) + 1)) ** 2
_THIN = lambda x: x  # noqa: E731
_THINNER = lambda x: x * x  # noqa: E731

# where float32 and float64 need different ones, two
FITS: dict[str, Fit | tuple[Fit, Fit]] = {
    "exp": Fit(_exp, -_HALF, _HALF, (4, 10), _THINNER),
    "log": Fit(_log, 0, _SLIGHTLY * _LOG_END, (3, 6), _THIN),
    "log_of_power": Fit(lambda z: (_odd(mpmath.atanh)(z) - mpf(1) / 3) / max(z, mpf("1e-16")), 0,
                        _SLIGHTLY * _LOG_END, (None, 7), _THINNER),
    "sinh": Fit(_odd(mpmath.sinh), 0, 1, (3, 7), _THIN),
    "erf": Fit(_erf, 0, 1, (6, 11)),
    "log_erfc": (_of_log_erfc(4, (6, None)), _of_log_erfc(6, (None, 18))),
    "erfcx": (Fit(_erfcx(2.5), -1, 1, (11, None)), Fit(_erfcx(3.75), -1, 1, (None, 23))),
    "erfinv_0": (_erfinv_piece(0, 5, 1, (9, None), "w"),
                 _erfinv_piece(0, 5.5, 1, (None, 20), "w")),
    "erfinv_1": (_erfinv_piece(2.2, 4.2, 3.2, (9, None), "s"),
                 _erfinv_piece(2.3, 4, 3.15, (None, 20), "s")),
    "erfinv_2": (_erfinv_piece(4.2, 10.4, 7.3, (9, None), "s"),
                 _erfinv_piece(4, 7.2, 5.6, (None, 20), "s")),
    "erfinv_3": _erfinv_piece(0.035, 0.141, 0.088, (None, 20), "1/s"),
    "lgamma": Fit(_lgamma, -0.75, 0.5, (None, 21)),
    "stirling": Fit(_stirling, 0, mpf(1) / 60, (None, 7)),
    "digamma": Fit(_digamma, -0.5, 0.5, (None, 22)),
    "digamma_far": Fit(_digamma_far, 0, mpf(1) / 35, (None, 9)),
    "sin": Fit(_odd(mpmath.sin), 0, (mpmath.pi / 4) ** 2 * _SLIGHTLY, (3, 6), _THIN),
    "cos": Fit(_cos, 0, (mpmath.pi / 4) ** 2 * _SLIGHTLY, (2, 5), _THINNER),
    "asin": Fit(_odd(mpmath.asin), 0, 0.25, (4, 12), _THIN),
    "atan": Fit(_odd(mpmath.atan), 0, mpmath.tan(mpmath.pi / 8) ** 2 * _SLIGHTLY, (4, 10), _THIN),
}


class Parts(NamedTuple):
    """A number as a sum of floats; all but the last have few digits: `bits` for float32, float64.
    So products with numbers of few digits are exact.
    """

    value: Any
    bits: tuple[int, int]
    count: int = 2


CONSTANTS = {
    "ln2": Parts(mpmath.log(2), (14, 38)),
    "log2_e": Parts(1 / mpmath.log(2), (12, 26)),
    "log10_e": Parts(1 / mpmath.log(10), (12, 26)),
    "log10_2": Parts(mpmath.log10(2), (14, 38)),
    "two_log2_e": Parts(2 / mpmath.log(2), (24, 53)),
    "third": Parts(mpf(1) / 3, (24, 53)),
    "root_two": Parts(mpmath.sqrt(2), (24, 53)),
    "digamma_root": Parts(_ROOT, (24, 53)),
    "half_pi": Parts(mpmath.pi / 2, (24, 33), 3),
}


def parts(constant: Parts, kind: type, bits: int) -> tuple[float, ...]:
    rest, numbers = constant.value, []
    for _ in range(constant.count - 1):
        scale = mpf(2) ** (bits - 1 - int(mpmath.floor(mpmath.log(abs(rest), 2))))
        numbers.append(mpmath.floor(rest * scale) / scale)
        rest -= numbers[-1]
    return tuple(float(kind(str(c))) for c in (*numbers, rest))


def fits() -> Iterator[tuple[str, int, Fit, int]]:
    """Name, number of the type, what to approximate, and the degree."""
    for name, fit in FITS.items():
        for one in fit if not isinstance(fit, Fit) else (fit,):
            for k, degree in enumerate(one.degrees):
                if degree is not None:
                    yield name, k, one, degree


def rows(name: str, table: dict[str, list[tuple[float, ...]]]) -> str:
    lines = [f"{name}: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {{\n"]
    for key, pair in table.items():
        lines.append(f'    "{key}": (\n')
        for row in pair:
            numbers = [f"{c!r}," for c in row]
            lines.append("        (\n")
            lines += [f"            {' '.join(numbers[k : k + 3])}\n"
                      for k in range(0, len(numbers), 3)]
            lines.append("        ),\n")
        lines.append("    ),\n")
    return "".join(lines) + "}\n"


KINDS = np.float32, np.float64


def text() -> str:
    polynomials: dict[str, list[tuple[float, ...]]] = {name: [(), ()] for name in FITS}
    for name, k, fit, degree in fits():
        polynomials[name][k] = tuple(float(KINDS[k](str(c))) for c in minimax(fit, degree)[0])
    constants = {name: [parts(constant, kind, bits)
                        for kind, bits in zip(KINDS, constant.bits, strict=True)]
                 for name, constant in CONSTANTS.items()}
    return HEADER + rows("POLYNOMIALS", polynomials) + "\n" + rows("CONSTANTS", constants)


if __name__ == "__main__":
    if sys.argv[1:] == ["--errors"]:
        for name, k, fit, degree in fits():
            error = mpmath.nstr(minimax(fit, degree)[1], 3)
            print(f"{name:12} {KINDS[k].__name__}  degree {degree:2}  {error}")
    else:
        FILE.write_text(text())
