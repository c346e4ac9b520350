#!/usr/bin/env python3
"""Reads a run without Sluice: reward curve, histogram, and the trajectory of the best sample.

    python3 examples/analysis.py RUNDIR [OUTDIR]

RUNDIR is a run directory, or a file that `sluice merge` wrote. Needs h5py and numpy. With
matplotlib it draws reward.png, histogram.png and, where samples are pictures, best.png into
OUTDIR (default: the current folder); without it, it prints the numbers alone. With xarray
and h5netcdf it also shows the run as a labelled data set. io/FORMAT.md explains the columns.
"""
import os
import sys

import h5py
import numpy as np


def sources_missing(f, run):
    """Files that the index refers to and that are gone: HDF5 would read them as NaN."""
    paths = [p.decode() for kind in f["sources"] for p in f["sources"][kind]["path"][:]]
    return [p for p in paths if not os.path.exists(os.path.join(run, p))]


def curve(f):
    """iteration, mean, standard deviation, scored samples, of the total reward."""
    it, reward = f["reward/iteration"][:], f["reward/reward"][:]
    rows = []
    for i in np.unique(it):
        r = reward[(it == i) & np.isfinite(reward)]
        rows.append((int(i), r.mean() if r.size else np.nan, r.std() if r.size else np.nan, r.size))
    return rows


def best_row(f):
    """The row of the largest reward, in reward/ and in rollout/."""
    reward = f["reward/reward"][:]
    if not np.isfinite(reward).any():
        return None
    row = int(np.nanargmax(reward))
    mine = (f["rollout/iteration"][:] == f["reward/iteration"][row])
    mine &= f["rollout/sample_index"][:] == f["reward/sample_index"][row]
    where = np.nonzero(mine)[0]
    return None if where.size == 0 else (row, int(where[0]))


def pictures(chain):
    """[state, channel, height, width] of numbers to [state, height, width, 3] in 0 .. 1."""
    chain = np.moveaxis(np.clip((chain + 1) / 2, 0, 1), 1, -1)
    return np.repeat(chain, 3, axis=-1) if chain.shape[-1] == 1 else chain


def draw(rows, reward, chain, out):
    try:
        import matplotlib
    except ImportError:
        print("no pictures: matplotlib is not installed (python3-matplotlib)")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    it, mean, std, _ = (np.array(c, dtype=float) for c in zip(*rows))
    plt.figure(figsize=(6, 3.5))
    plt.plot(it, mean)
    plt.fill_between(it, mean - std, mean + std, alpha=0.2)
    plt.xlabel("iteration")
    plt.ylabel("reward, mean and standard deviation")
    plt.tight_layout()
    plt.savefig(os.path.join(out, "reward.png"))
    plt.figure(figsize=(6, 3.5))
    plt.hist(reward[np.isfinite(reward)], bins=40)
    plt.xlabel("reward")
    plt.ylabel("samples")
    plt.tight_layout()
    plt.savefig(os.path.join(out, "histogram.png"))
    print("reward.png histogram.png")
    if chain is None or chain.shape[1] not in (1, 3) or chain.shape[2] < 2:
        return
    states = pictures(chain)
    strip = np.concatenate(list(states), axis=1)  # x_T on the left, the sample on the right
    zoom = max(1, 64 // states.shape[1])
    plt.imsave(os.path.join(out, "best.png"), strip.repeat(zoom, 0).repeat(zoom, 1))
    print("best.png")


def show_labelled(path):
    try:
        import xarray
        import h5netcdf  # noqa: F401 (the engine)
    except ImportError:
        return
    d = xarray.open_dataset(path, group="reward", engine="h5netcdf")
    print("\nas xarray sees it, reward by iteration:")
    print(d.reward.groupby("iteration").mean().to_series().to_string())


def main(argv):
    if len(argv) < 2 or argv[1] in ("-h", "--help"):
        print(__doc__)
        return 0 if len(argv) > 1 else 2
    run, out = argv[1], argv[2] if len(argv) > 2 else "."
    path = os.path.join(run, "index.h5") if os.path.isdir(run) else run
    if not os.path.exists(path):
        print(f"{path}: not there; the end of a job writes it", file=sys.stderr)
        return 1
    os.makedirs(out, exist_ok=True)
    with h5py.File(path, "r") as f:
        gone = sources_missing(f, run) if os.path.isdir(run) else []
        if gone:
            print(f"{len(gone)} files of the index are gone, such as {gone[0]}: "
                  "delete index.h5 and let it be written again", file=sys.stderr)
            return 1
        rows = curve(f)
        print("iteration        mean         std  samples")
        for i, mean, std, n in rows:
            print(f"{i:9d} {mean:11.6g} {std:11.6g} {n:8d}")
        at, chain = best_row(f), None
        if at is not None:
            print(f"best: {f['reward/reward'][at[0]]:.6g} in iteration "
                  f"{f['reward/iteration'][at[0]]}, sample {f['reward/sample_index'][at[0]]}")
            name = "rollout/latents" if "latents" in f["rollout"] else None
            chain = f[name][at[1]] if name else f["rollout/final_sample"][at[1]][None]
        if rows:
            draw(rows, f["reward/reward"][:], chain, out)
    show_labelled(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
