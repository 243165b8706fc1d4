"""Programs as shared objects: what they compute, their state, and what cannot be one."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import threading

import numpy as np
import pytest

import tracegrad as tg
from tracegrad import nn, optim

F = nn.functional
pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def numbers(*shape, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    return np.array(rng.standard_normal(shape) * 2, dtype)


class Library:
    """A shared object, loaded."""

    def __init__(self, path, compiled, *args, **options):
        compiled.export(path, *args, **options)
        self.header = path.with_suffix(".h").read_text()
        self.loaded = ctypes.CDLL(str(path))

    def call(self, name, *arrays):
        function = getattr(self.loaded, name)
        function.argtypes, function.restype = len(arrays) * [ctypes.c_void_p], ctypes.c_int32
        return function(*(a.ctypes.data for a in arrays))

    def state(self, name, count, kind=ctypes.c_float):
        return np.ctypeslib.as_array((kind * count).in_dll(self.loaded, name))


def arrays_of(result):
    leaves = result if isinstance(result, tuple) else (result,)
    return [t.detach()._array for t in leaves]


w = tg.tensor(numbers(4, 4, seed=2))
strided = tg.tensor(numbers(5, 8, seed=3))
PROGRAMS = {
    "product": (lambda x: (x @ w).relu().sum(0), [numbers(300, 4)]),
    "pointwise": (lambda x: (x.exp() * 2, x.tanh(), x > 0, x.sin() ** 2.5), [numbers(3, 5)]),
    "strides": (
        lambda x: (x * strided.T[::2], strided[0, 0] + x, strided[:0] * 2), [numbers(4, 5)]
    ),
    "integers": (lambda x, k: (x[k], k // 2, x.argmax()), [numbers(9), np.array([1, -3])]),
    "empty": (lambda x: (x * 2, x.sum()), [numbers(0, 3)]),
    "half": (lambda x: (x * 2, x.to(tg.bfloat16)), [numbers(3, dtype="float16")]),
    "loop": (lambda x: tg.scan(lambda c, v: (c @ w + v, c.sum()), x[0], x), [numbers(6, 4)]),
    "a loop with a test": (lambda x: tg.while_loop(
        lambda k, a: k < 5, lambda k, a: (k + 1, (a + k) @ x * 0.1), (x[0].argmax(), x)),
        [numbers(4, 4)]),
    "loops and branches": (lambda x: tg.scan(lambda c, v: (
        tg.while_loop(lambda a: a.sum() < 3, lambda a: (a + 1,), (c,))[0],
        tg.cond(v.sum() > 0, lambda v: v * 2, lambda v: v - 1, (v,))), x[0], x), [numbers(4, 4)]),
    "nothing": (lambda: tg.arange(4) * 2, []),
    "long sums": (lambda x: (x.sum(), x.mean(0), x.var(1)), [numbers(100, 300)]),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_computes_the_bits_that_the_compiled_function_computes(name, tmp_path):
    f, args = PROGRAMS[name]
    compiled = tg.compile(f)
    expected = arrays_of(compiled(*map(tg.from_numpy, args)))
    library = Library(tmp_path / "f.so", compiled, *args)
    made = [np.empty_like(y) for y in expected]
    for _ in range(2):
        assert library.call("function", *args, *made) == 0
        assert [y.tobytes() for y in made] == [y.tobytes() for y in expected]


@pytest.mark.parametrize("name", "take count new plan rows free exp main int goes größe".split())
def test_names_that_others_have(name, tmp_path):
    f = tg.compile(lambda x: x.exp() * 2)
    f.tracegrad_state.fn.__name__ = name
    library = Library(tmp_path / "f.so", f, numbers(3))
    own = library.header.partition("int32_t ")[2].partition("(")[0]
    assert (own == name) is (name in "take count new plan rows goes".split())
    x, y = numbers(3), np.empty(3, "f4")
    assert library.call(own, x, y) == 0 and y.tolist() == f(tg.tensor(x)).tolist()


def trainer():
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 2))
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    @tg.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return model, step


def test_a_training_step_with_its_state(tmp_path):
    x, y, loss = numbers(6, 4), numbers(6, 2, seed=1), np.empty((), "f4")
    model, step = trainer()
    library = Library(tmp_path / "step.so", step, x, y)
    assert "extern float step_model_0_weight[8][4];" in library.header
    assert "extern double step_optimizer_lr;" in library.header
    for _ in range(5):
        expected = step(tg.tensor(x), tg.tensor(y)).item()
        assert library.call("step", x, y, loss) == 0 and loss.item() == expected
    weight = library.state("step_model_0_weight", 32)
    assert weight.tolist() == model[0].weight.detach().flatten().tolist()
    library.state("step_optimizer_lr", 1, ctypes.c_double)[0] = 0
    before = weight.tolist()
    library.call("step", x, y, loss)
    assert weight.tolist() == before


def test_a_c_program_is_compiled_without_a_warning(tmp_path):
    f = tg.compile(lambda x, w: ((x @ w) ** 2).sum())
    f.export(tmp_path / "f.so", numbers(2, 3), numbers(3), gradient=1)
    (tmp_path / "main.c").write_text("""
        #include "f.h"
        #include <stdio.h>
        int main(void) {
            float x[2][3] = {{1, 2, 3}, {4, 5, 6}}, w[3] = {1, 0, -1}, value, grad[3];
            int status = function(&x[0][0], w, &value, grad);
            printf("%d %g %g %g %g %d", status, value, grad[0], grad[1], grad[2],
                   function(&x[0][0], w, &value, w));
        }
    """)
    strict = "-std=c11 -Wall -Wextra -Wpedantic -Werror"
    command = f"cc {strict} -I{tmp_path} {tmp_path}/main.c {tmp_path}/f.so -o {tmp_path}/main"
    subprocess.run(command.split(), check=True)
    printed = subprocess.run([tmp_path / "main"], capture_output=True, check=True, text=True).stdout
    assert printed == "0 8 -20 -28 -36 4"


def test_it_needs_the_c_library_alone(tmp_path):
    path = tmp_path / "f.so"
    tg.compile(lambda x: (x @ x).exp().sum()).export(path, numbers(30, 30))
    listed = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    assert not {"python", "llvm", "numba", "omp"} & set(listed.replace(".", " ").split())


def test_what_is_wrong_has_a_status(tmp_path):
    table = tg.arange(5.0)
    library = Library(tmp_path / "f.so", tg.compile(lambda k: table[k]), np.array([0, 1]))
    out = np.zeros(2, "f4")
    assert library.call("function", np.array([0, 9]), out) == 1
    assert library.loaded.function(None, ctypes.c_void_p(out.ctypes.data)) == 3
    assert library.call("function", np.array([4, -1]), out) == 0 and out.tolist() == [4, 4]


def test_threads(tmp_path):
    total = tg.zeros((), dtype=tg.int64)
    library = Library(tmp_path / "f.so", tg.compile(lambda x: total.add_(x)), np.array(1))
    one, out = np.array(1), np.array(0)

    def work():
        for _ in range(2000):
            library.call("function", one, np.array(0))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    library.call("function", one, out)
    assert out == 8001


def test_two_libraries_have_a_state_each(tmp_path):
    total, out = tg.zeros(()), np.zeros((), "f4")
    f = tg.compile(lambda x: total.add_(x))
    one, two = (Library(tmp_path / f"{k}.so", f, np.array(1, "f4")) for k in range(2))
    for library, expected in ((one, 1), (one, 2), (two, 1), (one, 3)):
        library.call("function", np.array(1, "f4"), out)
        assert out == expected
    assert total.item() == 0


@pytest.mark.parametrize("f", [lambda x: tg.special.i0(x), lambda x: tg.linalg.inv(x)])
def test_functions_of_scipy_cannot_be_in_one(f, tmp_path):
    with pytest.raises(RuntimeError, match="f.so: it uses functions of SciPy .* load_program"):
        tg.compile(f).export(tmp_path / "f.so", numbers(3, 3))
    assert not list(tmp_path.iterdir())


def test_without_a_compiler_or_a_folder_nothing_is_written(tmp_path, monkeypatch):
    f = tg.compile(lambda x: x * 2)
    with pytest.raises(RuntimeError, match="parent directory .* does not exist"):
        f.export(tmp_path / "none" / "f.so", numbers(3))
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(RuntimeError, match="needs a C compiler, and there is no no-such-compiler"):
        f.export(tmp_path / "f.so", numbers(3))
    monkeypatch.setenv("CC", "false")
    with pytest.raises(RuntimeError, match="f.so: false failed"):
        f.export(tmp_path / "f.so", numbers(3))
    assert not list(tmp_path.iterdir())
