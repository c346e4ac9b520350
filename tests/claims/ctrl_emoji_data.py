"""Emoji pictures of four kinds at 16 x 16, for the claim about their labels.

    ctrl_emoji_data.py FOLDER_OF_EMOJI32 FOLDER

writes uint8 npy files [n, 3, 16, 16] (2 x 2 means of the pictures) with label files:

    train.npy, train.csv     four fifths of them; label 0 faces, 1 people, 2 symbols, 3 flags
    heldout.npy              the others, which no model sees, and heldout.LABEL.npy
    pairs.SEED.npy, .csv     200 of train.npy with labels, for seeds 1 to 3
"""

import csv
import os
import sys

import numpy as np

LABELLED, SEEDS = 200, (1, 2, 3)


def kind(category, subcategory):
    if subcategory.startswith("face-") or subcategory in ("cat-face", "monkey-face"):
        return 0
    if subcategory.startswith("person") or subcategory == "family":
        return 1
    return {"8": 2, "9": 3}.get(category, -1)


def write(folder, name, x, y):
    np.save(os.path.join(folder, name + ".npy"), x)
    with open(os.path.join(folder, name + ".csv"), "w", encoding="ascii") as f:
        f.write("row,kind\n")
        f.writelines(f"{i},{v}\n" for i, v in enumerate(y))


def main():
    source, folder = sys.argv[1:3]
    with open(os.path.join(source, "emoji32_names.csv"), encoding="utf-8") as f:
        y = np.array([kind(r["category_id"], r["subcategory"]) for r in csv.DictReader(f)])
    x = np.fromfile(os.path.join(source, "emoji32.bin"), np.uint8).reshape(-1, 3073)[:, 1:]
    x = x.reshape(-1, 3, 16, 2, 16, 2).mean((3, 5)).round().astype(np.uint8)
    order = np.random.default_rng(5).permutation(np.flatnonzero(y >= 0))
    cut = len(order) * 4 // 5
    train, heldout = order[:cut], order[cut:]
    os.makedirs(folder, exist_ok=True)
    np.save(os.path.join(folder, "heldout.npy"), x[heldout])
    for k in range(4):
        np.save(os.path.join(folder, f"heldout.{k}.npy"), x[heldout[y[heldout] == k]])
    for seed in SEEDS:
        rows = np.random.default_rng(seed).choice(train, LABELLED, replace=False)
        write(folder, f"pairs.{seed}", x[rows], y[rows])
    write(folder, "train", x[train], y[train])


if __name__ == "__main__":
    main()
