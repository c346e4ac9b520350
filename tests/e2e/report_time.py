"""Time lines and advice of a report against the run's own records, recomputed.

report_time.py RUNDIR ONE|MANY: MANY where groups own their ranks. Prints what is wrong."""
import collections
import html
import json
import os
import re
import sys
import xml.etree.ElementTree as xml

rundir, apart = sys.argv[1], sys.argv[2] == "MANY"
GROUPS = ["rollout", "reward", "advantage", "update"]
AWAITED = {"rollout": "rollouts", "reward": "scores", "advantage": "advantages",
           "update": "a new policy", "lease": "the coordinator"}
wrong = []


def check(good, *what):
    if not good:
        wrong.append(" ".join(str(w) for w in what))


def lines_of(name):
    path = os.path.join(rundir, name)
    return [json.loads(x) for x in open(path) if x.strip()] if os.path.exists(path) else []


def near(a, b, tol):
    return abs(a - b) <= tol


accounting = json.load(open(os.path.join(rundir, "accounting.json")))
account = {g["name"]: g for g in accounting["groups"]}
metrics = {m["iteration"]: m for m in lines_of("metrics.jsonl") if "iteration" in m}
sessions = collections.defaultdict(list)
rest = {}
order = []
for line in lines_of("log/timeline.jsonl"):
    if "rest" in line:
        rest[line["session"]] = line
        continue
    if line["session"] not in sessions:
        order.append(line["session"])
    sessions[line["session"]].append(line)

# Leases and waits of a rank follow each other and do not overlap.
for name, lines in sessions.items():
    ranks = collections.defaultdict(list)
    for line in lines:
        check(line["from_us"] < line["to_us"], "iteration", line["iteration"], "has no length")
        check(line["left_out"] == 0, "leases were left out")
        sums = collections.Counter()
        for lease in line["leases"]:
            check(lease["group"] in GROUPS, "an unknown group")
            a, b = lease["from_us"], lease["to_us"]
            check(a <= b, "a lease ends before it begins")
            for kind in ("io_us", "communication_us", "vote_us"):
                at = lease.get(kind, [])
                check(len(at) % 2 == 0, "half a stretch")
                check(all(a - 2 <= x <= b + 2 for x in at), kind, at, "outside of", a, b)
            sums[lease["group"]] += lease.get("working_us", b - a)
            for w in lease.get("waited", []):
                sums[lease["group"], w["for"]] += w["to_us"] - w["from_us"]
            if not lease.get("aside"):
                ranks[lease["rank"]].append(lease)
        for group, g in line["groups"].items():
            near_enough = 3 * len(line["leases"])  # each was rounded to a microsecond
            check(near(sums[group], g["working_us"], near_enough), group, "working",
                  sums[group], g["working_us"])
            for k, v in g["waited_us"].items():
                check(near(sums[group, k], v, near_enough), group, "waited for", k)
    for rank, leases in ranks.items():
        at = 0
        leases.sort(key=lambda lease: lease["from_us"])
        for lease in leases:
            for w in lease.get("waited", []):
                check(w["from_us"] == at, "rank", rank, "waits from", w["from_us"], "not", at)
                at = w["to_us"]
            check(lease["from_us"] == at, "rank", rank, "works from", lease["from_us"],
                  "but was free at", at)
            at = lease["to_us"]
        for r in rest.get(name, {"rest": []})["rest"]:
            for w in r["waited"] if r["rank"] == rank else []:
                check(w["from_us"] == at, "rank", rank, "waits at the end from", at)
                at = w["to_us"]
        check(name not in rest or at == rest[name]["to_us"], "rank", rank, "ends at", at)

# Who has to wait for all rollouts waits until the last one is done.
for lines in sessions.values():
    for line in lines:
        done = max([x["to_us"] for x in line["leases"] if x["group"] == "rollout"], default=0)
        for lease in line["leases"]:
            last = [w["to_us"] for w in lease.get("waited", []) if w["for"] == "rollout"]
            if lease["group"] in ("advantage", "update") and last:
                check(last[-1] >= done, lease["group"], "stopped waiting for rollouts before",
                      "they were done")

# The last job's sums are those of its accounts; an iteration's those of its metrics line.
last = sessions[order[-1]]
for group, a in account.items():
    total = sum(line["groups"][group]["working_us"] for line in last)
    check(near(total, 1e6 * a["working_s"], 2 * len(last)), group, "works", total,
          "us, accounted", a["working_s"], "s")
for kind in ("lease", "rollout", "reward", "advantage", "update"):
    total = sum(g["waited_us"][kind] for line in last for g in line["groups"].values())
    total += sum(w["to_us"] - w["from_us"] for r in rest[order[-1]]["rest"]
                 for w in r["waited"] if w["for"] == kind)
    want = 1e6 * sum(a["waited_for"][kind + "_s"] for a in account.values())
    check(near(total, want, 4 * len(last) + 20), "waits for", kind, total, "accounted", want)
for lines in sessions.values():
    for line in lines:
        m = metrics.get(line["iteration"])
        if line["complete"] and line["session"] == order[-1]:
            check(m is not None, "no metrics of iteration", line["iteration"])
            for group, g in line["groups"].items():
                for k, v in g["waited_us"].items():
                    check(near(v, 1e6 * m["rank_wait"][group][k + "_s"], 1), group, k,
                          "differs from metrics.jsonl")

# Work and waits fill the session of every rank.
ranks = accounting["ranks"]
filled = {g: (a["working_s"] + sum(a["waited_for"].values())) for g, a in account.items()}
aside = any(x.get("aside") for line in last for x in line["leases"])
if apart:
    each = [filled[g] / account[g]["ranks"] for g in account]
    check(max(each) - min(each) < 1e-6, "groups' sessions differ in length:", each)
else:
    each = [sum(filled.values()) / ranks]
check(max(each) <= accounting["wall_s"] or aside, each, "is more than the wall time")

# The page.
page = open(os.path.join(rundir, "report.html")).read()
check("<script" not in page, "a script")
section = re.search(r'<section id="timeline">(.*?)</section>', page, re.S)
text = section.group(1) if section else ""
pictures = re.findall(r"<svg.*?</svg>", text, re.S)
check(len(pictures) == (2 if len(metrics) >= 3 else 1), len(pictures), "pictures")
for p in pictures:
    root = xml.fromstring(p)
    _, _, width, height = (float(x) for x in root.get("viewBox").split())
    rects = [r for r in root.iter() if r.tag.endswith("rect")]
    check(len(rects) > 8, "hardly anything is drawn")
    for r in rects:
        x, y, w, h = (float(r.get(k)) for k in ("x", "y", "width", "height"))
        check(w > 0 and h > 0 and x >= 0 and y >= 0 and x + w <= width + 1 and
              y + h <= height + 1, "a bar outside of the picture:", x, y, w, h)
titles = re.findall(r"<title>rank (\d+): (\w+), iteration (\d+)", pictures[0])
drawn = {int(i) for _, _, i in titles}
check(drawn == {x["iteration"] for x in last[-4:]}, "iterations drawn:", drawn)
check({g for _, g, _ in titles} == {x["group"] for line in last[-4:] for x in line["leases"]},
      "groups drawn")


# Shares in words and in the table, of all iterations.
total = {g: collections.Counter() for g in GROUPS}
for m in metrics.values():
    if "rank_wait" not in m:
        continue
    for g in GROUPS:
        total[g]["working"] += m["rank_time"][g]["working_s"]
        for k, v in m["rank_wait"][g].items():
            total[g][k[:-2]] += v
for g, parts in re.findall(r"Group <b>(\w+)</b> waited ([^.]*)\.", text):
    share = {k: v / sum(total[g].values()) for k, v in total[g].items()}
    for percent, what in re.findall(r"(\d+) %(?: of its time)? for ([a-z ]+)", parts):
        key = [k for k, v in AWAITED.items() if v == what.strip()]
        check(key and near(100 * share[key[0]], int(percent), 0.6), g, "for", what, percent)
rows = re.findall(r"<tr><td>(\w+)</td>((?:<td>[\d.]+</td>)+)", text)
check([g for g, _ in rows] == GROUPS, "rows of the table:", [g for g, _ in rows])
for g, cells in rows:
    cell = [float(c) for c in re.findall(r"<td>([\d.]+)</td>", cells)]
    check(near(sum(cell), 100, 0.6), g, "adds up to", sum(cell), "%")

# Advice: the groups and numbers that the accounts name.
advice = re.search(r'<section id="advice">(.*?)</section>', page, re.S)
advice = html.unescape(advice.group(1)) if advice else ""
idle = {g: 1 - a["working_s"] / filled[g] for g, a in account.items() if filled[g] > 0}
said = re.findall(r"(\w+) group idle (\d+) %", advice)
for g, percent in said:
    check(near(100 * idle[g], int(percent), 0.6), "advice:", g, percent, "measured", idle[g])
check(apart or not said, "advice on groups that share ranks")
if "sluice plan</b> expects" in advice and apart:
    check(said, "other group sizes, but no group is named as idle")
for now, percent in re.findall(r"move (\d+) rank.*?(\d+) % less", advice):
    check(int(now) > 0 and 5 <= int(percent) < 100, "a move that gains nothing")
check(advice, "no section with advice")
print("\n".join(wrong))
sys.exit(bool(wrong))
