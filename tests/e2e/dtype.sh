#!/bin/bash
# bfloat16 from the command line: the same bits for any layout and the ratio exactly 1, as
# in float32; gradient checkpointing changes no bit; a processor without bfloat16 says so
# and computes in float32.
. tests/e2e/lib.sh

model "$work/plain"
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 2 "$work/plain"

# run NAME LAYOUT ARGUMENTS...
run() {
    local name=$1 layout=$2
    shift 2
    run_layout "$work/$name.log" "$layout" run "$work/config.yaml" run.dir="$work/$name" \
        "$@"
    is_code $? 0 "$name, layout ${layouts[$layout]}" "$work/$name.log"
}

# exact NAME: the largest distance of a ratio from 1 in every line of the metrics.
exact() {
    perl -MJSON::PP -ne '$l = decode_json($_); next unless exists $l->{iteration};
        $n++; $bad ||= $l->{ratio_absdev_max} != 0;
        END { exit !($n == 2 && !$bad) }' "$work/$1/metrics.jsonl"
    ok $? "$1: every ratio is exactly 1 before the first step"
}

run f32 0
digests "$work/f32" >"$work/f32.ref"
run half 0 model.dtype=bf16-emulated
exact half
digests "$work/half" >"$work/half.ref"
! cmp -s "$work/f32.ref" "$work/half.ref"
ok $? "bfloat16 gives other bits than float32"
for i in 2 5; do
    run "half$i" $i model.dtype=bf16-emulated
    same_bits "$work/half$i" "$work/half.ref" "bf16-emulated, layout ${layouts[$i]}"
done
run less 3 model.dtype=bf16-emulated model.gradient_checkpointing=true
same_bits "$work/less" "$work/half.ref" "bf16-emulated with gradient checkpointing"
run plain 2 model.backend=reference model.dtype=bf16
exact plain

# What the processor cannot do.
if grep -qE 'amx_bf16' /proc/cpuinfo; then
    run native 0 model.dtype=bf16
    exact native
    digests "$work/native" >"$work/native.ref"
    run native3 3 model.dtype=bf16
    same_bits "$work/native3" "$work/native.ref" "bf16, layout ${layouts[3]}"
    skip "bf16 without instructions" "this processor has them"
else
    run absent 3 model.dtype=bf16
    says "$work/absent.log" 'no bfloat16 matrix unit.*float32' "the warning says why"
    same_bits "$work/absent" "$work/f32.ref" "bf16 without instructions is float32"
    run_layout "$work/log" 0 run "$work/config.yaml" run.dir="$work/absent" \
        model.dtype=bf16-emulated
    is_code $? 2 "the run does not go on with another dtype" "$work/log"
    says "$work/log" 'model.dtype' "the message names the key"
fi

# Other commands.
"$sluice" sample "$work/plain" --out "$work/s.npy" --n 2 --steps 2 --height 8 --width 8 \
    --dtype bf16-emulated >"$work/log" 2>&1
is_code $? 0 "sample --dtype bf16-emulated" "$work/log"
"$sluice" plan "$work/config.yaml" model.dtype=bf16-emulated >"$work/log" 2>&1
is_code $? 0 "plan in bfloat16" "$work/log"
says "$work/log" 'gradient_checkpointing=true: micro-batch' "plan says what it saves"
finish
