"""How a Program runs: Numba, the kernel cache, the tape, arenas and threads."""
