"""The rates of this machine: measured once, kept, and measured again if what is kept is no good."""

from __future__ import annotations

import json
import os

import pytest

from tracegrad.driver import machine
from tracegrad.driver.command_line import main
from tracegrad.runtime.cpu import object_cache
from tracegrad.runtime.cpu.threads import wanted


@pytest.fixture
def measured(cache_folder, monkeypatch):
    """How often the machine was measured, in a moment and badly."""
    count, original = [], machine._measured
    monkeypatch.setattr(machine, "_SECONDS", 0)
    monkeypatch.setattr(machine, "_SIZES", (32,))
    monkeypatch.setattr(machine, "_MOST", 1 << 16)

    def once():
        count.append(1)
        return original()

    monkeypatch.setattr(machine, "_measured", once)
    return count


def entry():
    return object_cache.key(f"rates of {wanted()} threads")


def test_rates_are_measured_once_and_again_if_asked(measured, capsys):
    first = machine.machine()
    assert machine.machine() == first and len(measured) == 1
    assert first.threads == wanted() and [x.name for x in first.levels][-1] == "memory"
    assert all(0 < x.one <= x.all for x in first.levels)
    assert all(0 < one <= every for one, every in first.products.values())
    main(["machine"])
    assert capsys.readouterr().out == f"{first}\n" and len(measured) == 1
    main(["machine", "--again"])
    assert "GFLOP/s" in capsys.readouterr().out and len(measured) == 2


@pytest.mark.parametrize("damage", [
    lambda kept: b"", lambda kept: b"[]", lambda kept: b"{", lambda kept: b"\xff",
    lambda kept: b"[" * 100_000, lambda kept: json.dumps({**kept, "levels": []}).encode(),
    lambda kept: json.dumps({**kept, "products": {"float32": [1, 2]}}).encode(),
    lambda kept: json.dumps({**kept, "products": {"float32": [0, 2], "float64": [1, 1]}}).encode(),
    lambda kept: json.dumps({**kept, "threads": None}).encode(),
    lambda kept: json.dumps({**kept, "levels": [{**kept["levels"][0], "all": "nan"}]}).encode(),
], ids=range(10))
def test_what_is_damaged_is_measured_again(measured, damage):
    kept = machine.machine().to_dict()
    object_cache.write(entry(), damage(kept))
    machine.machine()
    machine.machine()
    assert len(measured) == 2


def test_a_file_that_somebody_else_wrote_is_not_believed(measured, cache_folder):
    machine.machine()
    (path,) = cache_folder.glob(f"{entry()}*")
    path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    machine.machine()
    assert len(measured) == 2


def test_without_a_folder_it_is_measured_each_time(measured, cache_folder):
    cache_folder.write_text("in the way")
    assert machine.machine().levels and machine.machine().levels
    assert len(measured) == 2


def test_the_sizes_of_caches_are_read_or_the_usual_ones(tmp_path):
    assert machine.cache_sizes(tmp_path / "none") == machine._USUAL
    texts = [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "2M"),
             ("x", "Unified", "1M"), ("3", "Unified", "?")]
    for k, words in enumerate(texts):
        folder = tmp_path / f"index{k}"
        folder.mkdir()
        for name, word in zip(("level", "type", "size"), words, strict=True):
            (folder / name).write_text(word + "\n")
    os.mkdir(tmp_path / "index9")
    assert machine.cache_sizes(tmp_path) == {"L1": 48 << 10, "L2": 2 << 20}


def test_rates_of_a_launch_are_those_of_the_level_that_holds_it():
    levels = [machine.Level(n, s, 1.0, float(k)) for k, (n, s) in
              enumerate((("L1", 100), ("L2", 1000), ("L3", 5000), ("memory", 0)))]
    rates = machine.Machine("", 2, "", tuple(levels), {"float32": (1, 2), "float64": (3, 4)})
    assert [rates.copy_rate(n) for n in (0, 200, 201, 2000, 2001, 5000, 5001)] == [
        0, 0, 1, 1, 2, 2, 3]
    assert (rates.product_rate(False), rates.product_rate(True)) == (2, 4)
