#!/bin/bash
# Runs all tests through prove: unit programs, programs for several ranks, end-to-end
# scripts. With arguments: only the tests whose name contains one of them.
#
#   tests/run.sh [-v] [NAME ...]
#
# BUILD: build folder. TEST_LIMIT: seconds after which one test is ended and has failed.
# TEST_JOBS: tests at the same time (one more than there are cores).
set -u
cd "$(dirname "$0")/.." || exit 4
export BUILD=${BUILD:-build} MPIRUN=${MPIRUN:-mpirun} TEST_LIMIT=${TEST_LIMIT:-420}
verbose=
[ "${1-}" != -v ] || { verbose=-v && shift; }

command -v prove >/dev/null || {
    echo "tests/run.sh: prove is missing; install perl" >&2
    exit 4
}
if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_btl_vader_single_copy_mechanism=none


TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/sluice-tests.XXXXXX") || exit 4
chmod 755 "$TMPDIR" # a test gives up its rights and must still get through
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
trap 'exit 1' TERM INT HUP

# One small script per entry, because prove wants files. `timeout` ends the whole process
# group of the test. Each has a folder for temporary files: an mpirun that ends removes
# Open MPI's session folder, and another one that starts in it fails.
mkdir "$TMPDIR/t"
entries=()
entry() { # NAME COMMAND...
    local name=$1 want
    shift
    if [ ${#wanted[@]} -gt 0 ]; then
        for want in "${wanted[@]}"; do
            [[ $name != *$want* ]] || break
            want=
        done
        [ -n "$want" ] || return
    fi
    mkdir -p "$TMPDIR/t/$(dirname "$name")"
    {
        printf 'cd "%s" || exit 4\nexport TMPDIR="%s/%s"\nmkdir "$TMPDIR" || exit 4\n' \
            "$PWD" "$TMPDIR" "${#entries[@]}"
        printf 'exec timeout -k 10 "$TEST_LIMIT" %s\n' "$*"
    } >"$TMPDIR/t/$name"
    entries+=("$name")
}

wanted=("$@")
# The long ones first.
for source in tests/e2e/*.sh; do
    name=$(basename "$source" .sh)
    [ "$name" = lib ] || entry "e2e/$name" bash "$source"
done
for source in tests/unit/*.c; do
    name=$(basename "$source" .c)
    entry "unit/$name" "$BUILD/tests/$name"
done
for source in tests/mpi/*.c; do
    name=$(basename "$source" .c)
    for n in $(sed -n '1s|^/\* ranks: *\([0-9 ]*\)\*/.*|\1|p' "$source"); do
        entry "mpi/$name-$n" "$MPIRUN" --oversubscribe -np "$n" "$BUILD/tests/mpi/$name"
    done
done
entry lint bash tests/lint.sh
[ ${#entries[@]} -gt 0 ] || {
    echo "tests/run.sh: no test has such a name" >&2
    exit 2
}

# More than cores: half of an end-to-end test's time is waiting.
(cd "$TMPDIR/t" && prove --timer -j "${TEST_JOBS:-$(($(getconf _NPROCESSORS_ONLN) + 1))}" $verbose --exec sh "${entries[@]}")
