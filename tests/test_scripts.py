"""`python -m tracegrad` runs a command as Python does: `__main__`, tracebacks, new processes."""

from __future__ import annotations

import subprocess
import sys
from zipfile import ZipFile

import pytest

VERSION = "import torch, sys; print(torch.__version__, sys.argv, __name__)"


def run(folder, *command, **options):
    return subprocess.run([sys.executable, "-m", "tracegrad", *command], cwd=folder,
                          capture_output=True, text=True, **options)


def test_a_traceback_begins_in_the_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import math\ndef f():\n    1 / 0\nf()\n")
    out = run(tmp_path, "script.py")
    python = subprocess.run([sys.executable, script], capture_output=True, text=True)
    script.write_text("def (\n")
    wrong = run(tmp_path, "script.py")
    assert (out.returncode, out.stderr) == (1, python.stderr)
    assert wrong.stderr.startswith(f'  File "{script}", line 1\n') and wrong.returncode == 1


def test_a_text_and_the_standard_input_are_scripts_too(tmp_path):
    text = run(tmp_path, "-c", VERSION, "x")
    read = run(tmp_path, "-", "y", input=VERSION)
    assert text.stdout == "2.13.0+tracegrad ['-c', 'x'] __main__\n"
    assert read.stdout == "2.13.0+tracegrad ['-', 'y'] __main__\n"


def test_a_zip_file_and_a_missing_module(tmp_path):
    with ZipFile(tmp_path / "app.zip", "w") as file:
        file.writestr("__main__.py", f"import beside\n{VERSION}")
        file.writestr("beside.py", "from torch import nn")
    assert run(tmp_path, "app.zip", "z").stdout == "2.13.0+tracegrad ['app.zip', 'z'] __main__\n"
    missing = run(tmp_path, "-m", "nowhere")
    assert missing.returncode == 1 and missing.stderr.endswith("No module named nowhere\n")


LATE = """
import atexit, os, pickle, threading, time, torch
class Net(torch.nn.Module):
    pass
def late(when):
    print(when, type(pickle.loads(pickle.dumps(Net()))) is Net)
atexit.register(late, "at exit")
threading.Thread(target=lambda: (time.sleep(0.3), late("thread"))).start()
os.chdir("/")
print(os.path.isabs(__file__) and os.path.exists(__file__))
"""


def test_a_script_stays_main_until_the_process_ends(tmp_path):
    (tmp_path / "late.py").write_text(LATE)
    out = run(tmp_path, "late.py")
    assert (out.stdout, out.stderr) == ("True\nthread True\nat exit True\n", "")


FRESH = """
import multiprocessing, torch
class Twice(torch.nn.Module):
    def forward(self, x):
        return 2 * x
def work(queue, model):
    queue.put((torch.__version__, model(torch.ones(2)).tolist()))
if __name__ == "__main__":
    for how in ("spawn", "forkserver"):
        context = multiprocessing.get_context(how)
        queue = context.Queue()
        process = context.Process(target=work, args=(queue, Twice()))
        process.start()
        print(*queue.get(timeout=60))
        process.join()
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [["fresh.py"], ["-m", "fresh"]])
def test_processes_that_start_afresh_import_tracegrad_as_well(tmp_path, how):
    (tmp_path / "fresh.py").write_text(FRESH)
    out = run(tmp_path, *how)
    assert out.stdout == 2 * "2.13.0+tracegrad [2.0, 2.0]\n", out.stderr


def test_who_only_looks_for_a_module_is_told_none(tmp_path):
    out = run(tmp_path, "-c", """
from importlib.util import find_spec
print([find_spec(f"torch.{name}") is not None for name in ("nn", "distributed.fsdp", "nowhere")])
try:
    from torch import nowhere
except ModuleNotFoundError as error:
    print(error.name)
""")
    assert out.stdout == "[True, False, False]\ntorch.nowhere\n"
    assert "asked for in vain: torch.distributed.fsdp, torch.nowhere\n" in out.stderr
