"""The builtins of kernels for a GPU in plain Python: those of the CPU's kernels, and the exchanges
between threads. Their meaning on a device is in device_functions.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..cpu.builtins import BUILTINS
from ..cpu.python_builtins import STORED

WARP = 32
KINDS: dict[str, Any] = {  # of numbers in registers
    "f8": np.float64, "f4": np.float32, "i8": np.int64, "i4": np.int32, "i2": np.int16,
    "i1": np.int8, "u1": np.uint8, "b1": np.bool_,
}
NAMES = {f"kind_{code}": kind for code, kind in KINDS.items()}  # of what is in shared memory
LANES = range(4)  # of a vector


def _load4_of(code: str) -> Callable[..., tuple[Any, ...]]:
    load = BUILTINS[f"load_{code}"].python
    return lambda pointer, position, scope: tuple(
        load(pointer, position + k, scope) for k in LANES
    )


def _store4_of(code: str) -> Callable[..., None]:
    store = BUILTINS[f"store_{code}"].python

    def store4(pointer: Any, position: int, *values: Any) -> None:
        *numbers, scope = values
        for k in LANES:
            store(pointer, position + k, numbers[k], scope)

    return store4


PLAIN: dict[str, Any] = {
    **{name: builtin.python for name, builtin in BUILTINS.items()},
    **{f"load4_{code}": _load4_of(code) for code in STORED},
    **{f"store4_{code}": _store4_of(code) for code in STORED},
    "aligned": lambda pointer, nbytes: pointer.address % nbytes == 0,
    "quotient": lambda a, b: a // b,  # of numbers that are not negative
    "start": 0,  # what `apart` looks at on a CPU
    **NAMES,
}

COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum,
}


class Exchange(NamedTuple):
    """All threads of a team bring a number, and get what the numbers make together. In a scan of a
    block, a thread gets what those before its own make, after `carry`, and what all make.
    """

    team: str  # 'warp' | 'block' | 'column' | 'scan'
    operation: str
    code: str

    def together(self, brought: Sequence[Any], thread: int, more: Any = 1) -> Any:
        """What a thread gets. `more`: how many columns there are, or the carry of a scan."""
        if self.team == "scan":
            return self._all([more, *brought[:thread]]), self._all([more, *brought])
        if self.team == "column":
            return self._all(brought[thread % more :: more])
        first = thread // WARP * WARP
        return self._all(brought[first : first + WARP] if self.team == "warp" else brought)

    def _all(self, values: Sequence[Any]) -> Any:
        total = values[0]
        for value in values[1:]:
            total = type(total)(COMBINE[self.operation](total, value))
        return total


EXCHANGES = {
    f"{team}_{operation}_{code}": Exchange(team, operation, code)
    for team in ("warp", "block", "column", "scan") for operation in COMBINE for code in KINDS
}
