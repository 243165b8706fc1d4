"""What programs mean: dtypes, primitives, graphs, differentiation, simplification, a NumPy
interpreter.
"""
