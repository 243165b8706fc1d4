"""`as_torch` and `python -m tracegrad script.py`: an import of torch gives tracegrad."""

from __future__ import annotations

import builtins
import importlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from processes import start

import tracegrad as tg
from tracegrad import absent
from tracegrad.torch_modules import PATHS
from tracegrad.torch_version import TorchVersion


def run(folder: Path, text: str, *arguments: str, module: bool = False):
    (folder / "script.py").write_text(text)
    how = ["-m", "script"] if module else [str(folder / "script.py")]
    return subprocess.run([sys.executable, "-m", "tracegrad", *how, *arguments], cwd=folder,
                          capture_output=True, text=True)


def test_a_script_for_torch_runs_unmodified(tmp_path):
    (tmp_path / "beside.py").write_text("from torch.nn import Linear")
    out = run(tmp_path, """
import sys, pickle
import torch, torch.nn.functional as F
from torch import nn, optim
from torch.optim.optimizer import Optimizer
from torch.nn.modules.batchnorm import _BatchNorm
from beside import Linear
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = Linear(2, 1)
    def forward(self, x):
        return self.layer(x)
if __name__ == "__main__":
    model = torch.compile(Net())
    adam = optim.Adam(model.parameters(), lr=0.1)
    assert isinstance(adam, Optimizer) and issubclass(nn.BatchNorm1d, _BatchNorm)
    for _ in range(3):
        adam.zero_grad(); F.mse_loss(model(torch.ones(4, 2)), torch.zeros(4, 1)).backward()
        adam.step()
    pickle.loads(pickle.dumps(Net()))
    print(sys.argv[1:], torch.__version__, sys.argv[0].endswith("script.py"))
""", "--lr", "1")
    assert out.stdout == "['--lr', '1'] 2.13.0+tracegrad True\n" and out.stderr == ""


def test_a_module_runs_too_and_what_was_missed_is_reported(tmp_path):
    out = run(tmp_path, """
import torch
print(hasattr(torch, "sparse_coo_tensor"), __name__)
try:
    import torch.nowhere
except ModuleNotFoundError as error:
    print(error)
torch.quantize_per_tensor
""", module=True)
    assert out.stdout == "False __main__\ntorch.nowhere is not part of tracegrad\n"
    *_, error, report = out.stderr.strip().splitlines()
    assert error.endswith("torch.quantize_per_tensor is not part of tracegrad")
    assert report == ("tracegrad: asked for in vain: torch.sparse_coo_tensor, torch.nowhere, "
                      "torch.quantize_per_tensor")
    assert out.returncode == 1


def test_an_exit_code_is_the_scripts(tmp_path):
    out = run(tmp_path, "import sys, torch; sys.exit(7)")
    assert (out.returncode, out.stdout, out.stderr) == (7, "", "")


def test_the_import_holds_in_its_block_alone():
    before = {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "torch"}
    with tg.as_torch():
        import torch
        import torch.nn.functional as functional
        from torch import nn
        from torch.optim import lr_scheduler

        assert functional is tg.nn.functional and nn is tg.nn and torch.Tensor is tg.Tensor
        assert lr_scheduler is tg.optim.lr_scheduler and torch.__name__ == "torch"
        assert isinstance(torch.__version__, TorchVersion)
        assert importlib.import_module("torch.linalg") is tg.linalg
        with tg.as_torch():
            assert importlib.import_module("torch") is torch
        assert importlib.import_module("torch") is torch
    assert {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "torch"} == before
    assert builtins.__import__.__module__ == "builtins" and tg.nn.__spec__.name == "tracegrad.nn"


def test_blocks_may_end_in_any_order():
    before = sys.modules.get("torch")
    first, second = tg.as_torch(), tg.as_torch()
    first.close()
    assert importlib.import_module("torch").Tensor is tg.Tensor
    second.close()
    second.close()
    assert sys.modules.get("torch") is before and builtins.__import__.__module__ == "builtins"


def test_threads_open_and_close_while_others_import():
    before, import_ = sys.modules.get("torch"), builtins.__import__

    def work(index):
        for k in range(60):
            sys.modules[f"made_{index}_{k}"] = sys
            with tg.as_torch():
                from torch import nn

                assert nn is tg.nn
            del sys.modules[f"made_{index}_{k}"]

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert sys.modules.get("torch") is before and builtins.__import__ is import_


def test_an_exception_ends_the_block():
    with pytest.raises(ZeroDivisionError), tg.as_torch():
        1 / 0  # noqa: B018
    assert builtins.__import__.__module__ == "builtins"
    assert not any(getattr(f, "__module__", "") == "tracegrad.torch_import" for f in sys.meta_path)


MISSING = {
    "a name": ("from torch import sparse_coo_tensor", "torch.sparse_coo_tensor"),
    "a name of a submodule": ("from torch.nn import quantizable", "torch.nn.quantizable"),
    "a module": ("import torch.sparse", "torch.sparse"),
    "a module inside": ("import torch.export.graph", "torch.export"),
    "one of ours": ("import torch.driver", "torch.driver"),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_name_is_an_import_error_that_says_it(name):
    statement, missed = MISSING[name]
    with tg.as_torch(), pytest.raises(ModuleNotFoundError, match=f"^{missed} is not part of trace"):
        exec(statement, {})
    assert missed in absent.in_vain


def scoped(folder):
    sys.path.insert(0, folder)
    tg.as_torch(scope=["mine"])
    import mine
    import others

    print(mine.torch.__version__, mine.late().__name__, others.version)


IMPORTER = """
import torch
version = torch.__version__
def late():
    import torch.nn.functional as F
    return F
"""


@pytest.mark.slow
def test_with_a_scope_only_its_packages_get_ours(tmp_path):
    pytest.importorskip("torch")
    for name in ("mine", "others"):
        (tmp_path / f"{name}.py").write_text(IMPORTER)
    out, error = start(scoped, str(tmp_path)).communicate()
    ours, late, theirs = out.split()
    assert (ours, late) == ("2.13.0+tracegrad", "tracegrad.nn.functional"), error
    assert theirs.startswith("2.") and "tracegrad" not in theirs


def left_alone(folder):
    sys.path.insert(0, folder)
    tg.as_torch()
    import torch
    import transformers

    print(transformers.torch is torch, torch.__version__, sys.modules["torch"] is torch)


@pytest.mark.slow
def test_packages_that_look_for_torch_get_theirs_or_none(tmp_path):
    (tmp_path / "transformers.py").write_text(
        "try:\n    import torch\nexcept ModuleNotFoundError:\n    torch = None\n"
    )
    out, error = start(left_alone, str(tmp_path)).communicate()
    assert out == "False 2.13.0+tracegrad True\n", error


def test_a_scope_is_a_list():
    with pytest.raises(TypeError, match=r"scope must be a list of packages, such as \['mine'\]"):
        tg.as_torch(scope="mine")
    assert builtins.__import__.__module__ == "builtins"


@pytest.mark.parametrize("other, less", [
    ("2.9", False), ("2.14", True), ("2.13.1", True), ((2, 13), False), ((3,), True),
    ("2.13.0", False),
])
def test_versions_are_compared_by_their_numbers(other, less):
    version = TorchVersion("2.13.0+tracegrad")
    assert (version < other) is less and (version >= other) is not less
    assert version == "2.13.0+tracegrad" and version.startswith("2.13")
    with pytest.raises(TypeError):
        version < 2  # noqa: B015


def test_every_path_of_the_table_is_a_module_here_and_there():
    torch = pytest.importorskip("torch")
    for path in PATHS:
        assert absent.find(path) is not None, path
        if path not in ("nn.grad", "utils.tensorboard", "onnx", "distributed.nn"):
            importlib.import_module(f"{torch.__name__}.{path}")


def fresh_seed():
    print(tg.initial_seed(), tg.Generator().initial_seed())


def test_a_fresh_process_draws_a_fresh_seed():
    first, second = (start(fresh_seed).communicate()[0].split() for _ in range(2))
    assert first[0] != second[0] and first[1] == second[1] == "67280421310721"
