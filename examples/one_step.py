"""One training step, from Python to the native call, with what each stage makes of it.

    python -m examples.one_step                   # print the page
    python -m examples.one_step docs/one-step.md  # write it

The step is a linear classifier: small enough for its graph, its kernels and its replay to be read
whole. What depends on the processor (the tiles of matrix products) is left out of the page.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tracegrad as torch
from tracegrad import nn, optim
from tracegrad.ir import simplify

model = nn.Linear(4, 3)
optimizer = optim.SGD(model.parameters(), lr=0.1)


def step(x, y):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


class Seen:
    """What simplification was given, and the rows of its tables that matched."""

    def __init__(self) -> None:
        self.graph: Any = None
        self.rows: Counter[str] = Counter()

    def compile_and_call(self, function: Callable, *args: Any) -> Any:
        """The compiled function, after its first call."""
        original = simplify.rewrite

        def rewrite(graph: Any, rows: Any, watch: Any = None) -> Any:
            self.graph = graph
            return original(graph, rows, lambda row, before, after: self.rows.update([str(row)]))

        simplify.rewrite = rewrite
        try:
            compiled = torch.compile(function)
            compiled(*args)
            compiled.graph()  # simplified now, if the program came from the disk
        finally:
            simplify.rewrite = original
        return compiled


def records(grad_fn: Any, depth: int = 0) -> list[str]:
    """The autograd graph under a node, a line for each, indented by the distance to the loss."""
    below = [line for f, _ in grad_fn.next_functions if f for line in records(f, depth + 1)]
    return ["  " * depth + grad_fn.name(), *below]


def same_everywhere(text: str) -> str:
    """The text without what differs between processors and Python versions."""
    found: dict[str, str] = {}
    for name in re.findall(r"gemm_[0-9a-f]{8}", text):
        found.setdefault(name, f"gemm_{len(found) + 1}")
    for name, plain in found.items():
        text = text.replace(name, plain)
    text = re.sub(r"(gemm_\d)\((\w+, \w+), .*\) x \d+", r"\1(\2, ...) x ...", text)
    text = re.sub(r"tile \d+ x \d+, vectors of \d+", "tile ..., vectors of ...", text)
    text = re.sub(r", revision [0-9a-f]+", "", text)
    text = re.sub(r"arena \d+ bytes", "arena ... bytes", text)
    text = re.sub(r"arena uint8\[\d+\]", "arena uint8[...]", text)
    text = re.sub(r"'[^'\n]{60,}'", "'...'", text)  # messages of errors
    return re.sub(r"(getrefcount\([\w.]+\) != )\d+", r"\1...", text)


def numbered(function: Callable) -> str:
    lines, first = inspect.getsourcelines(function)
    return "".join(f"{first + k:3d}  {line}" for k, line in enumerate(lines)).rstrip()


def block(text: Any, language: str = "text") -> str:
    return f"```{language}\n{str(text).rstrip()}\n```"


def page() -> str:
    torch.manual_seed(0)
    x, y = torch.randn(150, 4), torch.randint(0, 3, (150,))
    loss = nn.functional.cross_entropy(model(x), y)
    seen = Seen()
    compiled = seen.compile_and_call(step, x, y)
    program = compiled.program()
    templates = [launch.kernel.template for launch in program.launches]
    assert templates == ["row", "gemm", "row", "gemm"], "the text below speaks of other launches"
    rows = [f"{count:3d}  {row}" for row, count in seen.rows.items()]
    notes = list(dict.fromkeys(program.notes))
    replay = compiled.tracegrad_state.latest().replay.source
    text = TEXT.format(
        step=block(numbered(step)),
        raw=block(seen.graph),
        nodes=len(seen.graph.order()),
        records=block("\n".join(records(loss.grad_fn))),
        rows=block("\n".join(rows)),
        graph=block(compiled.graph()),
        left=len(compiled.graph().order()),
        notes=block("\n".join(notes)),
        source=block(program.source()),
        program=block(program),
        replay=block(replay),
    )
    return same_everywhere(text)


TEXT = """\
# One training step through the house

This page is written by `examples/one_step.py`, which runs the step and prints what each stage
makes of it. A test compares the page with what the program prints today. `...` stands for what
depends on the processor.

The step trains a linear classifier, four features and three classes, on 150 examples:

{step}

## Trace
At the first call the function runs once, with tensors that hold a node of a graph in place of an
array. Every operation adds a node (`tracer/tensor/dispatch.py`). The numbers at the right are
lines of the program. Arguments are inputs of the graph; so are the parameters that the function
captured, and the learning rate.

Nothing is computed, and no tensor is changed, while the function is traced.

## Differentiate
`loss.backward()` runs inside the trace. It walks the autograd graph from the loss to the
parameters, as it does eagerly. This is that graph:

{records}

For each node it applies the derivative rule of the primitive (`ir/ops/`) to the traced tensors, so
the gradients are nodes of the same graph. `optimizer.step()` adds the update. The whole step is
now one graph of {nodes} nodes: forward, gradients and update. It returns the gradients, the new
parameters and the loss.

{raw}

## Simplify
Rows of the tables in `ir/rules/` are applied until none matches. All of them keep every bit of the
result, except the order of sums. These matched, with how often:

{rows}

{left} nodes are left. `step.graph()` prints them:

{graph}

## Lower
Values that need memory become **anchors**: sums, products, outputs. What lies between two anchors
is computed in the loop that needs it. Then groups of anchors that may share a loop are merged, the
pair that saves most memory traffic first (`codegen/schedule/fuse.py`). `step.program().notes`
holds the decisions:

{notes}

Four launches are left, with a kernel each. The first checks the labels and counts them: checks run
before anything is written. The second is the matrix product `x @ weight.T`. The third computes the
loss, its gradient, the gradient of the bias and the update of the bias. The last computes the
gradient of the weight and, while that is in registers, the update of the weight. `step.source()`
prints the kernels. Matrix products are generated as LLVM code and have one line:

{source}

## Load
LLVM compiles each kernel to machine code, or it comes from the cache on disk
(`runtime/cpu/object_cache.py`). The whole program is kept there, too: in the next process, tracing
is followed by loading. The **launch list** has one row for each launch: the address of
the kernel, its arguments, the extent of its outer loop. Pointers are entries of one table (`s0`,
`s1`, ...), so the argument blocks never change. `step.program()` prints the list and the table:

{program}

## Replay
For this signature one Python function is written. It compares what the trace relied on (guards),
writes the pointers of tensors that moved into the table, reads the learning rate, takes memory for
the loss, and walks the launch list in one native call, `walk(WHOLE)`. `MISS` means that this
program does not fit the call, and another one is looked for or traced.

{replay}

Every later call of `step` runs this function.
"""


def main(argv: list[str]) -> None:
    if argv:
        Path(argv[0]).write_text(page())
    else:
        print(page(), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
