"""How a Program runs: Numba, the kernel cache, the launch list, arenas and threads."""
