"""Compares what `sluice stats --json --hdf5` says with numpy's own numbers from the shards.
Usage: stats_check.py RUNDIR STATS.json STATS.h5 FIRST LAST"""
import glob, json, sys
import h5py
import numpy as np

run, js, h5, first, last = sys.argv[1:4] + [int(x) for x in sys.argv[4:6]]
s = json.load(open(js))["runs"][0]
wrong = 0


def same(name, got, want, tolerance=1e-9):
    global wrong
    if not abs(got - want) <= tolerance * max(1, abs(want)):
        print(f"{name}: {got!r}, numpy has {want!r}")
        wrong = 1


def column(kind, name, i):
    files = sorted(glob.glob(f"{run}/{kind}/i{i:06d}/s*.h5"))
    return np.concatenate([h5py.File(f)[name][:] for f in files])


its = range(first, last + 1)
R, G, P, S, KL, RATIO, LP = ([np.asarray(column(k, n, i)) for i in its] for k, n in [
    ("reward", "reward"), ("reward", "reward_guard"), ("rollout", "prompt_id"),
    ("reward", "status"), ("rollout", "kl_reference"), ("rollout", "log_prob_reference"),
    ("rollout", "log_prob")])
with h5py.File(glob.glob(f"{run}/rollout/i{first:06d}/s*.h5")[0]) as f:
    live, t = f["mask"][:] == 1, f["t"][:]
r, g, p = (np.concatenate(x) for x in (R, G, P))

same("samples", s["samples"], r.size)
same("ok", s["status"]["ok"], sum((x == 0).sum() for x in S))
for key, f in (("mean", np.mean), ("std", np.std), ("min", np.min), ("max", np.max)):
    same(f"reward.{key}", s["reward"][key], f(r))
    same(f"guard.{key}", s["guard"][key], f(g))
same("reward.error", s["reward"]["error"], r.std(ddof=1) / r.size**0.5)
count, edge = np.histogram(r, bins=len(s["histogram"]))
same("histogram", 0, sum(abs(count - [h["samples"] for h in s["histogram"]])))
same("edges", 0, sum(abs(edge[:-1] - [h["from"] for h in s["histogram"]])))
order = np.argsort(-r, kind="stable")
for k, b in enumerate(s["best"]):
    same(f"best {k}", b["reward"], r[order[k]], 0)
    file = f"{run}/reward/i{b['iteration']:06d}/s{b['shard']:05d}.h5"
    same(f"best {k} is there", b["reward"], h5py.File(file)["reward"][b["row"]], 0)
for k, b in enumerate(s["worst"]):
    same(f"worst {k}", b["reward"], np.sort(r)[k], 0)

ids = np.unique(p)
same("prompts", s["groups"]["prompts"], ids.size)
for k, i in enumerate(ids):
    same(f"prompt {i}", s["prompts"][k]["reward"]["mean"], r[p == i].mean())
    same(f"prompt {i} std", s["prompts"][k]["reward"]["std"], r[p == i].std())
within = [np.mean([a[b == i].std() for i in np.unique(b) if (b == i).sum() > 1])
          for a, b in zip(R, P)]
same("std within groups", s["groups"]["std_within"], np.mean(within))

# The importance weights of policy 0, whole chains and up to each step.
ratio = np.cumsum(np.concatenate([(a - b)[:, live] for a, b in zip(RATIO, LP)]), axis=1)
w = np.exp(ratio - ratio.max(axis=0))
size = w.sum(0)**2 / (w**2).sum(0)
first_policy = s["policy_first"]
mean = (w[:, -1] * r).sum() / w[:, -1].sum()
same("effective samples", first_policy["effective_samples"], size[-1])
same("estimate", first_policy["reward"], mean)
same("error", first_policy["error"],
     np.sqrt((w[:, -1]**2 * (r - mean)**2).sum()) / w[:, -1].sum(), 1e-6)
same("plain estimate", first_policy["reward_plain"], np.mean(np.exp(ratio[:, -1]) * r))
steps = [x for x in s["steps"] if x["density"]]
same("steps", len(steps), live.sum())
for k, step in enumerate(steps):
    where = np.nonzero(live)[0][k]
    same("t", step["t"], t[where])
    same("KL", step["kl_reference"]["mean"], np.mean(np.concatenate(KL)[:, where]))
    same("log-prob", step["log_prob"]["std"], np.std(np.concatenate(LP)[:, where]))
    same("size of step", step["effective_samples_first"], size[k])
if "policy_other" in s:  # asked for policy 0: by the network what the rollouts store
    same("the network's estimate", s["policy_other"]["reward"], mean)
    same("the network's size", s["policy_other"]["effective_samples"], size[-1])

means, guards = [a.mean() for a in R], [a.mean() for a in G]
same("correlation", s["watch"]["correlation"], np.corrcoef(means, guards)[0, 1])
same("slope", s["watch"]["reward_slope"], np.polyfit(list(its), means, 1)[0])
for k, i in enumerate(its):
    one = s["iterations"][k]
    same("median", one["reward_median"], np.median(R[k]))
    same("KL of chains", one["kl_path"], KL[k][:, live].sum(1).mean())
    with h5py.File(f"{run}/advantage/i{i:06d}.h5") as f:
        a = f["advantage"][:][f["usable"][:] == 1]
    same("advantage", one["advantage_std"], a.std())

x = [column("rollout", "final_sample", i) for i in (first, last)]
x = [a.reshape(len(a), -1).astype(float) for a in x]
for a, name in zip(x, ("first", "last")):
    d = [np.sqrt(np.mean((a[i] - a[j])**2)) for i in range(len(a)) for j in range(i)]
    same("pairs", s["diversity"][name]["pairwise_distance"], np.mean(d), 1e-6)
root = lambda m: (lambda v, q: q * np.sqrt(np.maximum(v, 0)) @ q.T)(*np.linalg.eigh(m))
c = [np.cov(a.T) for a in x]
h = root(c[0])
fid = (np.sum((x[0].mean(0) - x[1].mean(0))**2) + np.trace(c[0] + c[1])
       - 2 * np.trace(root(h @ c[1] @ h)))
same("Frechet", s["diversity"]["frechet_first_last"], fid, 1e-5)

with h5py.File(h5) as f:
    same("file: rewards", 0, np.abs(f["reward_mean"][:] - means).max())
    same("file: histogram", 0, np.abs(f["histogram"][:] - count).max())
    same("file: scales", len(f["reward_mean"].dims[0]), 1)
    assert f["iteration"][:].tolist() == list(its)
sys.exit(wrong)
