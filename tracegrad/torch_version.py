"""`torch.__version__`: which version of torch is followed, compared by its numbers."""

from __future__ import annotations

import re
from typing import Any


class TorchVersion(str):
    """A version that is compared by its numbers with a text or a tuple.

    >>> torch.torch_version.TORCH_VERSION > "2.9", torch.torch_version.TORCH_VERSION >= (2, 13)
    (True, True)
    """

    def _compare(self, other: Any) -> tuple[list[int], list[int]] | None:
        try:
            return _padded(_numbers(self), _numbers(other))
        except (TypeError, ValueError):
            return None

    def __lt__(self, other: Any) -> bool:
        pair = self._compare(other)
        return NotImplemented if pair is None else pair[0] < pair[1]

    def __le__(self, other: Any) -> bool:
        pair = self._compare(other)
        return NotImplemented if pair is None else pair[0] <= pair[1]

    def __gt__(self, other: Any) -> bool:
        pair = self._compare(other)
        return NotImplemented if pair is None else pair[0] > pair[1]

    def __ge__(self, other: Any) -> bool:
        pair = self._compare(other)
        return NotImplemented if pair is None else pair[0] >= pair[1]


def _numbers(version: Any) -> list[int]:
    if isinstance(version, str):
        release = re.match(r"v?(\d+(?:\.\d+)*)", version)
        if release is None:
            raise ValueError(f"{version!r} is not a version")
        return [int(n) for n in release[1].split(".")]
    return [int(n) for n in version]


def _padded(a: list[int], b: list[int]) -> tuple[list[int], list[int]]:
    length = max(len(a), len(b))
    return a + [0] * (length - len(a)), b + [0] * (length - len(b))


TORCH_VERSION = TorchVersion("2.13.0+tracegrad")
__version__ = TORCH_VERSION
