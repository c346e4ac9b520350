#!/bin/bash
# Kill anything at any moment: what exists is complete, the same command goes on with any
# other layout, and ends with the bits of an uninterrupted run.
. tests/e2e/lib.sh

kills_wanted=${KILLS:-50}
SEED=${SEED:-$(($(date +%s) % 32000))}
echo "# SEED=$SEED KILLS=$kills_wanted"

model "$work/model"
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 8 "$work/model"
run_layout "$work/log" 5 run "$work/config.yaml" run.dir="$work/reference"
is_code $? 0 "the uninterrupted run" "$work/log"
digests "$work/reference" >"$work/reference.bits"

# kill_one: waits a random moment, then kills a random rank of $job. False when the job
# ended first.
kill_one() {
    local ranks
    until_true started_or_gone
    sleep "$(printf '%d.%03d' 0 $((RANDOM % 999)))"
    [ $((RANDOM % 3)) = 0 ] || sleep 0.7
    ranks=($(ranks_of "$job"))
    [ ${#ranks[@]} -gt 0 ] && kill -9 "${ranks[RANDOM % ${#ranks[@]}]}" 2>/dev/null
}
started_or_gone() { [ -n "$(ranks_of "$job")" ] || ! alive "$job"; }

# finished DIR: the bits and records of an uninterrupted run, and nothing left over.
finished() {
    digests "$1" | diff - "$work/reference.bits" | head -n 4
    metrics_whole "$1" 8 || echo "metrics.jsonl lacks iterations or repeats them"
    find "$1" -name '*.tmp.*'
}

# chain NAME KILLS: a run, killed again and again until it is finished, and so on with
# further runs, until so many ranks were killed. TAP comes from the caller: here each
# finding is a line of output.
chain() {
    local dir=$work/$1 n=0 miss=0 layout
    RANDOM=$((SEED + ${1#chain}))
    while [ $n -lt "$2" ] && [ $miss -lt 100 ]; do
        layout=$((RANDOM % ${#layouts[@]}))
        touch "$work/$1.before"
        begin_layout "$work/$1.log" $layout run "$work/config.yaml" run.dir="$dir"
        kill_one && n=$((n + 1)) || miss=$((miss + 1))
        end_job
        [ ! -d "$dir" ] || whole "$dir" "$work/$1.before" || echo "damaged after kill $n"
        case $code in
        0)
            finished "$dir"
            rm -rf "$dir"
            ;;
        [2-8] | 75 | 124)
            echo "exit $code after kill $n, ranks ${layouts[$layout]}"
            note <"$work/$1.log"
            ;;
        esac
    done
    run_layout "$work/$1.log" 1 run "$work/config.yaml" run.dir="$dir" ||
        echo "the final run failed: $(tail -n 3 "$work/$1.log")"
    finished "$dir"
    echo $n >"$work/$1.kills"
}

# Four chains side by side: most of their time goes into mpirun's waiting.
kills=0
for c in 1 2 3 4; do
    (
        trap - EXIT
        chain chain$c $(((kills_wanted + 3) / 4)) >"$work/chain$c.found" 2>&1
    ) &
    chains[c]=$!
done
wait "${chains[@]}"
for c in 1 2 3 4; do
    [ ! -s "$work/chain$c.found" ]
    ok $? "runs killed $(cat "$work/chain$c.kills") times: every file whole after each \
kill, at the end the same bits, each iteration's line once, nothing left over" ||
        note <"$work/chain$c.found"
    kills=$((kills + $(cat "$work/chain$c.kills")))
done
[ $kills -ge "$kills_wanted" ]
ok $? "$kills ranks were killed"

# mpirun itself is killed: no rank stays behind.
begin_layout "$work/log" 2 run "$work/config.yaml" run.dir="$work/orphans" \
    run.iterations=100000
until_file "$work/orphans/policy/v000001.h5"
ok $? "a long run is at work"
orphans=($(ranks_of "$job"))
[ ${#orphans[@]} = 8 ]
ok $? "it has 8 ranks"
kill -9 "$job"
wait "$job" 2>/dev/null
until_true gone "${orphans[@]}"
ok $? "after SIGKILL of mpirun all ranks end by themselves" ||
    kill -9 "${orphans[@]}" 2>/dev/null

# Asked to stop, by every way: exit 75, "stopped", then on with another layout.
stop_and_resume() { # NAME HOW...
    local name=$1 dir=$work/$1
    shift
    begin_layout "$work/log" 1 run "$work/config.yaml" run.dir="$dir" run.iterations=100000
    until_file "$dir/policy/v000002.h5"
    "$@"
    end_job
    is_code "$code" 75 "$name" "$work/log"
    says "$work/log" "stopped early" "$name: it says so"
    status_is "$dir" stopped
    ok $? "$name: status.json says stopped"
    whole "$dir"
    ok $? "$name: all files are whole"
    [ -s "$dir/report.html" ]
    ok $? "$name: there is a report"
    # What is there may be past iteration 8 by now: compare what both have.
    run_layout "$work/log" 3 run "$work/config.yaml" run.dir="$dir"
    is_code $? 0 "$name: the same command goes on" "$work/log"
    digests "$dir" | grep -F -f <(cut -d' ' -f1 "$work/reference.bits") >"$work/both"
    cmp -s "$work/both" "$work/reference.bits"
    ok $? "$name: the same bits"
}

by_usr1() { kill -USR1 "$job"; }
by_term() { kill -TERM "$(ranks_of "$job" | tail -n 1)"; }
by_file() { touch "$work/STOP file/STOP"; }
stop_and_resume "SIGUSR1 to mpirun" by_usr1
stop_and_resume "SIGTERM to one rank" by_term
stop_and_resume "STOP file" by_file
[ ! -e "$work/STOP file/STOP" ]
ok $? "the STOP file is gone"

run_layout "$work/log" 5 run "$work/config.yaml" run.dir="$work/limit" \
    run.iterations=100000 --max-walltime 3
is_code $? 75 "--max-walltime" "$work/log"
run_layout "$work/log" 6 run "$work/config.yaml" run.dir="$work/limit"
is_code $? 0 "--max-walltime: the same command goes on" "$work/log"
digests "$work/limit" | grep -F -f <(cut -d' ' -f1 "$work/reference.bits") |
    cmp -s - "$work/reference.bits"
ok $? "--max-walltime: the same bits"

# mpirun ends its ranks in its own way at SIGTERM; nothing is lost either.
begin_layout "$work/log" 4 run "$work/config.yaml" run.dir="$work/term" run.iterations=100000
until_file "$work/term/policy/v000001.h5"
kill -TERM "$job"
end_job
[ "$code" != 0 ] && [ "$code" != 124 ]
ok $? "SIGTERM to mpirun ends the job: exit $code"
whole "$work/term"
ok $? "SIGTERM to mpirun: all files are whole"
run_layout "$work/log" 0 run "$work/config.yaml" run.dir="$work/term"
is_code $? 0 "SIGTERM to mpirun: the same command goes on" "$work/log"

# A finished run.
dir=$work/reference
run_layout "$work/log" 4 run "$work/config.yaml" run.dir="$dir"
is_code $? 0 "a finished run" "$work/log"
says "$work/log" "finished: policy 8" "a finished run says so"
same_bits "$dir" "$work/reference.bits" "a finished run is left alone"
run_mpi "$work/log" 2 run "$work/config.yaml" run.dir="$dir" update.lr=2e-4
is_code $? 2 "a changed key that shapes results" "$work/log"
says "$work/log" "update\.lr=0\.0001.*0\.0002" "it names the key and both values"
run_mpi "$work/log" 2 run "$work/config.yaml" run.dir="$dir" run.iterations=10
is_code $? 0 "raising run.iterations goes on" "$work/log"
[ -e "$dir/policy/v000010.h5" ] && metrics_whole "$dir" 10
ok $? "it makes the further policies"
digests "$dir" | grep -F -f <(cut -d' ' -f1 "$work/reference.bits") |
    cmp -s - "$work/reference.bits"
ok $? "and leaves the earlier files"

# Two jobs on one directory.
begin "$work/log" 2 run "$work/config.yaml" run.dir="$work/two" run.iterations=100000
until_file "$work/two/policy/v000001.h5"
run_mpi "$work/log2" 2 run "$work/config.yaml" run.dir="$work/two" run.iterations=100000
is_code $? 4 "a second job on one run directory is refused" "$work/log2"
says "$work/log2" "another job is at work" "it says why"
run_mpi "$work/log2" 1 stage reward "$work/two"
is_code $? 4 "a stage job beside it is refused" "$work/log2"
alive "$job"
ok $? "the first job goes on"
touch "$work/two/STOP"
end_job
is_code "$code" 75 "until it is stopped" "$work/log"
finish
