"""`python -m tracegrad`: run a script that was written for torch, show what is kept on disk, show
what this machine can do.
"""

from __future__ import annotations

import argparse
import atexit
import os
import sys
from collections.abc import Sequence

from .. import absent
from ..runtime.cpu import object_cache
from . import script
from .machine import machine as rates

_USAGE = """\
python -m tracegrad SCRIPT [ARGUMENT ...]
       python -m tracegrad -m MODULE [ARGUMENT ...]
       python -m tracegrad -c TEXT [ARGUMENT ...]
       python -m tracegrad - [ARGUMENT ...]
       python -m tracegrad cache [--clear]
       python -m tracegrad machine [--again]"""
_ABOUT = """\
Run a script, a module, a text, or with `-` what comes from the standard input, with `import torch`
giving tracegrad. What it asked of torch in vain is reported at its end. `cache` shows the folder of
compiled programs and kernels, or empties it. `machine` shows how fast this machine copies and
multiplies, as profiles compare with it: measured once and kept, or `--again`. For a script that is
called `cache` or `machine`, write ./cache."""


def main(arguments: Sequence[str] | None = None) -> None:
    command = list(sys.argv[1:] if arguments is None else arguments)
    first = command[0] if command else ""
    if first == "cache":
        cache(command[1:])
    elif first == "machine":
        machine(command[1:])
    elif first == "-" or (first in ("-m", "-c") and len(command) > 1):
        run(command)
    elif first and first[0] != "-":
        if not os.path.exists(first):
            print(f"usage: {_USAGE}\nthere is no script {first!r}, and no such command",
                  file=sys.stderr)
            sys.exit(2)
        run(command)
    else:
        parser = argparse.ArgumentParser(usage=_USAGE, description=_ABOUT)
        parser.parse_args(command)
        needed = "a script, `-`, `-m` and a module, `-c` and a text, `cache` or `machine`"
        parser.error(f"{needed} is needed")


def run(command: list[str]) -> None:
    """Run a script, and report at its end what it asked for in vain."""
    atexit.register(_report)  # after the traceback of an error
    script.run(command)


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


def machine(arguments: Sequence[str]) -> None:
    """`machine`: the rates by which profiles judge."""
    parser = argparse.ArgumentParser(prog="python -m tracegrad machine")
    parser.add_argument("--again", action="store_true", help="measure, whatever is kept")
    print(rates(parser.parse_args(arguments).again))


def cache_report() -> str:
    folder, entries = object_cache.folder(), object_cache.contents()
    if folder is None:
        return "nothing is kept on disk: there is no folder that only you can write to"
    size = sum(e.size for e in entries) / 1e6
    return (
        f"folder   {folder}\nentries  {len(entries)}\n"
        f"size     {size:.1f} MB, at most {object_cache.limit() / 1e6:g} MB"
    )
