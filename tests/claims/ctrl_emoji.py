#!/usr/bin/env python3
"""Four kinds of emoji from 200 labelled pictures: conditional control by reinforcement
against guidance by the same classifier, and against learning the labels by denoising.

Claim (Zhao et al. 2024, CTRL): as in ctrl_dna.py. Here, as in the paper, the policy follows
the gradient of the classifier's log-probability through the chain. A classifier that was
trained on all pictures with labels, with another seed and more channels, judges. Every way
has the same grid of guidance weights and the sample's number of sampling steps."""

import json
import os
import subprocess
import sys

from claims import RUNS, SEEDS, TOP, data, mean, member, sluice, spread, table

CONFIG = "tests/claims/ctrl_emoji.yaml"
FOLDER = os.path.join(RUNS, "ctrl_emoji")
PYTHON = os.environ.get("PYTHON", "/usr/bin/python3")  # one that has numpy
N, STEPS, KINDS, WEIGHTS = 128, 16, 4, (1, 3)
RIGHT, NEAR, FAR, SPREAD = range(4)  # what measure() gives


def classify(pairs, out, *words):
    if not os.path.exists(out):
        sluice("classifier", CONFIG, f"classifier.data={pairs}.npy",
               f"classifier.labels={pairs}.csv:kind", f"classifier.output={out}", *words)


def prepare():
    """Data (their folder is returned), the unconditional model of them, and the judge."""
    path = os.path.join(FOLDER, "data")
    if not os.path.exists(f"{path}/train.csv"):
        subprocess.run([PYTHON, os.path.join(TOP, "tests/claims/ctrl_emoji_data.py"),
                        data("emoji32"), path], check=True)
    if not os.path.exists(f"{FOLDER}/base"):
        print("  ctrl_emoji/base", file=sys.stderr, flush=True)
        sluice("pretrain", CONFIG, "run.seed=1", f"run.dir={FOLDER}/base.run",
               f"pretrain.data={path}/train.npy", "pretrain.label_dropout=0",
               "pretrain.network=tests/claims/ctrl_emoji_network.json",
               "pretrain.scheduler=tests/claims/ctrl_emoji_scheduler.json", "pretrain.lr=1e-3",
               "pretrain.steps=2500", "pretrain.ema_decay=0.995",
               f"pretrain.output={FOLDER}/base")
    classify(f"{path}/train", f"{FOLDER}/judge", "run.seed=77", "classifier.hidden=24",
             "classifier.steps=800", "classifier.noise=0.2")
    return path


def look(samples, classifier, y, *words):
    """What `sluice evaluate` says of samples, and the share that is of the kind y."""
    out = samples + "." + os.path.basename(classifier) + ".json"
    if not os.path.exists(out):
        sluice("evaluate", samples, CONFIG, "--n", N, "--rewards", "classifier_hard",
               f"reward.classifier={classifier}", f"reward.target_class={y}", "--out", out,
               *words, ranks=0)
    with open(out) as f:
        j = json.load(f)
    return j["reward"]["classifier_hard"]["mean"], j


def measure(path, prefix, pairs, draw):
    """Share of the right kind, share of copies of the labelled pictures, Frechet distance
    to held-out pictures of the kind, distance of two samples; means over the kinds."""
    rows = []
    for y in range(KINDS):
        samples = f"{prefix}.{y}.npy"
        if not os.path.exists(samples):
            draw(y, samples)
        right, j = look(samples, f"{FOLDER}/judge", y, "--reference", f"{path}/heldout.{y}.npy",
                        "--training", f"{pairs}.npy")
        rows.append((right, j["training"]["copied_share"], j["reference"]["frechet"],
                     j["diversity"]["pairwise_distance"]))
    return tuple(mean(c) for c in zip(*rows))


def one(path, seed):
    """way -> weight -> what measure() gives"""
    pairs, parts = f"{path}/pairs.{seed}", os.path.join(FOLDER, f"parts.{seed}")
    os.makedirs(parts, exist_ok=True)
    clf, graft, free = f"{parts}/classifier", f"{parts}/graft", f"{parts}/free"
    classify(pairs, clf, f"run.seed={seed}")
    if not os.path.exists(graft):
        sluice("graft", f"{FOLDER}/base", "--classes", KINDS, "--out", graft, ranks=0)
    if not os.path.exists(free):
        print(f"  ctrl_emoji/free.{seed}", file=sys.stderr, flush=True)
        sluice("pretrain", CONFIG, f"run.dir={free}.run", f"run.seed={seed}",
               f"model.path={graft}", f"pretrain.data={pairs}.npy",
               f"pretrain.labels={pairs}.csv:kind", f"pretrain.output={free}")
    def sampler(model, *words):
        return lambda w: lambda y, out: sluice(
            "sample", model, "--class", y, "--guidance", w, "--n", N, "--seed", seed,
            "--steps", STEPS, "--clamp-last", "false", "--clip", "false", "--batch", 32,
            "--threads", 1, "--out", out, *words, ranks=0)

    def trained(w):
        run = member("ctrl_emoji", f"ctrl.{seed}", CONFIG, run__seed=seed,
                     model__path=graft, reward__classifier=clf)
        return sampler(run, "--ema")(w)

    def guided(w):
        return lambda y, out: sluice(
            "evaluate", f"{FOLDER}/base", CONFIG, f"model.path={FOLDER}/base",
            f"reward.classifier={clf}", f"reward.target_class={y}", "search.kind=dps",
            f"search.weight={w}", "--n", N, "--seed", seed, "--save-samples", out)

    ways = {
        "pretrained": ("plain", (1,), sampler(graft)),
        "classifier guidance (DPS)": ("dps", WEIGHTS, guided),
        "classifier-free, same pairs": ("free", WEIGHTS, sampler(free)),
        "CTRL (adjoint matching)": ("ctrl", WEIGHTS, trained),
    }
    return {name: {w: measure(path, f"{parts}/{key}.{w}", pairs, at(w)) for w in weights}
            for name, (key, weights, at) in ways.items()}


def main():
    path = prepare()
    accuracy = mean([look(f"{path}/heldout.{y}.npy", f"{FOLDER}/judge", y)[0]
                     for y in range(KINDS)])
    print(f"Judge: accuracy {accuracy:.3f} on held-out pictures, mean over the kinds\n")
    results = [one(path, seed) for seed in SEEDS]
    rows = []
    for name, weights in results[0].items():
        for w in weights:
            m = [r[name][w] for r in results]
            right = [v[RIGHT] for v in m]
            rows.append((name, w, mean(right), spread(right), mean([v[FAR] for v in m]),
                         mean([v[SPREAD] for v in m]), mean([v[NEAR] for v in m])))
    table(("way", "weight", "right kind", "std over seeds", "Frechet", "pairwise distance",
           "copies"), rows)


if __name__ == "__main__":
    main()
