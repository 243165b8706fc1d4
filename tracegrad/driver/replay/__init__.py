"""The call of a traced program, written as one Python function. Its sections are guards, numbers,
buffers, random numbers, snapshot, launches, commit, outputs; `function.py` puts them in order.
"""
