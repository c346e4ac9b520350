#!/usr/bin/python3
"""Recomputes content_sha256 of a Sluice HDF5 file, after io/FORMAT.md alone.

shard_digest.py FILE        prints the digest, exit 1 when it is not the stored one
shard_digest.py --huge FILE makes a small file with a column that claims 2^60 values
"""
import hashlib
import struct
import sys

import h5py
import numpy as np


def integer(i):
    return struct.pack("<q", i)


def text(b):
    b = b.encode() if isinstance(b, str) else b
    return integer(len(b)) + b


TYPES = {"<f4": "f32", "<f8": "f64", "<i4": "i32", "<i8": "i64", "|u1": "u8"}


def column_digest(name, data_set):
    kind = TYPES.get(data_set.dtype.str, "text")
    h = hashlib.sha256(text(name) + text(kind) + integer(data_set.ndim))
    for length in data_set.shape:
        h.update(integer(length))
    values = data_set[()]
    if kind == "text":
        for v in values.reshape(-1):
            h.update(text(bytes(v).rstrip(b"\0")))
    else:
        h.update(np.ascontiguousarray(values).tobytes())
    return h.hexdigest()


def content_digest(path):
    whole = hashlib.sha256()
    with h5py.File(path, "r") as f:
        for name in sorted(f, key=str.encode):
            data_set = f[name]
            if not isinstance(data_set, h5py.Dataset) or "axis_only" in data_set.attrs:
                continue
            whole.update(text(name) + text(column_digest(name, data_set)))
        return whole.hexdigest(), f.attrs["content_sha256"].decode()


def make_huge(path):
    with h5py.File(path, "w", libver=("v110", "v110")) as f:
        for name, value in [("format", "sluice-shard"), ("format_version", "1.0"),
                            ("kind", "rollout"), ("run_id", "x"),
                            ("config_digest", "c" * 64), ("content_sha256", "d" * 64)]:
            f.attrs[name] = np.bytes_(value)
        for name in ("iteration", "number", "policy_version", "complete"):
            f.attrs[name] = np.int64(1)
        f.create_dataset("latents", (2 ** 60,), "<f4", chunks=(1024,), fletcher32=True)


if sys.argv[1] == "--huge":
    make_huge(sys.argv[2])
    sys.exit(0)
computed, stored = content_digest(sys.argv[1])
print(computed)
sys.exit(computed != stored)
