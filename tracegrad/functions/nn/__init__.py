"""Layers as functions, by torch's names; `nn.functional` shows them."""
