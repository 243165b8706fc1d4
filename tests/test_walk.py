"""The stages of a first call come one after the other, as docs/architecture.md says: each room is
entered once. A room that serves another (`ir` while tracing) is called from within that stage.
"""

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
    "find a kept program": ("lowering.py", "find", [f"{DRIVER}/program_store.py:find"]),
    "simplify": ("lowering.py", "verify", [
        "ir/verify.py", "ir/simplify.py", "ir/rules/", "ir/rewrite.py",
    ]),
    "generate": ("lowering.py", "build", [
        "codegen/build.py", "codegen/cpu.py", "codegen/schedule/lower.py",
        "codegen/schedule/fuse.py", "codegen/schedule/plan.py", "codegen/templates/",
    ]),
    "load": ("lowering.py", "Executable.__init__", ["runtime/cpu/compiler.py"]),
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


PROGRAMS = [training_step, loss_only, with_a_branch, inference]


def stages_of(steps):
    """The stage of each step: it begins where the driver calls the function that enters it."""
    doors = {(f"{DRIVER}/{file}", name): stage for stage, (file, name, _) in STAGES.items()}
    stage, stages = None, []
    for step in steps:
        stage = doors.get((step.caller, step.function), stage)
        stages.append(stage)
    return stages


def entered(stages):
    return [b for a, b in zip([None, *stages], stages, strict=False) if a != b]


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_stages_come_in_order_and_run_nothing_of_each_other(program, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACEGRAD_CACHE_DIR", str(tmp_path / "cache"))  # nothing is kept yet
    steps = walk(program())
    stages = stages_of(steps)
    assert entered(stages) == list(STAGES)
    owners = [(file, stage) for stage, (_, _, files) in STAGES.items() for file in files]
    strays = {
        (f"{step.file}:{step.function}", now)
        for step, now in zip(steps, stages, strict=True)
        for file, stage in owners
        if f"{step.file}:{step.function}".startswith(file) and now not in (None, stage)
    }
    assert not strays


def test_a_program_that_is_kept_on_disk_is_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACEGRAD_CACHE_DIR", str(tmp_path / "cache"))
    walk(training_step())
    rooms = {step.room for step in walk(training_step())}
    assert not rooms & {"ir/rules", "codegen/schedule", "codegen/templates", "codegen/gemm"}
