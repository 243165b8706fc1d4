"""The call of a traced program, written as one Python function: guards, numbers, buffers, random
numbers, launches, commit, answer. One file per section; `function.py` puts them in order.
"""
