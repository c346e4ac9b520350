#!/usr/bin/env python3
"""Reward against fidelity on days of electric power, four ways.

Claim (Dvijotham et al. 2023, whose equations are not public): adapting a pretrained
diffusion model by trajectory optimisation, or by continuous-state reinforcement learning,
gives a better trade of reward against fidelity than choosing among samples. Reward:
minus the squared power above 2 kW (power_peak); fidelity: Frechet distance to the 314
held-out days of 2010, in the network's coding (standardised logarithms). A way dominates a
point of best-of-N where one of its points has at least the reward at no larger distance."""

import json
import os

from claims import RUNS, SEEDS, data, mean, member, plot, sluice, spread, table

CONFIG = "tests/claims/power.yaml"
SAMPLES = 192
WAYS = {
    "best of N": ("search.candidates", (1, 2, 4, 8, 16), "search.kind=best_of"),
    "SVDD": ("search.alpha", (3, 1, 0.3, 0.1), "search.kind=svdd"),
    "trajectory optimisation": ("search.weight", (0.1, 1, 10, 100), "search.kind=noise"),
    "continuous-state RL": ("algorithm.control_alpha", (3, 1, 0.3), None),
}


def measure(way, key, value, words, seed):
    """Mean reward, share of days below the cap, Frechet distance."""
    name = f"{way.split()[0]}.{value}.{seed}"
    out = os.path.join(RUNS, "front", name + ".json")
    if not os.path.exists(out):
        source = "examples/power/model"
        if words is None:
            source = member("front", name, CONFIG, run__seed=seed, run__iterations=80,
                            **{key.replace(".", "__"): value})
            words = []
        else:
            words = [words, f"{key}={value}"]
        os.makedirs(os.path.dirname(out), exist_ok=True)
        sluice("evaluate", source, CONFIG, *words, "--n", SAMPLES, "--seed", seed, "--out",
               out, "--reference", data("power/power_day24_kw.npy"), "--reference-rows",
               "1096:", "--rewards", "power_peak")
    with open(out) as f:
        j = json.load(f)
    return (j["reward"]["power_peak"]["mean"], j["reward"]["power_peak_hard"]["mean"],
            j["reference"]["frechet"])


def main():
    rows, lines, points = [], {}, {}
    for way, (key, values, words) in WAYS.items():
        lines[way] = []
        for value in values:
            seeds = [measure(way, key, value, words, s) for s in SEEDS]
            points[way, value] = seeds
            reward, kept, far = zip(*seeds)
            rows.append((way, f"{key.split('.')[1]} {value}", mean(reward), spread(reward),
                         mean(kept), mean(far), spread(far)))
            lines[way].append((mean(far), mean(reward)))
    table(("way", "strength", "reward", "std", "days below 2 kW", "Frechet", "std"), rows)
    plot("front", "days of power below 2 kW", "Frechet distance to held-out days",
         "mean reward", lines)
    for way in WAYS:
        if way == "best of N":
            continue
        won = sum(any(points[way, v][i][0] >= points["best of N", n][i][0] and
                      points[way, v][i][2] <= points["best of N", n][i][2]
                      for v in WAYS[way][1])
                  for n in WAYS["best of N"][1][1:] for i in range(len(SEEDS)))
        of = len(SEEDS) * (len(WAYS["best of N"][1]) - 1)
        print(f"{way} dominates {won} of {of} points of best of N (N > 1; seed by seed).\n")


if __name__ == "__main__":
    main()
