"""torch.distributed.nn: refused, like the rest of torch.distributed."""

from .refusals import refused

globals().update(refused(
    "distributed.nn", "all_gather all_reduce all_to_all broadcast gather reduce reduce_scatter "
    "scatter", "training runs in one process",
))
