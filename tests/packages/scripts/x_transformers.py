"""A decoder with rotary positions: its loss over text, and its gradients."""

import torch
from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper

from tests.packages.common import settled


def run(compiled):
    layers = Decoder(dim=16, depth=2, heads=2, attn_dim_head=8, rotary_pos_emb=True)
    net = TransformerWrapper(num_tokens=20, max_seq_len=12, attn_layers=layers)
    model = settled(AutoregressiveWrapper(net), scale=0.2)
    tokens = torch.arange(2 * 12).reshape(2, 12) * 7 % 20

    def step(tokens):
        model.zero_grad()
        loss = model(tokens)
        loss.backward()
        return loss.detach()

    loss = (torch.compile(step) if compiled else step)(tokens)
    return [loss] + [p.grad.norm() for p in model.parameters() if p.grad is not None]
