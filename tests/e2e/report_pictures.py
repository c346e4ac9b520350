"""Compares heat maps, samples by reward and denoising strips of report.html with what h5py
and numpy make of metrics.jsonl and the shards.

report_pictures.py RUNDIR KIND [TITLE ...]

KIND: image, series or text. TITLEs: the maps that must be there, and no others.
"""
import base64
import glob
import html
import json
import os
import re
import struct
import sys
import zlib

import h5py
import numpy as np

rundir, kind = sys.argv[1:3]
page = open(os.path.join(rundir, "report.html"), encoding="utf-8").read()
bad = 0


def expect(good, what):
    global bad
    print("ok" if good else "BAD", what)
    bad += not good


def png(data):
    """[height, width, 3] of an 8-bit RGB picture."""
    raw, at, parts = base64.b64decode(data), 8, b""
    while at < len(raw):
        n, name = struct.unpack(">I4s", raw[at:at + 8])
        body = raw[at + 8:at + 8 + n]
        assert zlib.crc32(name + body) == struct.unpack(">I", raw[at + 8 + n:at + 12 + n])[0]
        if name == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert depth == 8 and colour == 2
        parts += body if name == b"IDAT" else b""
        at += 12 + n
    lines = np.frombuffer(zlib.decompress(parts), np.uint8).reshape(height, -1)
    out = np.zeros((height + 1, width * 3 + 3), int)
    for y, line in enumerate(lines):
        method = line[0]
        for x in range(3, width * 3 + 3):
            a, b, c = out[y + 1, x - 3], out[y, x], out[y, x - 3]
            pa, pb, pc = abs(b - c), abs(a - c), abs(a + b - 2 * c)
            paeth = a if pa <= pb and pa <= pc else b if pb <= pc else c
            guess = [0, a, b, (a + b) // 2, paeth][method]
            out[y + 1, x] = (line[x - 2] + guess) % 256
    return out[1:, 3:].reshape(height, width, 3)


def column(path, name):
    with h5py.File(path) as f:
        return f[name][...] if name in f else None


def shards(i, kind="rollout"):
    return sorted(glob.glob(f"{rundir}/{kind}/i{i:06d}/s*.h5"))


def whole(i, name, kind="rollout"):
    parts = [column(f, name) for f in shards(i, kind)]
    return None if parts[0] is None else np.concatenate(parts)


def even(shown, n):
    return [0] if shown < 2 else [(i * (n - 1) + (shown - 1) // 2) // (shown - 1)
                                  for i in range(shown)]


its = sorted(int(os.path.basename(p)[1:]) for p in glob.glob(rundir + "/rollout/i*"))
mask = column(shards(its[0])[0], "mask") == 1
t = column(shards(its[0])[0], "t")

# Of more than 64 steps neighbours share a row, of more than 100 iterations some are shown.
entry = np.arange(mask.sum()) * min(64, mask.sum()) // mask.sum()


def by_row(v, f):
    """f over the values [sample, step] of each row."""
    return np.array([f(v[:, mask][:, entry == e]) for e in range(entry[-1] + 1)])


# Heat maps: [rows, columns], and the iterations of the columns.
want = {}
line = {}
for text in open(rundir + "/metrics.jsonl"):
    j = json.loads(text)
    if "update_steps" in j:
        line[j["iteration"]] = j
start = [int(t[mask][np.argmax(entry == e)]) for e in range(entry[-1] + 1)]
expect(all(j["update_steps"]["t"] == start for j in line.values()),
       "update_steps has the timesteps of the steps with a density")
logged = [sorted(line)[k] for k in even(min(100, len(line)), len(line))]
for title, key in (("KL of the update", "approx_kl"), ("Clip fraction", "clip_fraction")):
    want[title] = np.array([[np.nan if v is None else v for v in line[i]["update_steps"][key]]
                            for i in logged], float).T
kl = [whole(i, "kl_reference") for i in its]
if kl[0] is not None:
    want["KL to policy 0"] = np.array([by_row(k, np.mean) for k in kl]).T
    ratio = [whole(i, "log_prob") - whole(i, "log_prob_reference") for i in its]
    want["Log ratio to policy 0"] = np.array([by_row(r, np.std) for r in ratio]).T
signal = [column(f"{rundir}/advantage/i{i:06d}.h5", "step_advantage") for i in its]
if signal[0] is not None:
    use = [column(f"{rundir}/advantage/i{i:06d}.h5", "usable") == 1 for i in its]
    want["Size of the advantage"] = np.array(
        [by_row(np.abs(s[u]), np.mean) for s, u in zip(signal, use)]).T
states = [whole(i, "latents") for i in its]
if states[0] is not None:
    want["Spread of the chains"] = np.array(
        [np.sqrt(x[:, even(min(64, x.shape[1]), x.shape[1])].astype(float).var(0, ddof=1)
                 .mean((1, 2, 3))) for x in states]).T

anchor = np.array([[int(c[k:k + 2], 16) for k in (0, 2, 4)] for c in
                   "440154 482576 414487 35608d 2a788e 21908c 22a884 43bf71 7ad151 bbdf27 "
                   "fde725".split()])  # viridis(11) of R's viridisLite


def colours(v, low, high, scale):
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.log(v / low) / np.log(high / low) if scale == "log" else (v - low) / (high - low)
    u = np.clip(np.where(np.isfinite(v), u, 0), 0, 1)
    rgb = np.stack([np.interp(10 * u, range(11), anchor[:, k]) for k in range(3)], -1)
    rgb[~np.isfinite(v)] = [203, 213, 225]
    return rgb


drawn = {}
for figure in re.findall(r'<figure class="map".*?</figure>', page, re.S):
    title = re.search(r"<b>(.*?)</b>", figure).group(1)
    low, high = (float(re.search(rf'data-{k}="(.*?)"', figure).group(1)) for k in ("low", "high"))
    scale = re.search(r'data-scale="(.*?)"', figure).group(1)
    drawn[title] = 1
    picture = png(re.search(r'class="cells"><img alt="Heat map: [^"]*" src="data:image/png;'
                            r'base64,(.*?)"', figure).group(1))
    v = want.get(title)
    if v is None:
        expect(False, f"map {title} has no data")
        continue
    expect(picture.shape[:2] == v.shape, f"{title}: {picture.shape[:2]} cells, {v.shape}")
    known = v[np.isfinite(v)]
    expect(abs(high - known.max()) <= 1e-6 * abs(known.max()), f"{title}: up to {high}")
    bottom = known[known > 0].min() if scale == "log" else known.min()
    bottom = max(bottom, 1e-6 * high) if scale == "log" else 0 if bottom < high / 2 else bottom
    expect(abs(low - bottom) <= 1e-6 * abs(high), f"{title}: from {low} {bottom}, {scale}")
    off = np.abs(picture - colours(v, low, high, scale)).max()
    expect(off <= 1.5, f"{title}: every cell has the colour of its value ({off:.2f})")
    legend = re.search(r'class="legend"><img [^>]*><span>(.*?)</span><span>.*?</span><span>'
                       r'(?:≤ )?(.*?)</span>', figure)
    expect(legend.group(1) == f"{high:.3g}" and legend.group(2) == f"{low:.3g}",
           f"{title}: the legend's ends are {legend.groups()}")
    labels = re.search(r'class="cols">(.*?)</div>', figure).group(1)
    labels = [int(x) for x in re.findall(r">(\d+)<", labels)]
    of = logged if title in ("KL of the update", "Clip fraction") else its
    expect(labels == [of[k] for k in even(min(6, len(of)), len(of))], f"{title}: {labels}")
for title, value in re.findall(r'<p class="same"><b>(.*?)</b> is (\S+) in all', page):
    drawn[title] = 1
    expect(title in want and np.allclose(want[title][np.isfinite(want[title])], float(value)),
           f"{title} is {value} everywhere")
expect(set(drawn) == set(sys.argv[3:]), f"maps: {sorted(drawn)}")

# Samples by reward.
coding = {}
with h5py.File(rundir + "/policy/v000000.h5") as f:
    coding = json.loads(f["model_config"][0].decode()).get("data", {})


def is_shown(block, x):
    """Does a block show sample (or state) x [channels, height, width]?"""
    if kind == "image":
        got = png(re.search(r"data:image/png;base64,(.*?)\"", block).group(1))
        x = np.repeat(x, 3, 0) if len(x) == 1 else x
        return np.abs(got - 255 * np.clip(x / 2 + .5, 0, 1).transpose(1, 2, 0)).max() <= 0.51
    if kind == "text":
        word = "".join(coding["alphabet"][k] for k in x[:, 0].argmax(0))
        return html.unescape(re.search(r"<code>(.*?)</code>", block).group(1)) == word.rstrip()
    y = [46 - float(p.split(",")[1]) for p in
         re.search(r'points="(.*?)"', block).group(1).split()]
    v = coding["mean"] + coding["std"] * x[0, 0].astype(float)
    v = np.exp(v) if coding.get("log") else v
    low, high = scale_of_curves
    return np.abs(np.array(y) - 44 * (v - low) / (high - low)).max() < 0.06


def section(title):
    part = page[page.index(f"<h2>{title}</h2>"):]
    return part[:part.index("</section>")]


def curves_of(part):
    found = re.search(r"All curves from (\S+) to ([^<\s]+)\.", part)
    return [float(x) for x in found.groups()] if found else None


part = section("Samples by reward")
scale_of_curves = curves_of(part)
shown = [int(i) for i in re.findall(r"<h3>Iteration (\d+)", part)]
means = {i: j["reward_mean"] for i, j in line.items()}
best = max(means, key=lambda i: (means[i], -i))
expect(shown == sorted({its[0], best, its[-1]}), f"iterations {shown}, the best is {best}")
for i, block in zip(shown, re.split(r"<h3>Iteration", part)[1:]):
    reward, status = whole(i, "reward", "reward"), whole(i, "status", "reward")
    x = whole(i, "final_sample")
    good = np.nonzero(status == 0)[0]
    order = good[np.argsort(reward[good], kind="stable")]
    cells = min(5, len(order))
    each = min(4, len(order) // cells)
    first = [round(c / (cells - 1) * (len(order) - each)) for c in range(cells)]
    wanted = [order[f + k] for f in first for k in range(each)]
    figures = re.findall(r"<figure>.*?</figure>", block, re.S)
    expect(len(figures) >= len(wanted), f"iteration {i}: {len(figures)} samples")
    for k, figure in zip(wanted, figures):
        said = re.search(r"<figcaption>(.*?)</figcaption>", figure).group(1)
        if said != f"{reward[k] + 0:.4g}" or not is_shown(figure, x[k]):
            expect(False, f"iteration {i}, sample {k}: {said}, {reward[k]:.4g}")
    heads = re.findall(r"<h4>(\d+) %", block)
    expect(heads == [f"{100 * c / (cells - 1):.0f}" for c in range(cells)],
           f"iteration {i}: quantiles {heads}")

# Strips.
if states[0] is not None:
    part = section("From noise to sample")
    scale_of_curves = curves_of(part)
    abar = np.append(column(shards(its[0])[0], "alpha_bar"),
                     column(shards(its[0])[0], "alpha_bar_next")[-1]).astype(float)
    at = even(min(8, len(abar)), len(abar))
    for i, block in zip((its[0], its[-1]), re.split(r"<h3>Iteration", part)[1:]):
        reward, status = whole(i, "reward", "reward"), whole(i, "status", "reward")
        good = np.nonzero(status == 0)[0]
        order = good[np.argsort(reward[good], kind="stable")]
        x = whole(i, "latents")
        for name, k in (("best", order[-1]), ("median", order[(len(order) - 1) // 2]),
                        ("worst", order[0])):
            expect(re.search(rf"<b>{name}</b> {re.escape(f'{reward[k] + 0:.4g}')}<", block),
                   f"iteration {i}: the {name} chain has {reward[k]:.4g}")
            if kind == "text":
                rows = block[block.index(f"<b>{name}</b>"):].split("<p>")[1:len(at) + 1]
                for row, s in zip(rows, at):
                    z = x[k, s, :, 0].astype(float)
                    p = np.exp(2 * np.sqrt(abar[s]) / max(1 - abar[s], 1e-6) * (z - z.max(0)))
                    p = (p / p.sum(0)).max(0)
                    letters = "".join(coding["alphabet"][a] for a in z.argmax(0))
                    code = re.search(r"<code>(.*)</code>", row).group(1)
                    got = html.unescape(re.sub("<[^>]*>", "", code))
                    shade = [int(c) for c, run in re.findall(r'<b class="c(\d)">(.*?)</b>', code)
                             for _ in html.unescape(run)]
                    u = 5 * (p - 1 / len(z)) / (1 - 1 / len(z))
                    mean = int(re.search(r"<small>(\d+)", row).group(1))
                    close = np.abs(u - np.round(u)) < 1e-3  # rounding may go either way
                    if (got != letters.replace(" ", "·") or abs(mean - 100 * p.mean()) > 0.51 or
                            not ((np.clip(np.floor(u), 0, 4) == shade) | close).all()):
                        expect(False, f"iteration {i} {name} state {s}: {got} {letters} {mean}")
            else:
                row = block[block.index(f"<b>{name}</b>"):]
                pattern = r"<img .*?>" if kind == "image" else r"<polyline.*?/>"
                for item, s in zip(re.findall(pattern, row, re.S)[:len(at)], at):
                    if not is_shown(item, x[k, s]):
                        expect(False, f"iteration {i} {name}: state {s}")
sys.exit(1 if bad else 0)
