"""What bench.py and peer.py share: the networks, the engine's processes, a DDPO iteration
of the real program, and numbers out of repetitions. Standard library only."""
import json
import os
import shutil
import statistics
import struct
import subprocess
import tempfile

BUILD = os.environ.get("BUILD", "build")
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
DEMO = "examples/jpeg/model"
# name -> config file, batch
NETWORKS = {
    "demo": ("examples/jpeg/network.json", 16),
    "cifar10": ("tests/bench/networks/cifar10.json", 16),
    "wide": ("tests/bench/networks/wide.json", 4),
    "tiny": ("tests/data/unet_tiny_config.json", 2),  # for the test of these programs
}
WORKS = {"forward": "forward", "train": "forward + backward"}
DTYPES = ("f32", "bf16")


class Failed(Exception):
    """A program of the measurement ended with a message."""


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def spread(seconds):
    return {"median": statistics.median(seconds), "min": min(seconds),
            "max": max(seconds), "repetitions": len(seconds)}


def read_proc(path):
    try:
        with open(path) as f:
            return f.read()
    except OSError:
        return ""


def machine():
    info = read_proc("/proc/cpuinfo")
    value = lambda key: next((line.split(":", 1)[1].strip() for line in info.splitlines()
                              if line.startswith(key)), "")
    flags = value("flags").split()
    known = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
    return {"processor": value("model name"), "cores": os.cpu_count(),
            "features": [k for k in known if k in flags],
            "load": float((read_proc("/proc/loadavg") or "0").split()[0])}


def environment(threads):
    """OMP_WAIT_POLICY stays as it is: with `active` a process that waits for its next
    command would spin through the other side's turn."""
    env = dict(os.environ, OMP_NUM_THREADS=str(threads))
    if os.geteuid() == 0:
        env.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    env.setdefault("OMPI_MCA_btl_vader_single_copy_mechanism", "none")
    return env


class Engine:
    """A process of engine_bench, which evaluates on command."""

    def __init__(self, network, threads, dtype):
        config, batch = NETWORKS[network]
        self.batch = batch
        self.p = subprocess.Popen(
            [f"{BUILD}/tests/bench/engine_bench", config, str(batch), str(threads), dtype],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, cwd=TOP, env=environment(threads))
        self.about = self._answer()

    def _answer(self):
        line = self.p.stdout.readline()
        if not line:
            raise Failed(last_line(self.p.stderr.read()))
        return json.loads(line)

    def run(self, work, repeat):
        self.p.stdin.write(f"{work}={repeat}\n")
        self.p.stdin.flush()
        return self._answer()

    def close(self):
        self.p.stdin.close()
        self.p.wait()
        self.p.stdout.close()
        self.p.stderr.close()


def bf16_refusal():
    """None where the program computes in bfloat16 here, else what it says."""
    with tempfile.TemporaryDirectory() as folder:
        n = 3 * 32 * 32
        tensors = {"x": {"dtype": "F32", "shape": [1, 3, 32, 32], "data_offsets": [0, 4 * n]},
                   "timesteps": {"dtype": "I64", "shape": [1],
                                 "data_offsets": [4 * n, 4 * n + 8]}}
        head = json.dumps(tensors).encode()
        with open(f"{folder}/in", "wb") as f:
            f.write(struct.pack("<Q", len(head)) + head + bytes(4 * n + 8))
        p = subprocess.run(
            [f"{BUILD}/sluice", "forward", DEMO, "--in", f"{folder}/in", "--out",
             f"{folder}/out", "--dtype", "bf16"],
            capture_output=True, text=True, cwd=TOP, env=environment(1), timeout=60)
        if p.returncode != 0 or "no bfloat16" in p.stderr:
            return last_line(p.stderr)
        return None


def ddpo(ranks, threads, dtype="f32"):
    """One iteration of tests/bench/ddpo.yaml by the real program. Seconds of the whole
    iteration and of each stage; network_s where the program counts it."""
    folder = tempfile.mkdtemp(dir=BUILD)
    try:
        p = subprocess.run(
            [*os.environ.get("MPIRUN", "mpirun").split(), "-np", str(ranks), "--bind-to",
             "none", "--oversubscribe", f"{BUILD}/sluice", "run", "tests/bench/ddpo.yaml",
             f"run.dir={folder}/run", f"groups.threads={threads}", f"model.dtype={dtype}"],
            capture_output=True, text=True, cwd=TOP, env=environment(threads), timeout=900)
        if p.returncode != 0:
            raise Failed(last_line(p.stderr))
        with open(f"{folder}/run/metrics.jsonl") as f:
            m = next(r for r in map(json.loads, f) if "iteration" in r)
        with open(f"{folder}/run/accounting.json") as f:
            account = json.load(f)
    finally:
        shutil.rmtree(folder)
    out = {"seconds": m["t_iteration_s"], "rss_bytes": m["rss_bytes"],
           "working_s": {g["name"]: g["working_s"] for g in account["groups"]}}
    for stage in ("rollout", "reward", "advantage", "update"):
        out[stage] = m[f"t_{stage}_s"]
    network = [g["network_s"] for g in account["groups"] if "network_s" in g]
    if network:
        out["network_s"] = sum(network)
    return out


def write(name, result):
    folder = f"{BUILD}/bench"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/{name}.tmp", "w") as f:
        json.dump(result, f, indent=1)
        f.write("\n")
    os.replace(f"{folder}/{name}.tmp", f"{folder}/{name}")
    print(f"written: {folder}/{name}")
