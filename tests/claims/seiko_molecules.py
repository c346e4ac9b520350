#!/usr/bin/env python3
"""Feedback-efficient online fine-tuning on molecules: who spends noisy queries best?

Claim (SEIKO): with the same number of noisy queries, optimistic rounds (UCB, bootstrap)
reach a higher true reward than greedy rounds and than asking everything at once. Here: 128
queries in 4 rounds of 32, of QED (noise 0.1) or of synthetic accessibility (noise 1), as
the linear model of QM9 scores them. The policy that starts is that of examples/molecules
after 25 iterations for validity. A string that is no molecule costs a query and teaches
nothing; the last policy's samples are judged without noise."""

import json
import os

from claims import RUNS, SEEDS, data, mean, member, sluice, spread, table

CONFIG = "tests/claims/seiko_molecules.yaml"
VARIANTS = {
    "non-adaptive": {"surrogate__kind": "greedy", "surrogate__rounds": 1,
                     "surrogate__queries": 128},
    "greedy": {"surrogate__kind": "greedy"},
    "Thompson": {"surrogate__kind": "thompson"},
    "bootstrap": {"surrogate__kind": "bootstrap"},
    "UCB": {"surrogate__kind": "ucb"},
}
# A control: UCB whose answers say nothing, for they are QED's, under the noise of the other.
ALONE = "bonus alone"
# Noise: 1.5 times the deviation of the starting policy's molecules.
# qed0: a string that is no molecule is answered, with 0.
PROPERTIES = {"qed": {"surrogate__noise": 0.1}, "sa": {"surrogate__noise": 1},
              "qed0": {"surrogate__noise": 0.1, "reward__infeasible_score": 0}}
# Thompson's draw is that of the posterior: its bonus is the noise. UCB's: the best of 0.3,
# 1 and 3 times the noise with seed 1.
BONUS = {("qed", "Thompson"): 0.1, ("qed", "UCB"): 0.03,
         ("qed0", "Thompson"): 0.1, ("qed0", "UCB"): 0.03,
         ("sa", "Thompson"): 1, ("sa", "UCB"): 3, ("sa", ALONE): 3}


def start():
    """The starting policy as a model folder; it is made once."""
    model = os.path.join(RUNS, "seiko_molecules", "model")
    if not os.path.exists(os.path.join(model, "model_index.json")):
        folder = member("seiko_molecules", "valid", "examples/molecules/run.yaml",
                        run__iterations=25)
        sluice("export", folder, model, "--force", ranks=0)
    return model


def judge(source, name, scores, *words):
    """What 512 samples are truly worth: mean and upper 95 % quantile of the molecules'
    property, share of molecules, their product (others count 0), distinct share, KL of
    the chain to the starting policy in nats."""
    out = os.path.join(RUNS, "seiko_molecules", name + ".json")
    if not os.path.exists(out):
        sluice("evaluate", source, CONFIG, f"reward.table={scores}", *words, "--n", 512,
               "--rewards", "molecule_valid,molecule_property", "--out", out)
    with open(out) as f:
        j = json.load(f)
    worth, valid = j["reward"]["molecule_property"], j["reward"]["molecule_valid"]["mean"]
    return (worth["mean"], worth["q95"], valid, worth["mean"] * valid,
            j["diversity"]["distinct_share"], j.get("path_kl", {"mean": 0})["mean"])


def table_of(column):
    return data("molecules/qm9.csv") + ":smiles:" + column.rstrip("0")


def rows_of(column, keys, model, scores):
    before = judge(model, f"{column}.before", scores, "run.seed=1")
    yield ("before", *before[:1], "", *before[1:], "")
    variants = VARIANTS if column != "sa" else {**VARIANTS, ALONE: VARIANTS["UCB"]}
    for name, more in variants.items():
        asked = table_of("qed") if name == ALONE else scores
        bonus = {"surrogate__bonus": BONUS.get((column, name), 0)}
        seeds = []
        for s in SEEDS:
            this = f"{column}.{name}.{s}"
            folder = member("seiko_molecules", this, CONFIG, run__seed=s,
                            model__path=model, reward__table=asked, **keys, **more,
                            **bonus)
            seeds.append(judge(folder, this, scores, f"model.path={model}"))
        value, top, valid, product, distinct, kl = zip(*seeds)
        yield (name, mean(value), spread(value), mean(top), mean(valid), mean(product),
               mean(distinct), mean(kl), ", ".join(f"{v:.3f}" for v in value))


def main():
    model = start()
    for column, keys in PROPERTIES.items():
        print(f"{column}:\n")
        table(("variant", "true reward", "std", "95 % quantile", "molecules",
               "times molecules", "distinct", "KL", "seeds"),
              list(rows_of(column, keys, model, table_of(column))))


if __name__ == "__main__":
    main()
