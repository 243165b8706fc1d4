"""Neural network layers, losses and containers, with torch's names."""
