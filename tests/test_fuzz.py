"""The fuzzer finds what is planted, and what it runs agrees. Many more programs:
`python -m tests.fuzz --programs 10000 --seed 1`.
"""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from tests.fuzz import compiled, eager, examine, looks, loops, planned, training  # noqa: E402
from tests.fuzz.draw import draw  # noqa: E402
from tests.fuzz.program import Input, Program, Row, Statement  # noqa: E402
from tests.fuzz.rows import functions, table  # noqa: E402
from tests.fuzz.shrink import shrink  # noqa: E402

# Ours has `_array`, torch's has not: statements that do not mean the same in the two
PLANTED = {
    "value": "{x} * 2 if hasattr({x}, '_array') else {x} * 3",
    "dtype": "{x}.double() if hasattr({x}, '_array') else {x}.half()",
    "error": "{x}._array",
    "alias": "{x}.clone() if hasattr({x}, '_array') else {x}.view({x}.shape)",
    "requires_grad": "{x}.detach() if hasattr({x}, '_array') else {x}.exp()",
}


def with_statement(text: str) -> Program:
    """A program whose inputs have a history, with a statement about the last of them at its end."""
    program = next(p for k in range(99) if len((p := draw(7, k)).statements) > 4 and p.leaves)
    x = next(i.name for i in program.inputs if i.grad)
    planted = Statement(Row(text, "exact"), (("x", x),), ("v99",))
    return Program(program.inputs, (*program.statements[:2], planted))


def test_the_tables_are_wide():
    assert len(functions()) >= 200
    assert sum(map(len, table().values())) >= 600


def test_a_program_is_the_same_for_the_same_numbers():
    assert draw(3, 5).text == draw(3, 5).text != draw(3, 6).text


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_difference_is_found_and_shrunk(kind):
    program = with_statement(PLANTED[kind])
    found = eager.examine(program)
    assert found and found.kind == kind, found
    small = shrink(program, found, eager.examine, 5)
    assert len(small.statements) == 1 and len(small.inputs) == 1


def test_a_compiled_difference_is_found():
    row = Row("{x} * (2 if ({x} + 1)._node is None else 3)", "exact")
    planted = Statement(row, (("x", "x1"),), ("v2",))
    given = Input("x1", "float32", (2,), (1.0, 2.0))
    found = compiled.examine(Program((given,), (planted,), returns=("v2",)))
    assert found and found.kind == "compiled value"


# functions whose differences have reasons; ours with a gradient that is 1 % too large
REASONED = """
T.kthvalue({x}, 2, 1)[0]
T.median({x}, 1)[0]
T.quantile({x}, 0.3, dim=1)
T.narrow_copy({x}, 1, -2, 1)
T.lgamma({x})
T.atan2({x}, T.ones(2, 3, dtype=T.int64))
F.hardsigmoid({x})
F.max_pool1d({x}, 2)
F.softplus({x})
F.layer_norm({x}, (3,))
F.elu({x})
""".strip().splitlines()
SCALED = "(lambda y: y * 1.01 - y.detach() * 0.01 if hasattr({x}, '_array') else y)"


@pytest.mark.parametrize("template", REASONED)
def test_a_reason_does_not_excuse_a_wrong_gradient(template):
    given = Input("x1", "float64", (2, 3), (0.3, 1.2, -0.7, 2.1, 0.9, -1.6), grad=True)
    statement = Statement(Row(f"{SCALED}({template})", "rough"), (("x", "x1"),), ("v2",))
    found = examine.judge_of(0, False)(Program((given,), (statement,)))
    assert found and found.kind == "grad" and not found.reason, found


def test_a_reason_does_not_excuse_a_wrong_value():
    given = Input("x1", "float64", (2, 3), (0.3, 1.2, -0.7, 2.1, 0.9, -1.6))
    text = "T.median({x}, 1)[0] * (1.01 if hasattr({x}, '_array') else 1)"
    found = examine.judge_of(0, False)(Program((given,), (
        Statement(Row(text, "rough"), (("x", "x1"),), ("v2",)),)))
    assert found and found.kind == "value" and not found.reason, found


def test_programs_that_look_at_values_agree():
    assert not list(looks.faults(0, range(12)))


def test_programs_by_plans_agree():
    assert not list(planned.faults(0, range(40)))


def test_programs_of_loops_agree():
    assert not list(loops.faults(0, range(6)))


def test_training_programs_agree():
    assert not list(training.faults(0, range(2)))


@pytest.mark.slow
@pytest.mark.parametrize("start", range(2, 62, 20))
def test_more_training_programs_agree(start):
    assert not list(training.faults(0, range(start, start + 20)))


def faults(indices: range, compile: bool) -> str:
    """The shrunk programs of this seed that differ without a reason."""
    records = [examine.record(0, k, compile, set()) for k in indices]
    return "\n".join(r["program"] for r in records if "program" in r)


def test_a_few_programs_agree():
    assert not faults(range(20), False)
    assert not faults(range(2), True)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(20, 260, 60))
def test_eager_programs_do_what_torch_does(start):
    assert not faults(range(start, start + 60), False)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(2, 42, 10))
def test_compiled_programs_do_what_eager_ones_do(start):
    assert not faults(range(start, start + 10), True)
