#!/usr/bin/env python3
"""Memorised and corrupted pictures, before and after fine-tuning.

Claim (Dvijotham et al. 2023; no equations are public): a model that copies training
pictures, or draws corrupted ones, is cured by a reward at little loss of fidelity. The
model is trained here on digits with both faults (flawed_digits.py). Memorised: distance
below 0.2 to one of the 16 digits that the training data repeat. Corrupted: so judged by a
classifier with another network, seed and kind of training than the reward's detector.
Fidelity: Frechet distance to 397 clean digits that no model saw."""

import json
import os
import sys
import subprocess

from claims import RUNS, SEEDS, TOP, data, mean, member, sluice, spread, table

CONFIG = "tests/claims/digits.yaml"
FOLDER = os.path.join(RUNS, "faults")
PYTHON = os.environ.get("PYTHON", "/usr/bin/python3")  # one that has numpy


def prepare():
    """Data, the flawed model, the reward's detector and the judge."""
    path = os.path.join(FOLDER, "data")
    if not os.path.exists(os.path.join(path, "judge.csv")):
        subprocess.run([PYTHON, os.path.join(TOP, "tests/claims/flawed_digits.py"),
                        data("digits8/digits.csv"), path], check=True)
    if not os.path.exists(os.path.join(FOLDER, "model")):
        print("  faults/model", file=sys.stderr, flush=True)
        sluice("pretrain", "tests/claims/digits_pretrain.yaml", f"run.dir={FOLDER}/pretrain",
               f"pretrain.data={path}/train.npy", f"pretrain.output={FOLDER}/model")
    if not os.path.exists(os.path.join(FOLDER, "detector")):
        sluice("classifier", "run.seed=1", f"classifier.data={path}/judge.npy",
               f"classifier.labels={path}/judge.csv:corrupted", "classifier.network=conv",
               "classifier.steps=600", f"classifier.output={FOLDER}/detector")
    if not os.path.exists(os.path.join(FOLDER, "judge")):
        sluice("classifier", "run.seed=2", f"classifier.data={path}/judge.npy",
               f"classifier.labels={path}/judge.csv:corrupted", "classifier.network=mlp",
               "classifier.steps=800", f"classifier.output={FOLDER}/judge")
    return path


def measure(source, name, seed, path):
    """Shares of memorised and of corrupted samples, and the Frechet distance."""
    out = os.path.join(FOLDER, name + ".json")
    if not os.path.exists(out):
        sluice("evaluate", source, CONFIG, "--n", 1024, "--seed", seed, "--out", out,
               "--reference", f"{path}/heldout.npy", "--training", f"{path}/protected.npy",
               "--near", 0.2, "--rewards", "classifier_hard",
               f"reward.classifier={FOLDER}/judge", "reward.target_class=0")
    with open(out) as f:
        j = json.load(f)
    return (j["training"]["near_share"], 1 - j["reward"]["classifier_hard"]["mean"],
            j["reference"]["frechet"])


def main():
    path = prepare()
    kinds = {
        "before": None,
        "against copies": {"reward__name": "memorisation", "reward__distance_cap": 0.35,
                           "reward__reference": f"{path}/protected.npy"},
        "against corruption": {"reward__name": "classifier", "reward__target_class": 0,
                               "reward__classifier": f"{FOLDER}/detector"},
    }
    rows = []
    for kind, keys in kinds.items():
        seeds = []
        for s in SEEDS:
            name = f"{kind.replace(' ', '_')}.{s}"
            source = f"{FOLDER}/model"
            if keys is not None:
                source = member("faults", name, CONFIG, run__seed=s,
                                model__path=f"{FOLDER}/model", **keys)
            seeds.append(measure(source, name, s, path))
        copies, bad, far = zip(*seeds)
        rows.append((kind, mean(copies), spread(copies), mean(bad), spread(bad), mean(far),
                     spread(far)))
    table(("model", "memorised", "std", "corrupted", "std", "Frechet", "std"), rows)


if __name__ == "__main__":
    main()
