#!/usr/bin/env python3
"""Compares `sluice forward` with diffusers' UNet2DModel on random small configurations.

Needs torch, diffusers and safetensors. Prints TAP; every number of the network's output,
loss and gradients is compared with a float64 evaluation by the peer.

    tests/peer/unet.py [--sluice build/sluice] [--cases 12] [--seed 1] [--model FOLDER]
"""
import argparse
import os
import random
import subprocess
import sys
import tempfile

try:
    import torch
    from diffusers import UNet2DModel
    from safetensors.torch import load_file, save_file
except ImportError as e:
    print(f"1..0 # SKIP {e}")
    sys.exit(0)


def draw(rng):
    levels = rng.randint(1, 4)
    groups = rng.choice([2, 4, 8])
    channels = [groups * rng.randint(1, 5) * 2 for _ in range(levels)]
    down = [rng.choice(["DownBlock2D", "AttnDownBlock2D"]) for _ in range(levels)]
    up = [rng.choice(["UpBlock2D", "AttnUpBlock2D"]) for _ in range(levels)]
    size = 2 ** (levels - 1) * rng.choice([2, 3, 5])
    c = rng.choice([1, 3, 4])
    common = 2
    return dict(
        sample_size=size, in_channels=c, out_channels=c,
        center_input_sample=rng.random() < 0.3,
        freq_shift=rng.choice([0, 1]), flip_sin_to_cos=rng.random() < 0.5,
        down_block_types=down, up_block_types=up, block_out_channels=channels,
        layers_per_block=rng.randint(1, 3),
        mid_block_scale_factor=rng.choice([1, 1.41421356, 0.7]),
        downsample_padding=rng.choice([0, 1]), act_fn="silu",
        attention_head_dim=rng.choice([None, common, 1, 4 if all(x % 4 == 0 for x in channels) else common]),
        norm_num_groups=groups, norm_eps=rng.choice([1e-5, 1e-6, 1e-4]),
        add_attention=rng.random() < 0.7,
        num_class_embeds=rng.choice([None, None, 5]))


def distance(got, want):
    want = want.double()
    return float((got.double().reshape(want.shape) - want).norm() / (want.norm() + 1e-30))


def compare(net, args, rng, folder):
    n = rng.randint(1, 3)
    h = net.config.sample_size
    x = torch.randn(n, net.config.in_channels, h, h)
    t = torch.randint(0, 1000, (n,))
    target = torch.randn(n, net.config.out_channels, h, h)
    tensors = {"x": x, "timesteps": t, "target": target}
    labels = None
    if net.config.num_class_embeds:
        labels = torch.randint(0, net.config.num_class_embeds, (n,))
        tensors["class_labels"] = labels

    def evaluate(kind):
        m = net.to(kind)
        m.zero_grad()
        y = x.detach().clone().to(kind).requires_grad_(True)
        out = m(y, t, class_labels=labels).sample
        loss = ((out - target.to(kind)) ** 2).mean()
        loss.backward()
        grads = {k: p.grad.clone() for k, p in m.named_parameters()}
        return out.detach(), loss.detach(), y.grad, grads

    o32, l32, d32, g32 = evaluate(torch.float32)
    o64, l64, d64, g64 = evaluate(torch.float64)
    net.to(torch.float32)
    if not torch.isfinite(o64).all():
        return True, "the peer's own output is not finite; not compared"
    save_file(tensors, f"{folder}/in.safetensors")
    p = subprocess.run([args.sluice, "forward", f"{folder}/model", "--in",
                        f"{folder}/in.safetensors", "--out", f"{folder}/out.safetensors"],
                       capture_output=True, text=True)
    if p.returncode != 0:
        return False, p.stderr.strip()
    got = load_file(f"{folder}/out.safetensors")
    worst = {"output": (distance(got["output"], o64), distance(o32, o64)),
             "grad.x": (distance(got["grad.x"], d64), distance(d32, d64))}
    all64 = torch.cat([g.flatten() for g in g64.values()])
    all32 = torch.cat([g32[k].flatten() for k in g64])
    ours = torch.cat([got["grad." + k].flatten() for k in g64])
    worst["grad"] = (distance(ours, all64), distance(all32, all64))
    worst["loss"] = (abs(float(got["loss"]) - float(l64)) / float(l64),
                     abs(float(l32) - float(l64)) / float(l64))
    good = all(a <= max(6 * b, 3e-6) for a, b in worst.values())
    return good, " ".join(f"{k} {a:.1e}/{b:.1e}" for k, (a, b) in worst.items())


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--sluice", default="build/sluice")
    p.add_argument("--cases", type=int, default=12)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--model", help="also this checkpoint folder (with unet/)")
    args = p.parse_args()
    rng = random.Random(args.seed)
    torch.manual_seed(args.seed)
    done = bad = 0
    for case in range(args.cases + (args.model is not None)):
        with tempfile.TemporaryDirectory() as folder:
            if case == args.cases:
                net, name = UNet2DModel.from_pretrained(args.model, subfolder="unet"), args.model
                os.symlink(os.path.abspath(args.model), f"{folder}/model")
            else:
                config = draw(rng)
                net, name = UNet2DModel(**config), str(config)
                net.save_pretrained(f"{folder}/model", safe_serialization=True)
            net.eval()
            good, text = compare(net, args, rng, folder)
        done += 1
        bad += not good
        print(f"{'' if good else 'not '}ok {done} - {text} (ours/peer) # {name}", flush=True)
    print(f"1..{done}")
    sys.exit(bad != 0)


if __name__ == "__main__":
    main()
