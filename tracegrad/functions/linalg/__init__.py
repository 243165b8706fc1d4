"""The page torch.linalg, and the functions of torch that are of its kind."""
