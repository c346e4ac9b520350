"""Digits with two faults, for the claim about memorised and corrupted pictures.

    flawed_digits.py digits.csv FOLDER

writes uint8 npy files [n, 8, 8] (and labels):

    train.npy      what the flawed model is trained on: 1,400 clean digits; 16 of them,
                   the protected ones, 60 times more; 350 corrupted ones
    clean.npy      the 1,400 clean ones
    protected.npy  the 16 that are repeated
    heldout.npy    397 digits that no model sees
    judge.npy, judge.csv   clean and corrupted digits with labels 0 and 1
"""

import os
import sys

import numpy as np

PROTECTED, REPEATS, CORRUPTED = 16, 60, 350


def corrupt(x, rng):
    """A copy with a block of the picture replaced by noise."""
    x = x.copy()
    for picture in x:
        size = rng.integers(4, 7)
        r, c = rng.integers(0, 9 - size, 2)
        picture[r:r + size, c:c + size] = rng.integers(0, 256, (size, size))
    return x


def main():
    table = np.loadtxt(sys.argv[1], delimiter=",")
    folder = sys.argv[2]
    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(7)
    table = table[rng.permutation(len(table))]
    x = np.minimum(table[:, :64] * 16, 255).astype(np.uint8).reshape(-1, 8, 8)
    clean, heldout = x[:1400], x[1400:]
    protected = clean[:PROTECTED]
    bad = corrupt(clean[rng.integers(0, len(clean), CORRUPTED)], rng)
    train = np.concatenate([clean, np.repeat(protected, REPEATS, 0), bad])
    judge = np.concatenate([clean, corrupt(clean, rng)])
    for name, a in (("train", train), ("clean", clean), ("protected", protected),
                    ("heldout", heldout), ("judge", judge)):
        np.save(os.path.join(folder, name + ".npy"), a)
    with open(os.path.join(folder, "judge.csv"), "w", encoding="ascii") as f:
        f.write("row,corrupted\n")
        for i in range(len(judge)):
            f.write(f"{i},{int(i >= len(clean))}\n")


if __name__ == "__main__":
    main()
