"""Times one training step on a GPU in PyTorch, for bench_gpu_training: bfloat16 by autocast over float32 parameters,
torch.compile, fused attention, fused AdamW.

usage: pytorch_gpu_training.py gpt2|llama LAYERS HEADS KV_HEADS CHANNELS HIDDEN VOCABULARY CONTEXT BATCH SECONDS DEVICE

Prints the seconds of the median step.
"""
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

is_llama = sys.argv[1] == "llama"
layers, heads, kv_heads, channels, hidden, vocabulary, context, batch = (int(word) for word in sys.argv[2:10])
budget, device = float(sys.argv[10]), f"cuda:{sys.argv[11]}"
head_size = channels // heads
torch.manual_seed(1)
torch.backends.cuda.matmul.allow_tf32 = True


def make_norm():
    return nn.RMSNorm(channels, eps=1e-5) if is_llama else nn.LayerNorm(channels)


def rotate(x, cosines, sines):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cosines - b * sines, a * sines + b * cosines), dim=-1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        bias = not is_llama
        self.norm1, self.norm2 = make_norm(), make_norm()
        self.qkv = nn.Linear(channels, (heads + 2 * kv_heads) * head_size, bias=bias)
        self.projection = nn.Linear(channels, channels, bias=bias)
        self.up = nn.Linear(channels, (2 if is_llama else 1) * hidden, bias=bias)
        self.down = nn.Linear(hidden, channels, bias=bias)

    def forward(self, x, cosines, sines):
        b, t, _ = x.shape
        parts = self.qkv(self.norm1(x)).split([n * head_size for n in (heads, kv_heads, kv_heads)], dim=2)
        q, k, v = (part.view(b, t, -1, head_size).transpose(1, 2) for part in parts)
        if is_llama:
            q, k = rotate(q, cosines, sines).to(v.dtype), rotate(k, cosines, sines).to(v.dtype)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=kv_heads != heads)
        x = x + self.projection(y.transpose(1, 2).reshape(b, t, channels))
        up = self.up(self.norm2(x))
        if is_llama:
            gate, up = up.chunk(2, dim=-1)
            return x + self.down(F.silu(gate) * up)
        return x + self.down(F.gelu(up, approximate="tanh"))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, channels)
        self.positions = None if is_llama else nn.Embedding(context, channels)
        self.blocks = nn.ModuleList(Block() for _ in range(layers))
        self.norm = make_norm()
        angles = torch.outer(torch.arange(context), 10000.0 ** (-torch.arange(head_size // 2) / (head_size // 2)))
        self.register_buffer("cosines", angles.cos())
        self.register_buffer("sines", angles.sin())

    def forward(self, tokens, targets):
        x = self.tokens(tokens)
        if self.positions is not None:
            x = x + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x, self.cosines, self.sines)
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.view(-1, vocabulary), targets.view(-1))


with torch.device(device):
    model = Transformer()
    tokens = torch.randint(vocabulary, (batch, context))
    targets = torch.randint(vocabulary, (batch, context))
for module in model.modules():
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
optimizer = torch.optim.AdamW([{"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
                               {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0}],
                              lr=1e-3, betas=(0.9, 0.999), fused=True)
compiled = torch.compile(model)


def step():
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = compiled(tokens, targets)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


for _ in range(5):  # compiles
    step()
torch.cuda.synchronize(device)
seconds = []
begin = time.perf_counter()
while len(seconds) < 5 or time.perf_counter() - begin < budget:
    start = time.perf_counter()
    step()
    torch.cuda.synchronize(device)
    seconds.append(time.perf_counter() - start)
print(sorted(seconds)[len(seconds) // 2])
