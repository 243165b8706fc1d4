"""The last table: marks that meant something to differentiation and mean nothing to a kernel."""

from __future__ import annotations

from ..ops.elementwise import copy, stop_gradient
from ..rewrite import Table
from .wildcards import x

finish = Table("finish", [(stop_gradient(x), x), (copy(x), x)])
