"""`python -m tracegrad cache`: what is kept on disk, and how to be rid of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..runtime.cpu import object_cache


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tracegrad")
    commands = parser.add_subparsers(dest="command", required=True)
    cache = commands.add_parser(
        "cache", help="show the folder of compiled programs and kernels, or empty it"
    )
    cache.add_argument("--clear", action="store_true", help="remove all that is kept")
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
