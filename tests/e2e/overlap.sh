#!/bin/bash
# What overlaps does overlap: scoring with rollouts, and with a staleness the next
# iteration's rollouts with the update. Judged by the order in which files were sealed.
. tests/e2e/lib.sh

model "$work/plain"
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 3 "$work/plain"
groups="groups.rollout=1 groups.reward=1 groups.advantage=1 groups.update=1"
groups="$groups groups.placement=split"

# before DIR FILE FILE: was the first sealed before the second?
before() {
    perl -MTime::HiRes=stat -e 'exit !((stat $ARGV[0])[9] < (stat $ARGV[1])[9])' \
        "$1/$2" "$1/$3"
}

# shellcheck disable=SC2086
run_mpi "$work/log" 4 run "$work/config.yaml" run.dir="$work/a" rollout.shard_samples=1 \
    sampler.steps=20 $groups
is_code $? 0 "a shard per sample, each group on its own rank" "$work/log"
before "$work/a" reward/i000000/s00000.h5 rollout/i000000/s00009.h5
ok $? "the first shard is scored before the last one is rolled out"

# shellcheck disable=SC2086
run_mpi "$work/log" 4 run "$work/config.yaml" run.dir="$work/b" max_staleness=1 \
    rollout.shard_samples=1 update.inner_epochs=10 $groups
is_code $? 0 "a staleness of 1" "$work/log"
before "$work/b" rollout/i000001/s00000.h5 policy/v000001.h5
ok $? "iteration 1 is rolled out during the update of iteration 0"
before "$work/b" rollout/i000002/s00000.h5 policy/v000002.h5
ok $? "iteration 2 during that of iteration 1"
! before "$work/a" rollout/i000001/s00000.h5 policy/v000001.h5
ok $? "without staleness the policy comes first"

# Every second has its place: the kinds add up to the work, in each group's account.
perl -MJSON::PP -0777 -ne '
    my $a = decode_json($_);
    for my $g (@{$a->{groups}}) {
        my $sum = 0;
        $sum += $g->{$_} for qw(network_s io_s communication_s optimizer_s vote_s other_s);
        exit 1 if abs($sum - $g->{working_s}) > 0.05 * $g->{working_s} + 1e-3;
    }
    exit !($a->{network_s} > 0 && $a->{pipeline_overhead} < 1)' "$work/b/accounting.json"
ok $? "network, I/O, messages, optimizer, votes and the rest add up to the work"
perl -MJSON::PP -ne '
    my $l = decode_json($_);
    next unless exists $l->{iteration};
    $n++ if $l->{rank_time}{rollout}{network_s} > 0 && $l->{rank_time}{update}{network_s} > 0;
    END { exit($n != 3) }' "$work/b/metrics.jsonl"
ok $? "every iteration has its own account"
finish
