"""Recomputes in PyTorch training steps that a C++ test dumped, and compares them tensor by tensor.

usage: pytorch_step.py DIRECTORY TOLERANCE [DIRECTORY TOLERANCE ...]

A DIRECTORY holds step.json (settings and an index of tensors) and step.bin (their elements, float64). Exits 1 and says
what differs where loss, a gradient (relative norm, cosine) or an updated parameter (its change) is off by more than
TOLERANCE; 77 where there is no PyTorch.
"""
import json
import math
import os
import sys

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    sys.exit(77)


def load(directory):
    with open(os.path.join(directory, "step.json")) as file:
        step = json.load(file)
    elements = torch.from_file(os.path.join(directory, "step.bin"), dtype=torch.float64, size=step["elements"])
    tensors = {}
    for entry in step["tensors"]:
        count = math.prod(entry["shape"])
        tensors[entry["name"]] = elements[entry["offset"]:entry["offset"] + count].reshape(entry["shape"]).clone()
    return step, tensors


def rotate(x, theta):
    """x: [batch, heads, time, size]; pairs are (i, i + size / 2)."""
    time, size = x.shape[-2:]
    frequency = theta ** (-torch.arange(0, size, 2, dtype=x.dtype) / size)
    angle = torch.arange(time, dtype=x.dtype)[:, None] * frequency
    first, second = x[..., :size // 2], x[..., size // 2:]
    return torch.cat([first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()], -1)


def forward(settings, p, tokens):
    batch, time = tokens.shape
    heads, kv_heads, size = settings["heads"], settings["kv_heads"], settings["channels"] // settings["heads"]

    def linear(x, name):
        return F.linear(x, p[name + ".weight"], p.get(name + ".bias"))

    def norm(x, name):
        if settings["llama"]:
            return x / (x.pow(2).mean(-1, keepdim=True) + settings["epsilon"]).sqrt() * p[name + ".weight"]
        return F.layer_norm(x, x.shape[-1:], p[name + ".weight"], p.get(name + ".bias"), settings["epsilon"])

    def attention(x, name):
        q, k, v = linear(x, name + ".qkv").split([heads * size, kv_heads * size, kv_heads * size], -1)
        q = q.view(batch, time, heads, size).transpose(1, 2)
        k = k.view(batch, time, kv_heads, size).transpose(1, 2)
        v = v.view(batch, time, kv_heads, size).transpose(1, 2)
        if settings["llama"]:
            q, k = rotate(q, settings["theta"]), rotate(k, settings["theta"])
        k = k.repeat_interleave(heads // kv_heads, 1)
        v = v.repeat_interleave(heads // kv_heads, 1)
        future = torch.ones(time, time, dtype=torch.bool).triu(1)
        weights = (q @ k.transpose(-2, -1) / math.sqrt(size)).masked_fill(future, -math.inf).softmax(-1)
        return linear((weights @ v).transpose(1, 2).reshape(batch, time, heads * size), name + ".projection")

    def feed_forward(x, name):
        hidden = linear(x, name + ".up")
        if settings["llama"]:
            gate, up = hidden.chunk(2, -1)
            return linear(F.silu(gate) * up, name + ".down")
        return linear(F.gelu(hidden, approximate="tanh"), name + ".down")

    x = p["embedding.token"][tokens]
    if "embedding.position" in p:
        x = x + p["embedding.position"][:time]
    for layer in range(settings["layers"]):
        block = f"blocks.{layer}"
        x = x + attention(norm(x, block + ".norm1"), block + ".attention")
        x = x + feed_forward(norm(x, block + ".norm2"), block + ".feed_forward")
    return F.linear(norm(x, "head.norm"), p.get("head.weight", p["embedding.token"]))


def compare_step(directory, tolerance):
    """Returns what differs, one line each."""
    step, tensors = load(directory)
    settings = step["settings"]
    names = [name[len("before/"):] for name in tensors if name.startswith("before/")]
    p = {name: tensors["before/" + name].clone().requires_grad_() for name in names}
    tokens, targets = tensors["tokens"].long(), tensors["targets"].long()
    logits = forward(settings, p, tokens)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
    loss.backward()
    gradients = {name: value.grad.clone() for name, value in p.items()}
    torch.nn.utils.clip_grad_norm_(p.values(), settings["clip"])
    decays = [value for value in p.values() if value.dim() == 2]
    others = [value for value in p.values() if value.dim() != 2]
    torch.optim.AdamW([{"params": decays, "weight_decay": settings["weight_decay"]},
                       {"params": others, "weight_decay": 0.0}],
                      lr=settings["learning_rate"], betas=(settings["beta1"], settings["beta2"]),
                      eps=settings["adam_epsilon"]).step()

    faults = []

    def compare(what, found, expected):
        error = ((found - expected).norm() / expected.norm()).item()
        cosine = F.cosine_similarity(found.flatten(), expected.flatten(), dim=0).item()
        if not (error <= tolerance and cosine >= 1 - tolerance):
            faults.append(f"{directory}: {what}: relative error {error:.2e}, cosine {cosine:.12f}")

    compare("loss", torch.tensor([step["loss"]], dtype=torch.float64), loss.detach().reshape(1))
    for name in names:
        before = tensors["before/" + name]
        compare(f"gradient of {name}", tensors["gradient/" + name], gradients[name])
        compare(f"change of {name}", tensors["after/" + name] - before, p[name].detach() - before)
    return faults


def main():
    faults = []
    for directory, tolerance in zip(sys.argv[1::2], sys.argv[2::2]):
        faults += compare_step(directory, float(tolerance))
    print("\n".join(faults), end="\n" if faults else "")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
