"""The names of layouts and memory formats: texts of two classes of their own, as in torch."""

from __future__ import annotations


class layout(str):
    """How a tensor lies in memory; `strided` is the one there is.

    Raises what `str` raises.

    >>> isinstance(torch.ones(2).layout, torch.layout), torch.strided
    (True, tracegrad.strided)
    """

    def __repr__(self) -> str:
        return str(self)


class memory_format(str):
    """An order of the dimensions in memory.

    Raises what `str` raises.

    >>> isinstance(torch.channels_last, torch.memory_format), torch.channels_last
    (True, tracegrad.channels_last)
    """

    def __repr__(self) -> str:
        return str(self)


strided = layout("tracegrad.strided")
contiguous_format, preserve_format, channels_last, channels_last_3d = (
    memory_format(f"tracegrad.{name}")
    for name in ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
)
