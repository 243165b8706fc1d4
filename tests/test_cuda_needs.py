"""Kernels for GPUs are compiled and assembled without one; what they need is in a table."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("numba_cuda")

from tests import cuda_needs
from tracegrad.runtime.cuda.ptxas import assembler

TABLE = Path(__file__).parent.parent / "docs" / "gpu-kernels.md"
WITHOUT_SPILLS = ("map", "row", "column")
TEMPLATES = {
    *WITHOUT_SPILLS, "row_sums", "column_sums", "gemm", "gemm_sums", "gemm_parts", "copy", "fill",
    "fold", "scatter", "argsort", "merge", "top", "searchsorted", "prefix", "prefix_totals", "band",
}

pytestmark = pytest.mark.skipif(assembler() is None, reason="there is no ptxas")


def rows() -> dict[tuple[str, str], list[str]]:
    """The table that is committed."""
    lines = TABLE.read_text().partition(cuda_needs.BEGIN)[2].splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines if "|" in line]
    return {(name, template): rest for name, template, *rest in cells[2:]}


def test_kernels_of_a_training_step_are_assembled_and_do_not_spill():
    programs = [there for _, there in cuda_needs.programs_of("MLP 20-32-3")]
    for kernel in cuda_needs.kernels_of(programs)[:4]:
        assert all(needs.spills == 0 for needs in cuda_needs.needs_of(kernel))


def test_no_map_row_or_column_of_a_model_spills():
    assert {name for name, _ in rows()} == set(cuda_needs.gpu.PROGRAMS)
    assert all(rest[-2] == "0" for (_, t), rest in rows().items() if t in WITHOUT_SPILLS)


@pytest.mark.slow
def test_every_primitive_and_template_is_assembled():
    kernels = cuda_needs.kernels_of(cuda_needs.examples())
    assert {kernel.template for kernel in kernels} == TEMPLATES
    for kernel in kernels:
        assert len(cuda_needs.needs_of(kernel)) == len(cuda_needs.PROCESSORS)


@pytest.mark.slow
def test_the_table_is_what_ptxas_says():
    if cuda_needs.versions() not in TABLE.read_text():
        pytest.skip("the table was made with other versions")
    assert "\n".join(cuda_needs.table(say=lambda row: None)) in TABLE.read_text()
