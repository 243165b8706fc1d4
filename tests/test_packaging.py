"""The wheel: holds `tracegrad` and nothing else, and works far from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.stubs import METHODS, STUBS

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
PACKAGES: list[str] = SETTINGS["packages"]


def package_folders() -> set[str]:
    """The installed names of all folders that hold Python files, through the links to the rooms."""
    return {
        ".".join(Path(folder).relative_to(ROOT).parts)
        for folder, _, files in os.walk(ROOT / "tracegrad", followlinks=True)
        if any(name.endswith(".py") for name in files)
    }


def test_every_package_folder_is_listed():
    assert set(PACKAGES) == package_folders()


def test_every_package_folder_has_an_init():
    folders = [ROOT.joinpath(*package.split(".")) for package in PACKAGES]
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").exists()]


_EVERY_MODULE = """
import importlib, pkgutil, tracegrad
for module in pkgutil.walk_packages(tracegrad.__path__, "tracegrad."):
    if module.name not in ("tracegrad.__main__", "tracegrad.pytest_plugin"):
        try:
            importlib.import_module(module.name)
        except RuntimeError as error:  # what compiles for GPUs, where it is not installed
            if "tracegrad[cuda]" not in str(error):
                raise
print(tracegrad.compile(lambda x: (x @ x).sum(0))(tracegrad.ones(2, 2)).tolist())
"""


def test_nothing_needs_documentation_or_assertions_to_run():
    """Python drops both when it is asked to optimise."""
    command = [sys.executable, "-OO", "-c", _EVERY_MODULE]
    assert subprocess.check_output(command) == b"[4.0, 4.0]\n"


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def checkout(folder: Path) -> Path:
    """A copy of what is needed to install the package."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("ir", "tracer", "codegen", "runtime", "tracegrad", "src"):
        # the links as links, and no compiled files
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Built from a copy: setuptools would take up stale files from the checkout's build folder.
    copy = checkout(tmp_path_factory.mktemp("checkout"))
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
    assert {"tracegrad/py.typed", *STUBS.values(), f"tracegrad/{METHODS}"} <= set(names)


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


STARTED_IN = ("beside the clone", "in the clone", "beside an empty folder of that name")


@pytest.fixture(scope="module", params=["editable", "copied"])
def installed(request, tmp_path_factory) -> tuple[Path, Path]:
    """The Python of an environment in which a clone is installed, and the folder it lies in."""
    around = tmp_path_factory.mktemp("around")
    clone = around / "tracegrad"
    clone.mkdir()
    checkout(clone)
    env = around / "env"
    venv.create(env, with_pip=False, system_site_packages=False)
    python = env / "bin" / "python"
    # What the package needs is taken from the environment of the tests.
    (site,) = env.glob("lib/python*/site-packages")
    borrowed = "\n".join(path for path in sys.path if path.endswith("site-packages"))
    (site / "zz_borrowed.pth").write_text(borrowed + "\n")
    how = ("--editable",) if request.param == "editable" else ()
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    command += ["install", "--no-deps", "--no-build-isolation", "--ignore-installed", *how]
    done = subprocess.run([*command, str(clone)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return python, around


@pytest.mark.slow
@pytest.mark.parametrize("where", STARTED_IN)
def test_a_folder_called_tracegrad_does_not_hide_the_package(installed, where, tmp_path):
    python, around = installed
    (tmp_path / "tracegrad").mkdir()
    folder = dict(zip(STARTED_IN, (around, around / "tracegrad", tmp_path), strict=True))[where]
    script = "import tracegrad, tracegrad.ir; print(tracegrad.__file__, tracegrad.tensor(6.0))"
    done = subprocess.run([python, "-c", script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    file, answer = done.stdout.split()
    assert Path(file).is_relative_to(around) and answer == "tensor(6.)"


@pytest.mark.slow
def test_an_install_puts_one_name_on_the_path(installed):
    python, around = installed
    script = "import importlib.util as u; print([n for n in {names} if u.find_spec(n)])"
    names = ["ir", "tracer", "codegen", "runtime", "tests", "benchmarks", "tracegrad"]
    done = subprocess.run(
        [python, "-c", script.format(names=names)], cwd=around, capture_output=True, text=True
    )
    assert done.stdout.strip() == "['tracegrad']", done.stderr
