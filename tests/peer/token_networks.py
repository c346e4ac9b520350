#!/usr/bin/env python3
"""SequenceTransformer and MLPDenoiser against an independent implementation in numpy.

Draws configurations, weights and inputs, writes them as model folders, runs `sluice
forward`, and compares output and loss with float64 numpy, and grad.x and gradients of
parameters with central differences of that. Prints TAP; needs python3 with numpy."""
import argparse
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

import numpy as np

TYPES = {"F32": np.float32, "I64": np.int64, "F64": np.float64}


def write(path, tensors):
    head, data = {}, b""
    for name, a in tensors.items():
        kind = next(k for k, t in TYPES.items() if t == a.dtype.type)
        raw = np.ascontiguousarray(a).tobytes()
        head[name] = {"dtype": kind, "shape": list(a.shape),
                      "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def read(path):
    with open(path, "rb") as f:
        n, = struct.unpack("<Q", f.read(8))
        head, data = json.loads(f.read(n)), f.read()
    head.pop("__metadata__", None)
    return {k: np.frombuffer(data[slice(*v["data_offsets"])],
                             TYPES[v["dtype"]]).reshape(v["shape"]) for k, v in head.items()}


def draw(rng, sequence):
    heads = rng.choice([1, 2, 4])
    c = {"_class_name": "SequenceTransformer" if sequence else "MLPDenoiser",
         "in_channels": rng.randint(1, 6), "sample_size": [rng.choice([1, 1, 3]), rng.randint(1, 12)],
         "hidden_size": heads * rng.choice([6, 10, 16]), "num_layers": rng.randint(1, 3),
         "mlp_ratio": rng.randint(1, 4)}
    if sequence:
        c["num_attention_heads"] = heads
    if rng.random() < 0.6:
        c["num_class_embeds"] = rng.randint(1, 5)
        c["null_class"] = rng.random() < 0.5
    return c


def weights(c, np_rng):
    w, inside = c["hidden_size"], c["hidden_size"] * c["mlp_ratio"]
    h, v = c["sample_size"]
    p = {}

    def dense(name, i, o):
        p[name + ".weight"] = np_rng.normal(0, 0.8 / i ** 0.5, (o, i))
        p[name + ".bias"] = np_rng.normal(0, 0.2, o)

    sequence = c["_class_name"] == "SequenceTransformer"
    size = c["in_channels"] * (1 if sequence else h * v)
    dense("in", size, w)
    if sequence:
        p["positions"] = np_rng.normal(0, 0.5, (h * v, w))
    dense("time_embedding.linear_1", w, w)
    dense("time_embedding.linear_2", w, w)
    if c.get("num_class_embeds"):
        p["class_embedding.weight"] = np_rng.normal(
            0, 0.5, (c["num_class_embeds"] + c["null_class"], w))
    for i in range(c["num_layers"]):
        dense(f"blocks.{i}.modulation", w, (6 if sequence else 3) * w)
        for name in ("to_q", "to_k", "to_v", "to_out") if sequence else ():
            dense(f"blocks.{i}.{name}", w, w)
        dense(f"blocks.{i}.mlp.0", w, inside)
        dense(f"blocks.{i}.mlp.2", inside, w)
    dense("out.modulation", w, 2 * w)
    dense("out.linear", w, size)
    return {k: a.astype(np.float32) for k, a in p.items()}


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x ** 3)))


def forward(c, p, x, t, labels):
    def dense(name, a):
        return a @ p[name + ".weight"].T + p[name + ".bias"]

    def norm(a, shift, scale):
        m, v = a.mean(-1, keepdims=True), a.var(-1, keepdims=True)
        return (a - m) / np.sqrt(v + 1e-6) * (1 + scale) + shift

    n, w = len(x), c["hidden_size"]
    freq = np.exp(-np.log(10000) * np.arange(w // 2) / (w // 2))
    angle = t[:, None] * freq[None]
    e = np.concatenate([np.cos(angle), np.sin(angle)], 1)
    e = dense("time_embedding.linear_2", silu(dense("time_embedding.linear_1", e)))
    if labels is not None:
        e = e + p["class_embedding.weight"][labels]
    e = silu(e)
    sequence = c["_class_name"] == "SequenceTransformer"
    shape = x.shape
    if sequence:
        a = x.reshape(n, shape[1], -1).transpose(0, 2, 1)  # [N, T, C]
        h = dense("in", a) + p["positions"]
    else:
        h = dense("in", x.reshape(n, 1, -1))
    for i in range(c["num_layers"]):
        m = dense(f"blocks.{i}.modulation", e)[:, None]
        m = np.split(m, 6 if sequence else 3, -1)
        if not sequence:
            u = dense(f"blocks.{i}.mlp.0", norm(h, m[0], m[1]))
            h = h + m[2] * dense(f"blocks.{i}.mlp.2", silu(u))
            continue
        a = norm(h, m[0], m[1])
        q, k, v = (dense(f"blocks.{i}.to_{s}", a).reshape(
            n, -1, c["num_attention_heads"], w // c["num_attention_heads"]).transpose(0, 2, 1, 3)
            for s in "qkv")
        s = q @ k.transpose(0, 1, 3, 2) / q.shape[-1] ** 0.5
        s = np.exp(s - s.max(-1, keepdims=True))
        a = (s / s.sum(-1, keepdims=True)) @ v
        a = a.transpose(0, 2, 1, 3).reshape(n, -1, w)
        h = h + m[2] * dense(f"blocks.{i}.to_out", a)
        u = gelu(dense(f"blocks.{i}.mlp.0", norm(h, m[3], m[4])))
        h = h + m[5] * dense(f"blocks.{i}.mlp.2", u)
    m = np.split(dense("out.modulation", e)[:, None], 2, -1)
    y = dense("out.linear", norm(h, m[0], m[1]))
    return y.transpose(0, 2, 1).reshape(shape) if sequence else y.reshape(shape)


def distance(got, want):
    return float(np.linalg.norm(got - want) / (np.linalg.norm(want) + 1e-30))


def compare(args, c, np_rng, folder):
    n = int(np_rng.integers(1, 4))
    p = weights(c, np_rng)
    x = np_rng.normal(size=(n, c["in_channels"], *c["sample_size"])).astype(np.float32)
    target = np_rng.normal(size=x.shape).astype(np.float32)
    t = np_rng.integers(0, 1000, n)
    given = {"x": x, "timesteps": t.astype(np.int64), "target": target}
    labels = None
    if c.get("num_class_embeds"):
        labels = np_rng.integers(0, c["num_class_embeds"] + c["null_class"], n)
        given["class_labels"] = labels.astype(np.int64)
    os.mkdir(f"{folder}/model")
    with open(f"{folder}/model/config.json", "w") as f:
        json.dump(c, f)
    write(f"{folder}/model/diffusion_pytorch_model.safetensors", p)
    write(f"{folder}/in.safetensors", given)
    run = subprocess.run([args.sluice, "forward", f"{folder}/model", "--in",
                          f"{folder}/in.safetensors", "--out", f"{folder}/out.safetensors"],
                         capture_output=True, text=True)
    if run.returncode != 0:
        return False, run.stderr.strip()
    got = read(f"{folder}/out.safetensors")
    p = {k: a.astype(np.float64) for k, a in p.items()}
    x, time = x.astype(np.float64), t.astype(np.float64)

    def loss():
        return np.mean((forward(c, p, x, time, labels) - target) ** 2)

    def differences(a, grad):
        """Largest error over six values, relative to the largest gradient (not 0)."""
        flat, worst = a.reshape(-1), 0
        for i in range(0, flat.size, flat.size // 6 + 1):
            keep, h = flat[i], 1e-5
            flat[i] = keep + h
            up = loss()
            flat[i] = keep - h
            down = loss()
            flat[i] = keep
            worst = max(worst, abs((up - down) / (2 * h) - grad.reshape(-1)[i]))
        return worst / max(np.abs(grad).max(), 1e-2)

    err = {"output": distance(got["output"], forward(c, p, x, time, labels)),
           "loss": abs(float(got["loss"]) / loss() - 1),
           "grad.x": differences(x, got["grad.x"]),
           "grad": max(differences(p[k], got["grad." + k]) for k in p)}
    limit = {"output": 1e-5, "loss": 1e-5, "grad.x": 5e-5, "grad": 5e-5}
    good = all(err[k] <= limit[k] for k in err)
    return good, " ".join(f"{k} {v:.1e}" for k, v in err.items())


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--sluice", default="build/sluice")
    p.add_argument("--cases", type=int, default=12)
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    rng, np_rng, bad = random.Random(args.seed), np.random.default_rng(args.seed), 0
    for case in range(args.cases):
        c = draw(rng, case % 2 == 0)
        with tempfile.TemporaryDirectory() as folder:
            good, text = compare(args, c, np_rng, folder)
        bad += not good
        print(f"{'' if good else 'not '}ok {case + 1} - {c['_class_name']} "
              f"{c['in_channels']} x {c['sample_size']}, hidden {c['hidden_size']}: {text}")
    print(f"1..{args.cases}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
