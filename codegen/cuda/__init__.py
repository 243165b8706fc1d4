"""How the loops of a schedule are written for GPUs."""
