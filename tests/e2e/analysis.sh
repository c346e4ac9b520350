#!/bin/bash
# index.h5, merged files and examples/analysis.py with h5py, xarray and matplotlib, which
# share no code with ours: the same numbers as in the shards; what is missing or damaged
# is found.
. tests/e2e/lib.sh

python=/usr/bin/python3
"$python" -c 'import h5py, numpy' 2>/dev/null || {
    echo "1..0 # SKIP no h5py"
    exit 0
}
has_xarray=1
"$python" -c 'import xarray, h5netcdf' 2>/dev/null || has_xarray=
model "$work/model"
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 3 "$work/model"
echo 'reward: {name: brightness, guard: jpeg_compressibility}' >>"$work/config.yaml"
run_mpi "$work/log" 2 run "$work/config.yaml" run.dir="$work/run"
is_code $? 0 "a run" "$work/log"
"$sluice" merge "$work/run" "$work/all.h5" >"$work/log" 2>&1
is_code $? 0 "merge" "$work/log"

analyse() { # LOG FROM [PYTHONPATH]
    (
        [ $# -lt 3 ] || export PYTHONPATH=$3
        timeout -k 5 120 "$python" -B examples/analysis.py "$2" "$work/pictures" >"$1" 2>&1
    )
}
for from in "$work/run" "$work/all.h5"; do
    file=$from
    [ "$from" != "$work/run" ] || file=$from/index.h5
    name=${file##*/}
    "$python" -B tests/e2e/index_readers.py h5py "$file" "$work/run" 30 5 >"$work/check" 2>&1
    is_code $? 0 "$name: h5py reads every column as in the shards" "$work/check"
    analyse "$work/log" "$from"
    is_code $? 0 "$name: examples/analysis.py" "$work/log"
    if [ -n "$has_xarray" ]; then
        "$python" -B tests/e2e/index_readers.py xarray "$file" "$work/run" 30 5 \
            >"$work/check" 2>&1
        is_code $? 0 "$name: so does xarray" "$work/check"
    else
        skip "$name: xarray" "no xarray or no h5netcdf"
    fi
    if [ -n "$has_xarray" ] && "$python" -c 'import matplotlib' 2>/dev/null; then
        "$python" -B tests/e2e/analysis_check.py "$work/run" "$work/log" "$work/pictures" \
            >"$work/check" 2>&1
        is_code $? 0 "$name: its numbers and pictures" "$work/check"
    else
        skip "$name: its numbers and pictures" "no matplotlib or no xarray"
    fi
    rm -rf "$work/pictures"
done

# Without the packages that it can do without, and without one that it cannot.
mkdir "$work/none" "$work/less"
for module in matplotlib xarray h5netcdf; do
    echo "raise ImportError" >"$work/none/$module.py"
done
analyse "$work/log" "$work/run" "$work/none"
is_code $? 0 "h5py alone" "$work/log"
says "$work/log" '^best: ' "is enough for the numbers"
says "$work/log" 'matplotlib is not installed' "it says what is absent"
echo 'raise ImportError("no h5py here")' >"$work/less/h5py.py"
analyse "$work/log" "$work/run" "$work/less"
is_code $? 1 "without h5py" "$work/log"
says "$work/log" '^no h5py here; install h5py' "it says what to install"

# What is missing, damaged, or another file.
index_reads() { # DIR: does h5py read all numbers of the index, and are they finite?
    "$python" -c 'import sys, h5py, numpy
f = h5py.File(sys.argv[1])
sys.exit(0 if numpy.isfinite(f["rollout/latents"][:]).all() else 9)' "$1/index.h5" 2>"$work/err"
}
found() { # DIR PATTERN NAME: analysis.py and verify find what is wrong in DIR.
    analyse "$work/log" "$1"
    is_code $? 1 "$3: analysis.py refuses it" "$work/log"
    says "$work/log" "$2" "and names the file"
    "$sluice" verify "$1" >"$work/log" 2>&1
    is_code $? 3 "$3: sluice verify" "$work/log"
    says "$work/log" 'rollout/i000001/s00001.h5' "names it too"
}
broken() { # NAME: a copy of the run; its file to break is in $shard.
    shard=$work/$1/rollout/i000001/s00001.h5
    cp -r "$work/run" "$work/$1"
}
broken gone
rm "$shard"
index_reads "$work/gone"
is_code $? 9 "h5py alone reads a shard that is gone as NaN" "$work/err"
found "$work/gone" 's00001.h5 is gone' "a shard is gone"

broken flipped
"$python" -c 'import sys, h5py
with h5py.File(sys.argv[1]) as f:
    at = f["latents"].id.get_chunk_info(0).byte_offset
    where = open(sys.argv[1], "rb").read().find(f["latents"][0, 0].tobytes())
    assert where in (at, at + 512), (where, at)
with open(sys.argv[1], "r+b") as f:
    f.seek(where + 9)
    byte = f.read(1)[0]
    f.seek(where + 9)
    f.write(bytes([byte ^ 4]))' "$shard"
is_code $? 0 "one bit of a stored state is flipped"
index_reads "$work/flipped"
is_code $? 1 "h5py refuses to read it through the index" "$work/err"
found "$work/flipped" 'damaged: rollout/i000001/s00001.h5: column latents' "a flipped bit"

broken other
cp "$work/run/rollout/i000000/s00001.h5" "$shard"
index_reads "$work/other"
is_code $? 0 "h5py alone reads another shard in its place" "$work/err"
found "$work/other" 's00001.h5 has other content' "another shard in its place"

# Rewards that are not there yet.
cp -r "$work/run" "$work/part"
rm "$work/part/reward/i000002/s00000.h5"
"$sluice" merge "$work/part" "$work/part.h5" >"$work/log" 2>&1
is_code $? 0 "merge of a run that lacks rewards" "$work/log"
analyse "$work/log" "$work/part.h5"
is_code $? 0 "analysis.py" "$work/log"
[ -z "$has_xarray" ] || says "$work/log" 'rewards of some shards are not there' \
    "does not join rows that do not belong together"
says "$work/log" '^ +2 +[-0-9.]+ +[-0-9.]+ +6$' "the last iteration has 6 of 10 samples"
finish
