#!/bin/bash
# The shipped example, cut short: its checkpoint, its configuration, its script, its report.
. tests/e2e/lib.sh

short="sampler.steps=4 rollout.samples=12 rollout.shard_samples=4 model.micro_batch=4"
MPIRUN="timeout -k 5 120 $MPIRUN" sh examples/jpeg/run.sh "$work/run" run.iterations=2 $short \
    >"$work/log" 2>&1
is_code $? 0 "examples/jpeg/run.sh" "$work/log"
says "$work/log" "^report: $work/run/report.html" "the report's path is printed"
says "$work/log" '^iteration 2/2 .*\|ratio-1\| 0 ' "a line per iteration, the ratio exactly 1"
grep -q 'data:image/png' "$work/run/report.html" && ! grep -q '<script' "$work/run/report.html"
ok $? "the report holds its pictures and no script"
"$sluice" verify "$work/run" >"$work/log" 2>&1
is_code $? 0 "verify" "$work/log"
if /usr/bin/python3 -c 'import h5py' 2>/dev/null; then
    /usr/bin/python3 -B tests/e2e/format_names.py io/FORMAT.md "$work/run" >"$work/log" 2>&1
    is_code $? 0 "FORMAT.md names all that the run directory holds" "$work/log"
else
    skip "names in FORMAT.md" "no h5py"
fi
"$sluice" plan examples/jpeg/run.yaml >"$work/log" 2>&1
is_code $? 0 "plan" "$work/log"
"$sluice" export "$work/run" "$work/model" >"$work/log" 2>&1
is_code $? 0 "export" "$work/log"
[ "$(stat -c %s examples/jpeg/model/unet/*.safetensors)" -le 8388608 ]
ok $? "the checkpoint has at most 8 MB"
finish
