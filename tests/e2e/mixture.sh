#!/bin/bash
# Mixtures in runs: the same bits for all layouts and after a kill, kept scores, what becomes
# of failures, budgets, refusals, and the other commands.
. tests/e2e/lib.sh

# The day's peak and energy, the ramp as guard, the cost watched.
cat >"$work/power.yaml" <<YAML
run: {seed: 3, iterations: 3, keep_policies: 0}
model: {path: examples/power/model, micro_batch: 4}
sampler: {steps: 4, clamp_last: false, sigma_min: 0.05}
rollout: {samples: 10, shard_samples: 4}
reward: {name: mixture, guard: watch, mixing: normalised}
components:
  peak: {name: power_peak, scale: 2, peak_cap: 2}
  energy:
    name: power_energy
    weight: 0.5
    reward: {energy_low: 18, energy_high: 22}
  watch: {name: power_ramp}
  idle: {name: power_cost, weight: 0}
algorithm: {baseline: tracker, tracker_min_count: 4, clip_range: 0.01}
update: {batch: 6, inner_epochs: 2, lr: 1e-4}
YAML

# column FILE NAME: its numbers, one a line.
column() { h5dump -y -w 1 -d "/$2" "$1" | sed -n 's/^ *\([-0-9nai][-.e+0-9nafi]*\),\?$/\1/p'; }

run_mpi "$work/log" 1 run "$work/power.yaml" run.dir="$work/one"
is_code $? 0 "a mixture, 1 rank" "$work/log"
digests "$work/one" >"$work/one.ref"
for i in 1 5 6; do
    run_layout "$work/log" $i run "$work/power.yaml" run.dir="$work/layout$i"
    is_code $? 0 "layout ${layouts[$i]}" "$work/log"
    same_bits "$work/layout$i" "$work/one.ref" "layout ${layouts[$i]}"
done
perl -MJSON::PP -e '$n = 0; while (<>) { $j = decode_json($_); next unless exists $j->{iteration};
    $c = $j->{components}; $n++;
    exit 1 unless join(",", sort keys %$c) eq "energy,idle,peak" && $c->{peak}{mean} <= 0
        && $c->{idle}{scored} == 10 && $j->{status}{ok} == 10 } exit($n != 3)' "$work/one/metrics.jsonl"
ok $? "metrics.jsonl has components and statuses"
[ "$(column "$work/one/advantage/i000000.h5" component_peak | wc -l)" = 10 ]
ok $? "advantage files have the components' scores"

begin "$work/log" 2 run "$work/power.yaml" run.dir="$work/killed"
until_file "$work/killed/policy/v000001.h5"
kill -9 $(ranks_of "$job") 2>/dev/null
end_job
run_mpi "$work/log" 3 run "$work/power.yaml" run.dir="$work/killed"
is_code $? 0 "resumed after a kill" "$work/log"
same_bits "$work/killed" "$work/one.ref" "killed and resumed"

# Other commands.
"$sluice" plan "$work/power.yaml" >"$work/log" 2>&1
is_code $? 0 "plan" "$work/log"
"$sluice" config "$work/power.yaml" components.peak.weight=3 >"$work/again.yaml" 2>"$work/log"
is_code $? 0 "config" "$work/log"
"$sluice" config "$work/again.yaml" | cmp -s - "$work/again.yaml" &&
    grep -q "reward.weight: 3$" "$work/again.yaml"
ok $? "what it says reads back the same"
"$sluice" inspect "$work/one" >"$work/log" 2>&1
is_code $? 0 "inspect" "$work/log"
"$sluice" verify "$work/one" >"$work/log" 2>&1
is_code $? 0 "verify" "$work/log"
run_mpi "$work/log" 2 evaluate "$work/one" --n 6 --out "$work/e.json"
is_code $? 0 "evaluate" "$work/log"
perl -MJSON::PP -0777 -ne '$r = decode_json($_)->{reward}; $m = sub { $r->{$_[0]}{mean} };
    $d = $m->("mixture") - $m->("peak") / 2 - $m->("energy") / 2;
    exit !(abs($d) < 1e-9 * abs($m->("mixture")) && $m->("watch") <= 0 && exists $r->{idle})' \
    "$work/e.json"
ok $? "evaluate: the mixture is the sum of its components"
for mixing in advantage normalised; do
    run_mpi "$work/log" 2 replay "$work/one" --out "$work/$mixing" reward.mixing=$mixing
    is_code $? 0 "replay with mixing $mixing" "$work/log"
    "$sluice" verify "$work/$mixing" >"$work/log" 2>&1
    is_code $? 0 "its verify" "$work/log"
done
"$sluice" replay "$work/one" --out "$work/never" components.peak.weight=3 >"$work/log" 2>&1
is_code $? 2 "replay with other weights" "$work/log"
says "$work/log" "components: the stored rewards" "it names the components"
same_bits "$work/normalised" "$work/one.ref" "replayed as it was"
! cmp -s <(digests "$work/advantage") "$work/one.ref"
ok $? "another mixing is another run"

# Refusals: nothing is started.
refused() { # PATTERN OPTIONS...
    local pattern=$1
    shift
    timeout 60 "$sluice" run "$work/power.yaml" run.dir="$work/never" "$@" >"$work/log" 2>&1
    is_code $? 2 "refused: $*" "$work/log"
    says "$work/log" "$pattern" "it names $pattern"
}
refused "set reward.name=mixture" reward.name=power_peak reward.mixing=reward
refused "components: reward.name is brightness" reward.name=brightness
refused "needs components with a weight" components.peak.weight=0 components.energy.weight=0
refused "control has an advantage for each step" reward.mixing=advantage algorithm.name=control
refused "draft_k needs the sum at once" algorithm.name=draft_k update.inner_epochs=1 update.batch=auto
refused "no sum that algorithm.entropy_weight" reward.mixing=advantage algorithm.entropy_weight=1
refused "reward.guard: unknown reward .nobody" reward.guard=nobody
refused "surrogate.kind needs the sum at once" surrogate.kind=greedy
refused "drop_group needs samples of several" reward.on_failure=drop_group rollout.classes=[0]
refused "components.guard: this name has another meaning" components.guard.name=brightness
refused "components.peak: reward.budget belongs to the run" components.peak.budget=90
refused "did you mean 'reward.peak_cap'" components.peak.peak_cup=3
refused "less than one iteration's 10 samples" reward.budget=9
run_mpi "$work/log" 1 run "$work/power.yaml" run.dir="$work/one" components.peak.weight=2
is_code $? 2 "another component on resuming" "$work/log"
says "$work/log" "components" "it names them"
run_mpi "$work/log" 1 run "$work/power.yaml" run.dir="$work/paid" reward.budget=27
is_code $? 0 "a budget" "$work/log"
says "$work/log" "policy 2 of 2" "ends after two iterations of 10"

# A program among the components: samples that were answered are not asked for again.
model "$work/class" class
ok $? "the tiny network is made" || finish
config "$work/class.yaml" 2 "$work/class"
sed -i 's/^rollout: {/&classes: [0, 2], copies: 2, /; s/samples: 10,/samples: 12,/' "$work/class.yaml"
cat >>"$work/class.yaml" <<YAML
reward: {name: mixture}
components:
  light: {name: brightness}
  far: {name: exec, weight: 2}
YAML
export EXEC_LOG=$work/asked
asked() { [ -e "$EXEC_LOG" ] && wc -l <"$EXEC_LOG" || echo 0; }
# with WAY NAME RANKS OPTIONS...
with() {
    local way=$1 name=$2 ranks=$3
    shift 3
    run_mpi "$work/log" "$ranks" run "$work/class.yaml" run.dir="$work/$name" \
        exec.command="perl tests/tools/exec_log.pl $way" "$@"
}
with "" far 1 exec.batch=4
is_code $? 0 "a program as a component" "$work/log"
[ "$(asked)" = 24 ]
ok $? "asked once for each of 24 samples"
digests "$work/far" >"$work/far.ref"
rm "$EXEC_LOG"
begin "$work/log" 2 run "$work/class.yaml" run.dir="$work/cut" exec.batch=1 \
    exec.command="perl tests/tools/exec_log.pl slow"
enough() { [ "$(asked)" -ge 7 ] || ! alive "$job"; }
until_true enough
kill -9 $(ranks_of "$job") 2>/dev/null
end_job
sleep 0.2 # what a program without a parent still writes down
first=$(asked)
kept=$(($(cat "$work"/cut/scores/*.bin | wc -c) / 48))
[ "$kept" -ge 3 ] && [ "$first" -lt 20 ]
ok $? "killed in a shard: $first asked, $kept kept"
with slow cut 2 exec.batch=1
is_code $? 0 "resumed" "$work/log"
[ $(($(asked) - first)) = $((24 - kept)) ]
ok $? "no sample that was answered is asked for again: $first, then $(($(asked) - first))"
column "$work/cut/reward/i000001/s00002.h5" reward >"$work/a"
column "$work/far/reward/i000001/s00002.h5" reward | cmp -s - "$work/a" && [ -s "$work/a" ]
ok $? "with the same scores"

shared="reward.cache=$work/cache reward.deterministic=true"
rm "$EXEC_LOG"
with "" cache1 1 $shared
is_code $? 0 "a shared folder" "$work/log"
was=$(asked)
with "" cache2 5 $shared
is_code $? 0 "a second run with it" "$work/log"
[ "$was" = 24 ] && [ "$(asked)" = "$was" ]
ok $? "asks nothing"
digests "$work/cache1" >"$work/cache.ref"
same_bits "$work/cache2" "$work/cache.ref" "answers from the folder"
[ ! -e "$work/cache2/scores" ]
ok $? "the run directory has no folder of its own then"
run_mpi "$work/log" 1 evaluate "$work/cache1" --n 8
is_code $? 0 "evaluate with the folder" "$work/log"
[ "$(asked)" -gt "$was" ] && [ "$(asked)" -le $((was + 8)) ]
ok $? "asks once for mixture and component: $(($(asked) - was))"
: >"$work/plain"
with "" nowhere 1 reward.cache="$work/plain"
is_code $? 5 "a cache that is a file" "$work/log"
says "$work/log" "$work/plain" "its name is told"

# Failures.
with label group 1 reward.on_failure=drop_group exec.attempts=1 run.iterations=1
is_code $? 0 "drop_group" "$work/log"
file=$work/group/advantage/i000000.h5
paste <(column "$file" prompt_id) <(column "$file" status) <(column "$file" usable) |
    awk '{ n++; bad += $1 == 2 ? $3 != 0 : $2 != 0 || $3 != 1; failed += $2 == 1; ok += $1 == 2 && $2 == 0 }
        END { exit !(n == 12 && bad == 0 && failed > 0 && ok > 0) }'
ok $? "no sample of that prompt is used, all others are"
paste <(column "$file" usable) <(column "$file" advantage) |
    awk '{ bad += $1 == 0 && $2 != 0; moved += $2 != 0 } END { exit !(bad == 0 && moved > 0) }'
ok $? "what is not used has no advantage"
with third drop 1 exec.attempts=1
is_code $? 0 "a third of the samples fail" "$work/log"
with third stop 1 exec.attempts=1 reward.on_failure=stop
is_code $? 7 "stop" "$work/log"
says "$work/log" "4 of 12 samples have no reward \(failed 4" "it counts them"
with third most 2 exec.attempts=1 reward.max_failed_fraction=0.3
is_code $? 7 "more than the fraction" "$work/log"
with third enough 1 exec.attempts=1 reward.max_failed_fraction=0.34 reward.retries=1
is_code $? 0 "less than the fraction" "$work/log"
with third all 1 exec.attempts=1 reward.on_failure=drop_group
is_code $? 7 "every prompt has a failure" "$work/log"
finish
