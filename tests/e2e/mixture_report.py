"""Compares report.html of a mixture with the shards of its last iteration, read here anew:
correlations, shares of the sum's variance, the sentence, statuses, extreme samples.

mixture_report.py RUNDIR MIXING "NAME=WEIGHT,OFFSET,SCALE ..." "WATCHED... [GUARD]"
"""
import glob
import html
import json
import math
import os
import re
import sys

import h5py
import numpy as np

rundir, mixing, counting, watched = sys.argv[1:5]
term = {}
for word in counting.split():
    name, numbers = word.split("=")
    term[name] = [float(v) for v in numbers.split(",")]
names = list(term) + watched.split()
page = open(os.path.join(rundir, "report.html"), encoding="utf-8").read()
bad = []


def expect(good, what):
    print("ok" if good else "BAD", what)
    if not good:
        bad.append(what)


def readable(path):
    try:
        with h5py.File(path, "r") as f:
            return {k: f[k][...] for k in f if isinstance(f[k], h5py.Dataset)}
    except (OSError, KeyError):
        return None


last = sorted(glob.glob(os.path.join(rundir, "reward", "i*")))[-1]
shards = [s for s in map(readable, sorted(glob.glob(last + "/s*.h5"))) if s]
column = {}
status = {}
for name in names:
    guard = "reward_" + name not in shards[0]
    column[name] = np.concatenate([s["reward_guard" if guard else "reward_" + name]
                                   for s in shards])
    if not guard:
        status[name] = np.concatenate([s["status_" + name] for s in shards])
        column[name] = np.where(status[name] == 0, column[name], np.nan)
usable = np.all([np.isfinite(column[k]) for k in term], axis=0)
total = np.where(usable, 0.0, np.nan)
add = {}
for name, (weight, offset, scale) in term.items():
    v = np.where(usable, column[name], np.nan)
    if mixing == "reward":
        add[name] = weight * (v - offset) / scale
    else:
        add[name] = weight * (v - np.nanmean(v)) / np.nanstd(v)
    total = total + add[name]
if mixing == "reward":
    said = np.concatenate([s["reward"] for s in shards])
    expect(np.allclose(said[usable], total[usable]), "the sum is the shards' reward")


def turn(name):
    return -1 if name in term and term[name][0] < 0 else 1


def correlation(a, b):
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3 or np.ptp(a[both]) == 0 or np.ptp(b[both]) == 0:
        return math.nan
    return float(np.corrcoef(a[both], b[both])[0, 1])


def same(text, value):
    """Is it the number with two places, or a dash for none?"""
    if math.isnan(value):
        return text == "—"
    return abs(float(text) - value) <= 0.00501


heat = re.search(r'<table class="heat">(.*?)</table>', page, re.S).group(1)
rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in heat.split("<tr>")[2:]]
expect(len(rows) == len(names) and all(len(r) == len(names) + 1 for r in rows),
       "the matrix has all components and the sum")
for a, row in zip(names, rows):
    want = [turn(a) * turn(b) * correlation(column[a], column[b]) for b in names]
    want.append(turn(a) * correlation(column[a], total))
    expect(all(map(same, row, want)), f"correlations of {a}: {row} {np.round(want, 3)}")

share = {k: float(np.cov(add[k][usable], total[usable], bias=True)[0, 1] /
                  np.var(total[usable])) for k in term}
expect(abs(sum(share.values()) - 1) < 1e-9, "shares add up to 1")
parts = re.search(r'<table class="parts">(.*?)</table>', page, re.S).group(1)
for name, row in zip(names, parts.split("<tr>")[2:]):
    cell = [re.sub(r"<[^>]*>", "", c).strip() for c in re.findall(r"<td.*?</td>", row, re.S)]
    expect(cell[0] == name, f"row of {name}")
    if name in share:
        expect(abs(float(cell[-1][:-1]) - 100 * share[name]) < 0.0501,
               f"share of {name}: {cell[-1]} {100 * share[name]:.3f}")
        expect(same(cell[-2], correlation(column[name], total)), f"{name} and the sum")
    else:
        expect(cell[-1] == "—", f"{name} has no share")

lead = html.unescape(re.sub(r"<[^>]*>", "", re.search(r'<p class="lead">(.*?)</p>', page,
                                                      re.S).group(1)))
print("#", lead)
leader = max(share, key=share.get)
expect(f"the sum follows {'−' if turn(leader) < 0 else ''}{leader}, which makes "
       f"{100 * share[leader]:.0f} % of its variance" in lead, "whom the sum follows")
pairs = {(a, b): turn(a) * turn(b) * correlation(column[a], column[b])
         for a in term for b in term if a < b}
pairs = {k: v for k, v in pairs.items() if not math.isnan(v)}
if pairs and min(pairs.values()) <= -0.2:
    expect(f"disagree: correlation {min(pairs.values()):.2f};" in lead, "how much they disagree")

# Extreme samples of each criterion.
order = [("sum", total)] + [(k, column[k]) for k in names]
picks = page[page.index("<h2>Highest and lowest"):]
picks = picks[:picks.index("</section>")].split('<div class="pick">')[1:]
expect(len(picks) == len(order), "a block of samples for each")
for (name, value), block in zip(order, picks):
    shown = [float(v) for v in re.findall(r"<figcaption>(.*?)</figcaption>", block)]
    ranked = np.sort(value[np.isfinite(value)])[::-1]
    half = min(6, len(ranked) // 2)
    want = list(ranked[:min(6, (len(ranked) + 1) // 2)]) + list(ranked[len(ranked) - half:])
    expect(len(shown) == len(want) and np.allclose(shown, want, rtol=1e-3, atol=1e-9),
           f"highest and lowest by {name}")

# Statuses: of all iterations from metrics.jsonl, of the last one's components from its shards.
words = ["ok", "failed", "timed out", "infeasible", "non-finite", "not asked"]
lines = [json.loads(line) for line in open(os.path.join(rundir, "metrics.jsonl"))]
counts = [sum(j.get("status", {}).get(w, 0) for j in lines) for w in words]
table = page[page.index("<h2>Statuses</h2>"):]
table = [[re.sub(r"<[^>]*>", "", c) for c in re.findall(r"<td.*?</td>", row)]
         for row in table[:table.index("</table>")].split("<tr>")[2:]]
expect([int(v) for v in table[0][1:7]] == counts, f"statuses of the run: {counts}")
for name, row in zip(names, table[1:]):
    if name in status:
        want = [int((status[name] == k).sum()) for k in range(6)]
        expect([int(v) for v in row[1:7]] == want, f"statuses of {name}: {want}")
sys.exit(1 if bad else 0)
