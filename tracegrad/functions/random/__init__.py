"""Random numbers: distributions, and tensors filled with them."""
