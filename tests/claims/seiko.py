#!/usr/bin/env python3
"""Feedback-efficient online fine-tuning on DNA: who spends noisy queries best?

Claim (SEIKO): with the same number of noisy queries, optimistic rounds (UCB, bootstrap)
reach a higher true reward than greedy rounds and than asking everything at once. Here: 256
queries of SIX6's binding score of an 8-mer with noise of deviation 0.1, in 4 rounds of 64;
the full table says what the policies' samples are truly worth."""

import json
import os

from claims import RUNS, SEEDS, data, mean, member, plot, sluice, spread, table

CONFIG = "tests/claims/seiko_dna.yaml"
VARIANTS = {
    "non-adaptive": {"surrogate__kind": "greedy", "surrogate__rounds": 1,
                     "surrogate__queries": 256},
    "greedy": {"surrogate__kind": "greedy"},
    "Thompson": {"surrogate__kind": "thompson"},
    "bootstrap": {"surrogate__kind": "bootstrap"},
    "UCB": {"surrogate__kind": "ucb"},
}


def true_reward(folder, scores):
    """Mean and upper decile of the true score of 512 samples of the last policy."""
    out = folder + ".json"
    if not os.path.exists(out):
        sluice("evaluate", folder, CONFIG, f"reward.table={scores}", "surrogate.noise=0",
               "--n", 512, "--rewards", "table", "--out", out)
    with open(out) as f:
        j = json.load(f)
    return (j["reward"]["table"]["mean"], j["reward"]["table"]["quantiles"]["0.95"]
            if "quantiles" in j["reward"]["table"] else j["reward"]["table"]["q95"],
            j["diversity"]["distinct_share"])


def main():
    scores = data("tfbind8/tfbind8.csv") + ":seq:SIX6_REF_R1"
    rows = []
    for name, keys in VARIANTS.items():
        seeds = [true_reward(member("seiko", f"{name}.{s}", CONFIG, run__seed=s,
                                    reward__table=scores, **keys), scores) for s in SEEDS]
        value, top, distinct = zip(*seeds)
        rows.append((name, mean(value), spread(value), mean(top), mean(distinct),
                     ", ".join(f"{v:.3f}" for v in value)))
    table(("variant", "true reward", "std", "95 % quantile", "distinct", "seeds"), rows)


if __name__ == "__main__":
    main()
