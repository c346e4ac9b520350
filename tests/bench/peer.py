#!/usr/bin/env python3
"""`make bench-peer`: the engine against PyTorch + diffusers, same work, same invocation.

Ours and each variant of PyTorch take turns, one evaluation at a time; a row is the ratio of
the medians, and the fastest variant counts as PyTorch. A variant whose first times are 15 %
behind the best keeps those. Table on standard output; every variant's numbers in
BUILD/bench/peer.json.

    PEER="demo cifar10 wide ddpo memory"   the parts
    PEER_REPEAT=5, PEER_ROW_S=30           repetitions; a long row ends there, after 3 or more
    PEER_THREADS="2 1"                     thread counts
    PEER_LIMIT_S=60, PEER_COMPILE_S=120    limits of a variant's first evaluations; a quarter
                                           that for bfloat16 where ours has none
    PEER_PYTHON=...                        an interpreter with torch and diffusers
    PEER_PYTHON_DISTRIBUTION=...           a second one, with the distribution's torch
"""
import atexit
import glob
import json
import os
import select
import signal
import subprocess
import sys
import time

from common import (BUILD, DEMO, DTYPES, HERE, NETWORKS, TOP, WORKS, Engine, Failed,
                    bf16_refusal, ddpo, environment, machine, spread, write)

FOLDER = f"{BUILD}/bench/peer"
REPEAT = int(os.environ.get("PEER_REPEAT", "5"))
ROW_S = float(os.environ.get("PEER_ROW_S", "30"))
LIMIT_S = float(os.environ.get("PEER_LIMIT_S", "60"))
COMPILE_S = float(os.environ.get("PEER_COMPILE_S", "120"))
BEHIND = 1.15


def target(network, dtype, work):
    """How many times as fast as PyTorch the engine is meant to be."""
    if dtype == "f32":
        return 1.3 if work == "forward" else 1.25
    if network == "demo":
        return 3.0
    return 2.5 if work == "forward" else 2.2


DDPO_TARGET, MEMORY_TARGET = 2.5, 0.6


class Server:
    """A peer_server.py, started when it is first asked and again after a timeout."""

    all = []

    def __init__(self, python, threads, name):
        self.python, self.threads, self.name = python, threads, name
        self.p = self.about = None
        Server.all.append(self)

    def start(self):
        env = environment(self.threads)
        env["PYTHONDONTWRITEBYTECODE"] = "1"
        env["LD_LIBRARY_PATH"] = ":".join(
            glob.glob(f"{os.path.abspath(FOLDER)}/lib/usr/lib/*/openblas-openmp")
            + [env.get("LD_LIBRARY_PATH", "")]).strip(":")
        tcmalloc = (glob.glob(f"{os.path.abspath(FOLDER)}/lib/usr/lib/*/libtcmalloc_minimal.so.4")
                    + glob.glob("/usr/lib/*/libtcmalloc_minimal.so.4"))
        if tcmalloc:
            env["LD_PRELOAD"] = tcmalloc[0]
            env["TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD"] = str(1 << 40)
        self.log = open(f"{FOLDER}/{self.name}.log", "a")
        self.p = subprocess.Popen(
            [self.python, f"{HERE}/peer_server.py", str(self.threads)], env=env, cwd=TOP,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
            start_new_session=True)
        self.about = self.read(60)

    def read(self, limit):
        ready, _, _ = select.select([self.p.stdout], [], [], limit)
        if not ready:
            self.stop()
            raise Failed(f"ended after {limit:g} s")
        line = self.p.stdout.readline()
        if not line:
            self.stop()
            with open(f"{FOLDER}/{self.name}.log") as f:
                raise Failed((f.read().strip().splitlines() or ["no message"])[-1])
        answer = json.loads(line)
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer

    def ask(self, limit, **command):
        if self.p is None:
            self.start()
        self.p.stdin.write(json.dumps(command) + "\n")
        self.p.stdin.flush()
        return self.read(limit)

    def stop(self):
        if self.p is None:
            return
        try: # compilation has helpers: the whole session that this process leads
            os.killpg(self.p.pid, 9)
        except ProcessLookupError:
            pass
        self.p.wait()
        self.p.stdin.close()
        self.p.stdout.close()
        self.log.close()
        self.p = None


atexit.register(lambda: [s.stop() for s in Server.all])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def pythons():
    """Interpreters that have torch and diffusers: "index" and "distribution"."""
    out = {}
    for name, path in (
            ("index", os.environ.get("PEER_PYTHON") or f"{FOLDER}/venv/bin/python"),
            ("distribution", os.environ.get("PEER_PYTHON_DISTRIBUTION") or "/usr/bin/python3")):
        p = subprocess.run([path, "-c", "import torch, diffusers, PIL"], capture_output=True,
                           text=True) if os.access(path, os.X_OK) else None
        if p is not None and p.returncode == 0:
            out[name] = path
        else:
            why = "there is no such program" if p is None else (p.stderr.strip().splitlines()
                                                               or ["?"])[-1]
            print(f"PyTorch of the {name}: not measured, {path}: {why}")
    if not out:
        sys.exit("peer.py: no interpreter has torch and diffusers; see PEER_PYTHON")
    return out


def servers(found, threads, compiled=True):
    """variant name -> (server, variant as the server knows it)"""
    out = {}
    for name, path in found.items():
        s = Server(path, threads, f"{name}-{threads}")
        out[name] = (s, "last")
        if name == "index":
            out["index first"] = (s, "first")
            out["index autocast"] = (s, "autocast")
            if compiled:
                out["index compile"] = (Server(path, threads, f"compile-{threads}"),
                                        "compile")
    return out


def first_times(variants, command, dtype, alone):
    """Warms each variant up. Returns those worth repeating, and what all gave. alone: ours
    does not compute this, a quarter of the time limits is enough."""
    share = 0.25 if alone else 1
    given = {}
    for name, (server, variant) in variants.items():
        if variant == "autocast" and dtype != "bf16":
            continue
        limit = share * (COMPILE_S if variant == "compile" else LIMIT_S)
        try:
            got = server.ask(limit, do="run", variant=variant, repeat=1, **command)
            if got["seconds"][0] < 0.5: # one short time may have met something else
                got = server.ask(limit, do="run", variant=variant, repeat=5, **command)
            given[name] = {"first": got["seconds"], "seconds": []}
        except Failed as e:
            given[name] = {"failed": str(e)}
    times = {k: min(v["first"]) for k, v in given.items() if "first" in v}
    if not alone: # who lags has a second chance: the machine may have been busy
        for name in [k for k, t in times.items() if t > BEHIND * min(times.values())]:
            server, variant = variants[name]
            try:
                given[name]["first"] += server.ask(
                    LIMIT_S, do="run", variant=variant, repeat=1, **command)["seconds"]
                times[name] = min(given[name]["first"])
            except Failed as e:
                given[name] = {"failed": str(e)}
                del times[name]
    worth = [k for k, t in times.items() if t <= BEHIND * min(times.values())]
    return worth, given


def row(network, work, dtype, threads, variants, refusal):
    config, batch = NETWORKS[network]
    command = {"config": config, "batch": batch, "work": work, "dtype": dtype}
    out = {"network": network, "work": work, "dtype": dtype, "threads": threads,
           "batch": batch, "target": target(network, dtype, work)}
    alone = dtype == "bf16" and refusal is not None
    worth, given = first_times(variants, command, dtype, alone)
    out["peers"] = given
    out["alone"] = alone # ours then computes in float32, as the program does for a user
    engine = None
    ours = []
    try:
        engine = Engine(network, threads, dtype)
        engine.run(work, 1)
    except Failed as e:
        out["ours_failed"] = str(e)
        worth = []
    begun, rounds = time.monotonic(), 0
    while rounds < REPEAT and (rounds < 3 or time.monotonic() - begun < ROW_S) and worth:
        rounds += 1
        if engine is not None:
            ours += engine.run(work, 1)["seconds"]
        for name in list(worth):
            server, variant = variants[name]
            try:
                given[name]["seconds"] += server.ask(
                    LIMIT_S, do="run", variant=variant, repeat=1, **command)["seconds"]
            except Failed as e:
                given[name] = {"failed": str(e)}
                worth.remove(name)
    if engine is not None:
        engine.close()
    for v in given.values():
        if "seconds" in v:
            v.update(spread(v["seconds"] or v["first"]))
    best = [k for k in given if "median" in given[k]]
    if best:
        out["peer"] = min(best, key=lambda k: given[k]["median"])
        out["peer_s"] = given[out["peer"]]["median"]
    if ours:
        out["ours"] = dict(spread(ours), seconds=ours)
        if best:
            out["ratio"] = out["peer_s"] / out["ours"]["median"]
            out["ratio_of_minima"] = given[out["peer"]]["min"] / out["ours"]["min"]
    return out


def print_row(r):
    ours = f"{1e3 * r['ours']['median']:10.1f}" if "ours" in r else f"{'-':>10s}"
    peer = f"{1e3 * r['peer_s']:11.1f}" if "peer" in r else f"{'-':>11s}"
    ratio = f"{r['ratio']:7.2f}" if "ratio" in r else f"{'-':>7s}"
    met = "" if "ratio" not in r else " met" if r["ratio"] >= r["target"] else ""
    print(f"{r['network']:8s}{r['dtype']:5s}{r['threads']:3d}  {WORKS[r['work']]:19s}{ours}"
          f"{peer}{ratio}{r['target']:8.2f}{met:4s}  {r.get('peer', '')}", flush=True)
    others = [f"{k} {1e3 * v['median']:.1f}" if "median" in v else f"{k}: {v['failed']}"
              for k, v in r["peers"].items() if k != r.get("peer")]
    if others:
        print(f"{'':18s}other variants: {', '.join(others)}")
    if r["alone"]:
        print(f"{'':18s}ours computes this row in float32: no bfloat16 here")
    if "ours_failed" in r:
        print(f"{'':18s}ours: {r['ours_failed']}", flush=True)


def rows(out, names, found, threads, refusal):
    print(f"\n{'network':8s}{'dtype':5s}{'thr':>3s}  {'work':19s}{'ours ms':>10s}"
          f"{'PyTorch ms':>11s}{'ratio':>7s}{'target':>8s}      PyTorch is", flush=True)
    for n in threads:
        variants = servers(found, n, n == max(threads)) # compilation takes minutes
        for network in names:
            # Where ours has no bfloat16, PyTorch's is shown once, for two threads.
            for dtype in [d for d in DTYPES if d == "f32" or not refusal or n == max(threads)]:
                for work in WORKS:
                    out.append(row(network, work, dtype, n, variants, refusal))
                    print_row(out[-1])
        for server, _ in variants.values():
            server.stop()


def memory(out, names, found, dtypes):
    """Peak of forward and backward, each in a process of its own; the smallest PyTorch."""
    print(f"\npeak memory of forward + backward, MiB (a process of its own, 2 threads)\n"
          f"{'network':8s}{'dtype':6s}{'ours':>8s}{'PyTorch':>9s}{'ratio':>7s}{'target':>8s}"
          f"     PyTorch is; its libraries alone")
    for network in names:
        for dtype in dtypes:
            engine = Engine(network, 2, dtype)
            ours = engine.run("train", 2)["rss_bytes"]
            engine.close()
            config, batch = NETWORKS[network]
            peers = {}
            for name, path in found.items():
                server = Server(path, 2, f"memory-{name}")
                try:
                    got = server.ask(LIMIT_S, do="run", config=config, batch=batch,
                                     work="train", dtype=dtype, variant="last", repeat=2)
                    peers[name] = {"rss_bytes": got["rss_bytes"],
                                   "libraries_bytes": server.about["rss_bytes"]}
                except Failed as e:
                    print(f"{network:8s}{dtype:6s}{name}: {e}")
                server.stop()
            r = {"network": network, "dtype": dtype, "ours": ours, "peers": peers}
            out.append(r)
            if not peers:
                continue
            best = min(peers, key=lambda k: peers[k]["rss_bytes"])
            theirs = peers[best]["rss_bytes"]
            r.update(peer=best, ratio=ours / theirs, target=MEMORY_TARGET)
            print(f"{network:8s}{dtype:6s}{ours / 2**20:8.0f}{theirs / 2**20:9.0f}"
                  f"{r['ratio']:7.2f}{MEMORY_TARGET:8.2f}"
                  f"{' met' if r['ratio'] <= MEMORY_TARGET else '':4s} {best}; "
                  f"{peers[best]['libraries_bytes'] / 2**20:.0f}", flush=True)


def iteration(out, found, compiled, dtypes):
    """A whole DDPO-IS iteration, ours (1 rank x 2 threads) and theirs in turns."""
    command = {"do": "ddpo", "model": DEMO, "samples": 64, "steps": 50, "batch": 16}
    print(f"\nDDPO-IS iteration, demo network, 64 samples x 50 steps, s\n{'':24s}{'total':>8s}"
          f"{'rollout':>9s}{'reward':>8s}{'update':>8s}{'ratio':>7s}{'target':>8s}", flush=True)
    for dtype in dtypes:
        variants = {k: v for k, v in servers(found, 2).items()
                    if v[1] == "last" or (v[1] == "compile" and compiled)}
        r = {"dtype": dtype, "ours": [], "peers": {k: [] for k in variants}}
        out.append(r)
        for turn in range(2):
            r["ours"].append(ddpo(1, 2, dtype))
            if turn == 1: # the slower ones keep one turn
                first = {k: r["peers"][k][0]["seconds"][0] for k in variants}
                variants = {k: v for k, v in variants.items()
                            if first[k] <= BEHIND * min(first.values())}
            for name in list(variants):
                server, variant = variants[name]
                try:
                    r["peers"][name].append(server.ask(
                        LIMIT_S + 2 * COMPILE_S, dtype=dtype, variant=variant, **command))
                except Failed as e:
                    print(f"{dtype} {name}: {e}")
                    del variants[name]
        for server in Server.all:
            server.stop()
        ours = min(r["ours"], key=lambda x: x["seconds"])
        print(f"{dtype + ' ours':24s}{ours['seconds']:8.2f}{ours['working_s']['rollout']:9.2f}"
              f"{ours['working_s']['reward']:8.2f}{ours['working_s']['update']:8.2f}")
        for name, got in r["peers"].items():
            if not got:
                continue
            best = min(got, key=lambda x: x["seconds"])
            ratio = best["seconds"][0] / ours["seconds"]
            r["ratio"] = min(ratio, r.get("ratio", ratio))
            print(f"{dtype + ' PyTorch ' + name:24s}{best['seconds'][0]:8.2f}"
                  f"{best['rollout']:9.2f}{best['reward']:8.2f}{best['update']:8.2f}"
                  f"{ratio:7.2f}{DDPO_TARGET:8.2f}{' met' if ratio >= DDPO_TARGET else ''}",
                  flush=True)


def summary(result):
    """All ratios again, each beside its target."""
    lines = [(f"{r['network']} {r['dtype']} {WORKS[r['work']]}, threads {r['threads']}",
              r["ratio"], r["target"], r["ratio"] >= r["target"])
             for r in result.get("rows", []) if "ratio" in r]
    lines += [(f"DDPO iteration {r['dtype']}", r["ratio"], DDPO_TARGET,
               r["ratio"] >= DDPO_TARGET) for r in result.get("ddpo", []) if "ratio" in r]
    lines += [(f"memory {r['network']} {r['dtype']} (ours / PyTorch)", r["ratio"],
               MEMORY_TARGET, r["ratio"] <= MEMORY_TARGET)
              for r in result.get("memory", []) if "ratio" in r]
    print(f"\n{'ratio to PyTorch':48s}{'measured':>9s}{'target':>8s}")
    for name, ratio, wanted, met in lines:
        print(f"{name:48s}{ratio:9.2f}{wanted:8.2f}  {'met' if met else 'missed'}")


def measure(result, parts, found, refusal, threads):
    names = [p for p in parts if p in NETWORKS]
    dtypes = [d for d in DTYPES if d == "f32" or not refusal]
    if names:
        rows(result.setdefault("rows", []), names, found, threads, refusal)
    if "memory" in parts:
        memory(result.setdefault("memory", []), names or ["demo", "cifar10"], found, dtypes)
    if "ddpo" in parts: # compiled where that went well for the same network
        compiled = [r for r in result.get("rows", [])
                    if (r["network"], r["dtype"]) == ("demo", "f32") and
                    "median" in r["peers"].get("index compile", {})]
        iteration(result.setdefault("ddpo", []), found, bool(compiled), dtypes)


def main():
    parts = os.environ.get("PEER", "demo cifar10 wide ddpo memory").split()
    threads = [int(n) for n in os.environ.get("PEER_THREADS", "2 1").split()]
    unknown = [p for p in parts if p not in ("ddpo", "memory") and p not in NETWORKS]
    if unknown:
        sys.exit(f"peer.py: PEER: no part is called {unknown[0]}; parts are "
                 f"{' '.join(NETWORKS)} ddpo memory")
    os.makedirs(FOLDER, exist_ok=True)
    found, refusal, about = pythons(), bf16_refusal(), machine()
    result = {"machine": about, "bf16": refusal or "computed", "peers": {}}
    print(f"{about['processor']}, {about['cores']} cores, {' '.join(about['features'])}, "
          f"load {about['load']}")
    for name, path in found.items():
        server = Server(path, 1, name)
        server.start()
        result["peers"][name] = server.about
        server.stop()
        print(f"PyTorch of the {name}: torch {server.about['torch']}, diffusers "
              f"{server.about['diffusers']}, "
              f"{'tcmalloc' if server.about['preload'] else 'the usual malloc'}")
    try: # what was measured is kept when it ends early
        measure(result, parts, found, refusal, threads)
        summary(result)
    finally:
        write("peer.json", result)


if __name__ == "__main__":
    main()
