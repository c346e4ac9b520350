#!/bin/bash
# Series and texts: pretraining with coded data and dropped labels, samples in the data's
# own units, guidance in sampling and in a run.
. tests/e2e/lib.sh

# 60 curves of 8 numbers around 3 (weekday 0) or 30 (weekday 1), and 40 texts: AC or GTT
# repeated.
perl -e '
    srand 3; binmode STDOUT;
    my $h = "{\x27descr\x27: \x27<f4\x27, \x27fortran_order\x27: False, \x27shape\x27: (60, 8), }";
    $h .= " " x (117 - length $h) . "\n";
    print "\x93NUMPY\x01\x00", pack("v", length $h), $h;
    for my $n (0 .. 59) { print pack("f<8", map { ($n % 2 ? 30 : 3) * exp(rand) } 1 .. 8) }' \
    >"$work/curves.npy"
perl -e 'print "row,day\n"; print "$_,", $_ % 2, "\n" for 0 .. 59' >"$work/days.csv"
perl -e 'print "id,seq\n"; print "$_,", ($_ % 2 ? "ACACACAC" : "GTTGTT"), "\n" for 0 .. 39' \
    >"$work/texts.csv"
cat >"$work/curve.json" <<'JSON'
{"_class_name": "SequenceTransformer", "in_channels": 1, "sample_size": [1, 8],
 "hidden_size": 32, "num_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2,
 "num_class_embeds": 2, "null_class": true}
JSON
cat >"$work/text.json" <<'JSON'
{"_class_name": "MLPDenoiser", "in_channels": 5, "sample_size": [1, 8], "hidden_size": 64,
 "num_layers": 2}
JSON
sed 's/"clip_sample": true/"clip_sample": false/' "$data/scheduler_config.json" >"$work/plan.json"

train() { # LOG RANKS NAME ARGUMENTS...
    local log=$1 ranks=$2 name=$3
    shift 3
    run_mpi "$log" "$ranks" pretrain run.dir="$work/$name" pretrain.output="$work/$name.model" \
        run.seed=5 model.micro_batch=8 pretrain.scheduler="$work/plan.json" pretrain.batch=16 \
        pretrain.flip=false pretrain.lr=3e-3 pretrain.warmup=10 pretrain.ema_decay=0.98 \
        "$@"
}
curves() { # LOG RANKS NAME ARGUMENTS...
    train "$@" pretrain.data="$work/curves.npy" pretrain.network="$work/curve.json"
}
day=pretrain.labels=$work/days.csv:day
weights() { sha256sum <"$work/$1.model/unet/diffusion_pytorch_model.safetensors"; }

curves "$work/log" 1 one "$day" pretrain.normalize=log pretrain.label_dropout=0.2 pretrain.steps=300
is_code $? 0 "pretrain on curves" "$work/log"
curves "$work/log" 3 three "$day" pretrain.normalize=log pretrain.label_dropout=0.2 pretrain.steps=300
is_code $? 0 "pretrain on 3 ranks" "$work/log"
[ "$(weights one)" = "$(weights three)" ]
ok $? "the same bits"
grep -q '"kind": "series", "log": true, "mean": ' "$work/one.model/unet/config.json"
ok $? "the folder says how the data were coded"

middle() { perl -F, -ane '$n++, $s += log for @F; END { printf "%.3f", exp($s / $n) }' "$1"; }
for class in 0 1; do
    "$sluice" sample "$work/one.model" --n 40 --steps 20 --class $class --out "$work/$class.csv" \
        >"$work/log" 2>&1
    is_code $? 0 "samples of class $class" "$work/log"
    m=$(middle "$work/$class.csv")
    awk "BEGIN { want = $class ? 49 : 4.9; exit !($m > want / 1.4 && $m < want * 1.4) }"
    ok $? "in the data's units: their middle is $m"
done
"$sluice" sample "$work/one.model" --n 4 --steps 5 --class 1 --guidance 2 --out "$work/g.csv" \
    >"$work/log" 2>&1
is_code $? 0 "guidance" "$work/log"
"$sluice" sample "$work/one.model" --n 4 --steps 5 --class 1 --out "$work/h.csv" >"$work/log" 2>&1
! cmp -s "$work/g.csv" "$work/h.csv"
ok $? "changes samples"
"$sluice" sample "$work/one.model" --out "$work/s.png" >"$work/log" 2>&1
is_code $? 2 "a series is no picture" "$work/log"
"$sluice" sample "$work/one.model" --out "$work/s.txt" >"$work/log" 2>&1
is_code $? 2 "nor text" "$work/log"

# Training goes on with the coding that the network has.
run_mpi "$work/log" 1 pretrain run.dir="$work/on" pretrain.output="$work/on.model" \
    model.path="$work/one.model" pretrain.data="$work/curves.npy" "$day" pretrain.steps=2 \
    pretrain.flip=false
is_code $? 0 "training goes on" "$work/log"
cmp -s "$work/one.model/unet/config.json" "$work/on.model/unet/config.json"
ok $? "with the same configuration"

train "$work/log" 2 text pretrain.data="$work/texts.csv" pretrain.format=text \
    pretrain.column=seq pretrain.network="$work/text.json" pretrain.steps=400
is_code $? 0 "pretrain on texts" "$work/log"
"$sluice" sample "$work/text.model" --n 50 --steps 20 --out "$work/s.txt" >"$work/log" 2>&1
is_code $? 0 "texts" "$work/log"
good=$(grep -cE '^(ACACACAC|GTTGTT)$' "$work/s.txt")
[ "$(wc -l <"$work/s.txt")" = 50 ] && [ "$good" -ge 25 ]
ok $? "$good of 50 are texts of the data"

# A run under guidance: the ratio stays exactly 1 and verify agrees.
run_mpi "$work/log" 2 run model.path="$work/one.model" run.dir="$work/run" run.iterations=2 \
    sampler.steps=4 sampler.guidance=2 rollout.samples=8 rollout.shard_samples=4 \
    model.micro_batch=4 reward.name=brightness
is_code $? 0 "a run with guidance" "$work/log"
says "$work/log" '^iteration 2/2 .*\|ratio-1\| 0 ' "the ratio is exactly 1"
"$sluice" verify "$work/run" >"$work/log" 2>&1
is_code $? 0 "verify" "$work/log"
run_mpi "$work/log" 1 run model.path="$work/text.model" run.dir="$work/no" \
    sampler.guidance=2 reward.name=brightness
is_code $? 2 "guidance without classes is refused" "$work/log"

curves "$work/log" 1 bad pretrain.label_dropout=0.1
is_code $? 2 "labels are needed" "$work/log"
curves "$work/log" 1 bad pretrain.labels="$work/days.csv:weekday"
is_code $? 3 "an unknown column" "$work/log"
train "$work/log" 1 bad pretrain.data="$work/texts.csv" pretrain.format=text \
    pretrain.column=seq pretrain.network="$work/text.json" pretrain.label_dropout=0.1
is_code $? 2 "label_dropout without a null class" "$work/log"
curves "$work/log" 1 bad "$day" pretrain.normalize=log pretrain.flip=true
is_code $? 2 "a series is not mirrored" "$work/log"
train "$work/log" 1 bad pretrain.data="$work/texts.csv" pretrain.format=text \
    pretrain.column=seq pretrain.alphabet=ACGT pretrain.network="$work/text.json"
is_code $? 3 "no blank in the alphabet" "$work/log"

# The shipped checkpoints.
"$sluice" sample examples/power/model --n 14 --steps 2 --out "$work/power.svg" >"$work/log" 2>&1
[ "$(grep -c "<polyline" "$work/power.svg")" = 14 ]
ok $? "series are drawn as curves"
"$sluice" sample examples/power/model --n 14 --steps 10 --out "$work/power.csv" >"$work/log" 2>&1
is_code $? 0 "days of power" "$work/log"
perl -F, -ane '$bad++ if @F != 24; $s += $_, $low++ for grep { $_ > 0 } @F;
    END { exit !(!$bad && $low == 14 * 24 && $s / $low > 0.5 && $s / $low < 2) }' "$work/power.csv"
ok $? "14 days of 24 positive numbers, about 1 kW"
"$sluice" sample examples/dna/model --n 9 --steps 10 --guidance 2 --out "$work/dna.txt" \
    >"$work/log" 2>&1
is_code $? 0 "DNA" "$work/log"
[ "$(grep -cE '^[ACGT]{8}$' "$work/dna.txt")" = 9 ]
ok $? "9 sequences of 8 bases"
finish
