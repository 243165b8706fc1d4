"""The wheel: holds `tracegrad` and nothing else, and works far from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
ROOMS: dict[str, str] = SETTINGS["package-dir"]


def package_folders() -> set[str]:
    """The installed names of all folders of the rooms that hold Python files."""
    folders = {
        (name, path.parent.relative_to(ROOT / folder))
        for name, folder in ROOMS.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    return {".".join((name, *rest.parts)) for name, rest in folders}


def test_every_package_folder_is_listed():
    assert set(SETTINGS["packages"]) == package_folders()


def test_every_package_folder_has_an_init():
    missing = [
        str(path.parent.relative_to(ROOT))
        for folder in ROOMS.values()
        for path in (ROOT / folder).rglob("*.py")
        if not (path.parent / "__init__.py").exists()
    ]
    assert not missing


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Built from a copy: setuptools would take up stale files from the checkout's build folder.
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for folder in ROOMS.values():
        shutil.copytree(ROOT / folder, copy / folder)
    out = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(copy))
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_tracegrad_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    info = "-".join(wheel.name.split("-")[:2]) + ".dist-info"
    assert {name.split("/")[0] for name in names} == {"tracegrad", info}
    assert "tracegrad/py.typed" in names


@pytest.mark.slow
def test_the_installed_wheel_works_from_another_directory(wheel, tmp_path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip("install", "--no-deps", "--target", str(site), str(wheel))
    modules = ["tracegrad", *(f"tracegrad.{room}" for room in ("ir", "tracer", "codegen"))]
    script = (
        f"import {', '.join(modules)}\n"
        "print(tracegrad.__file__)\n"
        "print((tracegrad.tensor([1.0, 2.0], requires_grad=True) * 2).sum().item())\n"
    )
    # The target folder comes first, ahead of an editable install of the same environment.
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    where, answer = done.stdout.splitlines()
    assert Path(where).is_relative_to(site)
    assert float(answer) == 6.0
