"""Small networks of many kinds, to be wrapped."""

import math
from typing import Any

import torch
from torch import nn, Tensor
from torch.nn import functional as F


class Attention(nn.Module):
    """Causal self-attention, written out."""

    def __init__(self, width: int, heads: int, length: int):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.heads = heads
        self.register_buffer("mask", torch.ones(length, length, dtype=torch.bool).tril())

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.qkv(x).split(C, dim=2)
        q, k, v = (z.view(B, T, self.heads, C // self.heads).transpose(1, 2) for z in (q, k, v))
        scores = q @ k.transpose(-2, -1) / math.sqrt(k.size(-1))
        mask: Any = self.mask
        scores = scores.masked_fill(~mask[:T, :T], float("-inf"))
        y = (scores.softmax(-1) @ v).transpose(1, 2).contiguous().view(B, T, C)
        return self.out(y)


class GPTBlock(nn.Module):
    """`x + attention(norm(x))`, then `x + mlp(norm(x))`, with dropout that is a function."""

    def __init__(self, width: int, heads: int, length: int, dropout: float):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, length)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        x = x + F.dropout(self.attention(self.norm1(x)), self.dropout, self.training)
        return x + F.dropout(self.mlp(self.norm2(x)), self.dropout, self.training)


class GPT(nn.Module):
    """A small language model, written plainly."""

    def __init__(self, layers: int = 3, width: int = 16, length: int = 12, dropout: float = 0.1):
        super().__init__()
        self.tokens = nn.Embedding(20, width)
        self.places = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(GPTBlock(width, 2, length, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 20, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        _, T = ids.shape
        x = self.tokens(ids) + self.places(torch.arange(T, device=ids.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Encoder(nn.Module):
    """A classifier of sequences around `nn.TransformerEncoder`."""

    def __init__(self, norm_first: bool, batch_first: bool, layers: int = 3):
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            16, 2, 32, batch_first=batch_first, norm_first=norm_first
        )
        self.tokens = nn.Embedding(20, 16)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(16, 5)
        self.batch_first = batch_first

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        x = self.encoder(x if self.batch_first else x.transpose(0, 1))
        return self.head(x.mean(1 if self.batch_first else 0))


class Plain(nn.Module):
    """`for block in blocks: x = x + block(x)`."""

    def __init__(self, blocks: list[nn.Module], width: int = 8, classes: int = 5):
        super().__init__()
        self.embedding = nn.Linear(4, width)
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def mlps(n: int = 4, width: int = 8) -> list[nn.Module]:
    """Branches of two layers each."""
    return [nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))
            for _ in range(n)]  # fmt: skip


def as_given(network: nn.Module, x: Tensor, seed: int = 3) -> list[Tensor]:
    """Outputs and gradients in both modes with the same seed, and the buffers after that."""
    found = []
    for training in (False, True):
        network.train(training)
        torch.manual_seed(seed)
        y = network(x)
        y = getattr(y, "logits", y)
        weights = torch.linspace(-1, 1, y.numel()).view(y.shape).to(y)
        parameters = [p for p in network.parameters() if p.requires_grad]
        found += [y.detach(), *torch.autograd.grad((y * weights).sum(), parameters)]
    return [*found, *(b.clone() for b in network.buffers())]
