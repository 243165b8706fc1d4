"""Equal iterations of an unrolled loop become a loop: one body in place of n equal parts."""
