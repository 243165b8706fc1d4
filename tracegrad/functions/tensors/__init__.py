"""Making, reading, moving and writing tensors."""
