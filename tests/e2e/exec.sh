#!/bin/bash
# Reward exec in real runs: the C example's numbers against h5py's, programs that die, hang
# and lie, exit codes, a killed rank, a stopped job; afterwards no program is left.
. tests/e2e/lib.sh
model "$work/model"
config "$work/c.yaml" 2 "$work/model"
peer=$work/peer.pl # a path of this test, to find its programs by
cp tests/tools/exec_peer.pl "$peer"

# with WAY...: options for the peer.
with() { echo "exec.command=perl $peer $*"; }

programs() { pgrep -f "^perl $peer" || true; }
has_programs() { [ -n "$(programs)" ]; }
none_left() { [ -z "$(programs)" ] && [ -z "$(pgrep -f "^$work/meaner")" ]; }
clean() { # NAME
    until_true none_left
    ok $? "$1: no program is left" || ps -ef | grep "$work" | note
}

# run_exec CODE NAME RANKS OPTIONS...
run_exec() {
    local want=$1 name=$2 ranks=$3
    shift 3
    run_mpi "$work/log" "$ranks" run "$work/c.yaml" run.dir="$work/$name" reward.name=exec \
        exec.batch=3 "$@"
    is_code $? "$want" "$name" "$work/log"
}

# The C example, for two layouts.
"${CC:-cc}" -O2 -o "$work/meaner" examples/rewards/exec_mean.c
ok $? "the C example compiles"
binary="exec.protocol=binary exec.workers=2 exec.command=$work/meaner"
run_exec 0 mean 1 $binary
run_exec 0 mean4 4 $binary groups.rollout=1 groups.reward=2 groups.advantage=1 groups.update=1 \
    groups.placement=shared
digests "$work/mean" >"$work/mean.ref"
same_bits "$work/mean4" "$work/mean.ref" "4 ranks"
clean "C example"
cat >"$work/check.py" <<'PYTHON'
import glob, sys
import h5py, numpy
count = 0
for path in sorted(glob.glob(sys.argv[1] + "/reward/*/*.h5")):
    with h5py.File(path) as r, h5py.File(path.replace("/reward/", "/rollout/")) as s:
        x = s["final_sample"][...].astype("f8")
        score, status = r["reward"][...], r["status"][...]
        assert (status == 0).all(), status
        assert numpy.allclose(score, x.reshape(len(x), -1).mean(1), rtol=1e-12, atol=1e-15)
        count += len(x)
assert count == 20, count
PYTHON
if [ -x /usr/bin/python3 ] && /usr/bin/python3 -c "import h5py" 2>/dev/null; then
    /usr/bin/python3 "$work/check.py" "$work/mean" 2>"$work/log"
    ok $? "its scores are the means that h5py finds" || note <"$work/log"
else
    skip "scores against h5py" "no h5py"
fi
run_mpi "$work/log" 2 evaluate "$work/mean" --n 8 --rewards exec,brightness --out "$work/e.json"
is_code $? 0 "evaluate" "$work/log"
perl -MJSON::PP -0777 -ne '$r = decode_json($_)->{reward}; exit !(
    abs($r->{exec}{mean} - $r->{brightness}{mean}) < 1e-6)' "$work/e.json"
ok $? "evaluate: the program agrees with brightness"

# Trouble that another try heals, and trouble that ends in a status.
run_exec 0 good 2 "$(with good)"
for way in kill garbage half close; do
    run_exec 0 "$way-once" 1 "$(with $way 1 "$work/$way.flag")"
    grep -q '"reward_failed": *[1-9]' "$work/$way-once/metrics.jsonl"
    [ $? = 1 ]
    ok $? "$way once: every sample has its score"
done
run_exec 0 die 1 "$(with die 1 "$work/die.flag")" exec.attempts=1
run_exec 7 die-stop 1 "$(with die 1 "$work/stop.flag")" exec.attempts=1 reward.on_failure=stop
run_exec 7 die-always 2 "$(with die)"
says "$work/log" "^sluice: rank [01] .*, reward iteration 0 shard .*no licence left" \
    "its last words are told, with its rank"
run_exec 7 hang 1 "$(with stubborn)" exec.timeout=0.2
run_exec 7 nan 1 "$(with nan)" reward.max_failed_fraction=0.1
run_exec 7 count 1 "$(with count)" exec.restarts=1
run_exec 0 noisy 1 "$(with noisy)"
grep -q "lines are left out\|line 1 of request" "$work/noisy"/log/*
ok $? "what it writes on standard error is in the log"
run_exec 7 missing 2 exec.command="$work/nobody --fast"
says "$work/log" "$work/nobody --fast does not work: it cannot be started: No such file" \
    "the message names the program"
run_exec 7 unwell 1 "$(with die 0)"
says "$work/log" "ended with exit code.*no licence left" "the message has its last words"
run_exec 2 unset 1
says "$work/log" "exec.command" "the message names the key"
clean "trouble"

# A rank is killed while its program hangs, with a child, and ignores what it can.
begin "$work/log" 2 run "$work/c.yaml" run.dir="$work/killed" reward.name=exec \
    "$(with stubborn)"
until_true has_programs
ok $? "a program hangs"
kill -9 $(ranks_of "$job") 2>/dev/null
end_job
clean "ranks killed"

# A job that is asked to stop: its signals do not reach the programs, the lease is finished.
begin "$work/log" 1 run "$work/c.yaml" run.dir="$work/stopped" reward.name=exec \
    "$(with slow)" exec.batch=16 reward.grace=60
until_true has_programs
kill -USR1 $(ranks_of "$job") 2>/dev/null
end_job
is_code "$code" 75 "stopped by a signal" "$work/log"
says "$work/log" "stopped early" "it says so"
grep -Eq "was ended by|ended with" "$work/log" "$work/stopped"/log/*
[ $? = 1 ]
ok $? "the signal did not reach the program"
run_exec 0 stopped 2 "$(with slow)" exec.batch=16
clean "stopped"
finish
