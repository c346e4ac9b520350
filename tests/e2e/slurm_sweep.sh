#!/bin/bash
# sluice sweep --submit: its scripts, what it refuses, and real jobs: an array with a member
# that fails, one task cancelled, others requeued; members as steps that share an allocation,
# the time limit, a preemption, STOP; what a second submission leaves out. All with the bits of runs by
# hand. Real Slurm on virtual nodes.
. tests/e2e/lib.sh
. tests/tools/slurm_lib.sh

model "$work/model"
ok $? "the tiny network is made" || finish
config "$work/base.yaml" 2000 "$work/model"
echo 'launcher: srun --mpi=pmix' >"$work/site.yaml"
export SLUICE_SITE=$work/site.yaml
# plan NAME KIND, the rest of the file on standard input.
plan() {
    echo "sweep: {config: $work/base.yaml, dir: $work/$1, kind: $2, array_at_once: 3}"
    cat
} >"$work/$1.yaml"
# submit LOG NAME ARGUMENTS...
submit() {
    local log=$1 name=$2
    shift 2
    timeout -k 5 60 "$sluice" sweep "$work/$name.yaml" "$@" >"$log" 2>"$log.err"
}
plan array list <<YAML
members:
  - {run.seed: 1}
  - {run.seed: 2, model.path: /nowhere}
  - {run.seed: 3}
  - {run.seed: 4}
YAML
plan shared list <<YAML
members:
  - {run.seed: 1}
  - {run.seed: 3}
  - {run.seed: 4, run.iterations: 2}
YAML
plan stopped grid <<<'axes: {run.seed: [1, 3, 4]}'
plan halving halving <<<'axes: {run.seed: [1, 2, 3, 4, 5, 6]}'

# Scripts, on a machine without Slurm too.
cat >"$work/full.yaml" <<'YAML'
launcher: srun --mpi=pmix_v4
modules: gcc openmpi/4.1
environment: 'A=1'
account: physics
partition: cpu
sbatch: '--constraint=avx512'
scratch: /scratch/me
YAML
submit "$work/dry" array --submit --array --dry-run --time 4h --site "$work/full.yaml" \
    sweep.array_tasks=2 sweep.dir="it's odd" --cpus-per-rank 2
is_code $? 0 "the script of an array" "$work/dry.err"
bash -n "$work/dry" && [ ! -e "$work/array" ]
ok $? "bash reads it, and nothing is made"
for line in '#SBATCH --array=0-1%3' '#SBATCH --time=0-04:00:00' '#SBATCH --ntasks=1' \
    '#SBATCH --cpus-per-task=2' '#SBATCH --account=physics' '#SBATCH --partition=cpu' \
    '#SBATCH --constraint=avx512' "#SBATCH --output=\"/scratch/me/it's odd/log/slurm-%A_%a.out\"" \
    'module load gcc openmpi/4.1 || exit 4' 'export A=1' \
    "    '--launcher=srun --mpi=pmix_v4' \\" '    --part "$SLURM_ARRAY_TASK_ID/2"'; do
    grep -qxF -- "$line" "$work/dry" || echo "$line"
done >"$work/missing"
[ ! -s "$work/missing" ]
ok $? "it has what options and site ask for" || note <"$work/missing"
grep -q '^#SBATCH --mem-per-cpu=[0-9]*M$' "$work/dry"
ok $? "and memory by the plan"
submit "$work/dry" halving --submit --dry-run --ranks 6 --nodes 2
says "$work/dry" '^#SBATCH --ntasks-per-node=3' "one job for all members"
refused() { # PATTERN NAME SWEEP ARGUMENTS...
    local pattern=$1 name=$2
    shift 2
    submit "$work/log" "$@"
    is_code $? 2 "refused: $name" "$work/log.err"
    says "$work/log.err" "$pattern" "it says why"
}
refused "halving compares" "an array for halving" halving --submit --array
refused "goes with --submit" "--array alone" array --array
refused "goes with --submit" "resources without a job" array --ranks 4
refused "how many MPI ranks" "no number of ranks" array --submit
refused "sweep.ranks = 4" "fewer ranks than a member has" shared --submit --ranks 3 sweep.ranks=4
refused "one rank" "several ranks in a container" shared --submit --ranks 4 sweep.ranks=2 --container a.sif
refused "unknown option|did you mean" "an option that only submit has" shared --submit --het rollout=2
[ ! -e "$work/shared" ] && [ ! -e "$work/array" ]
ok $? "nothing is made"

start_slurm 4
member() { # NAME SEED: its folder
    echo "$work/$1/members/$("$sluice" sweep "$work/$1.yaml" --dry-run | sed -n "s/  run.seed=$2\$//p")"
}
# members_same NAME VERSION SEEDS...: their policies are those of runs by hand.
members_same() {
    local name=$1 file seed
    file=$(printf 'policy/v%06d.h5' "$2")
    for seed in "${@:3}"; do
        timeout 200 "$sluice" run "$work/base.yaml" run.seed="$seed" run.iterations="$2" \
            run.dir="$work/hand$seed" >"$work/log" 2>&1 || note <"$work/log"
        (cd "$work/hand$seed" && "$sealed" "$file") >"$work/one"
        (cd "$(member "$name" "$seed")/run" && "$sealed" "$file") >"$work/other"
        [ -s "$work/one" ] && ! grep -q damaged "$work/one" && cmp -s "$work/one" "$work/other"
        ok $? "$name: seed $seed has policy $2 of a run by hand" || note <"$work/other"
    done
}
at_work() { # NAME SEEDS...
    local seed
    for seed in "${@:2}"; do
        until_true test -e "$(member "$1" "$seed")/run/policy/v000001.h5" || return 1
    done
}
send() { # NAME ARGUMENTS...: its number is in $id
    submit "$work/$1.id" "$@" --submit
    is_code $? 0 "$1: submitted" "$work/$1.id.err"
    id=$(tail -n 1 "$work/$1.id")
}
# shorten NAME: in the copy that its jobs read, members end two iterations beyond the furthest
# one, after all have stopped. That number is in $last.
shorten() {
    last=$(($(newest "$work/$1"/members/*/run) + 2))
    sed -i "s/iterations: 2000/iterations: $last/" "$work/$1/slurm/base.yaml"
}
counted() { # NAME WORDS PATTERN
    "$sluice" sweep status "$work/$1" >"$work/log" 2>&1
    says "$work/log" "$3" "$1: $2"
}

# Slurm looks at time limits every half minute: this one goes on in the meantime.
send shared --ranks 4 --nodes 2 sweep.ranks=2 --time 1m --signal 55
shared=$id
at_work shared 1 3
counted shared "two members of two ranks at work, one waits" "2 running 1 waiting|1 waiting 2 running"
says "$work/shared/log/slurm-$shared.out" "2 at a time, each with: srun .*--exact" "as steps of the job"

# An array: a task for each member.
submit "$work/log" array --submit --array sweep.array_tasks=4 --time 10m
is_code $? 0 "array: submitted" "$work/log.err"
array=$(tail -n 1 "$work/log")
submit "$work/log" array --submit --array
is_code $? 2 "a second submission" "$work/log.err"
says "$work/log.err" "job $array .*in the queue" "names the array"
at_work array 1 3 4
ok $? "array: the others go on beside a member that fails"
soon is_state "${array}_1" FAILED
ok $? "array: its task has failed" || scontrol show job "${array}_1" | head -n 5 | note
scontrol requeue "${array}_0"
scancel "${array}_2"
scancel --batch --signal=USR1 "${array}_3"
soon has_ended "${array}_2"
for task in 0 3; do soon is_state "${array}_$task" PENDING; done
shorten array
for task in 0 3; do
    back "${array}_$task"
    ok $? "array: task $task is back in the queue"
done
for task in 0 3; do
    completed array "${array}_$task"
    restarts array "${array}_$task" 1
done
is_state "${array}_2" CANCELLED
ok $? "array: task 2 stays cancelled"
members_same array "$last" 1 4
counted array "one cancelled, one failed" "^4 members: .*2 finished"

# The time limit has come in the meantime, or comes.
soon grep -q "stopping: 2 members" "$work/shared/log/slurm-$shared.out"
ok $? "shared: near the limit its members are told"
array_last=$last
soon is_state "$shared" PENDING
shorten shared
back "$shared"
ok $? "shared: back in the queue"
says "$work/shared/log/slurm-$shared.out" "stopped early; back into the queue" "shared: the script asked for it"
[ "$(grep -c '^[12] of 3  [0-9a-f]*  stopped ' "$work/shared/log/slurm-$shared.out")" = 2 ]
ok $? "shared: both stopped cleanly" || note <"$work/shared/log/slurm-$shared.out"

# What is left of the array; its last task writes the tables.
submit "$work/log" array --submit --array sweep.array_tasks=4 --time 10m run.iterations="$array_last"
is_code $? 0 "array: again" "$work/log.err"
again=$(tail -n 1 "$work/log")
grep -qx '#SBATCH --array=1-2%3' "$work/array/slurm/job.sbatch"
ok $? "array: finished tasks are left out" || grep array= "$work/array/slurm/job.sbatch" | note
soon has_ended "${again}_1"
completed array "${again}_2"
members_same array "$array_last" 3
[ -s "$work/array/table.csv" ] && [ -s "$work/array/report.html" ]
ok $? "array: the last task has written the tables"
"$sluice" sweep collect "$work/array" >"$work/log" 2>&1
says "$work/log" "^4 members: 3 finished 1 failed" "array: collect"

completed shared "$shared"
restarts shared "$shared" 1
members_same shared $((array_last < last ? array_last : last)) 1
[ "$(newest "$(member shared 1)/run" "$(member shared 3)/run")" = "$last" ] &&
    whole "$(member shared 1)/run"
ok $? "shared: its members went on to the end"
submit "$work/log" shared --submit --ranks 4 sweep.ranks=2 run.iterations="$last"
is_code $? 0 "shared: a second submission" "$work/log.err"
says "$work/log" "all 3 members are finished: nothing to submit" "has nothing to do"

# A preemption: Slurm tells the steps first. Then stopped for good.
send stopped --ranks 2 --nodes 2 --time 10m
stopped=$id
at_work stopped 1 3
urgent=$(sbatch --parsable -p urgent -n 8 -o /dev/null --wrap true)
soon has_ended "$urgent"
back "$stopped"
ok $? "stopped: a preemption puts it back into the queue"
begun() { [ "$(grep -c '^3 members, ' "$work/stopped/log/slurm-$stopped.out")" = "$1" ]; }
soon begun 2
! grep -q '^[34] of 3' "$work/stopped/log/slurm-$stopped.out" &&
    [ ! -e "$(member stopped 4)" ]
ok $? "stopped: no member began while others were told to end" || note <"$work/stopped/log/slurm-$stopped.out"
touch "$work/stopped/STOP"
soon has_ended "$stopped"
scontrol show job "$stopped" | grep -q 'ExitCode=75:0' && is_state "$stopped" FAILED
ok $? "stopped: ends with 75 and stays out of the queue" || scontrol show job "$stopped" | head -n 8 | note
says "$work/stopped/log/slurm-$stopped.out" "by the file STOP" "stopped: it says so"
finish
