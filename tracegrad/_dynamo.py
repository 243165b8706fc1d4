"""torch._dynamo's public names for sizes that change."""

from .driver.dynamic_sizes import mark_dynamic, mark_static, maybe_mark_dynamic

__all__ = ["mark_dynamic", "mark_static", "maybe_mark_dynamic"]
