"""Does RUNDIR/index.h5 read as FORMAT.md says: with h5py, and with xarray where it is there?
Usage: index_readers.py FILE RUNDIR SAMPLES STEPS; FILE is index.h5 or a merged file."""
import glob, sys
import h5py
import numpy as np

path, run, samples, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with h5py.File(path) as f:
    g = f["rollout"]
    assert g["log_prob"].shape == (samples, steps), g["log_prob"].shape
    assert g["log_prob"].dims[0].keys() == ["sample"] and g["log_prob"].dims[1].keys() == ["step"]
    assert [d.keys()[0] for d in g["latents"].dims] == "sample state channel height width".split()
    assert g["mask"].shape == (steps,) and g["log_prob"].attrs["units"] == b"nat"
    for kind, name in (("rollout", "latents"), ("rollout", "log_prob"), ("rollout", "prompt"),
                       ("reward", "reward"), ("reward", "status")):
        files = [f["sources"][kind]["path"][i].decode() for i in range(len(f["sources"][kind]["path"]))]
        want = np.concatenate([h5py.File(f"{run}/{p}")[name][:] for p in files])
        got = f[kind][name][:]
        assert got.shape == want.shape and (got == want).all(), (kind, name)
    it = f["reward/iteration"][:]
    assert (np.diff(it) >= 0).all()
try:
    import xarray, h5netcdf
except ImportError:
    print("no xarray")
    sys.exit(0)
for kind in ("rollout", "reward", "advantage"):
    d = xarray.open_dataset(path, group=kind, engine="h5netcdf")
    assert d.sizes["sample"] == samples, d.sizes
    assert "iteration" in d.coords
    if kind == "rollout":
        assert d.log_prob.dims == ("sample", "step")
        assert d.final_sample.dims == ("sample", "channel", "height", "width")
        assert "iteration" in d.log_prob.coords
    if kind == "reward":
        mean = d.reward.groupby("iteration").mean().values
        assert np.allclose(mean, [d.reward.values[it == i].mean() for i in np.unique(it)])
print("xarray too")
