"""Steps of optimizers outside of compiled functions: when they become a program, and that whatever
happens to the optimizer between two steps is seen.
"""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest

import tracegrad as tg
from tracegrad import nn, optim
from tracegrad.optim import eager_steps

OPTIMIZERS = [
    ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"momentum": 0.9, "dampening": 0.5}),
    ("AdamW", {"amsgrad": True, "maximize": True}),
    ("RMSprop", {"momentum": 0.5, "centered": True}),
    ("Adagrad", {"lr_decay": 0.1}),
    ("Adadelta", {"weight_decay": 0.1}),
    ("Adamax", {}),
    ("ASGD", {"t0": 2}),
    ("NAdam", {}),
    ("Rprop", {}),
]
SHAPES = [(5, 7), (7,), (), (3, 0), (2, 3, 2)]


def traces(optimizer):
    steps = vars(optimizer).get("_eager_steps")
    return 0 if steps is None else steps.run.cache_info().misses


class Run:
    """Parameters, their optimizer, and gradients that are new tensors at each step."""

    def __init__(self, name, options, fused, dtype=np.float32):
        self.rng, self.dtype = np.random.default_rng(0), dtype
        self.params = [nn.Parameter(self.tensor(shape)) for shape in SHAPES]
        self.params.append(nn.Parameter(self.tensor((4, 6)).t()))
        self.optimizer = getattr(optim, name)(self.params, lr=0.05, **options)
        self.optimizer.defaults["fused"] = fused

    def tensor(self, shape):
        return tg.tensor(self.rng.standard_normal(shape).astype(self.dtype))

    def step(self, count=1, without=()):
        for _ in range(count):
            for k, p in enumerate(self.params):
                p.grad = None if k in without else self.tensor(tuple(p.shape))
            self.optimizer.step()

    def numbers(self):
        state = self.optimizer.state
        tensors = [t for p in self.params for t in (p, *state[p].values())]
        return [t.detach().numpy().copy() for t in tensors]


def assert_equal(one, other):
    for a, b in zip(one.numbers(), other.numbers(), strict=True):
        np.testing.assert_array_equal(a, b)


def pair(name="AdamW", options=None):
    return [Run(name, options or {}, fused) for fused in (True, False)]


@pytest.mark.parametrize("name, options", OPTIMIZERS, ids=str)
def test_a_compiled_step_has_the_bits_of_one_without_a_program(name, options):
    compiled, eager = pair(name, options)
    for run in (compiled, eager):
        run.step(20)
    assert_equal(compiled, eager)
    assert traces(compiled.optimizer) == 1 and traces(eager.optimizer) == 0


def scheduled(run):
    run.schedule = optim.lr_scheduler.ExponentialLR(run.optimizer, 0.9)
    for _ in range(3):
        run.step()
        run.schedule.step()


def another_group(run):
    run.params.append(nn.Parameter(run.tensor((3, 2))))
    run.optimizer.add_param_group({"params": run.params[-1:], "lr": 0.5})


def without_some(run):
    run.step(2, without=(1, 3))
    run.step(1, without=range(len(run.params)))


def other_options(run):
    run.optimizer.param_groups[0]["weight_decay"] = 0.3
    run.optimizer.param_groups[0]["maximize"] = True


def reloaded(run):
    run.optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))


def saved_and_loaded(run):
    file = io.BytesIO()
    tg.save(run.optimizer.state_dict(), file)
    file.seek(0)
    run.optimizer.load_state_dict(tg.load(file))


def pickled(run):
    run.params, run.optimizer = pickle.loads(pickle.dumps((run.params, run.optimizer)))


def copied(run):
    run.params, run.optimizer = copy.deepcopy((run.params, run.optimizer))


def other_data(run):
    run.params[0].data = run.tensor((5, 7)) * 2
    run.params[1].data.mul_(3)


def doubled(run):
    run.dtype = np.float64
    nn.ParameterList(run.params).double()


def a_state_set(run):
    run.optimizer.state[run.params[0]]["exp_avg"] = run.tensor((5, 7))


def gradients_that_lie_across(run):
    run.params[0].grad = run.tensor((7, 5)).t()
    run.params[1].grad = run.tensor((14,))[::2]
    run.optimizer.step()


def zeroed(run):
    run.optimizer.zero_grad(set_to_none=False)
    run.optimizer.step()
    run.optimizer.zero_grad()
    run.optimizer.step()


def a_rate_that_is_a_tensor(run):
    run.optimizer.param_groups[0]["lr"] = tg.tensor(0.2)


def a_rate_that_is_a_number_again(run):
    run.optimizer.param_groups[0]["lr"] = rate = tg.tensor(0.2)
    run.step(2)
    rate.fill_(0.3)
    run.step(2)
    run.optimizer.param_groups[0]["lr"] = 0.1


def a_rate_that_is_nan(run):
    run.optimizer.param_groups[0]["lr"] = float("nan")


def without_recording(run):
    with tg.no_grad():
        run.step()


CHANGES = [
    scheduled, another_group, without_some, other_options, reloaded, saved_and_loaded, pickled,
    copied, other_data, doubled, a_state_set, gradients_that_lie_across, zeroed,
    a_rate_that_is_a_tensor, a_rate_that_is_a_number_again, a_rate_that_is_nan, without_recording,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_what_happens_between_steps_is_seen(change):
    runs = pair(options={"betas": (0.5, 0.75)})
    for run in runs:
        run.step(3)
        change(run)
        run.step(3)
    assert_equal(*runs)
    assert traces(runs[0].optimizer) >= 1


def test_a_schedule_makes_no_second_program():
    run, _ = pair()
    run.step(3)
    scheduled(run)
    assert traces(run.optimizer) == 1


def test_steps_become_a_program_when_that_pays(monkeypatch):
    monkeypatch.setattr(eager_steps, "ENOUGH", 20)  # three steps of six parameters
    run, eager = Run("SGD", {}, None), Run("SGD", {}, False)
    run.step(3)
    assert traces(run.optimizer) == 0
    run.step(3)
    assert traces(run.optimizer) == 1
    eager.step(6)
    assert_equal(run, eager)
    # other sets of gradients pay for their programs, each by steps of its own
    for k in range(6):
        for one in (run, eager):
            one.step(1, without=(k,))
    assert traces(run.optimizer) == 2
    assert_equal(run, eager)


def test_a_large_model_has_a_program_at_once_and_a_small_one_does_not():
    for shape, compiled in (((3000, 3000), 1), ((30, 30), 0)):
        p = nn.Parameter(tg.zeros(shape))
        optimizer = optim.SGD([p], lr=0.1)
        for _ in range(2):
            p.grad = tg.ones(shape)
            optimizer.step()
        assert traces(optimizer) == compiled


def test_a_step_of_a_users_class_gets_no_program_unasked(monkeypatch):
    monkeypatch.setattr(eager_steps, "ENOUGH", 1)

    class Loud(optim.SGD):
        def update(self, p, grad, group, lr):
            seen.append(float(p.sum()))
            super().update(p, grad, group, lr)

    seen, p = [], nn.Parameter(tg.ones(3))
    optimizer = Loud([p], lr=0.5)
    for _ in range(4):
        p.grad = tg.ones(3)
        optimizer.step()
    assert seen == [3.0, 1.5, 0.0, -1.5] and traces(optimizer) == 0


def test_hooks_and_the_closure_run_at_each_step():
    p, log = nn.Parameter(tg.ones(2)), []
    optimizer = optim.AdamW([p], fused=True)
    optimizer.register_step_pre_hook(lambda *_: log.append("before"))
    optimizer.register_step_post_hook(lambda *_: log.append("after"))

    def closure():
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        log.append("closure")
        return loss

    losses = [optimizer.step(closure).item() for _ in range(4)]
    assert losses == sorted(losses, reverse=True)
    assert log == ["before", "closure", "after"] * 4 and traces(optimizer) == 1


def test_a_scaler_skips_a_step_with_a_gradient_that_overflowed():
    p = nn.Parameter(tg.ones(2))
    optimizer, scaler = optim.AdamW([p], fused=True), tg.amp.GradScaler("cpu", init_scale=8.0)
    path = []
    for k in range(5):
        p.grad = tg.tensor([1.0, np.inf if k == 3 else 1.0])
        scaler.step(optimizer)
        scaler.update()
        path.append(p[0].item())
    assert path[2] == path[3] and len(set(path)) == 4


def test_parameters_of_several_dtypes_are_updated_as_without_a_program():
    def after(fused):
        params = [nn.Parameter(tg.ones(4, dtype=d))
                  for d in (tg.float64, tg.float32, tg.bfloat16, tg.float16)]
        optimizer = optim.SGD(params, lr=0.1, momentum=0.9, fused=fused)
        for _ in range(4):
            for p in params:
                p.grad = tg.full((4,), 0.3, dtype=p.dtype)
            optimizer.step()
        return params

    for p, q in zip(after(True), after(False), strict=True):
        assert p.dtype is q.dtype and (p == q).all()


def test_parameters_that_share_memory_are_updated_one_after_the_other():
    def after(fused):
        memory = tg.ones(6)
        params = [nn.Parameter(memory[:4]), nn.Parameter(memory[2:])]
        optimizer = optim.SGD(params, lr=0.1, weight_decay=0.5, fused=fused)
        for _ in range(4):
            for p in params:
                p.grad = tg.ones(4)
            optimizer.step()
        return memory.tolist()

    assert after(True) == after(False)


@pytest.mark.parametrize("error", [ValueError, MemoryError, KeyboardInterrupt])
def test_an_error_in_a_trace_leaves_no_half_of_a_step(error):
    class Refusing(optim.SGD):
        def update(self, p, grad, group, lr):
            super().update(p, grad, group, lr)
            if tg.compiler.is_compiling():
                raise error

    compiled, eager = (Run("SGD", {"momentum": 0.9}, fused) for fused in (True, False))
    compiled.optimizer = Refusing(compiled.params, lr=0.05, momentum=0.9, fused=True)
    for run in (compiled, eager):
        run.step()
    if error is ValueError:  # the step is done without a program
        for run in (compiled, eager):
            run.step()
    else:
        with pytest.raises(error):
            compiled.step()
    assert_equal(compiled, eager)
