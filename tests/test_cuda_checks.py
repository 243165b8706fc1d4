"""What kernels find wrong in compiled functions on a GPU: reported late, or at once if asked for;
calls that are interrupted; faults of the device.
"""

import gc
import threading

import pytest
from fake_gpu import plain_gpus

import tracegrad as tg
from tracegrad import nn
from tracegrad.driver.gpus import gpus as the_gpus
from tracegrad.nn import functional as F
from tracegrad.runtime.cuda import executable

FORMER = r"index 9 is out of bounds .*found in a former call of a compiled function.*test_cuda_chec"


@pytest.fixture
def driver():
    with plain_gpus():
        yield the_gpus.device(0).driver


def on_gpu(*values):
    return tg.tensor(values, device="cuda")


def looked_up(table):
    """A compiled function that changes a table and reads rows of it."""

    @tg.compile
    def f(i):
        table.mul_(2.0)
        return table[i]

    return f


def waits(driver):
    return [line for line in driver.log if "synchronize" in line or line == "copy_out"]


def test_a_step_with_labels_does_not_wait(driver):
    model, x, y = nn.Linear(3, 4).cuda(), tg.ones(2, 3, device="cuda"), on_gpu(1, 3)
    opt = tg.optim.SGD(model.parameters(), 0.1)

    @tg.compile
    def step(y):
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss

    losses = [step(y), step(y)]
    tg.cuda.synchronize()
    driver.log.clear()
    losses.append(step(y))
    assert not waits(driver) and not tg.cuda.current_stream().query()
    kinds = [line.split()[0] for line in driver.log]
    assert kinds.count("graph") == 1 and kinds.count("copy_out_later") == 1
    step(y)
    assert waits(driver) == ["synchronize_event"]  # for the call before, with this one under way
    before = model.weight.detach().cpu()
    step(on_gpu(1, 4))
    with pytest.raises(IndexError, match=r"Target 4 is out of .*former call.*checks.py:52"):
        tg.cuda.synchronize()
    assert model.weight.tolist() == before.tolist()
    assert step(y).item() < losses[0].item()


SEEN = {
    "synchronize": lambda table, f: tg.cuda.synchronize(),
    "its stream": lambda table, f: tg.cuda.current_stream().synchronize(),
    "an event": lambda table, f: tg.cuda.current_stream().record_event().synchronize(),
    "item": lambda table, f: table[0, 0].item(), "cpu": lambda table, f: table.cpu(),
    "print": lambda table, f: repr(table), "a branch": lambda table, f: bool(table[0, 0] > 0),
    "the next call": lambda table, f: f(on_gpu(1, 2)),
}


@pytest.mark.parametrize("see", SEEN.values(), ids=SEEN)
def test_an_index_out_of_range_is_seen_later_and_nothing_is_written(driver, see):
    table = tg.ones(5, 2, device="cuda")
    f = looked_up(table)
    f(on_gpu(1, 4))
    f(on_gpu(1, 9))
    with pytest.raises(IndexError, match=FORMER):
        see(table, f)
    assert table.tolist() == [[2.0, 2.0]] * 5
    assert f(on_gpu(0, 1)).tolist() == [[4.0, 4.0]] * 2 and table[4, 0].item() == 4
    tg.cuda.synchronize()


def test_each_error_is_raised_once_and_for_its_program(driver):
    one, other = tg.ones(5, 2, device="cuda"), tg.ones(5, 2, device="cuda")
    f, g = looked_up(one), looked_up(other)
    f(on_gpu(9, 0))
    g(on_gpu(1, 2))
    g(on_gpu(2, 1))  # its own former call was right
    with pytest.raises(IndexError, match=FORMER):
        f(on_gpu(9, 1))
    tg.cuda.synchronize()
    assert one[0, 0].item() == 1 and other[0, 0].item() == 4
    g(on_gpu(9, 9))
    del g
    gc.collect()
    with pytest.raises(IndexError, match=FORMER):
        tg.cuda.synchronize()
    tg.cuda.synchronize()


def test_the_call_itself_raises_if_asked_to(driver, monkeypatch):
    monkeypatch.setattr(executable, "BLOCKING", True)
    table = tg.ones(5, 2, device="cuda")
    f = looked_up(table)
    f(on_gpu(1, 4))
    with pytest.raises(IndexError, match=r"index 9 is out of bounds for dimension 0") as error:
        f(on_gpu(1, 9))
    assert "former" not in str(error.value) and table[0, 0].item() == 2


def test_an_eager_operation_raises_at_once(driver):
    with pytest.raises(IndexError, match=r"index 9 is out of bounds") as error:
        tg.ones(5, device="cuda")[on_gpu(9)]
    assert "former" not in str(error.value)


def test_a_value_that_python_reads_comes_with_the_error(driver):
    table = tg.ones(5, 2, device="cuda")

    @tg.compile
    def f(i):
        return table * 2 if table[i].sum() > 0 else table

    f(on_gpu(0))
    with pytest.raises(IndexError, match="index 9 is out of bounds"):
        f(on_gpu(9))


def test_a_call_that_hands_values_to_the_cpu_raises_itself(driver):
    table, total = tg.ones(5, 2, device="cuda"), tg.tensor(0.0)

    @tg.compile
    def f(i):
        total.add_(1)
        table.mul_(2.0)
        return table[i].cpu()

    assert f(on_gpu(4)).tolist() == [[2, 2]]
    with pytest.raises(IndexError, match="index 9 is out of bounds") as error:
        f(on_gpu(9))
    assert "former" not in str(error.value) and table[0, 0].item() == 2
    assert (total.item(), total._version) == (1, [1])


def test_threads_with_programs_that_are_right_and_wrong(driver):
    caught, good = [], []

    def work(k):
        table = tg.ones(5, 2, device="cuda")
        f = looked_up(table)
        for row in (0, 9) if k else (0, 1):
            f(on_gpu(row, 1))
        try:
            with table_lock:  # errors are seen by whoever waits
                tg.cuda.synchronize()
                good.append(table[0, 0].item())
        except IndexError as error:
            caught.append(str(error))

    table_lock = threading.Lock()
    threads = [threading.Thread(target=work, args=(k,)) for k in (0, 1)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(caught) == 1 and "former call" in caught[0] and good in ([4.0], [2.0])


# ---- interruptions
def trained():
    w = tg.ones(3, device="cuda", requires_grad=True)
    opt = tg.optim.SGD([w], 0.5)

    @tg.compile
    def step(x):
        opt.zero_grad()
        loss = (w * x).sum()
        loss.backward()
        opt.step()
        return loss

    return w, step


def test_a_call_that_is_interrupted_before_its_launch_does_nothing(driver, monkeypatch):
    w, step = trained()
    x, other = tg.ones(3, device="cuda"), tg.ones(3, device="cuda")
    step(x)
    before, version = w.detach().cpu().tolist(), w._version
    for name in ("launch_graph", "copy_in"):
        def interrupted(*args):
            raise KeyboardInterrupt

        with monkeypatch.context() as changed:
            changed.setattr(driver, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                step(x if name == "launch_graph" else other)
        assert w.detach().cpu().tolist() == before and w._version == version
    step(x)
    assert w.tolist() == [b - 0.5 for b in before]


def test_a_call_that_is_interrupted_after_its_launch_is_completed(driver, monkeypatch):
    w, step = trained()
    x, launch = tg.ones(3, device="cuda"), driver.launch_graph
    step(x)

    def interrupted(stream, graph, launched):
        launch(stream, graph, launched)
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr(driver, "launch_graph", interrupted)
        with pytest.raises(KeyboardInterrupt):
            step(x)
    assert w.tolist() == [0.0] * 3 and w.grad.tolist() == [1.0] * 3
    step(x)
    assert w.tolist() == [-0.5] * 3


def test_a_call_that_is_interrupted_at_its_very_beginning_does_nothing(driver, monkeypatch):
    w, step = trained()
    x = tg.ones(3, device="cuda")
    step(x)

    def interrupted(self, span):
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr(executable.Executable, "_submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            step(x)
    assert w.tolist() == [0.5] * 3 and step(x).item() == 1.5 and w.tolist() == [0.0] * 3


def test_a_launch_that_fails_changes_nothing(driver, monkeypatch):
    w, step = trained()
    x = tg.ones(3, device="cuda")
    step(x)

    def refused(*args):
        raise RuntimeError("CUDA error: out of memory")

    with monkeypatch.context() as changed:
        changed.setattr(driver, "launch_graph", refused)
        with pytest.raises(RuntimeError, match="out of memory"):
            step(x)
    assert w.tolist() == [0.5] * 3 and step(x).item() == 1.5


# ---- faults of the device
def failing(*args):
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_a_fault_that_is_seen_late_tells_which_kernels_it_may_be_of(driver, monkeypatch):
    y = tg.compile(lambda x: (x @ x).exp())(tg.ones(2, 2, device="cuda"))
    for name, see in (("copy_out", y.cpu), ("synchronize_device", tg.cuda.synchronize)):
        with monkeypatch.context() as changed:
            changed.setattr(driver, name, failing)
            with pytest.raises(RuntimeError, match="illegal memory access") as error:
                see()
        assert "One of these kernels failed" in str(error.value)
        assert "test_cuda_checks.py" in str(error.value) and "dot" in str(error.value)
    assert y.shape == (2, 2)


def test_one_kernel_that_may_have_failed_is_not_said_to_have(driver, monkeypatch):
    x = tg.ones(2, 2, device="cuda")
    tg.cuda.synchronize()
    y = x.exp()  # the only kernel that nobody has waited for
    event = tg.cuda.current_stream().record_event()
    with monkeypatch.context() as changed:
        changed.setattr(driver, "synchronize_event", failing)
        with pytest.raises(RuntimeError, match="illegal memory access") as error:
            event.synchronize()
    assert "One of these kernels failed, or one before them" in str(error.value)
    assert y.shape == (2, 2)


def test_waiting_for_one_stream_forgets_no_kernels_of_others(driver, monkeypatch):
    x, side = tg.ones(2, 2, device="cuda"), tg.cuda.Stream()
    with tg.cuda.stream(side):
        tg.compile(lambda x: x.exp())(x)
    tg.cuda.current_stream().synchronize()
    with monkeypatch.context() as changed:
        changed.setattr(driver, "synchronize", failing)
        with pytest.raises(RuntimeError, match="exp"):
            side.synchronize()


def test_a_fault_that_the_next_call_meets_tells_which_kernels_it_may_be_of(driver, monkeypatch):
    x, index = tg.ones(4, device="cuda"), tg.tensor([1, 2], device="cuda")
    pick = tg.compile(lambda x, index: x[index] * 2)
    pick(x, index)
    with monkeypatch.context() as changed:
        changed.setattr(driver, "synchronize_event", failing)
        with pytest.raises(RuntimeError, match="One of these kernels failed"):
            pick(x, index)
