#!/bin/bash
# Statistics of runs, compared with numpy's from the same files; the verdict about
# over-optimisation; refusals.
. tests/e2e/lib.sh

python=/usr/bin/python3
"$python" -c 'import h5py, numpy' 2>/dev/null || python=
model "$work/class" class
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 4 "$work/class"
sed -i -e 's/^rollout: {/&classes: [0, 2], copies: 2, /' -e 's/lr: 1e-4/lr: 2e-7/' \
    -e 's/^algorithm: {/&kl_weight: 0.01, /' \
    -e '$ a reward: {name: brightness, guard: jpeg_compressibility}' "$work/config.yaml"
run_mpi "$work/log" 1 run "$work/config.yaml" run.dir="$work/run" run.kl_budget=1e6
is_code $? 0 "a run with a guard" "$work/log"

stats() { # LOG ARGUMENTS...
    local log=$1
    shift
    timeout -k 5 60 "$sluice" stats "$@" >"$log" 2>&1
}

# checked NAME FIRST LAST ARGUMENTS...
checked() {
    local name=$1 first=$2 last=$3
    shift 3
    stats "$work/log" "$work/run" --json "$work/s.json" --hdf5 "$work/s.h5" "$@"
    is_code $? 0 "stats, $name" "$work/log"
    if [ -n "$python" ]; then
        "$python" -B tests/e2e/stats_check.py "$work/run" "$work/s.json" "$work/s.h5" \
            "$first" "$last" >"$work/check" 2>&1
        is_code $? 0 "$name: numpy has the same numbers" "$work/check"
    else
        skip "$name: numpy has the same numbers" "no h5py"
    fi
}
checked "the whole run" 0 3
checked "two iterations" 1 2 --iterations 1:2
checked "policy 0 through the network" 0 3 --policy 0
"$sluice" inspect "$work/s.h5" >"$work/log" 2>&1
is_code $? 0 "the file of statistics is sealed and whole" "$work/log"

# Against data that are the first iteration's own samples.
"$sluice" export "$work/run" --samples "$work/first.npy" --iteration 0 >"$work/log" 2>&1
is_code $? 0 "samples of iteration 0 as data" "$work/log"
stats "$work/log" "$work/run" --data "$work/first.npy" --training "$work/first.npy"
is_code $? 0 "distances to data" "$work/log"
says "$work/log" '^diversity.first.nearest_mean +0$' "each is its own nearest sample"
says "$work/log" '^diversity.first.copied_share +1$' "so all are copies"
says "$work/log" '^diversity.last.copied_share +0$' "the last iteration's are none"
perl -ne '$f{$1} = $2 if /^diversity\.(\S+) +(\S+)$/; END {
    exit !(abs($f{"first.frechet_data"}) < 1e-6 && $f{"last.frechet_data"} > 1 &&
        abs($f{"last.frechet_data"} - $f{"frechet_first_last"}) < 1e-4) }' "$work/log"
ok $? "Frechet distance 0 to themselves, that of the iterations from the last"

# Components of a mixture.
{
    sed '/^reward:/d' "$work/config.yaml"
    echo 'reward: {name: mixture}'
    echo 'components: {light: {name: brightness, weight: 1}, size: {name: jpeg_compressibility, weight: 0.5}}'
} >"$work/mixed.yaml"
run_mpi "$work/log" 1 run "$work/mixed.yaml" run.dir="$work/mixed" run.iterations=2
is_code $? 0 "a mixture" "$work/log"
stats "$work/log" "$work/mixed" --json "$work/s.json"
is_code $? 0 "its statistics" "$work/log"
if [ -n "$python" ]; then
    "$python" - "$work/mixed" "$work/s.json" >"$work/check" 2>&1 <<'PY'
import glob, json, sys
import h5py, numpy as np
f = [h5py.File(p) for p in sorted(glob.glob(sys.argv[1] + "/reward/*/*.h5"))]
get = lambda name: np.concatenate([x[name][:] for x in f])
c = json.load(open(sys.argv[2]))["runs"][0]["components"]
assert set(c) == {"light", "size"}, c
for name in c:
    x = get("reward_" + name)
    assert abs(c[name]["mean"] - x.mean()) < 1e-12 and abs(c[name]["std"] - x.std()) < 1e-12
    assert abs(c[name]["correlation"] - np.corrcoef(get("reward"), x)[0, 1]) < 1e-9
PY
    is_code $? 0 "numpy has the same numbers of its components" "$work/check"
fi

"$sluice" merge "$work/run" "$work/all.h5" >"$work/log" 2>&1
is_code $? 0 "merge" "$work/log"
"$sluice" merge "$work/run" "$work/all.h5" >"$work/log" 2>&1
is_code $? 2 "merge writes over nothing" "$work/log"
"$sluice" merge "$work/run" "$work/some.h5" --iterations 1:2 >"$work/log" 2>&1
says "$work/log" '20 samples of 14 files' "merge of two iterations"

# A run in which the reward rises and the guard falls, by construction.
stats "$work/log" "$work/run" "$work/run" --iterations 0
is_code $? 0 "two runs side by side" "$work/log"
says "$work/log" '^reward.mean +(-?[0-9.e-]+) +\1$' "in one table"
says "$work/log" 'Fewer than three iterations' "one iteration has no trend"
"$BUILD/tests/tools/make_rewards" "$work/rigged" 5 0.25 -0.5
is_code $? 0 "rewards that rise by 0.25 while the guard falls by 0.5"
stats "$work/log" "$work/rigged"
is_code $? 0 "their statistics" "$work/log"
says "$work/log" 'Over-optimisation: the reward rises by 0.25 .* falls by 0.5 .*highest in iteration 0' \
    "over-optimisation is named"
"$BUILD/tests/tools/make_rewards" "$work/good" 5 0.25 0.5
stats "$work/log" "$work/good"
says "$work/log" 'No over-optimisation seen: the reward rises and the guard rises' \
    "and is not named where both rise"

cp -r "$work/run" "$work/old"
rm -r "$work/old/rollout" "$work/old/advantage"
stats "$work/log" "$work/old"
is_code $? 0 "rewards alone" "$work/log"
stats "$work/log" "$work/run" --iterations 7:9
is_code $? 3 "iterations that are not there" "$work/log"
stats "$work/log" "$work/run" --iterations 3:1
is_code $? 2 "a range upside down" "$work/log"
stats "$work/log" "$work/run" --policy 99
is_code $? 3 "a version that is not there" "$work/log"
stats "$work/log" "$work/run" --data "$work/none.npy"
is_code $? 3 "a data file that is not there" "$work/log"
stats "$work/log" "$work/run" "$work/old" --hdf5 "$work/x.h5"
is_code $? 2 "one file for two runs" "$work/log"
printf x | dd of="$work/run/reward/i000001/s00001.h5" bs=1 seek=3000 conv=notrunc 2>/dev/null
stats "$work/log" "$work/run"
[ $? != 139 ]
ok $? "a damaged shard does not crash it"
"$sluice" merge "$work/run" "$work/bad.h5" >"$work/log" 2>&1
is_code $? 3 "merge refuses a damaged shard" "$work/log"
[ -z "$(ls "$work" | grep bad.h5)" ]
ok $? "and leaves nothing"
finish
