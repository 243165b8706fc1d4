"""Run a script or a module that was written for torch, as Python runs it.

It becomes `__main__` and stays it, so what outlives its last line (threads, `atexit`) finds its
classes there. Tracebacks begin in it, and processes that it starts get tracegrad for torch too.
"""

from __future__ import annotations

import builtins
import os
import runpy
import sys
from multiprocessing import spawn
from pkgutil import get_importer
from types import ModuleType, TracebackType
from typing import Any

from ..torch_import import as_torch

_HERE = os.path.dirname(__file__)
# files whose frames are above a script's: of this folder, the package's `__main__`, Python's own
_ABOVE = (_HERE, os.path.join(os.path.dirname(_HERE), "__main__.py"), runpy.__file__, "<frozen ")


def run(command: list[str]) -> None:
    """Run a command as `python` does: `-m MODULE`, `-c TEXT`, `-` or a script, and arguments."""
    as_torch()
    _hand_down()
    sys.excepthook = _show_error
    main = ModuleType("__main__")
    vars(main)["__builtins__"] = builtins
    sys.modules["__main__"] = main
    how = command[0]
    if how == "-m":
        sys.argv = command[1:]
        # private, but what Python itself calls: `run_module` takes `__main__` away at the end
        runpy._run_module_as_main(sys.argv[0])  # type: ignore[attr-defined]
    elif how == "-c":
        sys.argv, sys.path[0] = ["-c", *command[2:]], ""
        _execute(main, command[1], "<string>")
    elif how == "-":
        sys.argv, sys.path[0] = command, ""
        _execute(main, sys.stdin.buffer.read(), "<stdin>")
    else:
        sys.argv = command
        _run_file(main, how)


def _run_file(main: ModuleType, path: str) -> None:
    if get_importer(path) is not None:  # a folder or a zip file, with a `__main__.py`
        sys.path[0] = path
        runpy._run_module_as_main("__main__", alter_argv=False)  # type: ignore[attr-defined]
        return
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    main.__file__ = os.path.abspath(path)
    with open(path, "rb") as file:
        source = file.read()
    _execute(main, source, main.__file__)


def _execute(main: ModuleType, source: str | bytes, file: str) -> None:
    exec(compile(source, file, "exec", dont_inherit=True), vars(main))


def _show_error(kind: type[BaseException], error: BaseException,
                traceback: TracebackType | None) -> None:
    while traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(_ABOVE):
        traceback = traceback.tb_next
    sys.__excepthook__(kind, error.with_traceback(traceback), traceback)


class _Opened:
    """`as_torch()` in the process that loads it."""

    def __reduce__(self) -> tuple:
        return (as_torch, ())


def _hand_down() -> None:
    """Let the processes that multiprocessing starts afresh get tracegrad for torch as well: what
    they load before all else opens it.
    """
    plain = spawn.get_preparation_data

    def prepared(name: str) -> dict[str, Any]:
        return {**plain(name), "tracegrad": _Opened()}

    spawn.get_preparation_data = prepared
