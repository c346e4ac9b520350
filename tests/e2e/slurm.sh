#!/bin/bash
# sluice submit: its scripts, what it refuses, and real jobs: finished, requeued after a
# signal, the time limit, a preemption, by hand, after the loss of a node; heterogeneous jobs
# and chains; all end with the bits of an uninterrupted run. Real Slurm on virtual nodes.
. tests/e2e/lib.sh
. tests/tools/slurm_lib.sh

iterations=8
model "$work/model"
config "$work/config.yaml" $iterations "$work/model"
site=$work/site.yaml
echo 'launcher: srun --mpi=pmix' >"$site"
export SLUICE_SITE=$site

# submit LOG CONFIG...
submit() {
    local log=$1
    shift
    timeout -k 5 60 "$sluice" submit "$work/config.yaml" "$@" >"$log" 2>"$log.err"
}
dry() { submit "$work/dry" --dry-run run.dir="$work/dry run" "$@"; }
refused() { # CODE PATTERN NAME ARGUMENTS...
    local code=$1 pattern=$2 name=$3
    shift 3
    dry "$@"
    is_code $? "$code" "refused: $name" "$work/dry.err"
    says "$work/dry.err" "$pattern" "it says why"
}

# Scripts, on a machine without Slurm too.
cat >"$work/full.yaml" <<'YAML'
launcher: mpirun
modules: gcc openmpi/4.1
environment: 'A=1 B="two words; $(touch oops)"'
setup: 'source /opt/site.sh'
account: physics
partition: cpu
sbatch: '--constraint="avx512&ib" --exclusive'
YAML
dry --ranks 4 --cpus-per-rank 2 --nodes 2 --time 4h --qos long --mem 8G --after 12:13 \
    --name 'a "job"' --site "$work/full.yaml"
is_code $? 0 "a script is printed" "$work/dry.err"
[ ! -e "$work/dry run" ]
ok $? "and nothing is made"
bash -n "$work/dry"
ok $? "bash reads it"
for line in '#SBATCH --job-name="a \\"job\\""' '#SBATCH --time=0-04:00:00' '#SBATCH --nodes=2' \
    '#SBATCH --ntasks=4' '#SBATCH --cpus-per-task=2' '#SBATCH --mem=8G' \
    '#SBATCH --account=physics' '#SBATCH --partition=cpu' '#SBATCH --qos=long' \
    '#SBATCH --dependency=afterok:12:13' '#SBATCH --constraint="avx512&ib"' \
    '#SBATCH --exclusive' '#SBATCH --signal=B:USR1@300' '#SBATCH --requeue' \
    'module load gcc openmpi/4.1 || exit 4' "export B='two words; \$(touch oops)'" \
    'source /opt/site.sh'; do
    grep -qxF -- "${line//\\\\/\\}" "$work/dry" || echo "$line"
done >"$work/missing"
[ ! -s "$work/missing" ]
ok $? "it has what options and site ask for" || note <"$work/missing"
says "$work/dry" '^start mpirun --bind-to none -np "\$SLURM_NTASKS"' "mpirun starts the ranks"
[ "$(grep -c -- '^#SBATCH --mem' "$work/dry")" = 1 ]
ok $? "memory is asked for once"
dry --ranks 2 --container "$work/an image.sif"
says "$work/dry" "apptainer exec --bind \"\\\$dir\" --bind $PWD '$work/an image.sif' sluice run" \
    "a container's program runs in it"

# Memory is what `sluice plan` says, a quarter more and 128 MiB.
rank=$("$sluice" plan "$work/config.yaml" --ranks 4 | sed -n 's/ *the largest rank *\([0-9]*\) MiB/\1/p')
asks() { # FACTOR OPTION NAME ARGUMENTS...
    local factor=$1 option=$2 name=$3
    shift 3
    dry "$@"
    awk -v got="$(sed -n "s/^#SBATCH --$option=\([0-9]*\)M$/\1/p" "$work/dry")" -v f="$factor" \
        -v rank="${rank:-0}" 'BEGIN { d = got - f * (1.25 * rank + 128)
            exit !(got > 0 && d > -2 * f && d < 2 * f + 1) }'
    ok $? "$name" || grep mem "$work/dry" | note
}
asks 1 mem-per-cpu "memory of a rank, for its core" --ranks 4
asks 0.5 mem-per-cpu "and for each of its two" --ranks 4 --cpus-per-rank 2
asks 2 mem "memory of a node" --ranks 4 --nodes 2
echo 'sbatch: --exclusive' >"$work/whole.yaml"
dry --ranks 4 --nodes 2 --site "$work/whole.yaml"
says "$work/dry" '^#SBATCH --mem=0$' "all of it, where nodes are not shared"
dry --het rollout=2:main,update=1:big
[ "$(grep -c -- '^#SBATCH --mem-per-cpu=[0-9]*M$' "$work/dry")" = 2 ]
ok $? "each part of a heterogeneous job has its own"

SCRATCH=$work/scratch timeout 60 "$sluice" submit "$work/config.yaml" run.dir=a/b --dry-run \
    --ranks 2 --site slurm/site.example.yaml >"$work/dry" 2>"$work/dry.err"
is_code $? 0 "the example of a site file" "$work/dry.err"
says "$work/dry" "^dir=$work/scratch/a/b\$" "a relative directory goes to scratch"

# Every odd name is one word of the script.
odd="$work/it's; \"q\" \$(touch oops) \`touch oops\` %j #x"
submit "$work/dry" --dry-run run.dir="$odd" --ranks 1 --container "$odd.sif" --program "$odd"
is_code $? 0 "odd names" "$work/dry.err"
{
    grep '^dir=' "$work/dry"
    echo 'printf "%s\n" "$dir"'
    sed -n '/^start srun/,/[^\\]$/p' "$work/dry" | sed 's/^start srun/printf "%s\\n"/'
} >"$work/words.sh"
bash "$work/words.sh" >"$work/words"
[ "$(grep -cxF -- "$odd" "$work/words")" = 3 ] && grep -qxF -- "$odd.sif" "$work/words" &&
    ! grep -qv '^#' <(sed -n '/^#SBATCH/,/^$/p' "$work/dry" | grep .) && [ ! -e oops ]
ok $? "stay whole and start nothing" || note <"$work/words"

refused 2 "Did you mean|did you mean" "an unknown key" --ranks 1 sampler.stepps=3
refused 2 "did you mean --nodes" "an unknown option" --ranks 1 --node 3
refused 2 "unit" "a time that is minutes or seconds" --ranks 1 --time 60
refused 2 "before a limit" "a signal before the start" --ranks 1 --time 4m
refused 2 "how many MPI ranks" "no number of ranks" --time 1h
refused 2 "character" "a partition with a command" --ranks 1 --partition 'a;b'
refused 2 "numbers of jobs" "a dependency that is none" --ranks 1 --after 'x y'
refused 4 "ranks" "ranks that do not fit the groups" --ranks 3 groups.rollout=4
refused 2 "no group" "a group that is none" --het rollouts=2
refused 2 "first part" "mpirun for a heterogeneous job" --het rollout=2:a --launcher mpirun
refused 2 "NAME=VALUE" "a site file's environment" --ranks 1 --site <(echo 'environment: "a b"')
refused 3 "" "a model that is not there" --ranks 1 model.path="$work/none"
mkdir "$work/bin"
ln -s "$(command -v timeout)" "$work/bin"
PATH=$work/bin submit "$work/log" run.dir="$work/none" --ranks 1
is_code $? 4 "no sbatch" "$work/log.err"

start_slurm 4
send() { # NAME ARGUMENTS...: its number is in $id
    local name=$1
    shift
    submit "$work/$name.id" run.dir="$work/$name" "$@"
    is_code $? 0 "$name: submitted" "$work/$name.id.err"
    id=$(tail -n 1 "$work/$name.id")
    id=${id%% *}
}
same() { reaches "$work/$1" "$work/reference.bits" "$1: the bits of an uninterrupted run" "${2:-65}"; }
# A run that will be disturbed is long; then the configuration that its job reads ends it
# where the reference ends.
long() { # NAME ARGUMENTS...
    local name=$1
    shift
    send "$name" --ranks 1 --time 10m run.iterations=2000 "$@"
    ids[$name]=$id
}
declare -A ids last
at_work() { until_true [ -e "$work/$1/policy/v000001.h5" ]; }
# Slurm looks at time limits every half minute: this one goes on in the meantime.
long limit --time 1m --signal 55

# Undisturbed: one allocation, a heterogeneous job, chains.
odd="it's \"odd\" \$HOME %j #x"
send "$odd" --ranks 4 --nodes 2 --time 10m
one=$id
send het --het rollout=2:main,update=1:big --time 10m
het=$id
send stages --het rollout=2,reward=1,advantage=1,update=2:big --chain stages run.iterations=2 \
    --time 10m
stages=$id
completed "$odd" "$one"
digests "$work/$odd" >"$work/reference.bits"
[ -s "$work/$odd/log/slurm-$one.out" ] && [ "$(wc -l <"$work/reference.bits")" = 65 ]
ok $? "its log and all files are there" || ls "$work/$odd/log" | note
asked=$(sed -n 's/^#SBATCH --mem=\([0-9]*\)M$/\1/p' "$work/$odd/slurm/job.sbatch") # of two ranks
perl -MJSON::PP -0777 -e '$j = decode_json(<STDIN>); ($most) = sort { $b <=> $a }
    map { ref $_ ? values %$_ : $_ } ($j->{rss_group_bytes});
    exit !($most > 1e6 && 2 * $most < $ARGV[0] * 2**20)' "$asked" <"$work/$odd/accounting.json"
ok $? "its ranks stayed below the memory that was asked for" || note <"$work/$odd/accounting.json"
submit "$work/log" --dry-run run.dir="$work/$odd" --ranks 4 --time 10m run.iterations=100000
says "$work/log.err" "the rest takes .* hours on these ranks: [0-9]+ start\(s\)" "submit says how long the rest takes"
completed het "$het"
same het
says "$work/het/log/slurm-$het.out" "group update     ranks 4-4 " "het: groups as asked for"
completed stages "$stages"
same stages 17
[ "$(wc -l <"$work/stages.id")" = 8 ]
ok $? "stages: eight jobs"
cat >"$work/apptainer" <<'SH'
#!/bin/bash
[ "$1 $2 $4" = "exec --bind --bind" ] && [ -d "$3" ] && [ -d "$5" ] && [ "${6##*/}" = an.sif ] && shift 6 && exec "$@"
SH
chmod 755 "$work/apptainer"
echo "container: $work/apptainer exec" >"$work/container.yaml"
send contained --ranks 1 --time 10m --container "$work/an.sif" --program "$sluice" \
    --site "$work/container.yaml"
contained=$id
submit "$work/log" run.dir="$work/contained" --ranks 1 run.iterations=9
is_code $? 2 "a second submission" "$work/log.err"
says "$work/log.err" "job $contained \\((PENDING|RUNNING|CONFIGURING)\\).*--after $contained" "names the job in the queue"
cp -r "$work/contained/slurm" "$work/frozen"
send contained --ranks 1 --time 10m --after "$contained" run.iterations=9
behind=$id
(cd "$work/frozen" && sha256sum config.yaml job.sbatch) >"$work/sums"
(cd "$work/contained/slurm" && sha256sum -c "$work/sums") >"$work/log" 2>&1
ok $? "behind it: files of its own" || note <"$work/log"
submit "$work/log" run.dir="$work/contained" --ranks 1 --after "$contained"
is_code $? 2 "a third has to wait for the last one" "$work/log.err"
# A rank that dies before MPI is up.
cat >"$work/dies" <<SH
#!/bin/bash
mkdir "$work/died" 2>/dev/null && echo this one dies && exit 127
exec $sluice "\$@"
SH
chmod 755 "$work/dies"
send lost --het rollout=1:main,update=1:big --time 10m --program "$work/dies" run.start_timeout=5
lost=$id
send blocks --ranks 2 --chain blocks --block 5 --time 10m
completed blocks "$id"
same blocks
[ "$(wc -l <"$work/blocks.id")" = 2 ]
ok $? "blocks: two jobs"
completed contained "$contained"
same contained
completed contained "$behind"
[ -e "$work/contained/policy/v000009.h5" ]
ok $? "behind it: the run goes on as far as it was told"
soon has_ended "$lost"
is_state "$lost" FAILED
ok $? "lost: a rank that does not start ends the job" || scontrol show job "$lost" | head -n 8 | note
says "$work/lost/log/slurm-$lost.out" "MPI has not started within 5 s" "lost: the others say what they waited for"

# A chain ends where a job fails.
send broken --ranks 1 --chain stages run.iterations=1 --time 10m --program false
soon has_ended "$id"
is_state "$id" CANCELLED
ok $? "broken: the jobs after one that failed are cancelled"

# Disturbed.
goes_on() { # NAME COUNT
    local n
    soon is_state "${ids[$1]}" PENDING
    n=$(($(newest "$work/$1") + 2)) # it has something to do, also where it was fast
    last[$1]=$((n > iterations ? n : iterations))
    sed -i "s/iterations: 2000/iterations: ${last[$1]}/" "$work/$1/slurm/config.yaml"
    back "${ids[$1]}"
    ok $? "$1: the job is back in the queue" || {
        scontrol show job "${ids[$1]}" | head -n 8 | note
        tail -n 12 "$work/$1"/log/slurm-*.out | note
    }
}
ends_well() { # NAME
    completed "$1" "${ids[$1]}"
    restarts "$1" "${ids[$1]}" 1
    [ "$(newest "$work/$1")" = "${last[$1]}" ]
    ok $? "$1: it went on to the end"
    same "$1"
}
long crash --ranks 2 # the node's two cores, so that no other job is lost with it
long signal
long hand
for name in limit signal hand crash; do at_work $name; done
node=$(squeue -h -j "${ids[crash]}" -o %N)
bash tests/tools/slurm_mini.sh crash "$mini" "$node"
scontrol update nodename="$node" state=down reason=crash # Slurm finds out by itself, later
scancel --batch --signal=USR1 "${ids[signal]}"
scontrol requeue "${ids[hand]}"
for name in crash signal hand limit; do goes_on $name; done
for name in crash signal hand limit; do ends_well $name; done
says "$work/limit/log/slurm-${ids[limit]}.out" "back into the queue" "limit: the script asked for it"
bash tests/tools/slurm_mini.sh node "$mini" "$node"
scontrol update nodename="$node" state=resume

long preempted
long mpirun --ranks 2 --launcher mpirun # which gets TERM too
send pair --het rollout=1:main,update=1:big run.iterations=2000 --time 10m
ids[pair]=$id
for name in preempted mpirun pair; do at_work $name; done
scancel --batch --signal=USR1 "${ids[pair]}"
urgent=$(sbatch --parsable -p urgent -n 8 -o /dev/null --wrap true)
soon has_ended "$urgent"
for name in preempted mpirun pair; do goes_on $name; done
scontrol update jobid="${ids[pair]}+1" StartTime=now
for name in preempted mpirun pair; do ends_well $name; done

# Stopped for good.
long stop
long once --requeue-max 0
long cancelled
for name in stop once cancelled; do at_work $name; done
touch "$work/stop/STOP"
scancel --batch --signal=USR1 "${ids[once]}"
scancel "${ids[cancelled]}"
for name in stop once; do
    soon has_ended "${ids[$name]}"
    scontrol show job "${ids[$name]}" | grep -q 'ExitCode=75:0' && is_state "${ids[$name]}" FAILED
    ok $? "$name: ends with 75 and stays out of the queue" ||
        scontrol show job "${ids[$name]}" | head -n 8 | note
done
says "$work/stop/log/slurm-${ids[stop]}.out" "by the file STOP" "stop: it says so"
says "$work/once/log/slurm-${ids[once]}.out" "0 times already" "once: it says so"
soon has_ended "${ids[cancelled]}"
soon status_is "$work/cancelled" stopped
is_state "${ids[cancelled]}" CANCELLED && whole "$work/cancelled"
ok $? "cancelled: it stays so, and all files are whole"
run_mpi "$work/log" 2 run "$work/config.yaml" run.dir="$work/cancelled"
is_code $? 0 "cancelled: goes on by hand" "$work/log"
same cancelled
finish
