"""The stages of a first call come one after the other, as docs/architecture.md says: each room is
entered once. A room that serves another (`ir` while tracing) is called from within that stage.
"""

from functools import cache

import pytest

import tracegrad as tg
from tests.walk import DRIVER, training_step, walk
from tracegrad import nn

# stage: where in the driver it is entered, by which function; files that no other stage may run
STAGES = {
    "look up": ("compiled_function.py", "flatten", [
        f"{DRIVER}/compiled_function.py:CompiledFunction.key",
    ]),
    "trace": ("compiled_function.py", "record", [
        "tracer/tensor/dispatch.py", "tracer/autograd/backward.py", "tracer/capture/discovery.py",
        "tracegrad/functions/", "tracegrad/nn/", "tracegrad/optim/",
    ]),
    "simplify": ("entry_builder.py", "verify", [
        "ir/verify.py", "ir/simplify.py", "ir/rules/", "ir/rewrite.py",
    ]),
    "generate": ("entry_builder.py", "build", [
        "codegen/build.py", "codegen/cpu.py", "codegen/schedule/lower.py",
        "codegen/schedule/fuse.py", "codegen/schedule/plan.py", "codegen/templates/",
    ]),
    "load": ("entry_builder.py", "Executable.__init__", [
        "runtime/cpu/compiler.py", "runtime/cpu/object_cache.py",
    ]),
    "write": ("compiled_function.py", "write_replay", ["tracegrad/driver/replay/function.py"]),
    "replay": ("compiled_function.py", "replay", ["replay:replay"]),
}


def loss_only():
    model = nn.Linear(4, 2)

    @tg.compile
    def loss(x):
        return model(x).square().mean()

    x = tg.randn(6, 4)
    return lambda: loss(x)


def with_a_branch():
    @tg.compile
    def f(x):
        return x.exp() if x.sum() > 0 else x.cumsum(0)

    x = tg.ones(6, 4)
    return lambda: f(x)


def inference():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten())
    compiled = tg.compile(model.eval())
    x = tg.randn(2, 1, 5, 5)
    return lambda: compiled(x)


@cache
def steps_of(program):
    return walk(program())


PROGRAMS = [training_step, loss_only, with_a_branch, inference]


def stages_of(steps):
    """The stage of each step: it begins where the driver calls the function that enters it."""
    doors = {(f"{DRIVER}/{file}", name): stage for stage, (file, name, _) in STAGES.items()}
    stage, stages = None, []
    for step in steps:
        stage = doors.get((step.caller, step.function), stage)
        stages.append(stage)
    return stages


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_driver_enters_the_stages_in_order_and_once(program):
    stages = stages_of(steps_of(program))
    entered = [b for a, b in zip([None, *stages], stages, strict=False) if a != b]
    assert entered == list(STAGES)


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_a_stage_runs_is_run_by_no_other(program):
    steps = steps_of(program)
    owners = [(file, stage) for stage, (_, _, files) in STAGES.items() for file in files]
    strays = {
        (f"{step.file}:{step.function}", now)
        for step, now in zip(steps, stages_of(steps), strict=True)
        for file, stage in owners
        if f"{step.file}:{step.function}".startswith(file) and now not in (None, stage)
    }
    assert not strays
