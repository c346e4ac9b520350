"""Reads what `sluice export` wrote with decoders of its own.
Usage: export_check.py RUNDIR SAMPLES_DIR ITERATION METRICS.csv TENSORBOARD_DIR"""
import csv, glob, hashlib, json, os, struct, sys
import h5py
import numpy as np

run, samples, iteration, table, board = sys.argv[1:6]
rows = [json.loads(x) for x in open(f"{run}/metrics.jsonl")]
rows = {r["iteration"]: r for r in rows if "iteration" in r}


def flat(d, prefix=""):
    for k, v in d.items():
        if isinstance(v, dict):
            yield from flat(v, prefix + k + ".")
        elif isinstance(v, (int, float)) and k != "iteration":
            yield prefix + k, float(v)


# CSV
got = list(csv.DictReader(open(table)))
assert len(got) == len(rows)
for line in got:
    want = dict(flat(rows[int(line["iteration"])]))
    have = {k: float(v) for k, v in line.items() if v and k not in ("iteration", "time")}
    assert have == want, (have, want)

# TensorBoard: the framing, with a table-driven CRC-32C, then the protobuf wire format.
crc_table = []
for i in range(256):
    for _ in range(8):
        i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
    crc_table.append(i)


def masked(data):
    c = 0xFFFFFFFF
    for b in data:
        c = crc_table[(c ^ b) & 255] ^ c >> 8
    c ^= 0xFFFFFFFF
    return ((c >> 15 | c << 17) + 0xA282EAD8) & 0xFFFFFFFF


assert masked(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF


def fields(b):
    at = 0

    def varint():
        nonlocal at
        v = shift = 0
        while True:
            v |= (b[at] & 127) << shift
            shift += 7
            at += 1
            if b[at - 1] < 128:
                return v
    while at < len(b):
        key = varint()
        wire = key & 7
        if wire == 0:
            yield key >> 3, varint()
            continue
        n = {1: 8, 5: 4}.get(wire) or varint()
        yield key >> 3, b[at:at + n]
        at += n
    assert at == len(b)


data = open(glob.glob(f"{board}/events.out.tfevents.*")[0], "rb").read()
at, events = 0, []
while at < len(data):
    (n,), (head,) = struct.unpack_from("<Q", data, at), struct.unpack_from("<I", data, at + 8)
    assert head == masked(data[at:at + 8]), "length's checksum"
    body = data[at + 12:at + 12 + n]
    assert struct.unpack_from("<I", data, at + 12 + n)[0] == masked(body), "data's checksum"
    events.append(dict(fields(body)))
    at += n + 16
assert events[0][3] == b"brain.Event:2"
assert len(events) == len(rows) + 1
for e in events[1:]:
    want = {k.replace(".", "/"): np.float32(v) for k, v in flat(rows[e[2]])}
    have = {}
    for _, value in fields(e[5]):
        v = dict(fields(value))
        have[v[1].decode()] = np.float32(struct.unpack("<f", v[2])[0])
    assert have == want
    assert 1.7e9 < struct.unpack("<d", e[1])[0] < 1e11

# Samples
files = sorted(glob.glob(f"{run}/rollout/i{int(iteration):06d}/s*.h5"))
x = np.concatenate([h5py.File(f)["final_sample"][:] for f in files])
r = np.concatenate([h5py.File(f.replace("/rollout/", "/reward/"))["reward"][:] for f in files])
assert (np.load(f"{samples}/samples.npy") == x).all()
lines = list(csv.DictReader(open(f"{samples}/rewards.csv")))
assert [float(a["reward"]) for a in lines] == r.tolist()
if x.shape[1] in (1, 3) and x.shape[2] > 1:
    pictures = sorted(glob.glob(f"{samples}/sample_*.png"))
    assert len(pictures) == len(x)
    assert struct.unpack(">II", open(pictures[0], "rb").read()[16:24]) == x.shape[:1:-1]

# RO-Crate: every reference has an entity, and files are as it says.
crate = json.load(open(f"{run}/ro-crate-metadata.json"))
assert crate["@context"][0].endswith("/crate/1.1/context") and "sha256" in crate["@context"][1]
graph = {e["@id"]: e for e in crate["@graph"]}
assert len(graph) == len(crate["@graph"])
assert graph["ro-crate-metadata.json"]["about"]["@id"] == "./"
assert graph["./"]["conformsTo"]["@id"] in graph


def references(v):
    if isinstance(v, dict):
        if set(v) == {"@id"}:
            yield v["@id"]
        else:
            for w in v.values():
                yield from references(w)
    elif isinstance(v, list):
        for w in v:
            yield from references(w)


for e in crate["@graph"]:
    for i in references(e):
        assert i in graph or i.startswith("https://w3id.org/ro/crate/1.1"), i
    if e["@type"] in ("File", "Dataset"):
        assert os.path.exists(f"{run}/{e['@id']}"), e["@id"]
    if e["@type"] == "File":
        b = open(f"{run}/{e['@id']}", "rb").read()
        assert hashlib.sha256(b).hexdigest() == e["sha256"] and len(b) == int(e["contentSize"])
actions = [e for e in crate["@graph"] if e["@type"] == "CreateAction"]
assert all(not isinstance(v, list) or len(v) > 1 for e in crate["@graph"] for v in e.values())
assert actions and all(graph[a["instrument"]["@id"]]["@type"] == "SoftwareApplication" for a in actions)
assert {m["@id"] for m in graph["./"]["mentions"]} == {a["@id"] for a in actions}
print("ok")
