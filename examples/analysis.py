#!/usr/bin/env python3
"""Reads a run without Sluice: reward curve, histogram, and the trajectory of the best sample.

    python3 examples/analysis.py RUNDIR [OUTDIR]

RUNDIR is a run directory, or a file that `sluice merge` wrote. Needs h5py and numpy. With
matplotlib it draws reward.png, histogram.png and, where samples are pictures, best.png into
OUTDIR (default: the current folder); without it, it prints the numbers alone. With xarray
and h5netcdf it also shows the run as a labelled data set. io/FORMAT.md explains the columns.

Exit code 1: a file of the run is missing, damaged or another than the index was made of.
"""
import os
import sys

try:
    import h5py
    import numpy as np
except ImportError as e:
    sys.exit(f"{e}; install h5py and numpy (Debian: python3-h5py, PyPI: h5py)")


def sources_changed(f, run):
    """Files that the index refers to and that are gone or others: HDF5 would read NaN, or
    rows that do not belong together, without an error."""
    for kind in f["sources"]:
        rows = f["sources"][kind]
        for path, content in zip(rows["path"][:], rows["content"][:]):
            path = path.decode()
            if not os.path.exists(os.path.join(run, path)):
                yield f"{path} is gone"
                continue
            try:
                with h5py.File(os.path.join(run, path), "r") as source:
                    if source.attrs["content_sha256"] != content:
                        yield f"{path} has other content"
            except (OSError, KeyError) as e:
                yield f"{path} cannot be read ({e})"


def damaged(f, run):
    """Files of the index in which a column cannot be read: HDF5 has a checksum for each
    chunk and names no file."""
    for kind in f["sources"]:
        for path in f["sources"][kind]["path"][:]:
            with h5py.File(os.path.join(run, path.decode()), "r") as source:
                for name, column in source.items():
                    try:
                        isinstance(column, h5py.Dataset) and column[()]
                    except OSError:
                        yield f"{path.decode()}: column {name}"


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
        import h5netcdf  # noqa: F401 (the engine)
        import xarray
    except ImportError:
        print("no labelled data set: xarray or h5netcdf is not installed")
        return
    # Rows with the same `sample` belong together. After a stop the last rewards may be
    # absent, and others have moved up: then the two `sample_index` differ.
    try:
        d = xarray.merge([xarray.open_dataset(path, group=kind, engine="h5netcdf")
                          for kind in ("rollout", "reward")])
    except xarray.MergeError:
        print("no labelled data set: rewards of some shards are not there yet")
        return
    print("\nas xarray sees it:", ", ".join(f"{k} {v}" for k, v in d.sizes.items()))
    print(d.reward.groupby("iteration").mean().to_series().to_string())
    if "log_prob" in d:
        print("\nlog-likelihood of a chain against its reward, correlation by iteration:")
        chains = d[["reward"]].assign(chain=d.log_prob.sum("step"))
        for i, rows in chains.groupby("iteration"):
            print(f"{int(i):9d} {float(xarray.corr(rows.chain, rows.reward)):8.3f}")


def show(f, path, out):
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


def main(argv):
    if len(argv) < 2 or argv[1] in ("-h", "--help"):
        print(__doc__)
        return 0 if len(argv) > 1 else 2
    run, out = argv[1], argv[2] if len(argv) > 2 else "."
    index = os.path.isdir(run)
    path = os.path.join(run, "index.h5") if index else run
    if not os.path.exists(path):
        print(f"{path}: not there; the end of a job writes it", file=sys.stderr)
        return 1
    os.makedirs(out, exist_ok=True)
    with h5py.File(path, "r") as f:
        bad = list(sources_changed(f, run)) if index else []
        if bad:
            print(f"{len(bad)} files of the index are not what they were, the first: {bad[0]}\n"
                  f"`sluice verify {run}` tells which are damaged; where files were removed on "
                  "purpose, delete index.h5 and let it be written again", file=sys.stderr)
            return 1
        try:
            show(f, path, out)
        except OSError as e:
            bad = list(damaged(f, run)) if index else [path]
            print(f"{e}\ndamaged: {', '.join(bad)}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
