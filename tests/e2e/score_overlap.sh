#!/bin/bash
# Where roles share ranks, another program scores beside the rank's other work. Its answers
# wait for files that only this other work makes: without overlap such a run would stand
# still. The bits are those of a split run, also after a stop, a kill and a failure.
. tests/e2e/lib.sh
model "$work/model"
ok $? "the tiny network is made" || finish
config "$work/c.yaml" 3 "$work/model"

# Scores are means. AWAIT has words ITERATION:NUMBER=FILE: the request with this first
# sample is answered when FILE is in DIR; on the way there DIR/asked-ITERATION:NUMBER is
# made. HELLO: the file that its first line waits for; then it dies.
cat >"$work/scorer.pl" <<'PERL'
use strict;
use warnings;
use JSON::PP;
$| = 1;
my $dir = $ENV{DIR} // ".";
sub await {
    my $until = time + 60;
    until (-e "$dir/$_[0]" || time > $until) { select undef, undef, undef, 0.01 }
    die "$_[0] does not come\n" unless -e "$dir/$_[0]";
}
if (defined $ENV{HELLO}) {
    await $ENV{HELLO};
    die "no licence left\n";
}
my %await = map { split /=/ } split / /, $ENV{AWAIT} // "";
print "sluice-exec 1 json scorer\n";
while (my $line = <STDIN>) {
    my $q = decode_json($line);
    my $key = "$q->{iteration}:$q->{numbers}[0]";
    if (defined $await{$key}) {
        open my $f, ">", "$dir/asked-$key" or die $!;
        await $await{$key};
    }
    my @score;
    for my $s (@{$q->{samples}}) {
        my $sum = 0;
        $sum += $_ for @$s;
        push @score, $sum / @$s;
    }
    print encode_json({id => $q->{id}, scores => \@score}), "\n";
}
PERL
options=(reward.name=exec exec.attempts=1 "exec.command=perl $work/scorer.pl")
split="groups.rollout=1 groups.reward=1 groups.advantage=1 groups.update=1"
split="$split groups.placement=split"

# run_scored CODE NAME RANKS AWAIT OPTIONS...
run_scored() {
    local want=$1 name=$2 ranks=$3 await=$4
    shift 4
    DIR=$work/$name AWAIT=$await run_mpi "$work/log" "$ranks" run "$work/c.yaml" \
        run.dir="$work/$name" "${options[@]}" "$@"
    is_code $? "$want" "$name" "$work/log"
}

none_half() { # NAME
    whole "$work/$1" && [ -z "$(find "$work/$1" -name '*.tmp.*')" ]
    ok $? "$1: nothing is half-written"
}

# Without staleness: the iteration's other rollouts.
last=rollout/i000000/s00002.h5
# shellcheck disable=SC2086
run_scored 0 split 4 "0:0=$last" $split
digests "$work/split" >"$work/bits"
run_scored 0 one 1 "0:0=$last"
same_bits "$work/one" "$work/bits" "one rank, its last rollout during the first score"
run_scored 0 two 2 "0:0=$last 0:4=$last"
same_bits "$work/two" "$work/bits" "two ranks that both score during the last rollout"

# A guard asks another program, the reward does not; and a mixture of both.
guard=(reward.name=brightness reward.guard=exec)
mixture=(reward.name=mixture components.a.name=exec components.b.name=jpeg_compressibility)
for what in guard mixture; do
    declare -n more=$what
    # shellcheck disable=SC2086
    run_scored 0 $what-split 4 "0:0=$last" "${more[@]}" $split
    digests "$work/$what-split" >"$work/$what.bits"
    run_scored 0 $what 1 "0:0=$last" "${more[@]}"
    same_bits "$work/$what" "$work/$what.bits" "$what on one rank"
done

# With a staleness of 1: the next iteration's rollouts, and the update.
later="0:0=rollout/i000001/s00002.h5 1:0=policy/v000001.h5"
# shellcheck disable=SC2086
run_scored 0 split-stale 4 "$later" max_staleness=1 $split
digests "$work/split-stale" >"$work/bits-stale"
for ranks in 1 2; do
    run_scored 0 stale$ranks $ranks "$later" max_staleness=1
    same_bits "$work/stale$ranks" "$work/bits-stale" \
        "staleness 1, $ranks ranks: rollouts and an update during scores"
done
perl -MJSON::PP -0777 -ne '
    for my $g (@{decode_json($_)->{groups}}) {
        my $sum = 0;
        $sum += $g->{$_} for qw(network_s io_s communication_s optimizer_s vote_s other_s);
        exit 1 if abs($sum - $g->{working_s}) > 0.05 * $g->{working_s} + 1e-3;
    }' "$work/stale2/accounting.json"
ok $? "the accounts add up"

# Ended while a score is open and the iteration's rollouts are done.
both() { [ -e "$dir/asked-1:4" ] && [ -e "$dir/rollout/i000001/s00002.h5" ]; }
both_or_end() { both || ! alive "$job"; }
for ranks in 1 2; do
    for signal in TERM KILL; do
        name=$signal$ranks
        dir=$work/$name
        DIR=$dir AWAIT="1:4=go" begin "$work/log" "$ranks" run "$work/c.yaml" \
            run.dir="$dir" "${options[@]}" reward.grace=60
        until_true both_or_end && both
        ok $? "$name: a score is open"
        kill -$signal $(ranks_of "$job") 2>/dev/null
        if [ $signal = TERM ]; then
            until_true grep -q "stopping: signal" "$work/log"
            touch "$dir/go"
        fi
        end_job
        [ $signal = KILL ] || is_code "$code" 75 "$name" "$work/log"
        [ $signal = KILL ] || none_half "$name"
        [ -e "$dir/reward/i000001/s00001.h5" ]
        [ $? = $([ $signal = TERM ]; echo $?) ]
        ok $? "$name: the open score is sealed only where it was waited for"
        rm -f "$dir/go"
        run_scored 0 "$name" 1 ""
        same_bits "$dir" "$work/bits" "$name, continued"
        none_half "$name"
    done
done

# The scorer dies for good while others roll out.
for ranks in 1 2; do
    HELLO=rollout/i000000/s00001.h5 run_scored 7 dies$ranks $ranks ""
    says "$work/log" "reward iteration 0 shard .*no licence left" "its last words are told"
    none_half dies$ranks
    run_scored 0 dies$ranks $ranks ""
    same_bits "$work/dies$ranks" "$work/bits" "continued with a scorer that works"
done
finish
