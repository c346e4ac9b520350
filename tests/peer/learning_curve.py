#!/usr/bin/env python3
"""The demo's learning curve under the update rule of DDPO's PyTorch implementation.

Writes one JSON line per iteration (iteration, reward_mean, reward_std) for one seed, with
the hyper-parameters of examples/jpeg/run.yaml, so that it can be laid beside a run's
metrics.jsonl. Needs torch, diffusers and Pillow; the network is read from the example's
checkpoint folder, which also shows that diffusers reads it.

    tests/peer/learning_curve.py examples/jpeg/model --seed 1
"""
import argparse
import io
import json

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from PIL import Image


def reward(x):
    """JPEG compressibility in negative kB, quality 95, of samples in [-1, 1]."""
    u8 = ((x / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    sizes = []
    for picture in u8.numpy():
        f = io.BytesIO()
        Image.fromarray(picture).save(f, format="JPEG", quality=95)
        sizes.append(len(f.getvalue()) / 1000)
    return -np.array(sizes)


class Chain:
    """DDIM transitions with eta = 1; t_prev is clamped to 0, so that the last step lands
    on alpha_bar[0] as the rule's authors have it."""

    def __init__(self, folder, steps):
        self.s = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
        self.s.set_timesteps(steps)
        self.ratio = self.s.config.num_train_timesteps // steps

    def mean_std(self, eps, t, x):
        a = self.s.alphas_cumprod
        view = lambda v: v.view(-1, 1, 1, 1)
        ab = view(a[t])
        ap = view(a[(t - self.ratio).clamp(min=0)])
        x0 = (x - (1 - ab).sqrt() * eps) / ab.sqrt()
        if self.s.config.clip_sample:
            x0 = x0.clamp(-self.s.config.clip_sample_range, self.s.config.clip_sample_range)
        var = (1 - ap) / (1 - ab) * (1 - ab / ap)
        return ap.sqrt() * x0 + (1 - ap - var).sqrt() * eps, var.sqrt()

    @staticmethod
    def log_prob(nxt, mean, std):
        lp = -((nxt.detach() - mean) ** 2) / (2 * std**2) - std.log()
        return (lp - 0.5 * np.log(2 * np.pi)).mean(dim=(1, 2, 3))


@torch.no_grad()
def rollout(net, chain, n, batch):
    states, logs = [], []
    for at in range(0, n, batch):
        m = min(batch, n - at)
        x = torch.randn(m, 3, 32, 32)
        path, lp = [x], []
        for t in chain.s.timesteps:
            tt = torch.full((m,), int(t))
            mean, std = chain.mean_std(net(x, tt).sample, tt, x)
            x = mean + std * torch.randn_like(x)
            path.append(x)
            lp.append(chain.log_prob(x, mean, std))
        states.append(torch.stack(path, 1))
        logs.append(torch.stack(lp, 1))
    return torch.cat(states), torch.cat(logs)


def update(net, opt, chain, states, old, adv, args):
    n, steps = old.shape
    keep = max(1, int(steps * args.timestep_fraction))
    for at in [a for _ in range(args.inner_epochs) for a in range(0, n, args.update_batch)]:
        if at == 0:
            order = torch.randperm(n)
        chosen = order[at:at + args.update_batch]
        times = torch.stack([torch.randperm(steps) for _ in chosen])
        opt.zero_grad()
        for part in range(0, len(chosen), args.batch):
            i = chosen[part:part + args.batch]
            for j in range(keep):
                k = times[part:part + args.batch, j]
                tt = chain.s.timesteps[k]
                x, nxt = states[i, k], states[i, k + 1]
                mean, std = chain.mean_std(net(x, tt).sample, tt, x)
                r = (chain.log_prob(nxt, mean, std) - old[i, k]).exp()
                a = adv[i].clamp(-5, 5)
                loss = torch.maximum(-a * r, -a * r.clamp(1 - args.clip, 1 + args.clip))
                (loss.sum() / (len(chosen) * keep)).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("model")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--iterations", type=int, default=10)
    p.add_argument("--samples", type=int, default=64)
    p.add_argument("--steps", type=int, default=16)
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--update-batch", type=int, default=64)
    p.add_argument("--timestep-fraction", type=float, default=0.5)
    p.add_argument("--lr", type=float, default=2e-4)
    p.add_argument("--inner-epochs", type=int, default=2)
    p.add_argument("--clip", type=float, default=1e-3)
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    net = UNet2DModel.from_pretrained(args.model, subfolder="unet")
    chain = Chain(args.model, args.steps)
    opt = torch.optim.AdamW(net.parameters(), lr=args.lr, weight_decay=1e-4)
    for it in range(args.iterations):
        states, old = rollout(net, chain, args.samples, args.batch)
        r = reward(states[:, -1])
        adv = torch.tensor((r - r.mean()) / (r.std() + 1e-8), dtype=torch.float32)
        update(net, opt, chain, states, old, adv, args)
        print(json.dumps({"iteration": it, "reward_mean": r.mean(),
                          "reward_std": r.std()}), flush=True)


if __name__ == "__main__":
    main()
