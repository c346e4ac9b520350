#!/bin/bash
# The report of mixtures: sentences and numbers as an independent program (mixture_report.py)
# finds them in the shards, and what it says of shards that are gone, damaged or failed.
. tests/e2e/lib.sh

/usr/bin/python3 -c 'import h5py, numpy' 2>/dev/null || {
    skip "mixtures in the report" "python3 with h5py and numpy is not here"
    finish
}
check=tests/e2e/mixture_report.py

# calm and twin are the same reward, wanted high and low; busy wants more energy.
cat >"$work/power.yaml" <<YAML
run: {seed: 3, iterations: 3, keep_shards: 0}
model: {path: examples/power/model, micro_batch: 16}
sampler: {steps: 6, clamp_last: false, sigma_min: 0.05}
rollout: {samples: 48, shard_samples: 10}
reward: {name: mixture, guard: smooth}
components:
  calm: {name: power_peak, weight: 1, scale: 2, offset: -1, peak_cap: 1}
  busy: {name: power_energy, weight: 0.02, energy_low: 40, energy_high: 60}
  twin: {name: power_peak, weight: -0.25, peak_cap: 1}
  price: {name: power_cost, weight: 0}
  smooth: {name: power_ramp}
algorithm: {name: ddpo_is}
update: {batch: 48, lr: 1e-4}
YAML
report() { # DIR: a fresh report, no longer than a minute
    timeout 60 "$sluice" report "$1" >"$work/log" 2>&1
    is_code $? 0 "report" "$work/log"
}
has() { # DIR PATTERN NAME
    grep -Eq -- "$2" "$1/report.html"
    ok $? "$3" || echo "# nothing matches: $2"
}

for mixing in reward normalised; do
    dir=$work/$mixing
    run_mpi "$work/log" 2 run "$work/power.yaml" run.dir="$dir" reward.mixing=$mixing
    is_code $? 0 "a run, mixing: $mixing" "$work/log"
    /usr/bin/python3 "$check" "$dir" $mixing 'calm=1,-1,2 busy=0.02,0,1 twin=-0.25,0,1' \
        'price smooth' >"$work/log" 2>&1
    is_code $? 0 "sentence, correlations and shares agree with the shards" "$work/log"
    has "$dir" 'calm</b> and <b[^>]*>−twin</b> disagree: correlation -1.00' \
        "who disagrees, and that twin is turned around"
    has "$dir" 'weight is negative' "and why it has a minus"
    has "$dir" 'the guard <b[^>]*>smooth</b>' "the guard's change"
    if command -v gnuplot >/dev/null; then
        for title in 'Components by iteration' 'What each adds to the sum' 'Distributions' \
            'The two that agree least' 'Since the first iteration'; do
            has "$dir" "$title" "$title"
        done
        perl -0777 -ne 'exit !(/Components by iteration(.*?)<\/section>/s &&
            5 == (() = $1 =~ /data:image\/svg/g) && /Distributions(.*?)<\/section>/s &&
            6 == (() = $1 =~ /data:image\/svg/g))' "$dir/report.html"
        ok $? "a curve and a distribution of each component, the guard and the sum"
    else
        skip "plots" "gnuplot is not here"
    fi
done
has "$work/normalised" 'reward.mixing is <b>normalised' "normalised: it says so"

# Shards that are gone or damaged.
dir=$work/reward
rm "$dir/rollout/i000002/s00001.h5"
printf 'broken' | dd of="$dir/reward/i000002/s00002.h5" bs=1 seek=3000 conv=notrunc 2>/dev/null
rm -r "$dir/reward/i000000"
truncate -s 700 "$dir/reward/i000001/s00000.h5"
report "$dir"
has "$dir" '2 damaged reward shard' "damaged shards are counted"
has "$dir" '38 of the 48 samples of iteration 2' "what is left of the last iteration"
has "$dir" 'before iteration 1 are gone' "the first iteration is gone"
has "$dir" 'samples cannot be shown' "samples without their rollout shard"
/usr/bin/python3 "$check" "$dir" reward 'calm=1,-1,2 busy=0.02,0,1 twin=-0.25,0,1' \
    'price smooth' >"$work/log" 2>&1
is_code $? 0 "the numbers are those of the shards that are left" "$work/log"
rm -r "$dir/reward" "$dir/rollout"
report "$dir"
has "$dir" 'No reward shard can be read' "without shards it says so"
has "$dir" 'Over the run <b[^>]*>calm' "and still tells the changes"
printf 'run: [\n' >"$dir/config.yaml"
report "$dir"
has "$dir" "does not tell the components' weights" "without a configuration too"

# Texts, most of which the table does not know: infeasible.
perl -e '@b = split //, "ACGT"; print "seq,score\n";
    for $i (0 .. 65535) { next if $i >> 12 & 3; print join("", map { $b[$i >> 14 - 2 * $_ & 3] }
        0 .. 7), ",", ($i % 97) / 97, "\n" }' >"$work/dna.csv"
cat >"$work/dna.yaml" <<YAML
components:
  known: {name: table, weight: 1, table: "$work/dna.csv:seq:score"}
  light: {name: brightness, weight: 0.5}
YAML
sed -n '/^model:/,/^$/p;/^sampler:/,/^$/p' examples/dna/run.yaml >>"$work/dna.yaml"
run_mpi "$work/log" 1 run "$work/dna.yaml" run.dir="$work/dna" run.iterations=2 run.seed=5 \
    model.micro_batch=4 sampler.steps=6 rollout.samples=24 rollout.shard_samples=8 update.batch=24 \
    reward.name=mixture reward.max_failed_fraction=1
is_code $? 0 "texts, of which few are known" "$work/log"
/usr/bin/python3 "$check" "$work/dna" reward 'known=1,0,1 light=0.5,0,1' '' >"$work/log" 2>&1
is_code $? 0 "statuses and numbers agree with the shards" "$work/log"
has "$work/dna" 'Samples by status|<th>infeasible</th>' "statuses"
has "$work/dna" 'more have no sum' "samples without a sum are counted"
[ "$(grep -o '<code>[ACGT]*</code><figcaption>' "$work/dna/report.html" | wc -l)" -ge 12 ]
ok $? "texts, highest and lowest"
finish
