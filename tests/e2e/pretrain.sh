#!/bin/bash
# Pretraining: the same bits for any number of ranks and after a stop, a checkpoint folder
# that the other commands read.
. tests/e2e/lib.sh

size=$(grep -oE '"sample_size": *[0-9]+' "$data/unet_tiny_config.json" | grep -oE '[0-9]+$')
channels=$(grep -oE '"in_channels": *[0-9]+' "$data/unet_tiny_config.json" | grep -oE '[0-9]+$')

# 24 pictures as uint8 npy [24, C, H, W]: bright discs of random colour.
perl -e '
    my ($c, $s) = @ARGV; srand 7; binmode STDOUT;
    my $h = "{\x27descr\x27: \x27|u1\x27, \x27fortran_order\x27: False, \x27shape\x27: (24, $c, $s, $s), }";
    $h .= " " x (117 - length $h) . "\n";
    print "\x93NUMPY\x01\x00", pack("v", length $h), $h;
    for my $n (1 .. 24) { for (1 .. $c) { my $v = int rand 256; for my $y (0 .. $s - 1) {
        for my $x (0 .. $s - 1) { my $r = ($x - $s / 2) ** 2 + ($y - $s / 2) ** 2;
        print chr($r < $s * $s / 5 ? $v : 255) } } } }' "$channels" "$size" >"$work/discs.npy"

cat >"$work/pretrain.yaml" <<YAML
run: {seed: 5}
model: {micro_batch: 4}
pretrain:
  data: $work/discs.npy
  network: $data/unet_tiny_config.json
  scheduler: $data/scheduler_config.json
  steps: 40
  batch: 10
  lr: 2e-3
  warmup: 5
  log_every: 10
  save_every: 15
YAML

train() { # LOG RANKS NAME ARGUMENTS...
    local log=$1 ranks=$2 name=$3
    shift 3
    run_mpi "$log" "$ranks" pretrain "$work/pretrain.yaml" run.dir="$work/$name" \
        pretrain.output="$work/$name.model" "$@"
}
weights() { sha256sum <"$work/$1.model/unet/diffusion_pytorch_model.safetensors"; }

train "$work/log" 1 one
is_code $? 0 "pretrain on 1 rank" "$work/log"
first=$(grep -oE '"loss": *[0-9.]+' "$work/one/metrics.jsonl" | head -1 | grep -oE '[0-9.]+$')
last=$(grep -oE '"loss": *[0-9.]+' "$work/one/metrics.jsonl" | tail -1 | grep -oE '[0-9.]+$')
awk "BEGIN { exit !($last < 0.9 * $first) }"
ok $? "the loss falls: $first to $last"
for ranks in 2 5; do
    train "$work/log" "$ranks" "many$ranks"
    is_code $? 0 "pretrain on $ranks ranks" "$work/log"
    [ "$(weights one)" = "$(weights "many$ranks")" ]
    ok $? "the same bits on $ranks ranks"
done

# Stopped at a checkpoint and continued on another number of ranks.
mkdir -p "$work/stop" && touch "$work/stop/STOP"
train "$work/log" 3 stop
is_code $? 75 "a STOP file" "$work/log"
train "$work/log" 2 stop
is_code $? 0 "the same command goes on" "$work/log"
[ "$(weights one)" = "$(weights stop)" ]
ok $? "with the same bits"
before=$(ls "$work/stop/policy")
train "$work/log" 1 stop
is_code $? 0 "a finished job" "$work/log"
[ "$before" = "$(ls "$work/stop/policy")" ]
ok $? "is not saved again"

"$sluice" sample "$work/one.model" --n 2 --steps 3 --out "$work/s.npy" >"$work/log" 2>&1
is_code $? 0 "sample reads the folder" "$work/log"
train "$work/log" 1 one pretrain.batch=11
is_code $? 2 "another configuration is refused" "$work/log"
finish
