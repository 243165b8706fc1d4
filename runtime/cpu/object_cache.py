"""Object code on disk: written once, loaded by every later process on the same machine and
versions.

An entry is a file whose name is the hash of everything the code depends on, and whose content
begins with a digest of its name and the rest, keyed with a secret that lies beside it and that only
the owner can read. So what is loaded was written here, by this user, for this kernel. Whatever is
wrong with an entry, the secret or the folder (damaged, somebody else's, unreadable, read-only,
full), the answer is to compile again, never to fail.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import stat
import struct
import sys
import sysconfig
import time
import warnings
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import NamedTuple

import llvmlite
import llvmlite.binding as llvm

ABI = 4  # raise it when kernels compiled before must not be loaded any more
_MAGIC = b"tracegrad-object-2\n"
_HEAD = len(_MAGIC) + 32
_MOST = 64 << 20  # bytes of an entry; they are some hundred thousand
_LIMIT = 1024  # megabytes of all entries; TRACEGRAD_CACHE_SIZE says otherwise
_OFTEN = 64  # after how many entries written the size of the folder is looked at
_HOUR = 3600
_SECRET = "secret"


@cache
def folder() -> Path | None:
    """Where objects are kept: TRACEGRAD_CACHE_DIR, else the user's cache folder; None where that
    cannot be had, or where others could put something there.
    """
    given = os.environ.get("TRACEGRAD_CACHE_DIR")
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        base = Path(os.path.realpath(given or Path(home) / "tracegrad"))
        for path in (*reversed(base.parents), base):
            if not path.exists():
                path.mkdir(mode=0o700, exist_ok=True)
        for path in (base, base.parent):
            if not _safe(path.stat(), path is base):
                warnings.warn(
                    f"compiled kernels are not kept: others than you own {path}, or may write "
                    "there. Change that (chown, chmod go-w), or let TRACEGRAD_CACHE_DIR name "
                    "another folder.",
                    stacklevel=2,
                )
                return None
    except (OSError, RuntimeError, ValueError):
        return None
    return base


def _safe(found: os.stat_result, own: bool = True) -> bool:
    """Whether nobody but the user (and, of what is not our own, root) may write there; in a folder
    like /tmp, what is the user's stays so.
    """
    sticky = not own and found.st_mode & stat.S_ISVTX
    owners = (os.getuid(),) if own else (os.getuid(), 0)
    return found.st_uid in owners and bool(sticky or not found.st_mode & 0o022)


def versions() -> str:
    """What object code depends on besides its source and the processor."""
    python = sysconfig.get_config_var("SOABI")  # how its objects lie in memory
    return f"{ABI} {_numba_version()} {llvmlite.__version__} {python}"


@cache
def machine() -> str:
    """What programs and object code depend on besides their source."""
    processor = f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
    processor += f" {os.environ.get('NUMBA_ENABLE_AVX')}"
    return f"{versions()} {llvm.get_process_triple()} {processor} {other_processor()}"


def _numba_version() -> str:
    """Of Numba, which is not imported for that."""
    spec = find_spec("numba")
    assert spec is not None and spec.origin is not None
    return hashlib.sha256(Path(spec.origin).with_name("_version.py").read_bytes()).hexdigest()


def other_processor() -> tuple[str | None, str | None]:
    """The processor that Numba is told to compile for, if it is not this one."""
    told = "NUMBA_CPU_NAME" in os.environ or "NUMBA_CPU_FEATURES" in os.environ
    if not told and "numba" not in sys.modules and not Path(".numba_config.yaml").exists():
        return None, None
    config = import_module("numba.core.config")
    return config.CPU_NAME, config.CPU_FEATURES


def processor() -> str:
    """The name of the processor that kernels are compiled for."""
    return other_processor()[0] or llvm.get_host_cpu_name()


def key(text: str) -> str:
    return hashlib.sha256(f"{machine()}\n{text}".encode()).hexdigest()


@contextlib.contextmanager
def _opened() -> Iterator[int]:
    """The folder, which nobody can exchange from now on."""
    base = folder()
    if base is None:
        raise FileNotFoundError
    at = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if not _safe(os.fstat(at)):
            raise PermissionError
        yield at
    finally:
        os.close(at)


def _content(at: int, name: str, most: int, secret: bool = False) -> bytes:
    """What is in a file of the folder; OSError where that is no plain file, of a size that may be,
    that only the user can write (and, a secret, read).
    """
    # a FIFO would have us wait
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=at)
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        open_to_others = not _safe(found) or (secret and found.st_mode & 0o077)
        if not stat.S_ISREG(found.st_mode) or open_to_others or found.st_size > most:
            raise PermissionError
        if not secret and found.st_mtime < time.time() - _HOUR:
            with contextlib.suppress(OSError):  # what is used is not evicted
                os.utime(handle)
        return file.read(found.st_size)


def _put(at: int, name: str, content: bytes, replace: bool) -> None:
    """A file, complete under its name or not there at all; not `replace`: the first one stays."""
    temporary = f"{token_hex(16)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    handle = os.open(temporary, flags, 0o600, dir_fd=at)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        if not replace:
            try:
                os.link(temporary, name, src_dir_fd=at, dst_dir_fd=at)
                return
            except FileExistsError:
                return
            except OSError:  # a file system without links: the last one stays
                pass
        os.replace(temporary, name, src_dir_fd=at, dst_dir_fd=at)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=at)


def _secret(at: int) -> bytes:
    found = _content(at, _SECRET, 32, secret=True)
    if len(found) != 32:
        raise PermissionError
    return found


def _made_secret(at: int) -> bytes:
    """The secret, which all processes that need one at the same time agree on."""
    try:
        return _secret(at)
    except FileNotFoundError:
        pass
    except OSError:  # it is no good
        os.unlink(_SECRET, dir_fd=at)
    _put(at, _SECRET, token_bytes(32), replace=False)
    return _secret(at)


def _digest(secret: bytes, name: str, body: bytes) -> bytes:
    return hmac.digest(secret, _MAGIC + name.encode() + b"\n" + body, "sha256")


def read(name: str) -> tuple[bytes, ...] | None:
    """The parts of an entry, or None where there is no sound one."""
    try:
        with _opened() as at:
            secret = _secret(at)
            data = _content(at, f"{name}.o", _MOST)
    except OSError:
        return None
    head, body = data[:_HEAD], data[_HEAD:]
    if not hmac.compare_digest(head, _MAGIC + _digest(secret, name, body)):
        return None
    parts, at = [], 0
    while at < len(body):
        (size,) = struct.unpack_from("<q", body, at)
        parts.append(body[at + 8 : at + 8 + size])
        at += 8 + size
    return tuple(parts)


_written = 0


def write(name: str, *parts: bytes) -> None:
    """Keep an entry: complete under its name, or not there at all."""
    global _written
    body = b"".join(struct.pack("<q", len(p)) + p for p in parts)
    if len(body) + _HEAD > _MOST:
        return
    with contextlib.suppress(OSError), _opened() as at:
        digest = _digest(_made_secret(at), name, body)
        _put(at, f"{name}.o", _MAGIC + digest + body, replace=True)
        if _written % _OFTEN == 0:
            _shrink(at, limit())
        _written += 1


def limit() -> float:
    """The most bytes that entries take."""
    try:
        return float(os.environ.get("TRACEGRAD_CACHE_SIZE", _LIMIT)) * 1e6
    except ValueError:
        return _LIMIT * 1e6


class Entry(NamedTuple):
    used: float  # when, in seconds
    size: int
    name: str


def _entries(at: int) -> Iterator[Entry]:
    """The entries, and what a process that was killed has left, as if it had never been used."""
    with os.scandir(at) as listing:
        for entry in listing:
            found = entry.stat(follow_symlinks=False)
            if entry.name.endswith(".o") and stat.S_ISREG(found.st_mode):
                yield Entry(found.st_mtime, found.st_size, entry.name)
            elif entry.name.endswith(".tmp") and found.st_mtime < time.time() - _HOUR:
                yield Entry(0.0, 0, entry.name)


def contents() -> list[Entry]:
    """What is in the folder."""
    try:
        with _opened() as at:
            return list(_entries(at))
    except OSError:
        return []


def shrink(most: float) -> None:
    """Remove what was not used for the longest time, until the rest takes `most` bytes."""
    with contextlib.suppress(OSError), _opened() as at:
        _shrink(at, most)


def _shrink(at: int, most: float) -> None:
    entries = sorted(_entries(at))
    total = sum(e.size for e in entries)
    for used, size, name in entries:
        if used and not total > most:
            break
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=at)
            total -= size
