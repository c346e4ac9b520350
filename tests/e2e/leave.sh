#!/bin/bash
# A job that is asked to stop while other programs keep their answers back, for ten minutes:
# it leaves them, with exit code 75 and whole files. The next job has the bits of a run that
# met no trouble, and asks nothing again that was answered.
. tests/e2e/lib.sh

command -v python3 >/dev/null || {
    echo "1..0 # SKIP no python3"
    exit 0
}
model "$work/model"
config "$work/c.yaml" 2 "$work/model"
python3 -B tests/tools/reward_server.py "$work/port" --hold "$work" >"$work/server.log" 2>&1 &
started+=($!)
disown
until_true test -s "$work/port"
ok $? "the service is there" || finish
url=http://127.0.0.1:$(cat "$work/port")/hold
item='http.item={"values": "$values", "index": "$index", "iteration": "$iteration"}'

# The same as a program. Its scores are three times as large.
cat >"$work/holds.pl" <<'PERL'
use strict;
use warnings;
use JSON::PP;
$| = 1;
my ($dir) = @ARGV;
sub note {
    open my $f, ">>", "$dir/$_[0]" or die $!;
    print $f "$_[1]\n";
}
print "sluice-exec 1 json holds\n";
while (my $line = <STDIN>) {
    my $q = decode_json($line);
    my $key = "exec $q->{iteration}:$q->{numbers}[0]";
    my $way = $q->{numbers}[0] % 3;
    note("asked", $key);
    for (1 .. 60000) {
        last if $way == 0 || -e "$dir/go" || ($way == 1 && -e "$dir/late");
        select undef, undef, undef, 0.01;
    }
    my $sum = 0;
    $sum += $_ for @{$q->{samples}[0]};
    note("answered", $key);
    print encode_json({id => $q->{id}, scores => [3 * $sum / @{$q->{samples}[0]}]}), "\n";
}
PERL

# asks NAME: `what` gets the options by which a run asks NAME, whose files are in $work/NAME.
asks_http() {
    what=(reward.name=http http.url="$url/$1" "$item" http.batch=1 http.timeout=600)
}
asks_exec() {
    what=(reward.name=exec "exec.command=perl $work/holds.pl $work/$1" exec.batch=1
        exec.workers=3 exec.timeout=600)
}
asks_both() {
    what=(reward.name=mixture components.a.name=brightness components.c.name=http
        components.b.name=exec "components.b.exec.command=perl $work/holds.pl $work/$1"
        components.c.http.url="$url/$1" "$item" http.batch=1 exec.batch=1 exec.workers=3
        http.timeout=600 exec.timeout=600)
}
asks_guard() {
    asks_http "$1"
    what=("${what[@]/reward.name=http/reward.name=brightness}" reward.guard=http)
}

holds() { pgrep -f "^perl $work/holds.pl $work/$name" || true; }
none_holds() { [ -z "$(holds)" ]; }
# An answer that is kept back has been asked for, and one that is not was given.
held() { [ -s "$dir/answered" ] && grep -q ':[258]$' "$dir/asked"; } 2>/dev/null
held_or_end() { held || ! alive "$job"; }
# Nothing that was answered before the stop is asked after it.
once() {
    sort "$dir/asked" | uniq -d | sort >"$work/twice"
    [ -s "$dir/before" ] && [ -z "$(comm -12 "$dir/before" "$work/twice")" ]
}

references() {
    local kind
    for kind in "$@"; do
        name=$kind
        mkdir "$work/$kind"
        touch "$work/$kind/go"
        "asks_$kind" "$kind"
        run_mpi "$work/log" 1 run "$work/c.yaml" run.dir="$work/$kind/run" "${what[@]}"
        is_code $? 0 "$kind: a run without trouble" "$work/log"
        digests "$work/$kind/run" >"$work/$kind.bits"
    done
}

# leaves KIND NAME WAY RANKS OPTIONS...
leaves() {
    local kind=$1 way=$3 ranks=$4
    name=$2
    dir=$work/$name
    shift 4
    mkdir "$dir"
    "asks_$kind" "$name"
    begin "$work/log" "$ranks" run "$work/c.yaml" run.dir="$dir/run" reward.grace=1 "${what[@]}" \
        "$@"
    until_true held_or_end
    held
    ok $? "$name: an answer is kept back" || tail -n 5 "$work/log" | note
    case $way in
    TERM | USR1) kill -"$way" $(ranks_of "$job") 2>/dev/null ;;
    one) kill -TERM "$(ranks_of "$job" | tail -n 1)" 2>/dev/null ;;
    STOP) touch "$dir/run/STOP" ;;
    limit) ;; # run.max_walltime
    late)
        kill -TERM $(ranks_of "$job") 2>/dev/null
        until_true grep -q "stopping: signal" "$work/log"
        touch "$dir/late"
        ;;
    esac
    end_job
    is_code "$code" 75 "$name" "$work/log"
    status_is "$dir/run" stopped && whole "$dir/run" && [ ! -e "$dir/run/advantage/i000000.h5" ] &&
        [ -z "$(find "$dir/run" -name '*.tmp.*')" ]
    ok $? "$name: its files are whole"
    until_true none_holds
    ok $? "$name: no program is left"
    sort "$dir/answered" >"$dir/before"
    touch "$dir/go"
    run_mpi "$work/log" 2 run "$work/c.yaml" run.dir="$dir/run" "${what[@]}"
    is_code $? 0 "$name: continued" "$work/log"
    same_bits "$dir/run" "$work/$kind.bits" "$name"
    once
    ok $? "$name: $(wc -l <"$dir/before") answers are not asked for again"
}

split="groups.rollout=1 groups.reward=2 groups.advantage=1 groups.update=1"
split="$split groups.placement=split"
references http exec both guard
leaves http http-term TERM 1
leaves http http-usr1 USR1 2
leaves http http-stop STOP 3
leaves http http-limit limit 5 run.max_walltime=6
# shellcheck disable=SC2086
leaves http http-split TERM 5 $split
# shellcheck disable=SC2086
leaves http http-one one 5 $split
leaves http http-late late 1 reward.grace=4
leaves exec exec-term TERM 2
leaves exec exec-limit limit 1 run.max_walltime=6
# shellcheck disable=SC2086
leaves exec exec-split STOP 5 $split
leaves both both-usr1 USR1 3
leaves guard guard-term TERM 2
finish
