"""Per-exit logits of a trained multi-exit ViT in plain PyTorch: this script knows nothing of eebench, on purpose.

``python plain_exits.py WEIGHTS DATA OUT``: a safetensors file, a folder with val.npz and test.npz (``images``,
``targets``), and a folder for the arrays.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

DEPTH, HEADS, EXITS = 12, 4, (3, 6, 9)


def norm(w, name, x):
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-6)


def linear(w, name, x):
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def block(w, name, x):
    b, n, d = x.shape
    q, k, v = linear(w, f"{name}.attn.qkv", norm(w, f"{name}.norm1", x)).view(b, n, 3, HEADS, d // HEADS).unbind(2)
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    weights = (q @ k.transpose(-2, -1) / (d // HEADS) ** 0.5).softmax(-1)
    x = x + linear(w, f"{name}.attn.proj", (weights @ v).transpose(1, 2).reshape(b, n, d))
    hidden = F.gelu(linear(w, f"{name}.mlp.fc1", norm(w, f"{name}.norm2", x)))
    return x + linear(w, f"{name}.mlp.fc2", hidden)


def exit_logits(w, images):
    """(N, 4, 10): three early exits behind one pooler, and the network's own classifier."""
    net = "backbone.net"
    stride = w[f"{net}.patch_embed.proj.weight"].shape[-1]
    x = F.conv2d(images, w[f"{net}.patch_embed.proj.weight"], w[f"{net}.patch_embed.proj.bias"], stride=stride)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([w[f"{net}.cls_token"].expand(len(x), -1, -1), x], 1) + w[f"{net}.pos_embed"]
    found = []
    for number in range(1, DEPTH + 1):
        x = block(w, f"{net}.blocks.{number - 1}", x)
        if number in EXITS:
            first = F.layer_norm(
                x[:, 0], (x.shape[-1],), w[f"exits.{number}.norm.weight"], w[f"exits.{number}.norm.bias"]
            )
            pooled = torch.tanh(linear(w, "exits.3.pooler.0", first))
            found.append(linear(w, f"exits.{number}.classifier", pooled))
    found.append(linear(w, f"{net}.head", norm(w, f"{net}.norm", x)[:, 0]))
    return torch.stack(found, 1)


def main():
    weights, data, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    w = load_file(weights)
    for split in ("val", "test"):
        with np.load(data / f"{split}.npz") as file:
            images, targets = torch.from_numpy(file["images"]), file["targets"]
        with torch.inference_mode():
            np.savez(out / f"{split}.npz", targets=targets, logits=exit_logits(w, images).numpy())


if __name__ == "__main__":
    main()
