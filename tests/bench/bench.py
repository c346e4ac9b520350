#!/usr/bin/env python3
"""`make bench`: how fast the engine is on this machine, and where its time goes.

One row per network, dtype and thread count, each from a process of its own; then DDPO
iterations of the real program. A table on standard output, everything in
BUILD/bench/bench.json.

    BENCH="demo cifar10 wide ddpo"   the parts
    BENCH_REPEAT=5                   repetitions of a row (after a warm-up; median, min, max)
    BENCH_THREADS="1 2"              thread counts
"""
import os
import statistics
import sys

from common import (DTYPES, NETWORKS, WORKS, Engine, Failed, bf16_refusal, ddpo, machine,
                    spread, write)

SAMPLES, STEPS, MICRO_BATCH = 64, 50, 16  # of ddpo.yaml


def row(network, dtype, threads, repeat):
    """Times and memory from an unprofiled pass, shares from a second, profiled one."""
    engine = Engine(network, threads, dtype)
    out = {"network": network, "dtype": dtype, "threads": threads, **engine.about,
           "config": engine.about["network"]}
    out["network"], out["threads"] = network, threads
    flops = engine.batch * engine.about["flops_per_item"]
    try:
        for work in WORKS:
            got = engine.run(work, repeat)
            s = spread(got["seconds"])
            # A backward pass is two products of the forward's size: by data, by weight.
            total = flops * (3 if work == "train" else 1)
            s.update(samples_per_s=engine.batch / s["median"],
                     gflops=1e-9 * total / s["median"], tape_bytes=got["tape_bytes"],
                     rss_bytes=got["rss_bytes"])
            out[work] = s
        for work in WORKS:
            got = engine.run(f"profile-{work}", max(1, repeat // 2))
            out[work]["profile"] = {
                k: dict(v, share=v["seconds"] / got["total_s"])
                for k, v in got["profile"].items()}
    finally:
        engine.close()
    return out


def print_row(r):
    for work, name in WORKS.items():
        s = r[work]
        share = lambda k: 100 * s["profile"][k]["share"]
        rest = 100 - sum(share(k) for k in s["profile"])
        print(f"{r['network']:8s} {r['dtype']:5s}{r['threads']:3d}  {name:18s}"
              f"{1e3 * s['median']:9.1f} {1e3 * s['min']:9.1f} {1e3 * s['max']:9.1f}"
              f"{s['samples_per_s']:9.2f}{s['gflops']:9.1f}"
              f"{share('conv'):7.1f}{share('matmul'):7.1f}{share('attention'):6.1f}"
              f"{share('norm'):6.1f}{share('elementwise'):6.1f}{share('layout'):7.1f}"
              f"{rest:7.1f}{s['tape_bytes'] / 2**20:9.0f}{s['rss_bytes'] / 2**20:9.0f}",
              flush=True)


def networks(names, threads, repeat, refusal):
    rows = []
    print(f"{'network':8s} {'dtype':5s}{'thr':>3s}  {'work':18s}{'median ms':>9s} {'min':>9s}"
          f" {'max':>9s}{'items/s':>9s}{'GFLOP/s':>9s}{'conv%':>7s}{'matmul':>7s}"
          f"{'att.':>6s}{'norm':>6s}{'elem.':>6s}{'layout':>7s}{'rest':>7s}{'tape MiB':>9s}"
          f"{'peak MiB':>9s}")
    for name in names:
        for dtype in DTYPES:
            for n in threads:
                try:
                    if dtype == "bf16" and refusal:
                        raise Failed(refusal)
                    rows.append(row(name, dtype, n, repeat))
                    print_row(rows[-1])
                except Failed as e:
                    rows.append({"network": name, "dtype": dtype, "threads": n,
                                 "skipped": str(e)})
                    print(f"{name:8s} {dtype:5s}{n:3d}  {e}", flush=True)
    return rows


def network_estimate(rows, dtype, threads):
    """Seconds of one thread group inside the network during an iteration, from the rows of
    the same network: SAMPLES x STEPS pairs forward, then forward and backward."""
    for r in rows:
        if (r["network"], r["dtype"], r["threads"]) == ("demo", dtype, threads) and "train" in r:
            batches = SAMPLES / MICRO_BATCH * STEPS
            return batches * (r["forward"]["median"] + r["train"]["median"])
    return None


def iterations(rows, repeat, refusal):
    out = []
    print(f"\nDDPO-IS iteration, demo network, {SAMPLES} samples x {STEPS} steps, s\n"
          f"{'ranks x threads':16s}{'dtype':6s}{'total':>8s}{'min':>8s}{'max':>8s}"
          f"{'rollout':>9s}{'reward':>8s}{'advant.':>8s}{'update':>8s}{'network':>9s}"
          f"{'overhead %':>11s}{'peak MiB':>9s}")
    for dtype in DTYPES:
        for ranks, threads in ((1, 2), (2, 1)):
            r = {"ranks": ranks, "threads": threads, "dtype": dtype}
            out.append(r)
            name = f"{ranks} x {threads}"
            try:
                if dtype == "bf16" and refusal:
                    raise Failed(refusal)
                r["runs"] = [ddpo(ranks, threads, dtype) for _ in range(repeat)]
            except Failed as e:
                r["skipped"] = str(e)
                print(f"{name:16s}{dtype:6s}{e}", flush=True)
                continue
            mid = lambda f: statistics.median(f(x) for x in r["runs"])
            r.update(spread([x["seconds"] for x in r["runs"]]))
            for stage in ("rollout", "reward", "advantage", "update"):
                r[stage] = mid(lambda x: x["working_s"][stage])
            wall = ranks * r["median"]
            if "network_s" in r["runs"][0]:
                r["network_s"], r["network_from"] = mid(lambda x: x["network_s"]), "run"
            else: # the ranks share the work; each evaluates alone at its thread count
                r["network_s"] = network_estimate(rows, dtype, threads)
                r["network_from"] = "rows"
            known = r["network_s"] is not None
            r["overhead"] = 1 - r["network_s"] / wall if known else None
            network = f"{r['network_s']:9.2f}{100 * r['overhead']:11.1f}" if known else \
                f"{'-':>9s}{'-':>11s}"
            print(f"{name:16s}{dtype:6s}{r['median']:8.2f}{r['min']:8.2f}{r['max']:8.2f}"
                  f"{r['rollout']:9.2f}{r['reward']:8.2f}{r['advantage']:8.2f}"
                  f"{r['update']:8.2f}{network}"
                  f"{mid(lambda x: x['rss_bytes']) / 2**20:9.0f}", flush=True)
    print("stages, network: seconds of all ranks together. overhead = 1 - network / "
          "(ranks x total)")
    if any(r.get("network_from") == "rows" for r in out):
        print("network: from the rows above, since the run does not count it; a few per "
              "cent either way are noise")
    both = [r for r in out if r["dtype"] == "f32" and "median" in r]
    if len(both) == 2:
        print(f"2 ranks x 1 thread against 1 rank x 2 threads: "
              f"{both[0]['median'] / both[1]['median']:.3f} times as fast")
    return out


def main():
    parts = os.environ.get("BENCH", "demo cifar10 wide ddpo").split()
    repeat = int(os.environ.get("BENCH_REPEAT", "5"))
    threads = [int(n) for n in os.environ.get("BENCH_THREADS", "1 2").split()]
    unknown = [p for p in parts if p != "ddpo" and p not in NETWORKS]
    if unknown or repeat < 1:
        sys.exit(f"bench.py: BENCH={' '.join(parts)} BENCH_REPEAT={repeat}: parts are "
                 f"{' '.join(NETWORKS)} ddpo, repetitions at least 1")
    about = machine()
    print(f"{about['processor']}, {about['cores']} cores, "
          f"{' '.join(about['features'])}, load {about['load']}")
    if about["load"] > 0.5:
        print("warning: the machine is not idle; the times are too long")
    refusal = bf16_refusal()
    result = {"machine": about, "repeat": repeat, "bf16": refusal or "computed"}
    names = [p for p in parts if p in NETWORKS]
    result["networks"] = networks(names, threads, repeat, refusal) if names else []
    if "ddpo" in parts:
        result["ddpo"] = iterations(result["networks"], max(1, repeat // 2), refusal)
    write("bench.json", result)


if __name__ == "__main__":
    main()
