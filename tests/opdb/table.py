"""docs/operators.md, from the public names, the registry of primitives and the recorded results."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from tracegrad.ir.op import Kind
from tracegrad.ir.value import REGISTRY

from .names import METHOD, functions, methods, public
from .results import Result, recorded

FILE = Path(__file__).parents[2] / "docs" / "operators.md"
STAGES = ("value", "grad", "gradgrad")
YES, NO, NONE, UNKNOWN = "yes", "**no**", "-", ""
# functions that torch's database has under another name
ELSEWHERE = {alias: op.public[0] for op in REGISTRY.values() for alias in op.public[1:]} | {
    "adjoint": "mH", "vander": "linalg.vander", "nuclear_norm": "norm", "frobenius_norm": "norm",
}


def evidence(results: dict[str, Result]) -> dict[str, list[Result]]:
    """Public name -> what was found of it."""
    found: dict[str, list[Result]] = defaultdict(list)
    for r in results.values():
        found[r.name.split("/")[0]].append(r)
    known = {n: f.__wrapped__ if hasattr(f, "writes_out") else f for n, f in functions().items()}
    same = defaultdict(list)
    for name, f in known.items():
        same[id(f)].append(name)
    for name, f in known.items():  # aliases: `arccos is acos`
        if name not in found:
            for other in same[id(f)]:
                if other in found:
                    found[name] = found[other]
                    break
    return found


def names_for(name: str) -> list[str]:
    """Where the database may speak of a name: itself, without `_`, by its other name."""
    base = name.removeprefix(METHOD)
    plain, last = base.rstrip("_"), base.rstrip("_").split(".")[-1]
    others = [ELSEWHERE.get(base, "")]
    home = f"nn.functional.{last}" if "." not in base else last
    return [name, base, plain, *others, home, last if base.startswith("nn.functional.") else ""]


def cells(rs: list[Result]) -> tuple[str, str, str, str, str]:
    """Eager, compiled, gradient, second order, dtypes."""
    told = [r for r in rs if r.verdict not in ("absent", "incomparable", "broken")]
    if not told:
        return (UNKNOWN,) * 5

    def failed(kind: str, *stages: str) -> bool:
        return any(r.verdict == f"{kind}-fail({s})" for r in told for s in stages)

    eager = NO if failed("eager", "value") else YES
    compiled = UNKNOWN if eager == NO else NO if failed("compiled", *STAGES) else YES
    order = max((int(r.order) for r in told if r.order != "-"), default=0)
    first = NONE if order < 1 else NO if failed("eager", "value", "grad") else YES
    second = NONE if order < 2 else NO if failed("eager", *STAGES) else YES
    dtypes: list[str] = []
    for r in told:
        dtypes += [d for d in r.dtypes.split() if d not in dtypes]
    wrong = [d for d in dtypes if d.startswith("!")]
    right = [d for d in dtypes if not d.startswith("!") and f"!{d}" not in wrong]
    text = " ".join(right) + (f"; not {' '.join(w[1:] for w in wrong)}" if wrong else "")
    return eager, compiled, first, second, text


def forms(name: str) -> str:
    """How a function is there as a method too."""
    base = name.removeprefix(METHOD)
    have = methods()
    as_method = [m for m in (base, base + "_") if m in have]
    return ", ".join(f".{m}" for m in as_method)


def rows(found: dict[str, list[Result]]) -> list[str]:
    out = []
    for name in public():
        rs = next((found[n] for n in names_for(name) if n in found), [])
        out.append(f"| {name} | {forms(name)} | {' | '.join(cells(rs))} |")
    return out


def primitives() -> list[str]:
    out = []
    for op in sorted(REGISTRY.values(), key=lambda op: (op.kind.value, op.name)):
        rule = op.vjp is not None and (callable(op.vjp) or any(op.vjp))
        how = f"`{op.expr}`" if op.kind is Kind.ELEMENTWISE and op.expr else "template"
        out.append(f"| {op.name} | {op.kind.value} | {'yes' if rule else '-'} | "
                   f"{how.replace('|', chr(92) + '|')} |")
    return out


def counts(results: dict[str, Result]) -> list[str]:
    out = []
    for title, chosen in (
        ("with gradients in float64", [r for r in results.values() if r.order != "-"]),
        ("without", [r for r in results.values() if r.order == "-"]),
    ):
        n = Counter(r.verdict.split("-")[0] for r in chosen)
        told = ", ".join(f"{k} {verdict}" for verdict, k in n.most_common())
        out.append(f"- {len(chosen)} entries {title}: {told}.")
    return out


def others(results: dict[str, Result]) -> list[str]:
    """Every entry that does not pass, by verdict, with the reason."""
    by: dict[str, list[Result]] = defaultdict(list)
    for r in results.values():
        if r.verdict not in ("pass", "random"):
            by[r.verdict.split("(")[0]].append(r)
    out = []
    for verdict in sorted(by, key=lambda v: (v in ("absent", "incomparable"), v)):
        out += ["", f"### {verdict}: {len(by[verdict])}", ""]
        if verdict == "absent":
            out.append(", ".join(f"{r.name}{why_absent(r)}" for r in by[verdict]) + ".")
        else:
            out += [f"- {r.name}: {r.verdict}: {r.reason}" for r in by[verdict]]
    return out


def why_absent(r: Result) -> str:
    return f" ({r.reason.split('; ')[1]})" if "; " in r.reason else ""


def text() -> str:
    results = recorded()
    names = public()
    lines = [
        "# Operators",
        "",
        "Generated by `python -m tests.opdb --record`, which calls our functions on the samples of",
        "torch's own operator database and compares values, gradients and second gradients with",
        "torch's. Do not edit.",
        "",
        f"- {len(names)} public names, made of {len(REGISTRY)} primitives.",
        *counts(results),
        "",
        "Where a name has no entry in the database the columns are empty; the other tests speak of",
        "it. `-`: torch has no gradient there. Dtypes: those whose eager value is",
        "torch's.",
        "",
        "| name | as a method | eager | compiled | gradient | second order | dtypes |",
        "|---|---|---|---|---|---|---|",
        *rows(evidence(results)),
        "",
        "## What does not pass",
        *others(results),
        "",
        "## Primitives",
        "",
        "| name | kind | derivative | kernel |",
        "|---|---|---|---|",
        *primitives(),
    ]
    return "\n".join(lines) + "\n"


def write() -> None:
    FILE.write_text(text())


def listed() -> list[str]:
    """The names in the file as it is, in its order."""
    before = FILE.read_text().split("## What does not pass")[0]
    return [line.split("|")[1].strip() for line in before.splitlines() if line.startswith("| ")][1:]
