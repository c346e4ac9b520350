"""What the claims share: running members, reading what they left, tables and plots.

A claim is a script beside this file. It names members (configuration, overrides), runs
those that are not finished yet, and prints a table in Markdown; figures are drawn by
gnuplot. Environment:

    BUILD    folder with the executable            (default build)
    CLAIMS   where run directories go              (default runs/claims)
    RANKS    MPI ranks of a member                 (default 2)
    SEEDS    seeds, separated by commas            (default 1,2,3)
"""

import json
import math
import os
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SLUICE = os.path.join(TOP, os.environ.get("BUILD", "build"), "sluice")
RUNS = os.path.join(TOP, os.environ.get("CLAIMS", "runs/claims"))
RANKS = int(os.environ.get("RANKS", "2"))
SEEDS = [int(s) for s in os.environ.get("SEEDS", "1,2,3").split(",")]
DATA = os.environ.get("SLUICE_DATA", os.path.join(TOP, "..", "shared", "data"))

if os.getuid() == 0:
    os.environ.setdefault("OMPI_ALLOW_RUN_AS_ROOT", "1")
    os.environ.setdefault("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")


def data(name):
    """The path of a data file; the claim ends with a clear word where it is absent."""
    path = os.path.join(DATA, name)
    if not os.path.exists(path):
        sys.exit(f"{path} is absent: set SLUICE_DATA to the folder that holds {name}")
    return path


def sluice(command, *words, ranks=RANKS, log=None):
    """Runs `sluice COMMAND WORDS...` under mpirun (ranks 0: without); its output."""
    start = [] if ranks == 0 else ["mpirun", "--oversubscribe", "--bind-to", "none",
                                   "-np", str(ranks)]
    run = subprocess.run([*start, SLUICE, command, *map(str, words)], cwd=TOP, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if log:
        with open(log, "w") as f:
            f.write(run.stdout)
    if run.returncode != 0:
        sys.exit(f"sluice {command} {' '.join(map(str, words))}: exit code "
                 f"{run.returncode}\n{run.stdout[-2000:]}")
    return run.stdout


def member(claim, name, config, **keys):
    """Runs CONFIG with the keys (section__key=value) in RUNS/CLAIM/NAME unless that run is
    finished; returns its directory."""
    folder = os.path.join(RUNS, claim, name)
    status = os.path.join(folder, "status.json")
    if os.path.exists(status):
        with open(status) as f:
            if json.load(f).get("state") == "finished":
                return folder
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    words = [f"{k.replace('__', '.')}={v}" for k, v in keys.items()]
    print(f"  {claim}/{name}", file=sys.stderr, flush=True)
    sluice("run", config, f"run.dir={folder}", *words, log=folder + ".log")
    return folder


def curve(folder, key="reward_mean"):
    """One number per iteration from metrics.jsonl."""
    with open(os.path.join(folder, "metrics.jsonl")) as f:
        rows = [json.loads(line) for line in f]
    return [r[key] for r in rows if "iteration" in r and key in r]


def mean(v):
    return sum(v) / len(v)


def spread(v):
    """Standard deviation over seeds (n - 1)."""
    m = mean(v)
    return math.sqrt(sum((x - m) ** 2 for x in v) / (len(v) - 1)) if len(v) > 1 else 0.0


def table(head, rows):
    """A table in Markdown on standard output."""
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(f"{x:.4g}" if isinstance(x, float) else str(x)
                                for x in row) + " |")
    print()


def plot(name, title, x, y, lines, style="linespoints"):
    """tests/claims/NAME.svg with one line per entry of `lines`: label -> [(x, y, dy)]."""
    path = os.path.join(TOP, "tests", "claims", name + ".svg")
    script = [f'set terminal svg size 640,420 font "sans,12" background "white"',
              f'set output "{path}"', f'set title "{title}" noenhanced',
              f'set xlabel "{x}" noenhanced', f'set ylabel "{y}" noenhanced',
              "set key inside right bottom noenhanced", "set grid"]
    plots = []
    for i, (label, points) in enumerate(lines.items()):
        script.append(f"$d{i} << EOD")
        script += [" ".join(f"{v:.6g}" for v in p) for p in points]
        script.append("EOD")
        # A band of one deviation where there is one, then the line.
        if style != "points" and len(points[0]) > 2:
            plots.append(f"$d{i} using 1:($2-$3):($2+$3) with filledcurves fs transparent "
                         f"solid 0.15 noborder lc {i + 1} notitle")
        plots.append(f'$d{i} using 1:2 with {style} lw 2 pt 7 ps 0.5 lc {i + 1} '
                     f'title "{label}"')
    script.append("plot " + ", ".join(plots))
    subprocess.run(["gnuplot"], input="\n".join(script), text=True, check=True)
    print(f"![{title}]({name}.svg)\n")
