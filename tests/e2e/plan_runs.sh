#!/bin/bash
# Predictions of `sluice plan` against runs, within 15 %: seconds of an iteration, work and
# waiting of groups, group sizes that it proposes. The reward is a program that sleeps for
# each sample, so that the runs take as long on a busy machine as on a quiet one: all else
# together is a small part of them. Files lie in memory where the system has such a folder,
# so that no disk is waited for.
[ ! -w /dev/shm ] || TMPDIR=/dev/shm
. tests/e2e/lib.sh

model "$work/model"
ok $? "the tiny network is made" || finish
cat >"$work/slow.pl" <<'PERL'
use strict;
use warnings;
use JSON::PP;
$| = 1;
print "sluice-exec 1 json slow\n";
while (my $line = <STDIN>) {
    my $q = decode_json($line);
    my $n = @{$q->{samples}};
    select undef, undef, undef, 0.6 * $n;
    print encode_json({id => $q->{id}, scores => [1 .. $n]}), "\n";
}
PERL
cat >"$work/config.yaml" <<YAML
run: {seed: 3, iterations: 3, keep_policies: 2}
model: {path: $work/model, micro_batch: 4}
sampler: {steps: 2}
rollout: {samples: 8, shard_samples: 2}
reward: {name: exec}
exec: {command: "perl $work/slow.pl"}
update: {lr: 1e-4}
groups: {rollout: 1, reward: 3, advantage: 1, update: 1, placement: split}
YAML

# run NAME RANKS OPTIONS...: its log is $work/NAME.log
run() {
    local name=$1 ranks=$2
    shift 2
    run_mpi "$work/$name.log" "$ranks" run "$work/config.yaml" run.dir="$work/$name" "$@"
    is_code $? 0 "run $name" "$work/$name.log"
}

# measured NAME FIRST RANKS: seconds of an iteration; the work in it of the reward group, which
# has so many ranks, and its waiting in percent. Of the fastest iteration after the first, for
# other programs on the machine only add to it; with a staleness, where iterations overlap and
# take turns at being long, of the mean of those after FIRST.
measured() {
    perl -MJSON::PP -e '
        my ($dir, $first, $ranks) = @ARGV;
        my ($n, $s, $work) = (0, 0, 0);
        my $best;
        open my $f, "<", "$dir/metrics.jsonl" or die $!;
        while (<$f>) {
            my $j = decode_json($_);
            next unless $j->{rank_time} && $j->{iteration} > $first;
            my @now = ($j->{t_iteration_s}, $j->{rank_time}{reward}{working_s});
            $best = \@now unless $best && $best->[0] < $now[0];
            $n++;
            $s += $now[0];
            $work += $now[1];
        }
        ($n, $s, $work) = (1, @$best) unless $first > 0;
        printf "%g %g %g\n", $s / $n, $work / $n, 100 * (1 - $work / $s / $ranks);' "$work/$1" "$2" "$3"
}

# predicted: the same of the plan in $work/log.
predicted() {
    sed -n 's/^  time per iteration *\([^ ]*\) s.*/\1/p
        s/^  reward .*working \([^ ]*\) s.* \([^ ]*\) %$/\1 \2/p' "$work/log" | xargs
}

# calm NAME: leaves only the fastest iteration after the first in its accounts, the one that
# other programs disturbed least.
calm() {
    perl -MJSON::PP -e '
        my %at;
        while (<>) {
            my $j = decode_json($_);
            $at{$j->{t_iteration_s}} = $_ if $j->{rank_time} && $j->{iteration} > 0;
        }
        print $at{(sort { $a <=> $b } keys %at)[0]};' "$work/$1/metrics.jsonl" >"$work/calm"
    mv "$work/calm" "$work/$1/metrics.jsonl"
}

# predict FROM OPTIONS...: rates of that run
predict() {
    local from=$1
    shift
    "$sluice" plan "$work/config.yaml" --from "$work/$from" "$@" >"$work/log" 2>&1 ||
        note <"$work/log"
}

# near GOT WANTED NAME: within 15 %.
near() {
    perl -e 'exit !($ARGV[1] > 0 && abs($ARGV[0] / $ARGV[1] - 1) < 0.15)' -- "$1" "$2"
    ok $? "$3 ($1, measured $2)"
}

# compare NAME FIRST RANKS [waiting]: the plan in $work/log with what `measured` says.
compare() {
    local p s work_p work_s waits_p waits_s
    read -r s work_s waits_s < <(measured "$1" "$2" "$3")
    read -r p work_p waits_p < <(predicted)
    near "$p" "$s" "$1: seconds of an iteration"
    near "$work_p" "$work_s" "$1: work of the reward group"
    [ $# -lt 4 ] || near "$waits_p" "$waits_s" "$1: percent that it waits"
}

# Four shards for three ranks: one of them scores twice, the others wait meanwhile.
run three 6 run.iterations=5
calm three
predict three --ranks 6
compare three 0 3 waiting

# With a staleness they go on with the next iteration's.
run stale 6 run.iterations=5 max_staleness=1
predict three --ranks 6 run.iterations=5 max_staleness=1
compare stale 1 3

# Roles that share ranks: each asks for two shards beside its other work.
shared="groups.rollout=auto groups.reward=auto groups.advantage=auto groups.update=auto"
run shared 2 $shared groups.placement=shared
predict three --ranks 2 $shared groups.placement=shared
compare shared 0 2

# Automatic sizes of a split give the reward one rank of seven, the plan proposes better ones.
run auto 7 $shared
predict three --ranks 7 $shared
compare auto 0 1
proposed=$(grep -o '^  faster .*groups.placement=split' "$work/log" | grep -o 'groups[^ ]*')
says "$work/log" 'move [0-9]+ rank\(s\) to reward' "ranks are to be moved to the reward"
run proposed 7 $proposed
predict three --ranks 7 $proposed
reward=$(sed -n 's/groups.reward=//p' <<<"$proposed")
compare proposed 0 "$reward"
read -r before _ < <(measured auto 0 1)
read -r after _ < <(measured proposed 0 "$reward")
perl -e 'exit !($ARGV[1] < $ARGV[0])' "$before" "$after"
ok $? "the proposed sizes ($(xargs <<<"$proposed")) are faster: $after s, automatic ones $before s"
finish
