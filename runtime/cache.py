"""Object code on disk: written once, loaded by every later process on the same machine and
versions.

An entry is a file whose name is the hash of everything the code depends on, and whose content
begins with the digest of the rest. Whatever is wrong with an entry or the folder (damaged,
unreadable, read-only, full), the answer is to compile again, never to fail.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import tempfile
from functools import cache
from pathlib import Path

import llvmlite
import numba
from numba.core.registry import cpu_target

ABI = 3  # raise it when kernels compiled before must not be loaded any more
_MAGIC = b"tracegrad-object\n"


@cache
def folder() -> Path | None:
    """Where objects are kept: TRACEGRAD_CACHE_DIR, else the user's cache folder; None where that
    cannot be had.
    """
    given = os.environ.get("TRACEGRAD_CACHE_DIR")
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        base = Path(given) if given else Path(home) / "tracegrad"
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = base.stat()
    except (OSError, RuntimeError):
        return None
    mine = found.st_uid == os.getuid() and not found.st_mode & 0o022  # nobody else can plant code
    return base if mine or given else None


@cache
def machine() -> str:
    """What object code depends on besides its source."""
    target = cpu_target.target_context.codegen().magic_tuple()  # Numba may be told another CPU
    return f"{ABI} {numba.__version__} {llvmlite.__version__} {target}"


def key(text: str) -> str:
    return hashlib.sha256(f"{machine()}\n{text}".encode()).hexdigest()


def read(name: str) -> tuple[bytes, ...] | None:
    """The parts of an entry, or None where there is no sound one."""
    base = folder()
    if base is None:
        return None
    try:
        data = (base / f"{name}.o").read_bytes()
    except OSError:
        return None
    head, body = data[: len(_MAGIC) + 32], data[len(_MAGIC) + 32 :]
    if head != _MAGIC + hashlib.sha256(body).digest():
        return None
    parts, at = [], 0
    while at < len(body):
        (size,) = struct.unpack_from("<q", body, at)
        parts.append(body[at + 8 : at + 8 + size])
        at += 8 + size
    return tuple(parts)


def write(name: str, *parts: bytes) -> None:
    """Keep an entry: complete under its name, or not there at all."""
    base = folder()
    if base is None:
        return
    body = b"".join(struct.pack("<q", len(p)) + p for p in parts)
    with contextlib.suppress(OSError):
        handle, temporary = tempfile.mkstemp(dir=base, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(body).digest() + body)
            os.replace(temporary, base / f"{name}.o")
        except OSError:
            os.unlink(temporary)
