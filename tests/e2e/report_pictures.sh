#!/bin/bash
# Heat maps, samples by reward and denoising strips in the report: numbers and pictures as
# an independent program (report_pictures.py) makes them from the files; what it says of
# shards that are gone or damaged; that a large run's report reads little.
. tests/e2e/lib.sh

/usr/bin/python3 -c 'import h5py, numpy' 2>/dev/null || {
    skip "pictures in the report" "python3 with h5py and numpy is not here"
    finish
}
report() { # DIR: a fresh report, no longer than a minute
    timeout -k 5 60 "$sluice" report "$1" >"$work/log" 2>&1
    is_code $? 0 "report" "$work/log"
}
has() { # DIR PATTERN NAME
    grep -Eq -- "$2" "$1/report.html"
    ok $? "$3" || echo "# nothing matches: $2"
}
check() { # DIR KIND TITLES...: the report of a run agrees with its files
    local dir=$1
    shift
    report "$dir"
    /usr/bin/python3 -B tests/e2e/report_pictures.py "$dir" "$@" >"$work/log" 2>&1
    is_code $? 0 "$1: $(grep -c ^ok "$work/log") things agree with the files" "$work/log"
    grep ^BAD "$work/log" | note
}
updates=("KL of the update" "Clip fraction")
stored=("KL to policy 0" "Log ratio to policy 0" "Spread of the chains")

# Pictures, at two layouts: the numbers by step are the same.
model "$work/tiny"
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 3 "$work/tiny"
sed -i -e 's/lr: 1e-4/lr: 1e-5, timestep_fraction: 0.5/' "$work/config.yaml"
echo 'reward: {name: brightness}' >>"$work/config.yaml"
for layout in 0 3; do
    run_layout "$work/log" $layout run "$work/config.yaml" run.dir="$work/image$layout" \
        run.kl_budget=1e9 run.keep_shards=0 algorithm.clip_range=1e-6
    is_code $? 0 "a run of pictures" "$work/log"
    check "$work/image$layout" image "${updates[@]}" "${stored[@]}"
    grep -o '"update_steps": {[^}]*}' "$work/image$layout/metrics.jsonl" >"$work/steps$layout"
done
[ -s "$work/steps0" ] && cmp -s "$work/steps0" "$work/steps3"
ok $? "update_steps is the same in another layout"
perl -MJSON::PP -ne '$j = decode_json($_); next unless $j->{update_steps};
    for ("approx_kl", "clip_fraction") {
        my @v = grep { defined } @{$j->{update_steps}{$_}}; my $s = 0; $s += $_ for @v;
        $bad++ unless @v && $s / @v > 0.2 * $j->{$_} && $s / @v < 5 * $j->{$_}; } $n++;
    END { exit !($n == 3 && !$bad) }' "$work/image0/metrics.jsonl"
ok $? "and is of the size of the means over all steps"

# Texts whose advantages differ from step to step, and series.
run_mpi "$work/log" 2 run examples/molecules/run.yaml run.dir="$work/text" run.iterations=2 \
    rollout.samples=24 rollout.shard_samples=8 update.batch=24 sampler.steps=8 \
    run.keep_shards=0 algorithm.name=ppo update.timestep_fraction=1 update.lr=1e-3
is_code $? 0 "a run of texts" "$work/log"
check "$work/text" text "${updates[@]}" "${stored[@]}" "Size of the advantage"
perl -MJSON::PP -ne '$j = decode_json($_); $u = $j->{update_steps} or next; $n++;
    for ("approx_kl", "clip_fraction") {
        my @v = @{$u->{$_}}; my $s = 0; $s += $_ for @v; $bad++ if !grep { $_ > 0 } @v;
        $bad++ if abs($s / @v - $j->{$_}) > 1e-9 * $j->{$_}; }
    END { exit !($n == 2 && !$bad) }' "$work/text/metrics.jsonl"
ok $? "where all steps are trained their mean is the iteration's"
run_mpi "$work/log" 1 run examples/power/run.yaml run.dir="$work/series" run.iterations=3 \
    rollout.samples=24 rollout.shard_samples=8 update.batch=24 update.lr=3e-3 run.keep_shards=0
is_code $? 0 "a run of series" "$work/log"
check "$work/series" series "${updates[@]}" "Spread of the chains"

# More steps than a map has rows, more iterations than it has columns.
run_mpi "$work/log" 1 run examples/power/run.yaml run.dir="$work/long" run.iterations=1 \
    rollout.samples=8 rollout.shard_samples=8 update.batch=8 update.timestep_fraction=0.3 \
    sampler.steps=90 run.keep_shards=0
is_code $? 0 "a run of 90 steps" "$work/log"
check "$work/long" series "${updates[@]}" "Spread of the chains"
perl -MJSON::PP -ne '$j = decode_json($_); next unless $j->{update_steps};
    for (0 .. 249) {
        $j->{iteration} = $_ * 3; $j->{reward_mean} = -$_;
        $j->{update_steps}{approx_kl}[$_ % 64] = 1e-5 * $_;
        $j->{update_steps}{clip_fraction}[0] = 0.5; print encode_json($j), "\n"; }' \
    "$work/long/metrics.jsonl" >"$work/lines"
sed -n '100p' "$work/lines" | sed 's/"clip_fraction":\[[^,]*/"clip_fraction":[9/' >"$work/long/metrics.jsonl"
cat "$work/lines" >>"$work/long/metrics.jsonl" # of an iteration twice the later line counts
check "$work/long" series "${updates[@]}" "Spread of the chains"

# Files that are gone or damaged.
dir=$work/series
printf broken | dd of="$(ls "$dir"/rollout/i000002/s00001.h5)" bs=1 seek=3000 conv=notrunc 2>/dev/null
truncate -s 700 "$dir/rollout/i000000/s00000.h5"
truncate -s 700 "$dir/reward/i000000/s00001.h5"
report "$dir"
has "$dir" 'damaged file\(s\) were left out' "damaged files are counted"
has "$dir" '<h3>Iteration 0 <span>policy version 0; 16 samples, 8 without a reward; 2 damaged' \
    "what is left of an iteration"
has "$dir" 'Spread of the chains' "and the maps are drawn from it"
rm -r "$dir/rollout/i000000"
report "$dir"
has "$dir" 'Rollouts before iteration 1 are gone' "the first rollouts are gone"
rm -r "$dir/rollout" "$dir/reward"
report "$dir"
has "$dir" 'No rollout shard can be read' "all are"
has "$dir" 'KL of the update' "maps of metrics.jsonl need none"
printf '{"iteration": 0, "update_steps": {"t": [9, 4], "approx_kl": 7}}\n{"iteration": 1, "update_steps": []}\n' \
    >"$dir/metrics.jsonl"
report "$dir"
ok $? "lines of another shape do no harm"
finish
