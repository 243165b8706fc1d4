"""How many cores this process may use at once."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

# where Linux says how many microseconds of a core's time a container has in each period of as many
_QUOTAS = ("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")


def cores(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """The cores that the process may run on, or fewer where a container has less of their time:
    with more threads, all of them wait for the rest of each period.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    for names in _QUOTAS:
        with suppress(OSError, ValueError):  # there is none: "max", or no such file
            quota, period = map(int, " ".join((groups / n).read_text() for n in names).split())
            if quota > 0 < period:  # -1 is none, too
                count = min(count, max(1, -(-quota // period)))
    return count
