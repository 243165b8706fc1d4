"""The page torch.nn.functional, by its sections."""
