#!/usr/bin/env python3
"""Two labels on DNA from 2,000 labelled sequences: conditional control by reinforcement
against guidance by the same classifier, and against learning the labels by denoising.

Claim (Zhao et al. 2024, CTRL): with few labelled pairs, fine-tuning with a classifier's
log-probability as reward follows the labels more accurately than classifier guidance (DPS
form) and than classifier-free guidance trained on those pairs. Labels: does SIX6, does
HOXD13 bind in the best quarter of all 8-mers; the measured table judges. Every method takes
the sample's number of sampling steps and one grid of guidance weights."""

import csv
import os
import random

from claims import RUNS, SEEDS, TOP, data, mean, member, sluice, spread, table

BASE = os.path.join(TOP, "examples", "dna", "base", "model")
CONFIG = os.path.join(TOP, "tests", "claims", "ctrl_dna.yaml")
LABELLED, N, STEPS = 2000, 256, 20
FACTORS = (1, 7)  # SIX6, HOXD13
WEIGHTS = (1, 2, 3, 5)  # of guidance, for all ways


def read():
    """sequence -> (does the first bind, does the second)"""
    with open(data("tfbind8/tfbind8.csv")) as f:
        rows = list(csv.reader(f))[1:]
    cut = [sorted(float(r[k]) for r in rows)[len(rows) * 3 // 4] for k in FACTORS]
    return {r[0]: tuple(int(float(r[k]) >= c) for k, c in zip(FACTORS, cut)) for r in rows}


def subset(truth, path, seed):
    rows = random.Random(seed).sample(sorted(truth), LABELLED)
    with open(path, "w") as f:
        f.write("seq,a,b\n")
        f.writelines(f"{s},{truth[s][0]},{truth[s][1]}\n" for s in rows)


def judge(truth, prefix, draw):
    """Fraction of samples with both labels right, mean over the four; and distinct ones.
    Samples lie in PREFIX.y.txt and are not drawn again."""
    right, distinct = [], []
    for y in range(4):
        path = f"{prefix}.{y}.txt"
        if not os.path.exists(path):
            draw(y, path)
        with open(path) as f:
            s = f.read().split()
        right.append(mean([truth[x] == (y // 2, y % 2) for x in s]))
        distinct.append(len(set(s)) / len(s))
    return mean(right), mean(distinct)


def sampler(model, *words):
    def draw(w, y, path):
        sluice("sample", model, "--class", y, "--guidance", w, "--n", N, "--steps", STEPS,
               "--clamp-last", "false", "--out", path, "--threads", 1, *words, ranks=0)
    return draw


def one(truth, seed):
    folder = os.path.join(RUNS, "ctrl_dna", f"parts.{seed}")
    os.makedirs(folder, exist_ok=True)
    pairs, clf = os.path.join(folder, "pairs.csv"), os.path.join(folder, "classifier")
    graft, free = os.path.join(folder, "graft"), os.path.join(folder, "free")
    labels = f"{pairs}:a,{pairs}:b"
    subset(truth, pairs, seed)
    if not os.path.exists(clf):
        sluice("classifier", CONFIG, f"run.seed={seed}", f"model.path={BASE}",
               f"classifier.data={pairs}", f"classifier.labels={labels}",
               f"classifier.output={clf}")
    if not os.path.exists(graft):
        sluice("graft", BASE, "--classes", "2,2", "--out", graft, ranks=0)
    if not os.path.exists(free):
        sluice("pretrain", CONFIG, f"run.dir={free}.run", f"run.seed={seed}",
               f"model.path={graft}", f"pretrain.data={pairs}",
               f"pretrain.labels={labels}", f"pretrain.output={free}")
    run = member("ctrl_dna", f"control.{seed}", CONFIG, run__seed=seed, model__path=graft,
                 reward__classifier=clf)

    def guided(w, y, path):
        sluice("evaluate", BASE, CONFIG, f"model.path={BASE}", f"reward.classifier={clf}",
               f"reward.target_class={y}", "search.kind=dps", f"search.weight={w}",
               "sampler.clip_sample=false", "--n", N, "--seed", seed, "--save-samples", path)

    ways = {
        "pretrained": ("plain", (1,), sampler(graft)),
        "classifier guidance (DPS)": ("dps", WEIGHTS, guided),
        "classifier-free, same pairs": ("free", WEIGHTS, sampler(free)),
        "CTRL (control)": ("control", WEIGHTS, sampler(run, "--ema")),
    }
    return {name: {w: judge(truth, os.path.join(folder, f"{key}.{w}"),
                            lambda y, path, w=w, draw=draw: draw(w, y, path))
                   for w in weights} for name, (key, weights, draw) in ways.items()}


def main():
    truth = read()
    results = [one(truth, seed) for seed in SEEDS]
    rows = []
    for name in results[0]:
        for w in results[0][name]:
            right = [r[name][w][0] for r in results]
            rows.append((name, w, mean(right), spread(right),
                         mean([r[name][w][1] for r in results]),
                         ", ".join(f"{x:.3f}" for x in right)))
    table(("method", "weight", "both labels right", "std", "distinct", "seeds"), rows)


if __name__ == "__main__":
    main()
