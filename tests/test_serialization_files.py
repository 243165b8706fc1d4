"""Where save writes, what is left when it cannot, and what of the memory of tensors it keeps."""

from __future__ import annotations

import io
import itertools
import os
import random
import resource
import stat
import subprocess
import time

import numpy as np
import pytest
from processes import start

import tracegrad as tg


@pytest.fixture
def path(tmp_path):
    """A folder with one file in it, which must be there after the test, whole."""
    tg.save({"old": tg.ones(3)}, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def old(path) -> bool:
    return list(tg.load(path)) == ["old"] and os.listdir(path.parent) == [path.name]


def test_a_full_disk_leaves_the_old_file(path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError):
            tg.save({"new": tg.ones(100_000)}, path)
        with pytest.raises(OSError):
            tg.save({"new": tg.ones(100_000)}, path.with_name("b.pt"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert old(path)


@pytest.mark.parametrize("what", ["fsync", "replace", "fdopen"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_at_any_step_leaves_the_old_file(path, monkeypatch, what, error):
    def fails(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, what, fails)
        with pytest.raises(type(error)):
            tg.save({"new": tg.ones(3)}, path)
    assert old(path)


class Unwilling:
    def __reduce__(self):
        raise ValueError("not to be saved")


@pytest.mark.parametrize("thing", [lambda: 1, Unwilling(), tg.ones(2).dtype.__class__.__mro__, 1])
def test_what_cannot_be_pickled_leaves_the_old_file(path, thing):
    value = {"new": tg.ones(100), "thing": thing}
    if thing == 1:
        value["pair"] = (tg.ones(4), tg.ones(4).numpy().data)
    try:
        tg.save(value, path)
    except Exception:
        assert old(path)
    else:
        assert list(tg.load(path, weights_only=False)) == ["new", "thing"]


def save_again_and_again():
    for k in itertools.count(1):
        ones = {"w": tg.full((300_000,), float(k)), "b": tg.full((k % 50,), float(k))}
        tg.save({"k": k, **ones}, "a.pt")
        print(k, flush=True)


def test_a_process_that_is_killed_leaves_one_whole_file(tmp_path):
    seed = random.Random(0)
    process = None
    for _ in range(4):
        process = start(save_again_and_again, cwd=tmp_path)
        assert process.stdout.readline()
        time.sleep(seed.random() * 0.3)
        process.kill()
        process.wait()
        found = tg.load(tmp_path / "a.pt")
        assert found["w"].unique().tolist() == [found["k"]]
        assert found["b"].tolist() == [found["k"]] * (found["k"] % 50)


def test_permissions_stay_and_the_umask_counts(tmp_path):
    before = os.umask(0o027)
    try:
        path = tmp_path / "a.pt"
        tg.save(1, path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        for mode in (0o600, 0o444, 0o666, 0o755):
            path.chmod(mode)
            tg.save(2, path)
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)
    assert os.listdir(tmp_path) == ["a.pt"]


def test_a_file_that_must_not_be_written_is_not_replaced(path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may always
    with pytest.raises(PermissionError, match="a.pt"):
        tg.save(1, path)
    assert old(path)


def test_a_file_system_that_cannot_sync_is_written_to(path, monkeypatch):
    def fails(_):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fails)
    tg.save([1], path)
    assert tg.load(path) == [1]


class Bytes:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return os.fsencode(self.path)


def test_a_path_may_be_bytes(path):
    tg.save([1], Bytes(path))
    assert tg.load(Bytes(path)) == [1] and os.listdir(path.parent) == ["a.pt"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_the_owner_stays(path):
    os.chown(path, 1234, 4321)
    tg.save(1, path)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "b.pt", tmp_path / "a.pt"
    link.symlink_to(target)
    for k in (1, 2):
        tg.save(k, link)
        assert link.is_symlink() and tg.load(target) == tg.load(link) == k
    assert os.listdir(target.parent) == ["b.pt"]
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OSError):
        tg.save(1, tmp_path / "loop")


def test_what_is_no_plain_file_is_written_and_not_replaced(tmp_path):
    tg.save(tg.ones(3), "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(IsADirectoryError):
        tg.save(1, tmp_path)
    with pytest.raises(AttributeError, match="'write' attribute"):
        tg.save(1, 5)
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE)
    tg.save([1, tg.ones(2)], fifo)
    assert tg.load(io.BytesIO(reader.communicate()[0]))[1].tolist() == [1, 1]


def test_relative_and_long_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.pt", "./b.pt", "x" * 250, "é ü.pt"):
        tg.save(name, name)
        assert tg.load(name) == name
    assert len(os.listdir(tmp_path)) == 4


class OneWay:
    """A file that can only be written on."""

    def __init__(self):
        self.text, self.flushed = b"", 0

    def write(self, text):
        self.text += bytes(text)
        self.flushed = 0
        return len(text)

    def flush(self):
        self.flushed += 1


def test_files_that_are_open_are_written_to(tmp_path):
    way = OneWay()
    tg.save([tg.ones(2)], way)
    assert way.flushed and tg.load(io.BytesIO(way.text))[0].tolist() == [1, 1]
    with open(tmp_path / "a.pt", "w+b") as file:
        tg.save([tg.ones(2)], file)
        assert tg.load(tmp_path / "a.pt")[0].tolist() == [1, 1]  # it was flushed
        file.seek(0)
        assert tg.load(file)[0].tolist() == [1, 1]
    with open(tmp_path / "b.pt", "w") as file, pytest.raises(TypeError):
        tg.save(1, file)
    with pytest.raises(AttributeError, match="seekable"):
        tg.load(way)
    with pytest.raises(FileNotFoundError):
        tg.load(tmp_path / "none.pt")


def test_neither_is_called_inside_a_compiled_function(path):
    for use in (lambda x: tg.save(x, path), lambda x: tg.load(path)["old"] + x):
        with pytest.raises(RuntimeError, match="not allowed inside a compiled function"):
            tg.compile(use)(tg.ones(3))
    assert old(path)


# ---- memory
def views(T):
    base = T.arange(24.0).reshape(4, 6)
    other = T.arange(10)
    p = T.nn.Parameter(T.arange(6.0).reshape(2, 3))
    return [base, base[1:], base[1], base[2, 3], base.t(), base[::2, 1::3], base.view(-1)[5:9],
            base.unfold(1, 3, 2), base.detach(), other[2:4], other[3:6], other[8:], p, p.data,
            p.t().detach(), {"p": p}, T.ones(1).expand(3, 4), T.zeros(0, 3), base[:0],
            base.reshape(2, 2, 6).permute(2, 0, 1), T.arange(6)[::2]]


def flat(values):
    return [v["p"] if isinstance(v, dict) else v for v in values]


def sharing(values, zero):
    """Which of them change when each of them is set to something."""
    seen = []
    for k, v in enumerate(values):
        if 0 in v.shape or 0 in v.stride() or k == 7:  # those show one number at two places
            continue
        zero(v, k)
        seen.append([w.detach().tolist() for w in values])
    return seen


def set_to(v, k):
    v.detach()[...] = k + 100


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize("writer, reader", ["gg", "tg", "gt"])
def test_tensors_that_shared_memory_share_it(torch, writer, reader, tmp_path):
    T = {"g": tg, "t": torch}
    T[writer].save(views(T[writer]), tmp_path / "a.pt")
    found = flat(T[reader].load(tmp_path / "a.pt"))
    wanted = flat(views(torch))
    for f, w in zip(found, wanted, strict=True):
        assert tuple(f.shape) == tuple(w.shape)
        assert tuple(f.stride()) == tuple(w.stride()) or 0 in w.shape
        assert f.requires_grad == w.requires_grad
    assert found[12] is found[15]
    assert sharing(found, set_to) == sharing(wanted, set_to)


def test_only_what_tensors_show_is_written():
    file = io.BytesIO()
    tg.save(tg.zeros(1_000_000)[10:20], file)
    assert len(file.getvalue()) < 2000


def test_tied_weights_stay_tied():
    net = tg.nn.Sequential(tg.nn.Linear(3, 3), tg.nn.Linear(3, 3))
    net[1].weight = net[0].weight
    file = io.BytesIO()
    tg.save(net.state_dict(), file)
    state = tg.load(file)
    state["0.weight"].fill_(5)
    assert state["1.weight"].tolist() == [[5.0] * 3] * 3
    file = io.BytesIO()
    tg.save(net, file)
    other = tg.load(file, weights_only=False)
    assert other[0].weight is other[1].weight


def test_memory_in_two_dtypes_is_refused_as_torch_does(torch):
    for T in (torch, tg):
        x = T.ones(4)
        with pytest.raises(RuntimeError, match="different types"):
            T.save([x, x.view(T.int32)], io.BytesIO())


def test_arrays_of_any_layout_are_saved():
    a = np.arange(12, dtype=np.float64).reshape(3, 4)
    packed = np.zeros(3, np.dtype([("a", "i1"), ("b", "<f4")]))["b"]
    packed[:] = (1, 2, 3)
    frozen = np.frombuffer(bytes(16), np.float32)
    for array in (a, a.T, a[:, 1:3], a[::-1], a[:, ::-2], np.float32(3.0), packed, frozen):
        try:
            t = tg.from_numpy(np.asarray(array))
        except (ValueError, TypeError, RuntimeError):
            continue
        file = io.BytesIO()
        tg.save({"t": t, "again": t}, file)
        found = tg.load(file)
        assert found["t"].tolist() == t.tolist() and found["t"] is found["again"]
        found["t"].add_(1)


def test_torch_maps_our_files(torch, tmp_path):
    tg.save({"w": tg.arange(100.0), "n": 1}, tmp_path / "a.pt")
    assert torch.load(tmp_path / "a.pt", mmap=True)["w"].tolist() == list(range(100))


def test_places_that_are_not_there_are_refused_by_name(tmp_path):
    with pytest.raises(RuntimeError, match=r"parent directory .*missing does not exist"):
        tg.save({}, tmp_path / "missing" / "model.pt")
    path = tmp_path / "model.pt"
    tg.save({"x": tg.ones(2)}, path)
    for where in ("cuda", "cuda:0", tg.device("cuda"), 5):
        with pytest.raises((RuntimeError, TypeError)):
            tg.load(path, map_location=where)
    for where in (None, "cpu", tg.device("cpu"), {"cuda:0": "cpu"}, lambda storage, _: storage):
        assert tg.load(path, map_location=where)["x"].tolist() == [1, 1]
