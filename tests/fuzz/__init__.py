"""Differential fuzzing: random programs in torch's language, run by torch, by us eagerly, and by us
compiled, and compared.
"""
