#!/usr/bin/env python3
"""DDPO against reward-weighted regression at equal reward queries, on pictures.

Claim (Black et al. 2023, Fig. 4): DDPO reaches a higher reward than RWR and RWR-sparse with
the same number of reward queries, for JPEG compressibility and incompressibility. Here: the
emoji checkpoint of examples/jpeg, 64 samples per iteration. RWR's learning rate, inverse
temperature and passes are the best of a grid tried with seed 1 (README.md)."""

from claims import SEEDS, curve, mean, member, plot, spread, table

ITERATIONS = 11  # the last one only measures: 10 updates, 640 queries
METHODS = {
    "ddpo_is": {},
    "rwr": {"update__lr": "8e-4", "algorithm__rwr_beta": 10, "algorithm__draws": 8,
            "update__batch": 32, "update__timestep_fraction": 1},
    "rwr_sparse": {"algorithm__draws": 16, "update__inner_epochs": 8,
                   "update__timestep_fraction": 1},
}


def main():
    for reward in ("jpeg_compressibility", "jpeg_incompressibility"):
        rows, lines = [], {}
        for method, keys in METHODS.items():
            runs = [curve(member("ddpo_rwr", f"{reward}.{method}.{seed}",
                                 "examples/jpeg/run.yaml", run__seed=seed,
                                 run__iterations=ITERATIONS, reward__name=reward,
                                 algorithm__name=method, **keys)) for seed in SEEDS]
            first, last = [r[0] for r in runs], [r[ITERATIONS - 1] for r in runs]
            rows.append((method, mean(first), mean(last), spread(last),
                         ", ".join(f"{v:.3f}" for v in last)))
            lines[method] = [(64 * i, mean([r[i] for r in runs]),
                              spread([r[i] for r in runs])) for i in range(ITERATIONS)]
        print(f"### {reward}\n")
        table(("method", "before", "after 640 queries", "std over seeds", "seeds"), rows)
        plot(f"ddpo_rwr_{reward}", reward, "reward queries", "mean reward in kB", lines)


if __name__ == "__main__":
    main()
