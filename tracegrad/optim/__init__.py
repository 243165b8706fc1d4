"""Optimizers and learning rate schedules, with torch's names."""
