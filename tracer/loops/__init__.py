"""Loops and branches in a trace."""
