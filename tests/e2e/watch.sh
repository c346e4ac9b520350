#!/bin/bash
# `sluice watch` beside runs, and what a run itself prints.
. tests/e2e/lib.sh

python=/usr/bin/python3
"$python" -c 'import os, pty; os.waitstatus_to_exitcode' 2>/dev/null || python=
model "$work/model"
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 4 "$work/model"
unset COLUMNS
export LC_ALL=C.UTF-8

plain() { # FILE NAME: printable, no cursor moves
    ! LC_ALL=C grep -q $'[\x01-\x09\x0b-\x1f\x7f]' "$1"
    ok $? "$2: plain text" || cat -v "$1" | tail -n 12 | note
}

# A batch log, and the same on a terminal: plain lines.
run_mpi "$work/log" 2 run "$work/config.yaml" run.dir="$work/run"
is_code $? 0 "a run" "$work/log"
plain "$work/log" "its log"
says "$work/log" '^iteration 4/4  reward .* kl .* clip .* samples/s .* eta 0:00:00  [0-9]+ MB$' \
    "a line for each iteration"
run_mpi "$work/log" 2 run "$work/config.yaml" run.dir="$work/quiet" --quiet
is_code $? 0 "a quiet run" "$work/log"
[ "$(grep -c . "$work/log")" = 2 ] && grep -q '^finished: policy 4 of 4' "$work/log" &&
    grep -q '^report: ' "$work/log"
ok $? "prints the end alone" || note <"$work/log"
if [ -n "$python" ]; then
    timeout -k 5 90 "$python" -B -c 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) != 0)' \
        "$MPIRUN" --oversubscribe -np 2 "$sluice" run "$work/config.yaml" \
        run.dir="$work/tty" </dev/null >"$work/log" 2>&1
    is_code $? 0 "a run on a terminal" "$work/log"
    sed 's/\r$//' "$work/log" >"$work/plain"
    plain "$work/plain" "what it prints there"
    says "$work/plain" '^iteration 4/4  reward ' "the same lines"
fi

"$sluice" watch "$work/run" >"$work/log" 2>&1
is_code $? 0 "after the end" "$work/log"
plain "$work/log" "one picture"
says "$work/log" '^finished  after ' "finished"
says "$work/log" '^iteration 4/4  █+ 100 %$' "its iterations"
says "$work/log" '^reward    .* ± .*[▁█]' "its reward and the curve"
says "$work/log" '^busy      rollout [0-9]+ %  reward ' "where the time went"
COLUMNS=40 LC_ALL=C "$sluice" watch --once "$work/run" "$work/quiet" >"$work/log" 2>&1
is_code $? 0 "two runs, 40 columns, ASCII" "$work/log"
says "$work/log" '^2 runs  2 finished$' "are counted"
! LC_ALL=C grep -q -e '.\{41\}' -e $'[\x80-\xff]' "$work/log"
ok $? "and fit" || note <"$work/log"

# A run whose iteration is long: the sign of life says what it is at.
begin "$work/long.log" 1 run "$work/config.yaml" run.dir="$work/long" rollout.samples=60000 \
    rollout.shard_samples=64 run.iterations=2
until_true test -e "$work/long/rollout/i000000/s00001.h5"
"$sluice" watch "$work/long" --once >"$work/log" 2>&1
is_code $? 0 "while it runs" "$work/log"
says "$work/log" '^running ' "it runs"
says "$work/log" '^iteration 0/2 ' "no iteration is done"
says "$work/log" '^now       rolled out [1-9][0-9]*/938 .* scored [0-9]+/938 ' "shards by count"
beaten() { grep -q '"phase": "\(rollout\|reward\) ' "$work/long/status.json"; }
until_true beaten
ok $? "status.json is renewed within the iteration" || note <"$work/long/status.json"
"$sluice" watch "$work/long" >"$work/log" 2>&1
says "$work/log" '(rollout sample|reward iteration) [0-9]+ (step|shard) [0-9]+' "what the rank is at"
if [ -n "$python" ]; then
    timeout -k 5 200 "$python" -B tests/e2e/watch_pty.py "$sluice" "$work/long" \
        >"$work/pty" 2>"$work/pty.err"
    is_code $? 0 "on terminals" "$work/pty.err"
    while read -r word name; do
        [ "$word" = good ]
        ok $? "$name"
    done <"$work/pty"
    note <"$work/pty.err"
else
    skip "on terminals" "no python3"
fi
touch "$work/long/STOP"
end_job
is_code "$code" 75 "it is stopped" "$work/long.log"
"$sluice" watch "$work/long" >"$work/log" 2>&1
says "$work/log" '^stopped  exit code 75 ' "stopped"
says "$work/log" '^reason    STOP file' "and why"
says "$work/log" '^warning   .*stopping: STOP file' "the log's warning"

# A sweep, of which one member cannot begin.
cat >"$work/sweep.yaml" <<YAML
sweep: {config: $work/config.yaml, dir: $work/sweep, kind: list, at_once: 2}
members:
  - {run.seed: 1, run.iterations: 1}
  - {run.seed: 2, run.iterations: 1}
YAML
timeout -k 5 90 "$sluice" sweep "$work/sweep.yaml" >"$work/log" 2>&1
is_code $? 0 "a sweep" "$work/log"
"$sluice" watch "$work/sweep" >"$work/log" 2>&1
is_code $? 0 "is watched" "$work/log"
says "$work/log" '^2 runs  2 finished$' "both members"
says "$work/log" '^[0-9a-f]{6} run.*seed=2.* finished +1/1 ' "with their parameters"
member=$(ls "$work/sweep/members" | head -n 1)
rm -r "$work/sweep/members/$member/run"
echo '{"exit_code": 137}' >"$work/sweep/members/$member/member.json"
"$sluice" watch "$work/sweep" >"$work/log" 2>&1
says "$work/log" '^2 runs  1 failed  1 finished$' "a member that left nothing has failed"

# Garbage, and what is not there.
mkdir -p "$work/garbage/rollout" "$work/garbage/log/rank00000.log"
for f in status.json metrics.jsonl config.yaml accounting.json reward; do
    head -c 30000 /dev/urandom >"$work/garbage/$f"
done
timeout -k 5 20 "$sluice" watch "$work/garbage" >"$work/log" 2>&1
is_code $? 0 "garbage" "$work/log"
plain "$work/log" "garbage"
says "$work/log" '^trouble   status.json cannot be read' "is named"
mkdir "$work/empty"
"$sluice" watch "$work/empty" >"$work/log" 2>&1
is_code $? 3 "an empty folder" "$work/log"
"$sluice" watch "$work/run" "$work/later/run" >"$work/log" 2>&1
is_code $? 3 "a folder that is not there" "$work/log"
timeout -k 5 60 "$sluice" watch "$work/later" --wait --interval 0.1 >"$work/log" 2>&1 &
job=$!
started+=("$job")
cp -r "$work/run" "$work/later.part" && mv "$work/later.part" "$work/later"
wait "$job"
is_code $? 0 "a folder that comes later" "$work/log"
says "$work/log" '^iteration 4/4 ' "is shown then"
"$sluice" watch >"$work/log" 2>&1
is_code $? 2 "nothing to watch" "$work/log"
"$sluice" watch "$work/run" --intervall 3 >"$work/log" 2>&1
is_code $? 2 "an unknown option" "$work/log"
says "$work/log" 'did you mean --interval' "its neighbour"
"$sluice" watch "$work/run" --interval=0 >"$work/log" 2>&1
is_code $? 2 "no interval" "$work/log"
finish
