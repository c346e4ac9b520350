# Shell functions of the end-to-end tests; source it from the repository root. TAP comes
# from ok/is_code/same_bits, the plan from `finish`. $work is a private folder, removed at
# the end. Waiting functions give up after a minute, so that nothing hangs; no test
# asserts a time.
set -u
BUILD=${BUILD:-build}
MPIRUN=${MPIRUN:-mpirun}
sluice=$PWD/$BUILD/sluice
data=$PWD/tests/data
sealed=$PWD/$BUILD/tests/tools/sealed
if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_btl_vader_single_copy_mechanism=none
work=$(mktemp -d "${TMPDIR:-/tmp}/sluice-e2e.XXXXXX")
# Open MPI's session folder goes there too: one mpirun's end must not touch another test's.
mkdir "$work/t" && chmod 755 "$work" && export TMPDIR=$work/t
started=() # process ids for the clean-up
tests=0
failed=0

cleanup() {
    local p
    for p in ${started[@]+"${started[@]}"}; do
        kill -9 "$p" 2>/dev/null
    done
    type at_exit >/dev/null 2>&1 && at_exit
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' TERM INT HUP

# ok STATUS NAME...: one test, good when STATUS is 0.
ok() {
    local status=$1
    shift
    tests=$((tests + 1))
    if [ "$status" = 0 ]; then
        echo "ok $tests - $*"
    else
        failed=$((failed + 1))
        echo "not ok $tests - $*"
        echo "# failed: $tests - $*" >&2
    fi
    [ "$status" = 0 ]
}

skip() { # NAME WHY
    tests=$((tests + 1))
    echo "ok $tests - $1 # SKIP $2"
}

finish() {
    echo "1..$tests"
    [ "$failed" = 0 ]
    exit $?
}

# On standard error, so that prove shows it.
note() { sed 's/^/# /' >&2; }

is_code() { # GOT WANTED NAME [LOG]
    [ "$1" = "$2" ]
    ok $? "$3: exit $1" || {
        echo "# wanted exit $2"
        [ $# -lt 4 ] || tail -n 12 "$4" | note
    }
}

says() { # LOG PATTERN NAME
    grep -Eq -- "$2" "$1"
    ok $? "$3" || {
        echo "# nothing matches: $2"
        tail -n 12 "$1" | note
    }
}

# model DIR [class]: a tiny network with fresh weights.
model() {
    make -s "$BUILD/tests/tools/make_model" "$BUILD/tests/tools/sealed" \
        >"$work/make.log" 2>&1 || note <"$work/make.log"
    "$BUILD/tests/tools/make_model" "$data/unet_tiny${2:+_$2}_config.json" \
        "$data/scheduler_config.json" "$1"
}

# config FILE ITERATIONS MODEL: 10 samples in shards of 4, so that the last is not full;
# two inner epochs in batches of 6, so that batches do not divide the samples.
config() {
    cat >"$1" <<YAML
run: {seed: 3, iterations: $2, keep_policies: 0}
model: {path: $3, micro_batch: 4}
sampler: {steps: 5}
rollout: {samples: 10, shard_samples: 4}
update: {batch: 6, lr: 1e-4, inner_epochs: 2, ema_decay: 0.9}
algorithm: {baseline: tracker, tracker_min_count: 4}
YAML
}

# The layouts: ranks, then the options of the groups.
layouts=(
    "1"
    "4 groups.rollout=1 groups.reward=1 groups.advantage=1 groups.update=1 groups.placement=split"
    "8 groups.rollout=3 groups.reward=2 groups.advantage=1 groups.update=2"
    "8 groups.rollout=2 groups.reward=1 groups.advantage=2 groups.update=3 groups.placement=split"
    "3 groups.rollout=3 groups.reward=2 groups.advantage=1 groups.update=2"
    "2"
    "5"
)

# run_mpi LOG RANKS ARGUMENTS...: the program under mpirun, at most a minute and a half.
run_mpi() {
    local log=$1 ranks=$2
    shift 2
    timeout -k 5 90 "$MPIRUN" --oversubscribe -np "$ranks" "$sluice" "$@" >"$log" 2>&1
}

# run_layout LOG INDEX ARGUMENTS...: the same with a layout of the list above.
run_layout() {
    local log=$1 words
    read -r -a words <<<"${layouts[$2]}"
    shift 2
    run_mpi "$log" "${words[0]}" "$@" "${words[@]:1}"
}

# digests DIR: one line per sealed file, in order; each is verified on the way.
digests() {
    (
        cd "$1" && find rollout reward advantage policy -name '*.h5' | sort |
            xargs -r "$sealed"
    )
}

# same_bits DIR REFERENCE NAME: REFERENCE is a file that `digests` wrote.
same_bits() {
    digests "$1" >"$work/digests"
    [ -s "$2" ] && ! grep -q damaged "$2" && cmp -s "$2" "$work/digests"
    ok $? "$3: the same bits in $(wc -l <"$2") files" ||
        diff "$2" "$work/digests" | head -n 8 | note
}

# whole DIR [NEWER]: every sealed file (newer than the file NEWER) reads with all its
# checksums, and status.json is whole.
whole() {
    local bad=0
    find "$1" -name '*.h5' ! -name index.h5 ${2:+-newer "$2"} -print0 |
        xargs -0 -r "$sealed" | grep damaged | note
    [ "${PIPESTATUS[2]}" = 1 ] || bad=1
    if [ -e "$1/status.json" ]; then
        perl -MJSON::PP -0777 -ne 'decode_json($_)' "$1/status.json" 2>&1 | note
        [ "${PIPESTATUS[0]}" = 0 ] || bad=1
    fi
    return $bad
}

# metrics_whole DIR N: metrics.jsonl has each iteration exactly once, in order.
metrics_whole() {
    perl -MJSON::PP -ne '$j = decode_json($_); print "$j->{iteration}\n"
        if exists $j->{iteration}' "$1/metrics.jsonl" >"$1/iterations"
    seq 0 $(($2 - 1)) | cmp -s - "$1/iterations"
}

status_is() { # DIR STATE
    grep -q "\"state\": *\"$2\"" "$1/status.json"
}

# begin LOG RANKS ARGUMENTS...: like run_mpi, in the background; its id is in $job.
begin() {
    local log=$1 ranks=$2
    shift 2
    "$MPIRUN" --oversubscribe -np "$ranks" "$sluice" "$@" >"$log" 2>&1 &
    job=$!
    started+=("$job")
}

begin_layout() {
    local log=$1 words
    read -r -a words <<<"${layouts[$2]}"
    shift 2
    begin "$log" "${words[0]}" "$@" "${words[@]:1}"
}

# ranks_of JOB: the process ids of its ranks (none before they are started).
ranks_of() {
    local p name children=/proc/$1/task/$1/children
    for p in $([ -e "$children" ] && cat "$children" || pgrep -P "$1"); do
        read -r name <"/proc/$p/comm" && [ "$name" = sluice ] && echo "$p"
    done 2>/dev/null
}

# alive ID: neither gone nor a zombie.
alive() {
    local stat
    read -r stat <"/proc/$1/stat" || return 1
    stat=${stat##*) }
    [ "${stat:0:1}" != Z ]
} 2>/dev/null

# until_true COMMAND...: polls for a minute.
until_true() {
    local i
    for ((i = 0; i < 3000; i++)); do
        "$@" && return 0
        sleep 0.02
    done
    return 1
}

gone() { # IDS...
    local p
    for p in "$@"; do
        ! alive "$p" || return 1
    done
}

# end_job: waits for $job; its exit code is in $code, 124 when ranks would not end.
# Open MPI 4.1's mpirun can lock itself up in PMIx_server_finalize when a rank is killed
# while it connects. All ranks are gone then: that counts as ended by the kill.
end_job() {
    local i idle=0 ranks
    for ((i = 0; i < 3000; i++)); do
        gone "$job" && break
        sleep 0.02
        [ $((i % 50)) = 49 ] || continue
        ranks=($(ranks_of "$job"))
        if gone ${ranks[@]+"${ranks[@]}"}; then
            [ $((++idle)) -lt 10 ] || break
        else
            idle=0
        fi
    done
    code=
    if ! gone "$job"; then
        code=137
        [ $idle = 10 ] || {
            code=124
            ps -o pid,ppid,stat,wchan:20,etimes,args -p "$job" --ppid "$job" |
                cut -c1-100 | note
        }
        kill -9 "$job" $(ranks_of "$job") 2>/dev/null
    fi
    wait "$job" 2>/dev/null
    code=${code:-$?}
}

# until_file FILE: waits until it exists or $job ends.
file_or_end() { [ -e "$1" ] || ! alive "$job"; }
until_file() { until_true file_or_end "$1" && [ -e "$1" ]; }
