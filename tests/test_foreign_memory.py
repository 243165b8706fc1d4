"""Memory that is not ours: read-only buffers, and arrays of every make, eagerly and compiled."""

import numpy as np
import pytest

import tracegrad as T
from tracegrad import nn, optim


def memmap(folder):
    path = folder / "numbers"
    np.arange(6, dtype=np.float32).tofile(path)
    return np.memmap(path, np.float32, "r", shape=(6,))


def locked(folder):
    array = np.arange(6, dtype=np.float32)
    array.flags.writeable = False
    return array


def over_bytes(folder):
    return np.frombuffer(np.arange(6, dtype=np.float32).tobytes(), np.float32)


def inside(folder):
    return over_bytes(folder).reshape(2, 3).T[1]


READ_ONLY = [memmap, locked, over_bytes, inside]
WRITES = {
    "arithmetic": lambda t: t.mul_(2),
    "a slice": lambda t: t[1:].add_(1),
    "an index": lambda t: t.__setitem__(0, 5.0),
    "a mask": lambda t: t.__setitem__(t > 0, 5.0),
    "positions": lambda t: t.__setitem__(T.tensor([0, 1]), 5.0),
    "a view": lambda t: t.view(-1, 1).t().fill_(0),
    "data": lambda t: t.data.zero_(),
    "detached": lambda t: t.detach().copy_(t + 1),
    "random numbers": lambda t: t.uniform_(),
    "sorted away": lambda t: t.index_add_(0, T.tensor([0]), T.ones(1)),
}


@pytest.mark.parametrize("source", READ_ONLY)
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_read_only_memory_is_never_written(source, write, tmp_path):
    array = source(tmp_path)
    t, before = T.from_numpy(array), array.copy()

    def change(x):
        write(x)
        return x.sum()

    calls = [
        lambda: change(t),
        lambda: T.compile(change)(t),
        lambda: T.compile(lambda: change(t))(),
        lambda: T.vmap(lambda x: write(x))(t) if array.ndim == 2 else change(t),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="read-only"):
            call()
    assert np.array_equal(array, before)


@pytest.mark.parametrize("source", READ_ONLY)
def test_a_program_traced_for_other_memory_does_not_write_into_it(source, tmp_path):
    """Neither as an argument, nor as the captured tensor's new data, nor as a gradient."""
    array = source(tmp_path)
    before, free = array.copy(), T.zeros(array.shape)
    held = T.zeros(array.shape)
    p = T.zeros(array.shape, requires_grad=True)
    add = T.compile(lambda x: x.add_(1))
    add_held = T.compile(lambda: held.add_(1))
    step = T.compile(lambda: (p * 2).sum().backward())
    for _ in range(2):
        add(free), add_held(), step()
    with pytest.raises(RuntimeError, match="read-only"):
        add(T.from_numpy(array).view(free.shape))
    held.data = T.from_numpy(array)
    with pytest.raises(RuntimeError, match="read-only"):
        add_held()
    p.grad = T.from_numpy(array)
    for accumulate in (step, lambda: (p * 2).sum().backward()):
        with pytest.raises(RuntimeError, match="read-only"):
            accumulate()
    assert np.array_equal(array, before)


def test_an_optimizer_does_not_write_into_read_only_memory(tmp_path):
    for compiled in (False, True):
        array = memmap(tmp_path)
        p = nn.Parameter(T.from_numpy(array))
        opt = optim.SGD([p], lr=0.1)

        def step():
            (p**2).sum().backward()  # noqa: B023
            opt.step()  # noqa: B023

        with pytest.raises(RuntimeError, match="read-only"):
            (T.compile(step) if compiled else step)()
        assert array.tolist() == [0, 1, 2, 3, 4, 5]


def test_an_array_can_be_locked_after_a_tensor_was_made_of_it():
    """The tensor keeps what it was given, eagerly and compiled."""
    a = np.zeros(3)
    t = T.from_numpy(a)
    add = T.compile(lambda x: x.add_(1))
    add(t)
    a.flags.writeable = False
    add(t), t.add_(1)
    assert a.tolist() == [3, 3, 3]
    t.numpy().flags.writeable = False
    a.shape = (3, 1)
    add(t)
    assert t.tolist() == [4, 4, 4]


def unaligned():
    return np.frombuffer(b"\0" + np.arange(6.0).tobytes(), np.uint8)[1:].view(np.float64)


class Own(np.ndarray):
    pass


UNUSUAL = {
    "backwards": (lambda: np.arange(6.0)[::-1]),
    "every other backwards": (lambda: np.arange(12.0)[::-2]),
    "repeated": (lambda: np.broadcast_to(np.array([2.0]), (6,))),
    "columns": (lambda: np.arange(12.0).reshape(6, 2)[:, 1]),
    "unaligned": unaligned,
    "a field": (lambda: np.array([(k, k) for k in range(6)], [("a", "f8"), ("b", "f8")])["b"]),
    "masked": (lambda: np.ma.array(np.arange(6.0), mask=[0, 1] * 3)),
    "subclass": (lambda: np.arange(6.0).view(Own)),
    "0-d": (lambda: np.array(3.0)),
    "small whole numbers": (lambda: np.arange(6, dtype=np.int8)),
    "empty": (lambda: np.zeros((0, 6))),
}
REFUSED = {
    "big-endian floats": (lambda: np.arange(6, dtype=">f8"), ValueError),
    "big-endian integers": (lambda: np.arange(6, dtype=">i4"), ValueError),
    "a field between bytes": (
        lambda: np.zeros(6, [("a", "i1"), ("b", "f8")])["b"], ValueError,
    ),
    "objects": (lambda: np.array([1.0] * 6, object), TypeError),
    "long doubles": (lambda: np.arange(6, dtype=np.longdouble), TypeError),
    "dates": (lambda: np.array(["2020-01-01"] * 6, "M8[D]"), TypeError),
    "text": (lambda: np.array(["a"] * 6), TypeError),
    "complex": (lambda: np.arange(6) * 1j, TypeError),
    "records": (lambda: np.zeros(6, [("a", "f8")]), TypeError),
}


def ways(array):
    x = T.ones(6, dtype=T.float64)
    program = T.compile(lambda x, a: x + a)
    return [
        lambda: x + array,
        lambda: np.add(x, array),
        lambda: T.compile(lambda x: x + array)(x),
        lambda: program(x, array),
        lambda: program(x, array),
    ]


@pytest.mark.parametrize("make", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_arrays_are_read_as_numbers(make):
    array = make()
    want = np.ones(6) + np.asarray(array)
    for way in ways(array):
        assert np.array_equal(way().numpy(), want)
    if array.ndim and min(array.strides) >= 0:
        assert np.array_equal(T.from_numpy(array).numpy(), np.asarray(array))
        repr(T.from_numpy(array))


@pytest.mark.parametrize("make, error", REFUSED.values(), ids=REFUSED)
def test_arrays_that_hold_no_numbers_of_ours_are_refused(make, error):
    for way in (*ways(make()), lambda: T.from_numpy(make())):
        with pytest.raises(error, match=r"numpy array|np\.ndarray"):
            way()


def test_a_product_of_unaligned_matrices():
    raw = np.frombuffer(b"\0" + np.random.default_rng(0).random(64 * 64).tobytes(), np.uint8)
    a = raw[1:].view(np.float64).reshape(64, 64)
    t = T.from_numpy(a)
    found = T.compile(lambda x: (x @ x, x.sum(0), x.softmax(1)))(t)
    assert np.allclose(found[0].numpy(), a @ a)
    assert np.allclose(found[1].numpy(), a.sum(0))
    assert np.allclose(found[2].numpy().sum(1), 1)


@pytest.mark.filterwarnings("ignore:torch.asarray")
def test_asarray_keeps_the_history_unless_requires_grad_is_false():
    torch = pytest.importorskip("torch")
    for lib in (T, torch):
        x = lib.ones(2, requires_grad=True)
        made = [lib.asarray(x * 2), lib.asarray(x, dtype=lib.float64), lib.asarray(x, copy=True)]
        assert all(t.grad_fn is not None for t in made)
        assert lib.asarray(x).requires_grad
        assert not lib.asarray(x * 2, requires_grad=False).requires_grad
        assert lib.asarray(lib.ones(1), requires_grad=True).is_leaf
