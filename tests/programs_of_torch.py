"""Small programs in torch's language, run with torch, with tracegrad, and with tracegrad traced.

A program is one line: statements separated by semicolons, the last an expression whose value is
compared. The names that it may use are those of `names`. Programs stand in tests/programs/*.txt,
under headings that start with '#'.
"""

from pathlib import Path

import numpy as np

from tracegrad.driver.outputs import refuse_hidden
from tracegrad.ir.graph import Graph
from tracegrad.ir.interpret import interpret
from tracegrad.tracer.capture.trace import Trace, tracing
from tracegrad.tracer.mode import resolve


def sections(name):
    """{heading: programs} of a file of programs."""
    found, heading = {}, ""
    for line in (Path(__file__).parent / "programs" / f"{name}.txt").read_text().splitlines():
        if line.startswith("#"):
            heading = line.strip("# ")
        elif line.strip():
            found.setdefault(heading, []).append(line.strip())
    return found


def names(T):
    """What a program finds: T itself and a tensor of every sort."""
    return {
        "T": T,
        "np": np,
        "x": T.tensor([[1.0, -2.0, 3.0], [4.0, 0.0, -6.0]]),
        "xg": T.tensor([[1.0, -2.0, 3.0], [4.0, 0.5, -6.0]], requires_grad=True),
        "y3": T.arange(24.0).reshape(2, 3, 4),
        "v": T.tensor([1.0, 2.0, 3.0]),
        "s": T.tensor(2.5),
        "d": T.tensor([1.5, 2.5], dtype=T.float64),
        "h": T.tensor([1.5, 2.25, -3.0], dtype=T.float16),
        "bf": T.tensor([1.5, 2.25, -3.1], dtype=T.bfloat16),
        "i": T.tensor([[1, 2, 3], [4, 5, 6]]),
        "u8": T.tensor([1, 250], dtype=T.uint8),
        "b": T.tensor([[True, False, True], [False, True, True]]),
    }


def run(program, environment):
    *before, last = program.split(";")
    for statement in before:
        exec(statement.strip(), environment)
    return eval(last.strip(), environment)


def printed(T, program):
    """What the program's value prints, or the class of the builtin error that it ends in."""
    try:
        text = repr(run(program, names(T)))
    except Exception as error:
        builtin = next(c for c in type(error).__mro__ if c.__module__ == "builtins")
        return f"raises {builtin.__name__}"
    return text.replace("torch.", "tracegrad.")


def tensors_in(value):
    if hasattr(value, "_grad_fn"):
        return [value]
    return [t for x in value for t in tensors_in(x)] if isinstance(value, (tuple, list)) else []


def traced_arrays(function, *arguments):
    """Trace function(*arguments); the tensors that it returns, computed from the graph, with their
    dtypes.
    """
    trace = Trace(list(arguments))
    with tracing(trace):
        outputs = [resolve(t) for t in tensors_in(function(*arguments))]
        refuse_hidden(outputs, "a program returns")
        graph = Graph(tuple(i.node for i in trace.inputs), tuple(t._node for t in outputs))
    arrays = interpret(graph, *(trace._numbers[i.node] for i in trace.inputs))
    return [(a, t.dtype) for a, t in zip(arrays, outputs, strict=True)]
