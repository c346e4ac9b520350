#!/bin/bash
# `sluice sweep`: members of a grid, a list, random draws and halving; failures, kills and
# stops; tables that others read; files that are refused.
. tests/e2e/lib.sh

model "$work/class" class
ok $? "the tiny network is made" || finish
config "$work/base.yaml" 2 "$work/class"
echo 'reward: {name: brightness}' >>"$work/base.yaml"
sweep() { timeout -k 5 90 "$sluice" sweep "$@" >"$work/log" 2>&1; }
# plan NAME KIND [MORE SETTINGS], the rest of the file on standard input.
plan() {
    echo "sweep: {config: $work/base.yaml, dir: $work/$1, kind: $2${3:+, $3}}"
    cat
} >"$work/$1.yaml"
ids() { ls "$work/$1/members"; }

# A list with a member that fails.
plan list list <<'YAML'
members:
  - {run.seed: 1}
  - {model.path: /nowhere, run.seed: 1}
  - {run.seed: 2, update.lr: 0.001}
  - {update.lr: 1e-3, run.seed: 2}
YAML
sweep "$work/list.yaml"
is_code $? 3 "a list of which one member fails" "$work/log"
says "$work/log" "^3 members: 2 finished 1 failed" "the others finish; equal members are one"
says "$work/log" "/nowhere: no such model folder" "the failure is explained"
member=$("$sluice" sweep "$work/list.yaml" --dry-run | sed -n 's/  run.seed=2.*//p')
(cd "$work" && timeout 60 "$sluice" run base.yaml run.seed=2 update.lr=1e-3 \
    run.dir="$work/hand") >"$work/log" 2>&1
digests "$work/hand" >"$work/reference"
same_bits "$work/list/members/$member/run" "$work/reference" "a member is what the run by hand is"

# What others read.
/usr/bin/python3 -B - "$work/list" <<'PY' 2>&1 | note
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1] + "/table.csv")))
assert [r["state"] for r in rows] == ["finished", "failed", "finished"], rows
assert rows[1]["exit_code"] == "3" and rows[2]["update.lr"] == "0.001"
assert float(rows[0]["wall_s"]) > 0 and rows[0]["iterations"] == "2"
PY
ok "${PIPESTATUS[0]}" "table.csv has states, codes and parameters"
if /usr/bin/python3 -c 'import h5py' 2>/dev/null; then
    /usr/bin/python3 -B - "$work/list" <<'PY' 2>&1 | note
import csv, h5py, math, sys
rows = list(csv.DictReader(open(sys.argv[1] + "/table.csv")))
with h5py.File(sys.argv[1] + "/table.h5") as f:
    assert [x.decode() for x in f["id"]] == [r["id"] for r in rows]
    assert f["update.lr"][2] == 0.001 and math.isnan(f["update.lr"][0])
    assert f["model.path"][1] == b"/nowhere" and f["exit_code"][1] == 3
    assert f["reward_mean"].shape == (3, 2) and f["reward_last"].attrs["units"]
    assert f["reward_mean"][0, 1] == f["reward_last"][0] == float(rows[0]["reward_last"])
PY
    ok "${PIPESTATUS[0]}" "table.h5 has the same, and curves"
else
    skip "table.h5 has the same, and curves" "no h5py"
fi
grep -q '<svg' "$work/list/report.html" && ! grep -qE 'src="http|<script' "$work/list/report.html"
ok $? "the report draws curves and loads nothing"
sweep status "$work/list"
is_code $? 0 "status" "$work/log"
says "$work/log" "finished .*update.lr=0.001" "it lists members"
sweep collect "$work/list"
is_code $? 0 "collect" "$work/log"

# A grid: again is nothing; kills; more iterations.
plan grid grid <<'YAML'
axes:
  update.lr: {from: 1e-4, to: 1e-2, points: 3, scale: log}
  run: {seed: [1, 2]}
YAML
sweep "$work/grid.yaml" run.iterations=100000 run.keep_shards=2 run.keep_policies=2 &
begun() { [ "$(ls "$work"/grid/members/*/run/policy/v000001.h5 2>/dev/null | wc -l)" -ge 2 ]; }
until_true begun
job=$(pgrep -P $! -x timeout | head -n 1) # a background function is a shell of its own
job=$(pgrep -P "${job:-$!}" -x sluice)
children=($(pgrep -P "$job"))
started+=("$job" "${children[@]}")
[ ${#children[@]} -ge 1 ]
ok $? "members are at work"
kill -9 "$job"
{ wait; } 2>/dev/null
until_true gone "${children[@]}"
ok $? "they end with the sweep that was killed"
sweep status "$work/grid"
says "$work/log" "interrupted" "and are named as interrupted"
sweep "$work/grid.yaml"
is_code $? 0 "the same sweep afterwards" "$work/log"
says "$work/log" "^6 members: 6 finished" "finishes all"
find "$work/grid/members" -type f ! -name lock -printf '%p %T@\n' | sort >"$work/before"
sweep "$work/grid.yaml"
is_code $? 0 "again" "$work/log"
says "$work/log" "^6 members, 6 finished already" "there is nothing to do"
find "$work/grid/members" -type f ! -name lock -printf '%p %T@\n' | sort | cmp -s - "$work/before"
ok $? "and nothing is done"
sweep "$work/grid.yaml" algorithm.kl_weight=0.5
is_code $? 2 "another base" "$work/log"
says "$work/log" "another algorithm.kl_weight" "is not mistaken for the old one"

# Signals.
plan stop grid <<'YAML'
axes: {run.seed: [1, 2, 3, 4, 5]}
YAML
timeout -k 5 60 "$sluice" sweep "$work/stop.yaml" sweep.at_once=2 run.iterations=100000 \
    run.keep_shards=2 run.keep_policies=2 >"$work/log" 2>&1 &
job=$!
started+=("$job")
begun() { [ "$(ls "$work"/stop/members/*/run/policy/v000001.h5 2>/dev/null | wc -l)" = 2 ]; }
until_true begun
kill -TERM "$(pgrep -P "$job" -x sluice)"
wait "$job"
is_code $? 75 "SIGTERM" "$work/log"
says "$work/log" "^5 members: 2 stopped 3 waiting" "members at work stop cleanly, no other begins"
[ "$(grep -l '"stopped"' "$work"/stop/members/*/run/status.json | wc -l)" = 2 ]
ok $? "their status says so"
sweep "$work/stop.yaml" sweep.at_once=3 run.iterations=4 &
until_true test -e "$work/stop/members/$(ids stop | head -n 1)/member.json"
touch "$work/stop/STOP"
wait $!
sweep "$work/stop.yaml" run.iterations=4
is_code $? 0 "the same goes on" "$work/log"
says "$work/log" "^5 members: 5 finished" "and finishes"

# Random draws depend on the seed alone; parts of an array make the whole.
plan random random "samples: 4, seed: 7" <<'YAML'
axes:
  update.lr: {from: 1e-5, to: 1e-3, scale: log}
  update.inner_epochs: {from: 1, to: 3}
YAML
"$sluice" sweep "$work/random.yaml" --dry-run >"$work/one"
"$sluice" sweep "$work/random.yaml" --dry-run sweep.samples=3 | cmp -s - <(head -n 3 "$work/one")
ok $? "draws do not depend on how many there are"
! "$sluice" sweep "$work/random.yaml" --dry-run sweep.seed=8 | cmp -s - "$work/one"
ok $? "but on the seed"
for part in 0 1; do sweep "$work/random.yaml" --part $part/2 || break; done
is_code $? 0 "two parts" "$work/log"
sweep "$work/random.yaml"
says "$work/log" "^4 members, 4 finished already" "are the whole"

# Several ranks, by the launcher. Each that runs has a folder of its own for Open MPI's files,
# which would be one for all: the end of a member fails another one's start.
mkdir "$work/tmp"
cat >"$work/launcher" <<SH
#!/bin/bash
echo "\$OMPI_MCA_orte_tmpdir_base" >>"$work/folders"
until [ "\$(wc -l <"$work/folders")" -ge 2 ]; do sleep 0.02; done
exec $MPIRUN --oversubscribe -np 2 "\$@"
SH
chmod +x "$work/launcher"
TMPDIR=$work/tmp sweep "$work/list.yaml" sweep.dir="$work/ranks" sweep.ranks=2 sweep.at_once=2 \
    sweep.launch="$work/launcher"
is_code $? 3 "members of two ranks" "$work/log"
same_bits "$work/ranks/members/$member/run" "$work/reference" "they have the same results"
[ "$(grep "^$work/tmp/sluice-sweep-" "$work/folders" | head -n 2 | sort -u | wc -l)" = 2 ]
ok $? "two at a time have two folders for their launchers' files" || note <"$work/folders"
[ -z "$(ls -A "$work/tmp")" ]
ok $? "which are gone afterwards" || find "$work/tmp" | note
# One rank without a launcher needs no such folder.
TMPDIR=$work/base.yaml/none sweep "$work/random.yaml" sweep.dir="$work/lone" sweep.samples=2 \
    sweep.launch=none
is_code $? 0 "members of one rank, where no temporary folder can be made" "$work/log"

# Several nodes: steps of the job, as many as it has tasks.
mkdir "$work/bin"
cat >"$work/bin/srun" <<'SH'
#!/bin/bash
echo "$*" >>"$(dirname "$0")/steps"
shift 8
exec "$@"
SH
chmod +x "$work/bin/srun"
PATH=$work/bin:$PATH SLURM_JOB_ID=1 SLURM_JOB_NUM_NODES=2 SLURM_NTASKS=3 \
    sweep "$work/random.yaml" sweep.dir="$work/nodes"
is_code $? 0 "a job of two nodes" "$work/log"
says "$work/log" "3 at a time" "as many members as tasks at a time"
[ "$(grep -c -- '^--mpi=pmix --kill-on-bad-exit=0 --exact --mem=0 -n 1 -c 1 .*/sluice run' "$work/bin/steps")" = 4 ]
ok $? "each a step of the job"
PATH=$work/bin:$PATH SLURM_JOB_ID=1 SLURM_JOB_NUM_NODES=2 SLURM_NTASKS=3 \
    sweep "$work/random.yaml" sweep.dir="$work/nodes2" --launcher mpirun
is_code $? 2 "several nodes without srun" "$work/log"
says "$work/log" "use srun, or a job array" "says what to do"

# Halving: the best by the metric at each rung's end.
plan halving halving "samples: 5, eta: 2, min_iterations: 1" <<'YAML'
axes:
  update.lr: {from: 1e-4, to: 1e-2, scale: log}
  run.seed: [1, 2, 3, 4]
YAML
sweep "$work/halving.yaml" run.iterations=5
is_code $? 0 "halving" "$work/log"
grep '^rung' "$work/log" | cmp -s - <<'END'
rung 1 of 3: 5 members, 1 iterations
rung 2 of 3: 2 members, 2 iterations
rung 3 of 3: 1 members, 5 iterations
END
ok $? "has its rungs"
/usr/bin/python3 -B - "$work/halving" <<'PY' 2>&1 | note
import glob, json, os, sys
lines = {os.path.basename(d): [json.loads(l) for l in open(d + "/run/metrics.jsonl")]
         for d in glob.glob(sys.argv[1] + "/members/*")}
curve = {k: [j["reward_mean"] for j in v if "reward_mean" in j] for k, v in lines.items()}
left = sorted(curve)
for keep, n in ((2, 1), (1, 2)):
    left = sorted(left, key=lambda k: (-curve[k][n - 1], k))[:keep]
    assert sorted(left) == sorted(k for k in curve if len(curve[k]) > n), (left, curve)
PY
ok "${PIPESTATUS[0]}" "the best go on"
sweep "$work/halving.yaml" run.iterations=5
[ "$(grep -c 'all finished' "$work/log")" = 3 ]
ok $? "again is nothing"

# Files that are refused before anything runs.
refused() { # NAME PATTERN, the file on standard input
    cat >"$work/bad.yaml"
    sweep "$work/bad.yaml"
    is_code $? 2 "$1" "$work/log"
    says "$work/log" "$2" "says what is wrong"
}
top="sweep: {config: $work/base.yaml, dir: $work/bad}"
refused "an unknown key" "bad.yaml:2: unknown key 'update.lrr'; did you mean 'update.lr'" <<END
$top
axes: {update.lrr: [1]}
END
refused "an axis without values" "bad.yaml:3: update.lr: the axis has no values" <<END
$top
axes:
  update.lr: []
END
refused "a value of another type" "bad.yaml:2: update.lr: 'fast' is not accepted" <<END
$top
axes: {update.lr: [1e-3, fast]}
END
refused "an unknown setting" "unknown key 'sweep.sead'; did you mean" <<END
sweep: {config: $work/base.yaml, dir: $work/bad, sead: 1}
axes: {update.lr: [1]}
END
refused "an unknown section" "unknown section 'axis'" <<END
$top
axis: {update.lr: [1]}
END
refused "a range backwards" "from < to" <<END
$top
axes: {update.lr: {from: 1, to: 0.1, points: 3}}
END
refused "the sweep's own key" "run.dir is the sweep's own" <<END
$top
axes: {run.dir: [a, b]}
END
refused "a file that is no map" "lines expected" <<END
- 1
END
[ ! -e "$work/bad" ]
ok $? "nothing has run"
sweep status "$work/bad"
is_code $? 3 "no folder of a sweep" "$work/log"
OMPI_COMM_WORLD_SIZE=1 "$sluice" sweep "$work/list.yaml" >"$work/log" 2>&1
is_code $? 4 "under a launcher" "$work/log"
finish
