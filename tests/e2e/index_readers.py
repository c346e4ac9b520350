"""Does RUNDIR/index.h5 read as FORMAT.md says, with h5py and with xarray?
Usage: index_readers.py h5py|xarray FILE RUNDIR SAMPLES STEPS; FILE is index.h5 or a merged
file. Every number is compared with the shards', read one by one."""
import sys

import h5py
import numpy as np

how, path, run, samples, steps = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])


def stored(f, kind, name):
    files = [p.decode() for p in f["sources"][kind]["path"][:]]
    return np.concatenate([h5py.File(f"{run}/{p}")[name][:] for p in files])


def check_h5py(f):
    g = f["rollout"]
    assert g["log_prob"].shape == (samples, steps), g["log_prob"].shape
    assert g["log_prob"].dims[0].keys() == ["sample"] and g["log_prob"].dims[1].keys() == ["step"]
    assert [d.keys()[0] for d in g["latents"].dims] == "sample state channel height width".split()
    assert g["mask"].shape == (steps,) and g["log_prob"].attrs["units"] == b"nat"
    assert b'group="rollout"' in f.attrs["comment"]
    for kind in ("rollout", "reward", "advantage"):
        for name, column in f[kind].items():
            if column.dims[0].keys() == ["sample"] and name not in ("iteration", "sample"):
                want, got = stored(f, kind, name), column[:]
                assert got.shape == want.shape, (kind, name)
                assert got.tobytes() == want.tobytes(), (kind, name)
        assert (np.diff(f[kind]["iteration"][:]) >= 0).all()


def check_xarray(f):
    import xarray
    root = xarray.open_dataset(path, engine="h5netcdf")
    assert not root.data_vars and b'group="rollout"' in np.bytes_(root.attrs["comment"])
    d = {}
    for kind in ("rollout", "reward", "advantage"):
        d[kind] = x = xarray.open_dataset(path, group=kind, engine="h5netcdf")
        assert x.sizes["sample"] == samples and "iteration" in x.coords
        for name in x.data_vars:
            assert (x[name].values == f[kind][name][:]).all(), (kind, name)
            assert list(x[name].dims) == [s.keys()[0] for s in f[kind][name].dims]
    assert d["rollout"].log_prob.dims == ("sample", "step")
    assert d["rollout"].final_sample.dims == ("sample", "channel", "height", "width")
    assert d["rollout"].log_prob.attrs["units"] in ("nat", b"nat")
    sources = xarray.open_dataset(path, group="sources/rollout", engine="h5netcdf")
    assert int(sources.samples.sum()) == samples
    # One data set of all groups: `sample` says which rows belong together.
    one = xarray.merge(d.values())
    it, reward = one.iteration.values, stored(f, "reward", "reward")
    mean = one.reward.groupby("iteration").mean().values
    assert np.allclose(mean, [reward[it == i].mean() for i in np.unique(it)])
    best = one.isel(sample=int(one.reward.argmax()))
    assert (best.latents.values == stored(f, "rollout", "latents")[reward.argmax()]).all()


with h5py.File(path) as file:
    check_h5py(file) if how == "h5py" else check_xarray(file)
