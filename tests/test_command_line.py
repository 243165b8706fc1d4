"""`python -m tracegrad cache`."""

from __future__ import annotations

import os
import subprocess
import sys

from tracegrad.driver.command_line import main
from tracegrad.runtime.cpu import object_cache


def test_the_cache_is_shown_and_emptied(cache_folder, capsys, monkeypatch):
    monkeypatch.setenv("TRACEGRAD_CACHE_SIZE", "250")
    for name in ("a", "b"):
        object_cache.write(name, bytes(100_000))
    (cache_folder / "mine.txt").write_text("a user's")
    main(["cache"])
    assert capsys.readouterr().out == (
        f"folder   {cache_folder}\nentries  2\nsize     0.2 MB, at most 250 MB\n"
    )
    main(["cache", "--clear"])
    assert "entries  0\nsize     0.0 MB" in capsys.readouterr().out
    assert object_cache.read("a") is None
    assert sorted(p.name for p in cache_folder.iterdir()) == ["mine.txt", "secret"]


def test_a_cache_that_cannot_be_is_said_to_be_none(cache_folder, capsys):
    cache_folder.parent.joinpath("cache").write_text("in the way")
    for arguments in (["cache"], ["cache", "--clear"]):
        main(arguments)
        said = capsys.readouterr().out
        assert "nothing is kept" in said or cache_folder.read_text() == "in the way"


def test_it_is_a_command_of_python(cache_folder):
    command = [sys.executable, "-m", "tracegrad"]
    out = subprocess.run([*command, "cache"], capture_output=True, text=True, env=os.environ)
    assert out.returncode == 0 and f"folder   {cache_folder}\nentries  0\n" in out.stdout
    wrong = subprocess.run([*command, "cash"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "there is no script 'cash'" in wrong.stderr
