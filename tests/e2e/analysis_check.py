"""Are the numbers that examples/analysis.py printed, and its pictures, those of the shards?
Usage: analysis_check.py RUNDIR LOG PICTURES (a folder)"""
import glob
import sys

import h5py
import matplotlib.image
import numpy as np

run, log, pictures = sys.argv[1:4]
text = open(log).read().split("\n")


def shards(kind, iteration, name):
    files = sorted(glob.glob(f"{run}/{kind}/i{iteration:06d}/s*.h5"))
    return np.concatenate([h5py.File(f)[name][:] for f in files])


def after(line):
    at = next(i for i, s in enumerate(text) if s.startswith(line)) + 1
    rows = {}
    for s in text[at:]:
        if not s or not s.split()[0].isdigit():
            if rows:
                break
            continue
        rows[int(s.split()[0])] = [float(x) for x in s.split()[1:]]
    return rows


n = len(glob.glob(f"{run}/rollout/i*"))
rewards = [shards("reward", i, "reward") for i in range(n)]
chains = [shards("rollout", i, "log_prob").sum(1) for i in range(n)]
table, labelled, corr = after("iteration"), after("as xarray"), after("log-likelihood")
for i in range(n):
    r = rewards[i]
    assert np.allclose(table[i], [r.mean(), r.std(), r.size], rtol=1e-5), table[i]
    assert abs(labelled[i][0] - r.mean()) < 1e-6 + 1e-5 * abs(r.mean()), labelled[i]
    assert abs(corr[i][0] - np.corrcoef(chains[i], r)[0, 1]) < 6e-4, corr[i]
best = int(np.argmax([r.max() for r in rewards]))
row = int(rewards[best].argmax())
assert f"best: {rewards[best][row]:.6g} in iteration {best}, sample {row}" in text

for name in ("reward", "histogram"):
    p = matplotlib.image.imread(f"{pictures}/{name}.png")[..., :3]
    drawn = (p.min(-1) < 0.9).mean()
    coloured = (p.max(-1) - p.min(-1) > 0.3).mean()
    assert 0.01 < drawn < 0.9 and coloured > 0.002, (name, drawn, coloured)
p = matplotlib.image.imread(f"{pictures}/best.png")[..., :3]
chain = np.clip((shards("rollout", best, "latents")[row] + 1) / 2, 0, 1)
states, _, height, width = chain.shape
zoom = p.shape[0] // height
assert p.shape == (height * zoom, states * width * zoom, 3) and zoom > 1
for k in range(states):
    got = p[zoom // 2::zoom, k * width * zoom + zoom // 2:(k + 1) * width * zoom:zoom]
    assert np.abs(got - np.moveaxis(chain[k], 0, -1)).max() < 1 / 255 + 1e-6
print(f"{n} iterations, {states} states")
