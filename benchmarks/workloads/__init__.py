"""All workloads by name. A new file here is entered in the tuple below."""

from ..workload import Workload
from . import (
    call_overhead,
    decisions,
    equations,
    finance,
    images,
    linear_regression,
    loops,
    mlp,
    probability,
    recurrent,
    rows,
    transformers,
)

MODULES = (
    linear_regression, rows, mlp, images, transformers, recurrent, equations, probability,
    decisions, finance, loops, call_overhead,
)
WORKLOADS = {workload.name: workload for module in MODULES for workload in module.WORKLOADS}


def named(beginnings: str) -> list[Workload]:
    """The workloads whose names begin with one of these, which commas separate; all of them if
    there is none."""
    starts = tuple(beginnings.split(","))
    for start in starts:
        if not any(name.startswith(start) for name in WORKLOADS):
            raise LookupError(f"no such workload: {start}; there are {', '.join(WORKLOADS)}")
    return [workload for name, workload in WORKLOADS.items() if name.startswith(starts)]
