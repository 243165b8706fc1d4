"""`python -m tracegrad`: run a script that was written for torch, or show what is kept on disk."""

from __future__ import annotations

import argparse
import atexit
import os
import runpy
import sys
from collections.abc import Sequence

from .. import absent
from ..runtime.cpu import object_cache
from ..torch_import import as_torch

_USAGE = """\
python -m tracegrad SCRIPT [ARGUMENT ...]
       python -m tracegrad -m MODULE [ARGUMENT ...]
       python -m tracegrad cache [--clear]"""
_ABOUT = """\
Run a script or a module with `import torch` giving tracegrad. What it asked of torch in vain is
reported at its end. `cache` shows the folder of compiled programs and kernels, or empties it."""


def main(arguments: Sequence[str] | None = None) -> None:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["cache"]:
        cache(given[1:])
    elif given[:1] == ["-m"] and len(given) > 1:
        run(given[1:], is_module=True)
    elif given and not given[0].startswith("-"):
        run(given, is_module=False)
    else:
        parser = argparse.ArgumentParser(usage=_USAGE, description=_ABOUT)
        parser.parse_args(given)
        parser.error("a script, `-m` and a module, or `cache` is needed")


def run(command: list[str], is_module: bool) -> None:
    """Run a script or a module as `__main__`, its arguments behind its name, as Python does."""
    name = command[0]
    if not is_module and not os.path.exists(name):
        print(f"usage: {_USAGE}\nthere is no script {name!r}, and no such command",
              file=sys.stderr)
        sys.exit(2)
    sys.argv = command
    as_torch()
    atexit.register(_report)  # after the traceback of an error
    if is_module:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        # python -m put the working directory there; a folder or a zip file adds itself
        sys.path[0] = os.path.dirname(os.path.realpath(name))
        runpy.run_path(name, run_name="__main__")


def _report() -> None:
    if absent.in_vain:
        print(f"tracegrad: asked for in vain: {', '.join(absent.in_vain)}", file=sys.stderr)


def cache(arguments: Sequence[str]) -> None:
    """`cache`: what is kept on disk, and how to be rid of it."""
    parser = argparse.ArgumentParser(prog="python -m tracegrad cache")
    parser.add_argument("--clear", action="store_true", help="remove all that is kept")
    if parser.parse_args(arguments).clear:
        object_cache.shrink(-1)
    print(cache_report())


def cache_report() -> str:
    folder, entries = object_cache.folder(), object_cache.contents()
    if folder is None:
        return "nothing is kept on disk: there is no folder that only you can write to"
    size = sum(e.size for e in entries) / 1e6
    return (
        f"folder   {folder}\nentries  {len(entries)}\n"
        f"size     {size:.1f} MB, at most {object_cache.limit() / 1e6:g} MB"
    )
