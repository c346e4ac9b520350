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

# The same as a program. Its scores are three times as large. With ONE only the first of them
# says hello; another one ends as soon as an answer is kept back.
cat >"$work/holds.pl" <<'PERL'
use strict;
use warnings;
use Fcntl;
use JSON::PP;
$| = 1;
my ($dir) = @ARGV;
if ($ENV{ONE} && !sysopen my $first, "$dir/first", O_CREAT | O_EXCL) {
    select undef, undef, undef, 0.05 until !system "grep -q ':[258]\$' $dir/asked 2>/dev/null";
    die "no licence for two\n";
}
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

# asks_KIND NAME: `what` gets the options to ask with; NAME is a folder.
asks_http() {
    what=(reward.name=http http.url="$url/$1" "$item" http.batch=1 http.timeout=600)
}
asks_exec() {
    what=(reward.name=exec "exec.command=perl $root/holds.pl $root/$1" exec.batch=1
        exec.workers=3 exec.timeout=600)
}
asks_both() {
    what=(reward.name=mixture components.a.name=brightness components.c.name=http
        components.b.name=exec "components.b.exec.command=perl $root/holds.pl $root/$1"
        components.c.http.url="$url/$1" "$item" http.batch=1 exec.batch=1 exec.workers=3
        http.timeout=600 exec.timeout=600)
}
asks_guard() {
    asks_http "$1"
    what=("${what[@]/reward.name=http/reward.name=brightness}" reward.guard=http)
}

holds() { pgrep -f "^perl $root/holds.pl $dir\$" || true; }
none_holds() { [ -z "$(holds)" ]; }
# An answer that is kept back has been asked for, and one that is not was given.
held() { [ -s "$dir/answered" ] && grep -q ':[258]$' "$dir/asked"; } 2>/dev/null
held_or_end() { held || ! alive "$job"; }
# Nothing that was answered before the stop is asked after it.
once() {
    sort "$dir/asked" | uniq -d | sort >"$dir/twice"
    [ -s "$dir/before" ] && [ -z "$(comm -12 "$dir/before" "$dir/twice")" ]
}

# Three cases at a time: each is a shell of its own, in its own folder, which $work then is.
# `judge` says in order what was found.
root=$work
split="groups.rollout=1 groups.reward=2 groups.advantage=1 groups.update=1"
split="$split groups.placement=split"
names=()
in_turn() { # FUNCTION KIND NAME ARGUMENTS...
    while [ "$(jobs -r | grep -c in_shell)" -ge 3 ]; do sleep 0.05; done
    names+=("$3")
    mkdir "$work/$3"
    in_shell "$@" >"$work/$3/said" 2>"$work/$3/notes" &
    shells+=($!)
}
in_shell() {
    local do=$1
    kind=$2 name=$3
    dir=$root/$name work=$root/$name started=() tests=0
    trap 'kill -9 ${started[@]+"${started[@]}"} 2>/dev/null' EXIT
    trap 'exit 1' TERM INT HUP
    shift 3
    "asks_$kind" "$name"
    "$do" "$@"
}
judge() {
    local status rest
    wait "${shells[@]}"
    for name in "${names[@]}"; do
        while IFS= read -r line; do
            case $line in
            "ok "* | "not ok "*)
                [ "${line%% *}" = ok ]
                status=$?
                rest=${line#* - }
                ok $status "$rest" || cat "$root/$name/notes" >&2
                ;;
            *) echo "$line" ;;
            esac
        done <"$root/$name/said"
    done
    names=() shells=()
}

calm() {
    touch "$dir/go"
    run_mpi "$dir/log" 1 run "$root/c.yaml" run.dir="$dir/run" "${what[@]}"
    is_code $? 0 "$name: a run without trouble" "$dir/log"
    digests "$dir/run" >"$dir/bits"
}

# stop WAY: the job that was begun, once it waits.
stop() {
    until_true held_or_end
    held
    ok $? "$name: an answer is kept back" || tail -n 5 "$dir/log" | note
    case $1 in
    TERM | USR1) kill -"$1" $(ranks_of "$job") 2>/dev/null ;;
    one) kill -TERM "$(ranks_of "$job" | tail -n 1)" 2>/dev/null ;;
    STOP) touch "$dir/run/STOP" ;;
    limit) ;; # run.max_walltime
    dies) ;;  # another rank's program
    late)
        kill -TERM $(ranks_of "$job") 2>/dev/null
        until_true grep -q "stopping: signal" "$dir/log"
        touch "$dir/late"
        ;;
    esac
    end_job
    is_code "$code" ${want:-75} "$name" "$dir/log"
    until_true none_holds
    ok $? "$name: no program is left"
    sort "$dir/answered" >"$dir/before"
    touch "$dir/go"
}
ask_again() {
    once
    ok $? "$name: $(wc -l <"$dir/before") answers are not asked for again"
}

leaves() { # WAY RANKS OPTIONS...
    local way=$1 ranks=$2 state=stopped limits=(0) limit
    shift 2
    [ $way != limit ] || limits=(6 20 50) # until one leaves time for an answer
    [ $way != dies ] || {
        export ONE=1
        want=7 state=failed
        touch "$dir/late"
    }
    for limit in "${limits[@]}"; do
        rm -rf "$dir/run" "$dir/asked" "$dir/answered"
        begin "$dir/log" "$ranks" run "$root/c.yaml" run.dir="$dir/run" reward.grace=0.5 \
            run.max_walltime="$limit" "${what[@]}" "$@"
        until_true held_or_end
        ! held && [ "$limit" != "${limits[-1]}" ] || break
        end_job
    done
    stop "$way"
    unset ONE
    status_is "$dir/run" $state && whole "$dir/run" &&
        [ ! -e "$dir/run/advantage/i000000.h5" ] && [ -z "$(find "$dir/run" -name '*.tmp.*')" ]
    ok $? "$name: its files are whole"
    run_mpi "$dir/log" 2 run "$root/c.yaml" run.dir="$dir/run" "${what[@]}"
    is_code $? 0 "$name: continued" "$dir/log"
    same_bits "$dir/run" "$root/$kind/bits" "$name"
    ask_again
}

# Commands that score: RANKS ARGUMENTS..., where @ is a folder and @/result what they write.
command_leaves() {
    local ranks=$1 quiet=$dir/calm
    shift
    mkdir "$quiet"
    touch "$quiet/go"
    "asks_$kind" "$name/calm"
    run_mpi "$dir/log" 1 "${@//@/$quiet}" "${what[@]}" reward.cache="$quiet/cache"
    is_code $? 0 "$name: without trouble" "$dir/log"
    "asks_$kind" "$name"
    what+=(reward.grace=0.5 reward.cache="$dir/cache")
    begin "$dir/log" "$ranks" "${@//@/$dir}" "${what[@]}"
    stop TERM
    [ ! -e "$dir/result" ]
    ok $? "$name: no result yet"
    run_mpi "$dir/log" "$ranks" "${@//@/$dir}" "${what[@]}"
    is_code $? 0 "$name: again" "$dir/log"
    cmp -s "$dir/result" "$quiet/result"
    ok $? "$name: the same result"
    ask_again
}
check_leaves() {
    "$sluice" reward-check "$root/c.yaml" "${what[@]}" --n 3 >"$dir/log" 2>&1 &
    job=$!
    started+=("$job")
    until_true held_or_end
    held
    ok $? "$name: an answer is kept back"
    kill -TERM "$job"
    end_job
    is_code "$code" 143 "$name: ended at once" "$dir/log"
    until_true none_holds
    ok $? "$name: no program is left"
}

shells=()
for kind in http exec both guard; do
    in_turn calm $kind $kind
done
judge
in_turn leaves http http-limit limit 5
in_turn leaves http http-term TERM 1
in_turn leaves http http-usr1 USR1 2
in_turn leaves http http-stop STOP 3
# shellcheck disable=SC2086
in_turn leaves http http-split TERM 5 $split
# shellcheck disable=SC2086
in_turn leaves http http-one one 5 $split
in_turn leaves http http-late late 1 reward.grace=4
in_turn leaves exec exec-limit limit 1
in_turn leaves exec exec-term TERM 2
# shellcheck disable=SC2086
in_turn leaves exec exec-split STOP 5 $split
# shellcheck disable=SC2086
in_turn leaves exec exec-dies dies 5 $split exec.workers=1
in_turn leaves both both-usr1 USR1 3
in_turn leaves guard guard-term TERM 2
in_turn command_leaves http score 2 score "$work/http/run" --reward http --csv @/result \
    --out @/out
in_turn command_leaves exec evaluate 1 evaluate "$work/model" "$work/c.yaml" --n 10 --out @/result
in_turn check_leaves exec check
judge
finish
