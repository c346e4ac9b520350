#!/bin/bash
# A run in other programs' formats, each read by a decoder that is not ours.
. tests/e2e/lib.sh

python=/usr/bin/python3
"$python" -c 'import h5py, numpy' 2>/dev/null || python=
model "$work/model"
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 3 "$work/model"
echo 'reward: {name: brightness, guard: jpeg_compressibility}' >>"$work/config.yaml"
run_mpi "$work/log" 1 run "$work/config.yaml" run.dir="$work/run" run.iterations=2
run_mpi "$work/log" 1 run "$work/config.yaml" run.dir="$work/run"
is_code $? 0 "a run of two jobs" "$work/log"

"$sluice" export "$work/run" --samples "$work/samples" --iteration 1 --csv "$work/m.csv" \
    --tensorboard "$work/board" --ro-crate >"$work/log" 2>&1
is_code $? 0 "samples, CSV, TensorBoard, RO-Crate" "$work/log"
if [ -n "$python" ]; then
    "$python" -B tests/e2e/export_check.py "$work/run" "$work/samples" 1 "$work/m.csv" \
        "$work/board" >"$work/check" 2>&1
    is_code $? 0 "decoders of their own read the same numbers" "$work/check"
else
    skip "decoders of their own" "no h5py"
fi
[ "$(grep -c '"CreateAction"' "$work/run/ro-crate-metadata.json")" = 2 ]
ok $? "an action for each job"
"$sluice" verify "$work/run" >"$work/log" 2>&1
is_code $? 0 "verify knows the crate" "$work/log"
sha256sum "$work"/board/* >"$work/sum"
"$sluice" export "$work/run" --tensorboard "$work/board" >"$work/log" 2>&1
sha256sum -c --quiet "$work/sum" >"$work/log" 2>&1 && [ "$(ls "$work/board" | wc -l)" = 1 ]
ok $? "a second export gives the same bytes in the same file"
"$sluice" export "$work/run" --samples "$work/new.npy" >"$work/log" 2>&1
is_code $? 0 "the newest samples as an array" "$work/log"

"$sluice" export "$work/run" "$work/out" >"$work/log" 2>&1
is_code $? 0 "the policy as before" "$work/log"
[ -s "$work/out/model_index.json" ]
ok $? "with its index"

refused() { # CODE NAME ARGUMENTS...
    local code=$1 name=$2
    shift 2
    "$sluice" export "$@" >"$work/log" 2>&1
    is_code $? "$code" "$name" "$work/log"
}
refused 2 "nothing to do" "$work/run"
refused 2 "both forms at once" "$work/run" "$work/x" --csv "$work/y"
refused 2 "a value that is missing" "$work/run" --csv
refused 2 "an iteration of nothing" "$work/run" --csv "$work/y" --iteration 1
refused 2 "a run that is a file" "$work/config.yaml" --csv "$work/y"
refused 3 "an iteration that is not there" "$work/run" --samples "$work/y" --iteration 7
refused 3 "a folder without metrics" "$work/board" --csv "$work/y"
refused 2 "pictures as text" "$work/run" --samples "$work/y.txt"

# Pruning: what is left is whole, and the run goes on to the same bits.
cp -r "$work/run" "$work/pruned"
prune() {
    "$sluice" prune "$work/pruned" "$@" >"$work/log" 2>&1
}
shards() { find "$work/pruned" -path '*/i00*' -name '*.h5' | wc -l; }
before=$(shards)
prune --keep-iterations 1 --dry-run
is_code $? 0 "a dry run" "$work/log"
says "$work/log" 'would remove 7 files of 1 iterations' "says what would go"
[ "$(shards)" = "$before" ]
ok $? "and removes nothing"
cp -r "$work/pruned" "$work/kept"
printf x | dd of="$work/pruned/policy/v000003.h5" bs=1 seek=4000 conv=notrunc 2>/dev/null
prune --keep-iterations 9 --dry-run
says "$work/log" 'iteration 1: stays, the run needs it' \
    "the newest policy is damaged: what made the one before it stays"
rm -r "$work/pruned" && mv "$work/kept" "$work/pruned"
flock "$work/pruned/log/update.lock" "$sluice" prune "$work/pruned" --keep-iterations 9 \
    >"$work/log" 2>&1
is_code $? 4 "refused while a job is at work" "$work/log"
for list in x 3:1 last:x every:0 "" 1,,y; do
    prune --keep-iterations "$list"
    is_code $? 2 "refused: --keep-iterations '$list'" "$work/log"
done
[ "$(shards)" = "$before" ]
ok $? "nothing was removed so far"
prune --keep-iterations last:0
is_code $? 0 "all that can go goes" "$work/log"
[ "$(shards)" = 7 ] && [ -d "$work/pruned/rollout/i000002" ]
ok $? "the newest iteration stays"
"$sluice" verify "$work/pruned" >"$work/log" 2>&1
is_code $? 0 "verify finds it whole, its index too" "$work/log"
for dir in run pruned; do
    run_mpi "$work/log" 1 run "$work/config.yaml" run.dir="$work/$dir" run.iterations=5
done
digests "$work/run" | grep -E 'policy|i00000[234]' >"$work/want"
digests "$work/pruned" >"$work/got"
cmp -s "$work/want" "$work/got"
ok $? "the pruned run goes on to the same bits" || diff "$work/want" "$work/got" | head | note

# Texts.
perl -e '@b = split //, "ACGT"; print "seq,score\n";
    for $i (0 .. 65535) { print join("", map { $b[$i >> 14 - 2 * $_ & 3] } 0 .. 7), ",",
        ($i % 97) / 97, "\n" }' >"$work/dna.csv"
run_mpi "$work/log" 1 run examples/dna/run.yaml run.dir="$work/dna" run.iterations=1 \
    rollout.samples=8 rollout.shard_samples=4 update.batch=8 \
    reward.table="$work/dna.csv:seq:score" reward.max_failed_fraction=1
is_code $? 0 "a run of strings" "$work/log"
"$sluice" export "$work/dna" --samples "$work/strings" >"$work/log" 2>&1
is_code $? 0 "its samples" "$work/log"
[ "$(grep -Ec '^[ACGT]{8}$' "$work/strings/samples.txt")" = 8 ] &&
    [ -s "$work/strings/samples.npy" ] && [ "$(wc -l <"$work/strings/rewards.csv")" = 9 ]
ok $? "as text, array and table"
finish
