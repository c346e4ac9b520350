#!/usr/bin/env python3
"""PyTorch + diffusers, on command: the other side of peer.py, in one process per
interpreter, thread count and variant. Commands and answers are lines of JSON.

    {"do": "run", "config": FILE, "batch": 16, "work": "forward", "dtype": "f32",
     "variant": "last", "repeat": 5}
    {"do": "ddpo", "model": FOLDER, "samples": 64, "steps": 50, "batch": 16, "variant": ..}

Variants: last, first (memory format, eager), compile (torch.compile over channels last),
autocast (bfloat16 by autocast instead of bfloat16 weights).
"""
import argparse
import contextlib
import json
import os
import resource
import sys
import time
import types

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # libraries that print do not disturb the answers

import torch  # noqa: E402
import diffusers  # noqa: E402
from diffusers import UNet2DModel  # noqa: E402

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peer"))


def peak_rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def config_of(path):
    with open(path) as f:
        config = json.load(f)
    return {k: v for k, v in config.items() if not k.startswith("_")}


class Network:
    """One network in one dtype and variant, and a batch for it."""

    def __init__(self, c):
        torch.manual_seed(1)
        self.key = Network.key_of(c)
        config = config_of(c["config"])
        half = c["dtype"] == "bf16"
        self.auto = half and c["variant"] == "autocast"
        kind = torch.bfloat16 if half and not self.auto else torch.float32
        fmt = torch.contiguous_format if c["variant"] == "first" else torch.channels_last
        net = UNet2DModel(**config).to(kind).to(memory_format=fmt)
        n = config["sample_size"]
        x = torch.randn(c["batch"], config["in_channels"], n, n)
        self.x = x.to(kind).contiguous(memory_format=fmt)
        self.t = torch.arange(c["batch"]) * 61 % 1000
        self.net = self.call = net.train(c["work"] == "train")
        if c["variant"] == "compile":
            torch._dynamo.reset()
            # Packs the weights where no gradient is wanted.
            from torch._inductor import config as inductor
            inductor.freezing = c["work"] == "forward"
            self.call = torch.compile(net)
        self.work = c["work"]

    @staticmethod
    def key_of(c):
        return [c[k] for k in ("config", "batch", "work", "dtype", "variant")]

    def once(self):
        cast = (torch.autocast("cpu", dtype=torch.bfloat16) if self.auto
                else contextlib.nullcontext())
        if self.work == "forward":
            # freezing is keyed on no_grad; inference_mode elsewhere is the faster one
            guard = torch.no_grad if self.call is not self.net else torch.inference_mode
            with guard(), cast:
                self.call(self.x, self.t)
            return
        self.net.zero_grad(set_to_none=True)
        with cast:
            out = self.call(self.x, self.t).sample
        out.float().square().mean().backward()


current = None


def run(c):
    global current
    if current is None or current.key != Network.key_of(c):
        current = None
        current = Network(c)
        current.once()
        current.once()
    seconds = []
    for _ in range(c["repeat"]):
        start = time.perf_counter()
        current.once()
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "rss_bytes": peak_rss()}


def ddpo(c):
    global current
    current = None
    import learning_curve as curve
    torch.manual_seed(1)
    net = UNet2DModel.from_pretrained(c["model"], subfolder="unet")
    net = net.to(memory_format=torch.channels_last)
    call = torch.compile(net) if c["variant"] == "compile" else net
    if c.get("dtype") == "bf16":
        inner = call

        def call(x, t):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return types.SimpleNamespace(sample=inner(x, t).sample.float())
        call.parameters = net.parameters
    opt = torch.optim.AdamW(net.parameters(), lr=3e-4, weight_decay=1e-4)
    args = argparse.Namespace(timestep_fraction=1.0, inner_epochs=1, update_batch=c["samples"],
                              batch=c["batch"], clip=1e-4)
    out = {}
    # A short chain first: compilation and first allocations.
    for samples, steps in ((c["batch"], 2), (c["samples"], c["steps"])):
        chain = curve.Chain(c["model"], steps)
        start = time.perf_counter()
        states, old = curve.rollout(call, chain, samples, c["batch"])
        sampled = time.perf_counter()
        r = curve.reward(states[:, -1])
        adv = torch.tensor((r - r.mean()) / (r.std() + 1e-8), dtype=torch.float32)
        scored = time.perf_counter()
        curve.update(call, opt, chain, states, old, adv, args)
        end = time.perf_counter()
        out = {"seconds": [end - start], "rollout": sampled - start,
               "reward": scored - sampled, "update": end - scored,
               "reward_mean": float(r.mean()), "rss_bytes": peak_rss()}
    return out


def answer(value):
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def main():
    torch.set_num_threads(int(sys.argv[1]))
    answer({"torch": torch.__version__, "diffusers": diffusers.__version__,
            "compile": hasattr(torch, "compile"), "rss_bytes": peak_rss(),
            "preload": os.environ.get("LD_PRELOAD", "")})
    for line in sys.stdin:
        c = json.loads(line)
        try:
            answer({"run": run, "ddpo": ddpo}[c["do"]](c))
        except Exception as e:  # a variant may fail; the others go on
            said = str(e).strip().splitlines() or [""]
            answer({"failed": f"{type(e).__name__}: {said[-1]}"})


if __name__ == "__main__":
    main()
