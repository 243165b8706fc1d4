"""The machine and the versions that a measurement was taken with, and the cores it may use."""

from __future__ import annotations

import argparse
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("tracegrad", "numba", "numpy", "torch", "jax")


def cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def thread_count(text: str) -> int:
    """The value of an option `--threads`."""
    if not text.isdecimal() or not 1 <= int(text) <= len(cores()):
        raise argparse.ArgumentTypeError(f"from 1 to {len(cores())}, the cores there are")
    return int(text)


def output_file(text: str) -> Path:
    """The value of an option that names a file to write, refused before hours of measurements."""
    file = Path(text)
    if file.is_dir() or not file.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a file in an existing folder")
    return file


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def describe(threads: int) -> str:
    """One line for a report."""
    names = ", ".join(f"{name} {number}" for name, number in versions().items())
    return f"{processor()}, {threads} of {len(cores())} cores; {names}"
