"""Functions of numbers, reductions, scans, sorting and statistics."""
