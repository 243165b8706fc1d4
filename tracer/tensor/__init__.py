"""What users hold: the Tensor, how primitives apply to it, dtypes, views, writes, printing."""
