"""Times one GPT-2 training step in PyTorch, as nanoGPT writes it, for bench_training.

usage: pytorch_training.py LAYERS HEADS CHANNELS CONTEXT BATCH VOCABULARY BIAS SECONDS

With WORLD_SIZE above 1, as torchrun sets it with RANK, MASTER_ADDR and MASTER_PORT, BATCH is shared out among that many
processes by DistributedDataParallel over gloo, and rank 0 prints.

Prints the seconds of the median step, the peak resident memory in bytes, and zeros for what only Troupe measures.
"""
import math
import os
import resource
import sys
import time

import torch
import torch.distributed as distributed
import torch.nn as nn
import torch.nn.functional as F

layers, heads, channels, context, batch, vocabulary = (int(word) for word in sys.argv[1:7])
bias = sys.argv[7] == "1"
budget = float(sys.argv[8])
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
torch.manual_seed(1)
world_size = int(os.environ.get("WORLD_SIZE", "1"))
rank = int(os.environ.get("RANK", "0"))
if world_size > 1:
    distributed.init_process_group("gloo")
    batch //= world_size


class LayerNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None

    def forward(self, x):
        return F.layer_norm(x, (channels,), self.weight, self.bias, 1e-5)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = LayerNorm(), LayerNorm()
        self.qkv = nn.Linear(channels, 3 * channels, bias=bias)
        self.projection = nn.Linear(channels, channels, bias=bias)
        self.up = nn.Linear(channels, 4 * channels, bias=bias)
        self.down = nn.Linear(4 * channels, channels, bias=bias)
        self.register_buffer("mask", torch.tril(torch.ones(context, context)).view(1, 1, context, context))

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (part.view(b, t, heads, c // heads).transpose(1, 2)
                   for part in self.qkv(self.norm1(x)).split(channels, dim=2))
        if hasattr(F, "scaled_dot_product_attention"):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
            y = F.softmax(scores.masked_fill(self.mask == 0, float("-inf")), dim=-1) @ v
        x = x + self.projection(y.transpose(1, 2).contiguous().view(b, t, c))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, channels)
        self.positions = nn.Embedding(context, channels)
        self.blocks = nn.ModuleList(Block() for _ in range(layers))
        self.norm = LayerNorm()

    def forward(self, tokens, targets):
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.view(-1, vocabulary), targets.view(-1))


model = GPT()
# As GPT-2 begins, and Troupe: PyTorch's own embeddings saturate the softmax, whose denormal gradients cost a processor
# ten times the time.
for module in model.modules():
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
if world_size > 1:
    model = nn.parallel.DistributedDataParallel(model)
matrices = [p for p in model.parameters() if p.dim() >= 2]
vectors = [p for p in model.parameters() if p.dim() < 2]
optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                              lr=1e-3, betas=(0.9, 0.999))
tokens = torch.randint(vocabulary, (batch, context))
targets = torch.randint(vocabulary, (batch, context))
seconds = []
begin = time.perf_counter()
# All ranks must take as many steps: with several, their number is fixed.
while len(seconds) < 6 or (len(seconds) < 14 if world_size > 1 else time.perf_counter() - begin < budget):
    start = time.perf_counter()
    loss = model(tokens, targets)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    seconds.append(time.perf_counter() - start)
seconds = sorted(seconds[3:])
if rank == 0:
    print(seconds[len(seconds) // 2], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, 0, 0)
