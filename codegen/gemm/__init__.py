"""Matrix products as generated LLVM: tiles, strips, what happens to the sums."""
