"""How a graph becomes kernels and a Program: index arithmetic, fusion, loop templates, the memory
plan.
"""
