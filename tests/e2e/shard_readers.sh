#!/bin/bash
# Our files through other people's readers: h5dump, h5py (digest recomputed from
# FORMAT.md alone), xarray; then `sluice inspect` and `sluice verify` on a small run.
# TAP. BUILD names the build folder.
build=${BUILD:-build}
here=$(dirname "$0")
python=${PYTHON:-/usr/bin/python3}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
count=0 failed=0

ok() { # ok STATUS TEXT
    count=$((count + 1))
    if [ "$1" -eq 0 ]; then echo "ok $count - $2"; else
        echo "not ok $count - $2"
        failed=1
    fi
}
skip() {
    count=$((count + 1))
    echo "ok $count - $1 # SKIP $2"
}

file=$dir/s.h5
"$build/tests/shard" write "$file"
ok $? "a sample file is written"
want=$(tail -c +513 "$file" | strings -n 64 | grep -oE '[0-9a-f]{64}' | grep -v '^\([0-9a-f]\)\1*$' | head -1)

if command -v h5dump >/dev/null; then
    h5dump -d /reward "$file" | grep -q '0.5, -1.25, -2.5, -3.75, -5'
    ok $? "h5dump prints a column"
    h5dump -p -H "$file" | grep -c 'CHECKSUM FLETCHER32' | grep -qx 13
    ok $? "every data set is checksummed"
    h5dump -a /latents/units "$file" | grep -q '"1"'
    ok $? "h5dump prints units"
else
    skip "h5dump" "h5dump is not installed"
fi

if "$python" -c 'import h5py, numpy' 2>/dev/null; then
    got=$("$python" "$here/shard_digest.py" "$file")
    ok $? "a script recomputes the content digest: $got"
    [ "$got" = "$want" ]
    ok $? "and it is the one in the file"
    "$python" "$here/shard_digest.py" --huge "$dir/huge.h5"
    "$build/sluice" verify "$dir/huge.h5" | grep -q "claims more values than the file holds"
    ok $? "a column that claims 2^60 values is refused"
else
    skip "recomputing the digest" "h5py is not installed"
fi

if "$python" -c 'import xarray, h5netcdf' 2>/dev/null; then
    "$python" - "$file" <<'END'
import sys, xarray
d = xarray.open_dataset(sys.argv[1], engine="h5netcdf")
assert d["latents"].dims == ("sample", "state", "value"), d
assert list(d["t"].values) == [900, 600, 300, 0] and d["latents"].attrs["units"] == "1"
assert d["prompt"].values[1].decode() == "prompt n\u00b0 1"
END
    ok $? "xarray finds dimensions, coordinates and units"
else
    skip "xarray" "xarray or h5netcdf is not installed"
fi

run=$dir/run
"$build/tests/verify" make "$run"
if "$python" -c 'import h5py, numpy' 2>/dev/null; then
    (cd / && "$python" - "$run/index.h5" <<'END'
import sys, h5py, numpy
f = h5py.File(sys.argv[1])
r = f["rollout/reward"][:]
assert r.shape == (20,) and r[4] == 1 and r[8] == 10 and r[17] == 21, r
assert list(f["rollout/iteration"][:]) == [0] * 8 + [1] * 8 + [2] * 4
assert f["sources/reward/path"][0] == b"reward/i000000/s00000.h5"
END
    )
    ok $? "h5py reads all shards through index.h5 from any folder"
else
    skip "index.h5 through h5py" "h5py is not installed"
fi

"$build/sluice" verify "$run" | tail -1 | grep -qx '16 files, 0 damaged'
ok $? "verify finds a good run good"
"$build/sluice" inspect "$run" | grep -q '^ *1 *2 *2 *yes$'
ok $? "inspect lists its iterations"
"$build/sluice" inspect --json "$run/policy/v000001.h5" >"$dir/j"
ok $? "inspect --json on a policy file"
"$python" - "$dir/j" <<'END'
import json, sys
j = json.load(open(sys.argv[1]))
w = j["columns"]["weights"]
assert j["kind"] == "policy" and j["attributes"]["policy_version"] == 1
assert w["type"] == "f64" and w["shape"] == [4] and w["units"] == "m" and w["nan"] == 1
assert w["min"] == 0 and w["max"] == 2 and abs(w["mean"] - 1) < 1e-12
assert abs(w["std"] - (2 / 3) ** 0.5) < 1e-12 and len(j["content_sha256"]) == 64
END
ok $? "prints its statistics"
printf 'x' | dd of="$run/policy/v000001.h5" bs=1 seek=200 conv=notrunc status=none
"$build/sluice" verify "$run" >"$dir/v"
[ $? -eq 3 ] && grep -q '^DAMAGED policy/v000001.h5: ' "$dir/v" && tail -1 "$dir/v" | grep -q ' 1 damaged'
ok $? "verify names a damaged file and exits 3"
"$build/sluice" inspect "$run/policy/v000001.h5" >"$dir/i" 2>"$dir/e"
[ $? -eq 3 ] && grep -q 'v000001.h5' "$dir/e"
ok $? "so does inspect"
"$build/sluice" inspect --nonsense >/dev/null 2>&1
[ $? -eq 2 ]
ok $? "a wrong option exits 2"
echo "1..$count"
exit $failed
