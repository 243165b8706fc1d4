"""The cache of kernels under attack: only what this user wrote for this kernel is loaded."""

from __future__ import annotations

import os
import resource
import signal
import stat
import time
from pathlib import Path

import pytest
from processes import start

from tracegrad.runtime.cpu import object_cache

NAMES = ("a" * 64, "b" * 64)
PARTS = (b"symbol", b"name", b"code" * 100, b"")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A cache with two entries; nothing in a test takes longer than some seconds."""
    monkeypatch.setenv("TRACEGRAD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(object_cache, "_written", 0)
    object_cache.folder.cache_clear()
    for k, name in enumerate(NAMES):
        object_cache.write(name, *PARTS, bytes([k]))
    assert read() == [(*PARTS, b"\0"), (*PARTS, b"\1")]
    signal.alarm(30)
    yield tmp_path / "cache"
    signal.alarm(0)
    object_cache.folder.cache_clear()


def read() -> list:
    return [object_cache.read(name) for name in NAMES]


def entry(folder: Path, k: int = 0) -> Path:
    return folder / f"{NAMES[k]}.o"


def test_entries_that_are_swapped_are_refused(folder):
    one, two = entry(folder), entry(folder, 1)
    one.rename(folder / "aside")
    two.rename(one)
    (folder / "aside").rename(two)
    assert read() == [None, None]


def test_an_entry_of_another_name_is_refused(folder):
    entry(folder, 1).write_bytes(entry(folder).read_bytes())
    assert read() == [(*PARTS, b"\0"), None]


def test_no_entry_of_which_a_byte_was_changed_is_read(folder):
    path = entry(folder)
    data = path.read_bytes()
    for k in range(len(data)):
        path.write_bytes(data[:k] + bytes([data[k] ^ (1 << k % 8)]) + data[k + 1 :])
        assert object_cache.read(NAMES[0]) is None
        path.write_bytes(data[:k])
        assert object_cache.read(NAMES[0]) is None
    path.write_bytes(data + b"\0")
    assert object_cache.read(NAMES[0]) is None
    path.write_bytes(data)
    assert object_cache.read(NAMES[0]) == (*PARTS, b"\0")


def test_an_entry_with_a_digest_of_somebody_without_the_secret_is_refused(folder):
    path = entry(folder)
    body = path.read_bytes()[object_cache._HEAD :]
    for secret in (b"", bytes(32), b"secret"):
        path.write_bytes(object_cache._MAGIC + object_cache._digest(secret, NAMES[0], body) + body)
        assert object_cache.read(NAMES[0]) is None


IN_THE_WAY = {
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a huge file": lambda p: (p.touch(), os.truncate(p, 1 << 40)),
    "an empty file": lambda p: p.touch(),
    "a link to nothing": lambda p: p.symlink_to(p.parent / "nothing"),
    "a link to itself": lambda p: p.symlink_to(p),
    "a link to a sound one": lambda p: p.symlink_to(p.with_name("sound")),
    "a device": lambda p: p.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("how", IN_THE_WAY)
def test_what_is_no_plain_file_is_no_entry(folder, how):
    path = entry(folder)
    path.rename(path.with_name("sound"))
    IN_THE_WAY[how](path)
    assert read() == [None, (*PARTS, b"\1")]
    object_cache.write(NAMES[0], *PARTS)
    assert object_cache.read(NAMES[0]) == (None if how == "a folder" else PARTS)
    assert list(folder.glob("*.tmp")) == []


@pytest.mark.parametrize("how", IN_THE_WAY)
def test_what_is_no_plain_file_is_no_secret(folder, how):
    path = folder / "secret"
    path.rename(path.with_name("sound"))
    IN_THE_WAY[how](path)
    assert read() == [None, None]
    object_cache.write(NAMES[0], *PARTS)
    assert read() == [None if how == "a folder" else PARTS, None]


def test_the_secret_is_for_the_owner_only(folder):
    path = folder / "secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_bytes()) == 32
    for mode in (0o640, 0o604, 0o620, 0o666):
        path.chmod(mode)
        assert read() == [None, None]
    path.chmod(0o600)
    assert None not in read()


def test_entries_that_others_may_write_to_are_refused(folder):
    for mode in (0o620, 0o602, 0o666):
        entry(folder).chmod(mode)
        assert read() == [None, (*PARTS, b"\1")]


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("what", ["entry", "secret", "folder"])
def test_what_belongs_to_somebody_else_is_refused(folder, what):
    path = {"entry": entry(folder), "secret": folder / "secret", "folder": folder}[what]
    os.chown(path, 12345, 12345)
    assert object_cache.read(NAMES[0]) is None
    os.chown(path, 0, 0)


def test_a_folder_that_is_opened_to_others_later_is_refused(folder):
    folder.chmod(0o777)
    assert read() == [None, None]
    object_cache.write("c" * 64, *PARTS)
    assert not (folder / f"{'c' * 64}.o").exists()


def test_a_folder_that_is_exchanged_for_a_link_is_refused(folder):
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.symlink_to(aside)
    assert read() == [None, None]


@pytest.mark.parametrize("mode, wanted", [(0o777, False), (0o775, False), (0o1777, True)])
def test_the_folder_above_counts_too(tmp_path, monkeypatch, mode, wanted):
    """In a folder such as /tmp, what is the user's stays so."""
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(mode)
    monkeypatch.setenv("TRACEGRAD_CACHE_DIR", str(above / "cache"))
    object_cache.folder.cache_clear()
    try:
        if wanted:
            assert object_cache.folder() == above / "cache"
        else:
            with pytest.warns(UserWarning, match="above, or may write"):
                assert object_cache.folder() is None
    finally:
        object_cache.folder.cache_clear()


def test_a_new_secret_means_compiling_again(folder):
    for change in (lambda p: p.unlink(), lambda p: p.write_bytes(os.urandom(32))):
        change(folder / "secret")
        assert read() == [None, None]
        object_cache.write(NAMES[0], *PARTS)
        assert read() == [PARTS, None]


def test_an_entry_that_is_too_large_is_not_kept(folder, monkeypatch):
    monkeypatch.setattr(object_cache, "_MOST", 10_000)
    object_cache.write("c" * 64, bytes(10_000))
    assert not (folder / f"{'c' * 64}.o").exists()
    object_cache.write("c" * 64, bytes(9_000))
    assert object_cache.read("c" * 64) == (bytes(9_000),)


def test_a_full_disk_leaves_the_entries_that_there_are(folder):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        object_cache.write(NAMES[0], bytes(5000))
        object_cache.write("c" * 64, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert object_cache.read(NAMES[0]) == (*PARTS, b"\0")
    assert sorted(p.name for p in folder.iterdir()) == [f"{n}.o" for n in NAMES] + ["secret"]


def test_the_folder_stays_small_and_keeps_what_is_used(folder, monkeypatch):
    monkeypatch.setattr(object_cache, "_OFTEN", 1)
    monkeypatch.setenv("TRACEGRAD_CACHE_SIZE", "0.05")  # megabytes
    old = time.time() - 10 * 3600
    for k in range(20):
        object_cache.write(f"{k:064d}", bytes(10_000))
        os.utime(folder / f"{k:064d}.o", (old + k, old + k))
        object_cache.read(f"{0:064d}")
    kept = sorted(int(p.stem) for p in folder.glob("0*.o"))
    assert kept[0] == 0 and kept[1:] == list(range(20 - len(kept) + 1, 20))
    assert 30_000 < sum(p.stat().st_size for p in folder.glob("*.o")) <= 60_000


@pytest.mark.parametrize("given", ["", "many", "-1", "0", "nan", "1e400"])
def test_any_size_can_be_asked_for(folder, monkeypatch, given):
    monkeypatch.setenv("TRACEGRAD_CACHE_SIZE", given)
    monkeypatch.setattr(object_cache, "_OFTEN", 1)
    object_cache.write(NAMES[0], *PARTS)
    assert object_cache.read(NAMES[0]) == (None if given in ("0", "-1") else PARTS)


def test_eviction_touches_nothing_else(folder, monkeypatch):
    (folder / "mine.txt").write_text("a user's")
    (folder / "d.o").mkdir()
    stale, fresh = folder / "x.tmp", folder / "y.tmp"
    stale.touch(), fresh.touch()
    os.utime(stale, (1e9, 1e9))
    monkeypatch.setenv("TRACEGRAD_CACHE_SIZE", "0")
    monkeypatch.setattr(object_cache, "_OFTEN", 1)
    object_cache.write(NAMES[0], *PARTS)
    assert {p.name for p in folder.iterdir()} == {"mine.txt", "d.o", "y.tmp", "secret"}


def write_once_they_begin(files, name):
    object_cache.machine()
    for number, file in enumerate(files):
        print("ready", flush=True)
        while not Path(file).exists():
            pass
        for k in range(30):
            object_cache.write(f"{number}{name}{k:062d}", b"content")
    print("ready")


def test_processes_that_begin_at_once_agree_on_a_secret(tmp_path, monkeypatch):
    folder = tmp_path / "new" / "cache"
    monkeypatch.setenv("TRACEGRAD_CACHE_DIR", str(folder))
    monkeypatch.setattr(object_cache, "folder", object_cache.folder.__wrapped__)
    files = [tmp_path / "first", tmp_path / "second"]  # then there is a folder without a secret
    several = [start(write_once_they_begin, [*map(str, files)], name) for name in "1234"]
    assert [p.stdout.readline() for p in several] == ["ready\n"] * 4
    for number, file in enumerate(files):
        file.touch()
        assert [p.stdout.readline() for p in several] == ["ready\n"] * 4
        names = [f"{number}{n}{k:062d}" for n in "1234" for k in range(30)]
        assert [object_cache.read(name) for name in names] == [(b"content",)] * 120
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert list(folder.glob("*.tmp")) == []
        (folder / "secret").unlink()
    assert [p.wait(60) for p in several] == [0] * 4
