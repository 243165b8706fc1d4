"""The page torch.html, by its sections."""
