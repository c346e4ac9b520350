#!/bin/bash
# Time lines and advice in the report: report_time.py recomputes them from the records, for
# ranks that share all work and for groups apart, after a kill, and from damaged files.
. tests/e2e/lib.sh

command -v python3 >/dev/null || {
    skip "time lines" "no python3"
    finish
}
model "$work/plain"
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 3 "$work/plain"
apart="groups.rollout=2 groups.reward=1 groups.advantage=1 groups.update=1"

checked() { # DIR ONE|MANY NAME
    python3 -B tests/e2e/report_time.py "$work/$1" "$2" >"$work/wrong" 2>&1
    ok $? "$3" || head -n 8 "$work/wrong" | note
}

run_mpi "$work/log" 1 run "$work/config.yaml" run.dir="$work/one"
is_code $? 0 "one rank with all roles" "$work/log"
checked one ONE "its time line"
run_mpi "$work/log" 2 run "$work/config.yaml" run.dir="$work/two"
is_code $? 0 "two ranks" "$work/log"
checked two ONE "their time lines"
# shellcheck disable=SC2086
run_mpi "$work/log" 3 run "$work/config.yaml" run.dir="$work/three" $apart \
    run.iterations=6 max_staleness=1
is_code $? 0 "three ranks for groups of two and one, a staleness of 1" "$work/log"
checked three ONE "some of them with one role"
# shellcheck disable=SC2086
run_mpi "$work/log" 5 run "$work/config.yaml" run.dir="$work/five" rollout.samples=40 \
    update.batch=20 $apart groups.placement=split
is_code $? 0 "five ranks, groups apart" "$work/log"
checked five MANY "their time lines"
grep -q 'group idle [0-9]* %</b>: ' "$work/five/report.html"
ok $? "groups that take turns are idle, says the advice"

# Scores of another program, beside the ranks' other work.
cat >"$work/scorer.py" <<'PY'
import json, sys
print("sluice-exec 1 json scorer", flush=True)
for line in sys.stdin:
    q = json.loads(line)
    print(json.dumps({"id": q["id"], "scores": [sum(s) for s in q["samples"]]}), flush=True)
PY
run_mpi "$work/log" 2 run "$work/config.yaml" run.dir="$work/aside" reward.name=exec \
    exec.command="$(command -v python3) $work/scorer.py"
is_code $? 0 "two ranks and a scorer" "$work/log"
grep -q '"aside": true' "$work/aside/log/timeline.jsonl"
ok $? "it answers beside other leases"
checked aside ONE "which have their time lines"

# One job ends, the next is killed, a third one goes on: what is written is whole.
run_mpi "$work/log" 3 run "$work/config.yaml" run.dir="$work/killed" run.iterations=2
is_code $? 0 "a job of two iterations" "$work/log"
# shellcheck disable=SC2086
begin "$work/log" 5 run "$work/config.yaml" run.dir="$work/killed" run.iterations=400 $apart \
    groups.placement=split
until_file "$work/killed/policy/v000003.h5"
kill -9 $(ranks_of "$job")
end_job
printf '{"iteration": 2, "session": "cut' >>"$work/killed/log/timeline.jsonl"
"$sluice" report "$work/killed" >"$work/log" 2>&1
is_code $? 0 "the report of a killed run" "$work/log"
grep -q 'id="timeline"' "$work/killed/report.html"
ok $? "has its section"
newest=$(find "$work/killed/policy" -name 'v*.h5' | sort | tail -n 1 | grep -oE '[0-9]{6}')
run_mpi "$work/log" 2 run "$work/config.yaml" run.dir="$work/killed" \
    run.iterations=$((10#$newest + 2))
is_code $? 0 "two ranks go on" "$work/log"
sed -i '/"cut$/d' "$work/killed/log/timeline.jsonl"
[ "$(grep -c '"rest"' "$work/killed/log/timeline.jsonl")" = 2 ]
ok $? "two jobs have told how they ended"
checked killed ONE "the time lines of all jobs"

# Runs without these records, and with damaged ones.
rm "$work/two/log/timeline.jsonl"
perl -pi -e 's/"rank_wait": \{(\{[^{}]*\}|[^{}])*\}, //g; s/"waited_for": \{[^{}]*\},?//' \
    "$work/two/metrics.jsonl"
perl -0pi -e 's/,\s*"waited_for": \{[^{}]*\}//g' "$work/two/accounting.json"
"$sluice" report "$work/two" >"$work/log" 2>&1
is_code $? 0 "the report of an older version's run" "$work/log"
says "$work/two/report.html" 'has no record of it' "says that there is no time line"
for keep in 200 3000; do
    head -c $keep "$work/five/log/timeline.jsonl" >"$work/one/log/timeline.jsonl"
    head -c $keep "$work/five/accounting.json" >"$work/one/accounting.json"
    "$sluice" report "$work/one" >"$work/log" 2>&1
    is_code $? 0 "$keep bytes of the records" "$work/log"
done
grep -q 'id="advice"' "$work/one/report.html"
ok $? "there is advice still"
finish
