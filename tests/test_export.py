"""Programs in files: a process that has none of the code goes on where the other one stood."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import struct
import threading
from collections import OrderedDict

import numpy as np
import pytest
from processes import run

import tracegrad as tg
from tracegrad import nn, optim, serialization
from tracegrad.driver import program_archive
from tracegrad.runtime.cpu import compiler, portable

F = nn.functional


def numbers(*shape, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    return np.array(rng.standard_normal(shape) * 2, dtype)


def digest(values) -> str:
    return hashlib.sha256(b"".join(np.asarray(v).tobytes() for v in values)).hexdigest()[:16]


def batch():
    return tg.tensor(numbers(6, 4)), tg.tensor(numbers(6, 2, seed=1))


def trainer():
    tg.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 2)
    )
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    @tg.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return model, optimizer, step


# ---- what processes of their own run
def train_and_export(path: str) -> None:
    model, _, step = trainer()
    for _ in range(3):
        step(*batch())
    step.export(path, *batch())
    print([step(*batch()).item() for _ in range(4)])
    print(digest(t._array for _, t in sorted(model.state_dict().items()) if t.ndim))


def go_on(path: str, folder: str) -> None:
    program = tg.load_program(path)
    losses = [program(*batch()).item() for _ in range(2)]
    program.save(f"{folder}/again.tgp")
    del program
    program = tg.load_program(f"{folder}/again.tgp")
    print(losses + [program(*batch()).item() for _ in range(2)])
    state = program.state_dict()
    print(digest(t._array for k, t in sorted(state.items()) if k.startswith("model") and t.ndim))


@pytest.mark.parametrize("env", [{}, {"NUMBA_NUM_THREADS": "1"}])
def test_a_training_step_goes_on_exactly_in_another_process(tmp_path, env):
    path = str(tmp_path / "step.tgp")
    there = run(train_and_export, path)
    folder = {"TRACEGRAD_CACHE_DIR": str(tmp_path / "cache")}
    assert run(go_on, path, str(tmp_path), env=env | folder) == there


def loads_and_prints(path: str, shape: list[int]) -> None:
    program = tg.load_program(path)
    print(compiler.statistics.compiled > 0, program(tg.tensor(numbers(*shape))).sum().item())


def test_another_processor_compiles_the_text_again(tmp_path):
    path = str(tmp_path / "product.tgp")
    f = tg.compile(lambda x: (x @ x.T).tanh() + tg.special.gammaln(x.abs() + 1).sum())
    f.export(path, numbers(30, 30))
    cold = {"TRACEGRAD_CACHE_DIR": str(tmp_path / "cache")}
    words = run(loads_and_prints, path, [30, 30], env=cold).split()
    assert words[0] == "False"
    other = cold | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    again = run(loads_and_prints, path, [30, 30], env=other).split()
    assert again[0] == "True" and float(again[1]) == pytest.approx(float(words[1]), rel=1e-5)


def test_a_program_from_the_cache_has_the_text_of_its_products(tmp_path, cache_folder):
    """Lowering writes it again."""
    path = str(tmp_path / "product.tgp")
    for _ in range(2):
        tg.compile(lambda x: x @ x).export(path, numbers(30, 30))
        archive = program_archive.unpacked((tmp_path / "product.tgp").read_bytes())
        assert all(text for _, _, text in archive.kernels)


def test_a_program_that_can_neither_run_nor_be_compiled_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "f.tgp"
    tg.compile(lambda x: x * 2).export(path, numbers(3))
    monkeypatch.setattr(portable, "runs_here", lambda needs: False)
    assert tg.load_program(path)(tg.ones(3)).tolist() == [2, 2, 2]
    monkeypatch.setattr(compiler, "meaning", lambda: "another one")
    with pytest.raises(RuntimeError, match="f.tgp: it was made by tracegrad .* Export it anew"):
        tg.load_program(path)


def test_objects_for_other_processors_do_not_run_here():
    own = portable.made_for()
    assert portable.runs_here(own)
    assert portable.runs_here(own | {"features": own["features"][:1]})
    for other in (
        {"features": [*own["features"], "avx9000"]}, {"triple": "riscv64-unknown-linux"},
        {"versions": "x"}, {"told": ["generic", ""]},
    ):
        assert not portable.runs_here(own | other)


# ---- what it computes
def loaded(f, *args, tmp_path, **options):
    f.export(tmp_path / "f.tgp", *args, **options)
    return tg.load_program(tmp_path / "f.tgp")


def test_containers_and_values_are_kept(tmp_path):
    def f(p, scale, words):
        x, (y, empty) = p["x"], p["rest"]
        return OrderedDict(a=[x * scale, (y, None, empty)], b=x.max(0), c=("é", True, 1e-300)), x

    args = {"x": tg.ones(2, 3), "rest": (tg.tensor(2), tg.zeros(0, 3))}, 0.5, ["a", None]
    compiled = tg.compile(f)
    program = loaded(compiled, *args, tmp_path=tmp_path)
    expected, got = compiled(*args), program(*args)
    assert repr(got) == repr(expected) and type(got[0]) is OrderedDict
    assert type(got[0]["b"]) is type(expected[0]["b"])
    assert got[1] is not args[0]["x"] and program(*args)[1]._array is not got[1]._array
    for wrong, words in (
        ((args[0], 0.25, ["a", None]), "exported for 0.5 .*not 0.25"),
        ((args[0], 0.5, ["b", None]), "exported for 'a' .*not 'b'"),
        ((args[0], 0.5), "exported for arguments"),
        (({"x": tg.ones(2, 3)}, 0.5, ["a", None]), "exported for arguments"),
        (({**args[0], "x": 3.0}, 0.5, ["a", None]), "'p_x' must be a tensor, not float"),
        (({**args[0], "x": tg.ones(3, 2)}, 0.5, ["a", None]), r"shape \[2, 3\], not .*\[3, 2\]"),
        (({**args[0], "x": tg.ones(2, 3).double()}, 0.5, ["a", None]), "not .*float64"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            program(*wrong)


@pytest.mark.parametrize("dtype", "float64 float16 bfloat16 int64 int8 uint8 bool".split())
def test_every_dtype(dtype, tmp_path):
    x = tg.tensor([0.0, 1.0, 2.0]).to(getattr(tg, dtype))
    state = x.clone()
    f = tg.compile(lambda x: (x == state, x.clone(), x[0], x[:0]))
    got = loaded(f, x, tmp_path=tmp_path)(x)
    assert [t.dtype for t in got] == [tg.bool, x.dtype, x.dtype, x.dtype]
    assert repr(got) == repr(f(x))


def test_layouts_of_the_state(tmp_path):
    base = tg.tensor(numbers(4, 3))
    views = [base.T, base[:, ::2], base[1:2].expand(3, 3), base[0, 0], base[:0]]
    f = tg.compile(lambda x: tuple(v * 2 + x for v in views))
    program = loaded(f, tg.tensor(1.0), tmp_path=tmp_path)
    expected = f(tg.tensor(1.0))
    with tg.no_grad():
        base.zero_()  # the file has its own
    assert repr(program(tg.tensor(1.0))) == repr(expected)


def test_arguments_of_other_layouts_and_the_classes_of_numpy(tmp_path):
    f = tg.compile(lambda x: x.sum(0))
    program = loaded(f, numbers(3, 4), tmp_path=tmp_path)
    x = numbers(4, 3)
    expected = program(tg.tensor(x).T.contiguous()).tolist()
    assert program(tg.tensor(x).T).tolist() == program(x.T).tolist() == expected


def test_arguments_that_are_changed_in_place(tmp_path):
    def f(x, y):
        x.mul_(y)
        return x.sum()

    program = loaded(tg.compile(f), numbers(3), numbers(3), tmp_path=tmp_path)
    x, y = tg.ones(3), tg.full((3,), 2.0)
    assert program(x, y).item() == 6 and x.tolist() == [2, 2, 2]
    with pytest.raises(RuntimeError, match="shares memory"):
        program(x, x)
    with pytest.raises(ValueError, match="contiguous and writable"):
        program(tg.ones(6)[::2], y)
    assert x.tolist() == [2, 2, 2]


def test_an_argument_that_is_the_state_is_read_before_it_changes(tmp_path):
    w = tg.ones(3)
    program = loaded(tg.compile(lambda x: (w.mul_(2), x + w)[1]), tg.ones(3), tmp_path=tmp_path)
    assert program(program.state_dict()["w"]).tolist() == [3, 3, 3]
    assert program.state_dict()["w"].tolist() == [2, 2, 2]


def test_loops_and_layers_with_state(tmp_path):
    layer = nn.LSTM(3, 4)
    f = tg.compile(lambda x: (layer(x)[0], tg.scan(lambda c, v: (c @ x + v, c), x[0], x)))
    x = tg.tensor(numbers(3, 3))
    got, expected = loaded(f, x, tmp_path=tmp_path)(x), f(x)
    assert digest(t.detach()._array for t in (got[0], *got[1])) == digest(
        t.detach()._array for t in (expected[0], *expected[1])
    )


def test_the_gradient(tmp_path):
    f = tg.compile(lambda x, w: (x @ w).exp().sum())
    x, w = tg.tensor(numbers(3, 4)), tg.tensor(numbers(4))
    value, (gw,) = loaded(f, x, w, gradient=(1,), tmp_path=tmp_path)(x, w)
    expected = tg.func.grad(f, 1)(x, w)
    np.testing.assert_allclose(gw._array, expected.detach()._array, rtol=1e-6)
    with pytest.raises(RuntimeError, match="no derivative: detach"):
        loaded(f, x, w, tmp_path=tmp_path)(x, w.clone().requires_grad_())


def test_failed_checks_raise_and_change_nothing(tmp_path):
    table, total = tg.arange(5.0), tg.zeros(())

    def f(k):
        total.add_(1)
        return table[k]

    program = loaded(tg.compile(f), tg.tensor([0]), tmp_path=tmp_path)
    for _ in range(2):
        with pytest.raises(IndexError, match="index 7 is out of bounds for dimension 0"):
            program(tg.tensor([7]))
    assert program(tg.tensor([4])).tolist() == [4]
    assert program.state_dict()["total"].item() == 1


# ---- the state
def test_the_state_is_seen_set_and_named(tmp_path):
    program = loaded(trainer()[2], *batch(), tmp_path=tmp_path)
    state = program.state_dict()
    assert {
        "model.0.weight", "model.1.running_mean", "model.1.num_batches_tracked", "model.4.bias",
        "optimizer.lr", "optimizer.state.0.exp_avg", "optimizer.state.0.step", "generator",
    } <= state.keys()
    start = {name: t.clone() for name, t in state.items()}
    losses = [program(*batch()).item() for _ in range(3)]
    assert losses[0] != losses[1] and state["generator"].tolist() != start["generator"].tolist()
    program.load_state_dict(start)
    assert [program(*batch()).item() for _ in range(3)] == losses
    program.load_state_dict(start)
    program.state_dict()["optimizer.lr"].fill_(0.0)
    program(*batch())
    assert program.state_dict()["model.0.weight"].tolist() == start["model.0.weight"].tolist()


def test_a_state_that_does_not_fit_changes_nothing(tmp_path):
    program = loaded(trainer()[2], *batch(), tmp_path=tmp_path)
    start = {name: t.clone() for name, t in program.state_dict().items()}
    for change, words in (
        ({"model.0.weight": tg.zeros(2)}, r"'model.0.weight' has .* shape \[2\], not"),
        ({"optimizer.lr": tg.tensor(1.0)}, "'optimizer.lr' has dtype"),
        ({"x": tg.zeros(2)}, "unexpected 'x'"), ({"model.4.bias": 3}, "is a int"),
    ):
        with pytest.raises(RuntimeError, match=words):
            program.load_state_dict({name: t * 0 for name, t in start.items()} | change)
    with pytest.raises(RuntimeError, match="missing 'generator'"):
        program.load_state_dict({k: v for k, v in start.items() if k != "generator"})
    for name, t in program.state_dict().items():
        assert t.tolist() == start[name].tolist()


def test_numba_and_c_work_on_the_state_of_a_loaded_program(tmp_path):
    program = loaded(trainer()[2], *batch(), tmp_path=tmp_path)
    other = tg.load_program(tmp_path / "f.tgp")
    x, y = (t._array for t in batch())
    cf = program.cfunc()
    assert [cf(x, y), program(x, y).item(), cf(x, y)] == [other(x, y).item() for _ in range(3)]


def test_exporting_changes_nothing(tmp_path):
    model, _, step = trainer()
    before = digest(p.detach()._array for p in model.state_dict().values())
    generator = tg.get_rng_state().tolist()
    step.export(tmp_path / "a", *batch())
    assert digest(p.detach()._array for p in model.state_dict().values()) == before
    assert tg.get_rng_state().tolist() == generator
    assert all(p.grad is None for p in model.parameters())


# ---- files
def test_what_is_no_data_is_refused(tmp_path):
    f = tg.compile(lambda x, o: (x, o))
    with pytest.raises(TypeError, match="is a object: only tensors, numbers"):
        f.export(tmp_path / "a", tg.ones(2), object())
    with pytest.raises(TypeError, match="is a ellipsis"):
        tg.compile(lambda x: (x, ...)).export(tmp_path / "a", tg.ones(2))
    assert not list(tmp_path.iterdir())


def test_an_old_file_stays_until_the_new_one_is_complete(tmp_path, monkeypatch):
    path = tmp_path / "f.tgp"
    f = tg.compile(lambda x: x * 2)
    f.export(path, tg.ones(2))
    old = path.read_bytes()


    def full(handle):
        raise OSError("no space")

    monkeypatch.setattr(serialization, "_fsync", full)
    with pytest.raises(OSError, match="no space"):
        f.export(path, tg.ones(3))
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]
    with pytest.raises(RuntimeError, match="export: parent directory .* does not exist"):
        f.export(tmp_path / "none" / "f", tg.ones(2))
    with pytest.raises(IsADirectoryError):
        f.export(tmp_path, tg.ones(2))
    with pytest.raises(FileNotFoundError):
        tg.load_program(tmp_path / "none")


def test_damage_is_an_error(tmp_path):
    path = tmp_path / "f.tgp"
    tg.compile(lambda x: (x @ x).sum()).export(path, numbers(3, 3))
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    bad = [good[:n] for n in (0, 1, 5, 19, 20, 30, 52, 60, len(good) // 2, len(good) - 1)]
    bad += [good + b"x", b"PK" + good]
    for at in rng.integers(0, len(good), 40):
        bad.append(good[:at] + bytes([good[at] ^ 64]) + good[at + 1 :])
    for data in bad:
        path.write_bytes(data)
        with pytest.raises(RuntimeError, match="f.tgp: it is "):
            tg.load_program(path)


def signed(parts: list[bytes]) -> bytes:
    body = b"".join(struct.pack("<q", len(p)) + p for p in parts)
    return program_archive._MAGIC + hashlib.sha256(body).digest() + body


def test_wrong_content_with_a_right_digest_is_an_error(tmp_path):
    path = tmp_path / "f.tgp"
    w = tg.ones(3, 3).T
    tg.compile(lambda x: ({"a": x @ w, "b": 2},)).export(path, numbers(3, 3))
    parts = list(program_archive._parts(path.read_bytes()[len(program_archive._MAGIC) + 32 :]))
    assert signed(parts) == path.read_bytes()
    head = json.loads(parts[0])
    heads = [
        {**head, key: value}
        for key in head for value in (None, 3, [], {}, "x", [[]], [None] * 3, {"list": []})
        if key not in ("name", "version", "meaning") and (key, value) != ("results", {"list": []})
    ]
    port = head["arguments"]["tuple"][0]["port"]
    for k, wrong in enumerate((3, [2, 2], "int8", 99, None)):
        broken = [*port[:k], wrong, *port[k + 1 :]]
        heads.append({**head, "arguments": {"tuple": [{"port": broken}]}})
    heads.append({**head, "arguments": {"tuple": [{"port": port}, {"port": port}]}})
    heads.append({**head, "results": {"tuple": [{"port": port}]}})
    (row,) = head["state"]
    for k, wrong in ((2, "int8"), (2, "x"), (3, [9]), (4, 0), (4, -1), (4, 10**9)):
        heads.append({**head, "state": [[*row[:k], wrong, *row[k + 1 :]]]})
    wrong = [[json.dumps(h).encode(), *parts[1:]] for h in heads if h != head]
    wrong += [parts[:k] for k in range(len(parts))] + [[*parts, b""], [b"\xff", *parts[1:]]]
    wrong += [[*parts[:3], parts[3][:-4], *parts[4:]], [*parts[:2], parts[2][8:], *parts[3:]]]
    for changed in wrong:
        path.write_bytes(signed(changed))
        with pytest.raises(RuntimeError, match="f.tgp: it"):
            tg.load_program(path)


@pytest.mark.parametrize("ending", ["f.tgp", "f.so"])
def test_a_path_is_a_text_bytes_or_a_path_and_no_file_descriptor(ending, tmp_path):
    f = tg.compile(lambda x: x * 2)
    for path in (tmp_path / ending, str(tmp_path / ending), bytes(tmp_path / ending)):
        f.export(path, tg.ones(2))
        if ending == "f.tgp":
            tg.load_program(path).save(path)
            assert tg.load_program(path)(tg.ones(2)).tolist() == [2.0, 2.0]
        (tmp_path / ending).unlink()
    for act in (lambda: f.export(1, tg.ones(2)), lambda: tg.load_program(1)):
        with pytest.raises(TypeError):
            act()


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_a_copy_goes_on_from_the_present_state(copy_of, tmp_path):
    total = tg.zeros((), dtype=tg.int64)
    program = loaded(tg.compile(lambda x: total.add_(x)), tg.tensor(1), tmp_path=tmp_path)
    program(tg.tensor(5))
    other = copy_of(program)
    assert other(tg.tensor(1)).item() == 6 and program(tg.tensor(0)).item() == 5


# ---- without example arguments
def test_without_example_arguments_it_is_for_those_of_the_last_call(tmp_path):
    @tg.compile
    def f(x, how, w):
        return (x @ w).sum() * 2 if how == "sum" else x + w

    f(tg.ones(2, 2), "add", tg.ones(2, 2))
    x, w = tg.ones(2, 3, dtype=tg.float64), tg.full((3,), 2.0, dtype=tg.float64)
    f(x, "sum", w)
    f.export(tmp_path / "f.tgp", gradient=2)
    value, gradient = tg.load_program(tmp_path / "f.tgp")(x, "sum", w)
    assert value == f(x, "sum", w) and gradient.tolist() == [4.0] * 3
    assert f.cfunc()(x.numpy(), w.numpy()) == value.item()


def test_a_module_is_exported_for_the_batch_that_it_has_seen(tmp_path):
    model = tg.compile(nn.Linear(3, 2))
    x = tg.ones(4, 3)
    y = model(x)
    model.export(tmp_path / "f.tgp")
    assert tg.load_program(tmp_path / "f.tgp")(x).tolist() == y.tolist()


@pytest.mark.parametrize("args, kwargs", [
    ((tg.ones(2), 2), {}), (([tg.ones(2)],), {}), ((), {"x": tg.ones(2)}),
], ids=["number", "list", "keyword"])
def test_calls_that_are_no_example_ask_for_one(args, kwargs, tmp_path):
    compiled = tg.compile(lambda x, n=1: x * n if isinstance(x, tg.Tensor) else x[0])
    compiled(*args, **kwargs)
    with pytest.raises(RuntimeError, match="give example arguments"):
        compiled.export(tmp_path / "f.tgp")


def test_threads_call_a_loaded_program(tmp_path):
    total = tg.zeros((), dtype=tg.int64)
    program = loaded(tg.compile(lambda x: total.add_(x)), tg.tensor(1), tmp_path=tmp_path)
    one = tg.tensor(1)
    threads = [
        threading.Thread(target=lambda: [program(one) for _ in range(200)]) for _ in range(4)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert program(tg.tensor(0)).item() == 800


def test_it_is_no_part_of_a_compiled_function(tmp_path):
    program = loaded(tg.compile(lambda x: x * 2), tg.ones(2), tmp_path=tmp_path)
    for f in (lambda x: program(x), lambda x: tg.load_program(tmp_path / "f.tgp")):
        with pytest.raises(RuntimeError, match="inside a compiled function"):
            tg.compile(f)(tg.ones(2))
