"""What a forward program saves for its backward: each value that backward reads is saved, or
computed again from others, whichever is cheaper in all.

The cheapest choice is a minimum cut. What forward has lies on one side, what backward needs on the
other; a value has two nodes, and an edge between them that costs to save it. The edge from forward
to the first costs to compute it again, which puts its operands on the side of backward, too.

Costs are additions of float32 numbers (`OpDef.cost`); those of memory are measured ones in that
unit. Knows nothing of programs.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from .choices import DEFAULT, Choices
from .graph import postorder, siblings_key
from .minimum_cut import Network
from .node import Node
from .op import Kind, Lowering
from .ops.elementwise import may_fail
from .ops.source import input as input_

IN_CACHE, IN_MEMORY = 1, 3  # to read or to write a byte, of values of
LARGE = 1 << 22  # bytes from which on they leave the cache before backward comes
BUFFER, INPUT, LAUNCH = 30_000, 10_000, 4_000  # one more in a call, most of it Python's
WIDE = 1.5  # float64 numbers have half the places of a vector, and longer polynomials
FURTHEST = 40  # operations from backward's to one that it computes again


def saved_values(
    forward: Iterable[Node], backward: Iterable[Node], rewritten: Collection[Node],
    choices: Choices = DEFAULT,
) -> tuple[Node, ...]:
    """The values of `forward`, the nodes it computes, that are saved for `backward`, outputs of
    it. Inputs need not be saved, but for those that are `rewritten`.
    """

    def moving(node: Node) -> int:
        return int(_moving(node) * choices.memory)

    below = postorder(backward)
    forward = [*rewritten, *forward]
    loops = {siblings_key(n) for n in postorder(forward) if n.op.lowering is Lowering.BODY}
    forward += [n for n in below if n.op.lowering is Lowering.BODY and siblings_key(n) in loops]
    computed = {n: k for k, n in enumerate(postorder(forward))}
    own = [n for n in below if n not in computed]
    ends = dict.fromkeys(x for n in own for x in n.inputs if x in computed)
    ends |= dict.fromkeys(n for n in backward if n in computed)
    here, there = _in_memory(computed), _in_memory(own)
    network, region = Network(), _region(ends)
    for node in region:
        if node.op.kind is Kind.SOURCE and node not in rewritten:
            cost = INPUT + moving(node) if node.op is input_ else 0
            network.add("forward", (node, "read"), cost)
            continue
        write = 0 if node in here else moving(node)
        network.add((node, "made"), (node, "read"), BUFFER + write + moving(node))
        again = math.inf
        if region[node]:
            again = _computing(node) + (2 * moving(node) if node in there else 0)
            for x in node.inputs:
                network.add((x, "read"), (node, "made"), math.inf)
        network.add("forward", (node, "made"), again)
    for node in ends:
        network.add((node, "read"), "backward", math.inf)
    kept = network.source_side("forward", "backward")
    saved = [n for n in region if (n, "made") in kept and (n, "read") not in kept]
    return tuple(sorted(saved, key=computed.__getitem__))


def _region(ends: Iterable[Node]) -> dict[Node, bool]:
    """What backward may come to read, each with whether it may be computed again."""
    region: dict[Node, bool] = {}
    level = list(ends)
    for distance in range(FURTHEST + 1):
        above: dict[Node, None] = {}
        for node in level:
            region[node] = distance < FURTHEST and _can_be_computed(node)
            if region[node]:
                above |= dict.fromkeys(x for x in node.inputs if x not in region)
        level = list(above)
    return region


def _can_be_computed(node: Node) -> bool:
    """Whether backward may compute a value again: if it has loops, they can be fused."""
    if may_fail(node.op, node.params):
        return False
    return node.op.lowering in (Lowering.EXPRESSION, Lowering.VIEW) or node.op.kind is Kind.REDUCE


def _computing(node: Node) -> int:
    """The cost of computing a value from its operands."""
    width = (node.dtype.itemsize / 4) ** WIDE
    if node.op.lowering is Lowering.VIEW:
        return 0
    if node.op.kind is Kind.REDUCE:
        return LAUNCH + int(node.inputs[0].size * width)
    return int(node.size * node.op.cost * width)


def _moving(node: Node) -> int:
    """The cost of reading a value, or of writing it."""
    nbytes = node.size * node.dtype.itemsize
    return nbytes * (IN_MEMORY if nbytes > LARGE else IN_CACHE)


def _in_memory(computed: Iterable[Node]) -> set[Node]:
    """The values that are written whatever comes: operands of launches that read memory."""
    read: set[Node] = set()
    for node in computed:
        if node.op.lowering in (Lowering.EXTERN, Lowering.BODY):
            read.update(node.inputs)
        elif node.op.access is not None:
            read.add(node.inputs[0])
    bases = set()
    for node in read:
        while node.op.lowering is Lowering.VIEW:
            node = node.inputs[0]
        bases.add(node)
    return read | bases
