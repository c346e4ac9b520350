#!/bin/bash
# The performance model of `sluice plan` against the rank time of the run that it was
# measured by: nothing here depends on how fast or how loaded the machine is.
. tests/e2e/lib.sh

model "$work/model"
config "$work/config.yaml" 4 "$work/model"
options="run.dir=$work/run rollout.samples=24 rollout.shard_samples=4 update.batch=12"

# measured DIR: medians of iterations 1.. of metrics.jsonl: network seconds of rollout and
# update, all ranks' work without votes, and of it what one rank does alone: seal files.
measured() {
    perl -MJSON::PP -ne '
        my $j = decode_json($_);
        my $t = $j->{rank_time} or next;
        next if $j->{iteration} == 0;
        for my $g (keys %$t) { push @{$s{"$g $_"}}, $t->{$g}{$_} for keys %{$t->{$g}} }
        sub median { my @v = sort { $a <=> $b } @{$s{$_[0]}}; ($v[$#v / 2] + $v[@v / 2]) / 2 }
        END {
            my $all = 0;
            for my $g (qw(rollout reward advantage update)) {
                $all += median("$g $_") for qw(network_s io_s communication_s optimizer_s other_s);
            }
            printf "%g %g %g %g\n", median("rollout network_s"), median("update network_s"), $all,
                median("update io_s") + median("advantage io_s");
        }' "$1/metrics.jsonl"
}

# near GOT WANTED NAME: within 15 %.
near() {
    perl -e 'exit !($ARGV[1] > 0 && abs($ARGV[0] / $ARGV[1] - 1) < 0.15)' -- "$1" "$2"
    ok $? "$3 ($1, measured $2)"
}

predict() { # OPTIONS...: the log is $work/log
    "$sluice" plan "$work/config.yaml" $options "$@" >"$work/log" 2>&1
}
seconds() { sed -n 's/^  time per iteration *\([0-9.e+-]*\) s.*/\1/p' "$work/log"; }

run_mpi "$work/run.log" 2 run "$work/config.yaml" $options
is_code $? 0 "a run on two ranks" "$work/run.log"
read -r rollout update all alone < <(measured "$work/run")

predict --from "$work/run" --ranks 1
is_code $? 0 "the plan for one rank" "$work/log"
read -r a b < <(sed -n 's/^  network_s per iteration *rollout \([^,]*\), update \([^,]*\),.*/\1 \2/p' "$work/log")
near "$a" "$rollout" "network seconds of the rollout"
near "$b" "$update" "network seconds of the update"
one=$(seconds)
near "$one" "$all" "one rank does what both did, one after another"
says "$work/log" 'all ranks +waiting 0.[0-9] %' "and never waits"

predict --from "$work/run" --ranks 2
two=$(seconds)
near "$two" "$(perl -e 'print +($ARGV[0] + $ARGV[1]) / 2' "$all" "$alone")" \
    "two ranks: half of it, but for files that one of them seals"
predict --from "$work/run" --ranks 2 --cores 1
near "$(seconds)" "$one" "two ranks in turn on one core: as long as one"

# The same of more samples: what scales with them is read off the counts.
predict --from "$work/run" --ranks 1 rollout.samples=48 update.batch=24
b=$(sed -n 's/^  network_s per iteration.*update \([^,]*\),.*/\1/p' "$work/log")
near "$b" "$(perl -e 'print 2 * $ARGV[0]' "$update")" "twice the samples"

# The reward's rank has next to nothing to do.
predict --from "$work/run" --nodes 2 --ranks-per-node 8 rollout.samples=64 update.batch=64 \
    groups.rollout=4 groups.reward=6 groups.advantage=1 groups.update=5 groups.placement=split
is_code $? 0 "a split layout on two nodes" "$work/log"
says "$work/log" 'the run .*node-hours' "node-hours"
says "$work/log" '^  faster ' "a faster layout is proposed"

"$sluice" plan "$work/config.yaml" $options --from "$work/run" --scaling strong \
    --ranks 1,2,4,4096 >"$work/log" 2>&1
is_code $? 0 "strong scaling" "$work/log"
says "$work/log" '^ +1 +24 +6 +[0-9.]+ +100.0%' "its first line"
says "$work/log" '^ +4096 +24 ' "up to thousands of ranks"
"$sluice" plan "$work/config.yaml" $options --from "$work/run" --scaling weak \
    --ranks 4,16,1024 groups.placement=split >"$work/log" 2>&1
is_code $? 0 "weak scaling" "$work/log"
says "$work/log" '^ +1024 +6144 ' "samples grow with the ranks"

predict --calibrate --ranks 2
is_code $? 0 "by one micro-batch" "$work/log"
says "$work/log" '^  time per iteration ' "with a time"

predict --from "$work/model"
is_code $? 3 "a folder that is no run" "$work/log"
mkdir "$work/odd"
cp "$work/run/config.yaml" "$work/run/accounting.json" "$work/odd"
sed 's/"working_s": /&-/g' "$work/run/metrics.jsonl" >"$work/odd/metrics.jsonl"
predict --from "$work/odd"
is_code $? 3 "accounts of less than no time" "$work/log"
cp "$work/run/metrics.jsonl" "$work/odd"
sed 's/"ranks": /&99999999999/' "$work/run/accounting.json" >"$work/odd/accounting.json"
predict --from "$work/odd"
is_code $? 3 "more ranks than there can be" "$work/log"
predict --scaling strong
is_code $? 2 "scaling without rates" "$work/log"
predict --ranks 1,2 --calibrate
is_code $? 2 "several numbers of ranks without a table" "$work/log"
model "$work/other" class
"$sluice" plan "$work/config.yaml" model.path="$work/other" --from "$work/run" >"$work/log" 2>&1
is_code $? 2 "the rates of another network" "$work/log"
finish
