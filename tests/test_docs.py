"""The pages of docs/ and the README: their code runs, prints what they say, and what they name is
there.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import io
import linecache
import re
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

import tracegrad as tg
from tracegrad.ir.value import REGISTRY

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`([\w./-]+/[\w.-]*\.(?:py|md|tsv)|[\w-]+(?:/[\w-]+)*/)(?::\d+)?`")
INDENTED = re.compile(r"^ {4}(?:import|from|print|def|@|>>>)", re.MULTILINE)  # code without a fence
ALIKE = doctest.OutputChecker()


def page(path: Path) -> str:
    return str(path.relative_to(ROOT))


class Block(NamedTuple):
    """A fenced block of a page."""

    line: int
    language: str
    text: str


def blocks(path: Path) -> list[Block]:
    text = path.read_text()
    found = BLOCK.finditer(text)
    return [Block(text[: m.start()].count("\n") + 2, m[1], m[2]) for m in found]


def follows(block: Block, before: Block) -> bool:
    """Whether there is nothing but an empty line between two blocks."""
    return block.line == before.line + before.text.count("\n") + 3


def programs(path: Path) -> list[tuple[Block, str | None]]:
    """The Python blocks of a page, with what they print: the block `text` right below, with ... for
    what differs from run to run. None: the page does not say.
    """
    return [
        (block, after.text if after.language == "text" and follows(after, block) else None)
        for block, after in pairwise([*blocks(path), Block(0, "", "")])
        if block.language == "python"
    ]


def printed(path: Path, block: Block, namespace: dict) -> str:
    """What a block prints. Its code has the page's name and lines, for errors and `inspect`."""
    source = "\n" * (block.line - 1) + block.text
    file = f"{path.stem}.md"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(source, file, "exec"), namespace)
    return out.getvalue()


@pytest.fixture
def registry():
    """Primitives that a page registers are gone when it ends."""
    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


@pytest.mark.parametrize("path", [p for p in PAGES if programs(p)], ids=page)
def test_the_code_of_a_page_prints_what_the_page_says(path, registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for block, expected in programs(path):
            out = printed(path, block, namespace)
            if expected is not None:
                right = ALIKE.check_output(expected, out, doctest.ELLIPSIS)
                assert right, f"{page(path)}:{block.line} prints\n{out}"


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_files_and_folders_that_a_page_names_are_there(path):
    named = {m[1] for m in NAMED.finditer(path.read_text())}
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_no_code_of_a_page_escapes_the_test(path):
    text = path.read_text()
    fences = [line.strip() for line in text.splitlines() if line.strip().startswith("```")]
    found = blocks(path)
    assert {block.language for block in found} <= {"python", "text"}
    assert len(fences) == 2 * len(found), "a block that is not ```python or ```text at the margin"
    assert not INDENTED.findall(BLOCK.sub("", text))


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_modules_that_a_page_runs_are_there(path):
    named = re.findall(r"python\S*\s+-m\s+([\w.]+)", path.read_text())
    assert not [name for name in named if importlib.util.find_spec(name) is None]


def test_each_file_of_torchs_functions_is_in_the_table_of_pages():
    page = (ROOT / "docs/architecture.md").read_text()
    section = page.split("## Torch's functions")[1].split("\n## ")[0]
    home = ROOT / "tracegrad/functions"
    files = [p.relative_to(home) for p in home.rglob("*.py") if p.name != "__init__.py"]
    named = set(re.findall(r"`([\w/]+)`", section))
    assert {str(p.with_suffix("")) for p in files} == named - {"tracegrad/functions/"}


def test_the_readme_counts_no_names_that_are_not_there():
    (said,) = re.findall(r"More than (\d+) public names", (ROOT / "README.md").read_text())
    (there,) = re.findall(r"- (\d+) public names", (ROOT / "docs" / "operators.md").read_text())
    assert int(said) < int(there)


def test_one_step_is_printed_by_the_program_of_today():
    # In a process of its own: equal nodes of other programs would keep their lines.
    command = [sys.executable, "-m", "examples.one_step"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (ROOT / "docs" / "one-step.md").read_text(), (
        "run: python -m examples.one_step docs/one-step.md"
    )


def linear_regression():
    w, b = (tg.zeros(1, requires_grad=True) for _ in "wb")
    optimizer = tg.optim.SGD([w, b], lr=0.1)

    def step(x, y):
        optimizer.zero_grad()
        loss = ((x * w + b - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    return step


def test_the_kernel_in_the_readme_is_the_one_that_is_generated():
    step = tg.compile(linear_regression())
    step(tg.randn(100), tg.randn(100))
    generated = iter(step.source().splitlines())
    (shown,) = (b.text for b in blocks(ROOT / "README.md") if b.text.startswith("def row"))
    for line in shown.splitlines():
        code = line.partition("  # ")[0].rstrip()
        assert code.strip() == "..." or code in generated, line


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_every_page_is_in_the_navigation():
    pages = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")}
    named = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text())
    assert pages == set(named) and len(named) == len(set(named))


@pytest.fixture
def reference():
    pytest.importorskip("griffe", reason="comes with the extra `docs`")
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_has_an_entry_for_each_public_name(reference):
    text = reference.on_page_markdown("before\n\nnames: tracegrad.nn.functional\n\nafter")
    names = re.findall(r"^(?:::: |## `)tracegrad\.nn\.functional\.(\w+)", text, re.MULTILINE)
    assert {"cross_entropy", "max_unpool2d"} < set(names) and len(names) == len(set(names))
    assert not {"Tensor", "Any", "Callable"} & set(names)
    assert text.startswith("before\n") and text.endswith("\nafter")


def test_the_reference_leaves_out_what_a_module_imports(reference):
    text = reference.on_page_markdown("own names: tracegrad.nn.init")
    assert "tracegrad.nn.init.zeros_" in text and "randn" not in text
