"""Checks one iteration of a run with the reward `http`: http_check.py RUN [STATUSES]

Every score that is ok must be the mean of its final sample, every other one NaN; an
advantage must be finite, and 0 for what is not usable. STATUSES: what every sample's status
must be, one digit for all or one for each. Prints the statuses found.
"""
import glob
import sys

import h5py
import numpy as np

run, want = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
status = []
for path in sorted(glob.glob(run + "/reward/i000000/s*.h5")):
    with h5py.File(path) as f, h5py.File(path.replace("/reward/", "/rollout/")) as g:
        reward, got = f["reward"][:], f["status"][:]
        x = g["final_sample"][:].astype(np.float64)
    mean = x.reshape(len(x), -1).mean(axis=1)
    ok = got == 0
    assert np.allclose(reward[ok], mean[ok], rtol=0, atol=1e-6), (reward, mean)
    assert np.isnan(reward[~ok]).all(), reward
    status += list(got)
assert status
for path in glob.glob(run + "/advantage/i000000.h5"):
    with h5py.File(path) as f:
        a, usable, got = f["advantage"][:], f["usable"][:], f["status"][:]
    assert np.isfinite(a).all() and (a[usable == 0] == 0).all(), a
    assert ((got == 0) == (usable == 1)).all() and list(got) == status
print("".join(map(str, status)))
if want:
    assert "".join(map(str, status)) == (want * len(status) if len(want) == 1 else want)
