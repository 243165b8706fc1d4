"""Names of torch that are there to be imported and to be asked for, and that refuse to be used."""

from __future__ import annotations

from typing import Any


class Refused(type):
    """A class without objects: nothing is an instance of it, and a call says why."""

    full_name: str
    why: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"{cls.full_name} is not part of tracegrad: {cls.why}")


def refused(space: str, names: str, why: str) -> dict[str, Refused]:
    """Functions and classes of torch's module `space` that refuse for this reason, by name."""
    root = f"torch.{space}." if space else "torch."
    return {
        name: Refused(name, (), {"full_name": root + name, "why": why, "__doc__": why})
        for name in names.split()
    }
