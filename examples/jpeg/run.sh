#!/bin/sh
# Starts the example: four rank groups that share this machine's cores. The same command
# continues an interrupted run; an earlier finished run is kept aside.
#   examples/jpeg/run.sh [RUNDIR [section.key=value ...]]     (from the top of the tree)
set -eu
dir=${1:-runs/demo}
[ $# -eq 0 ] || shift
build=${BUILD:-build}
if [ -f "$dir/status.json" ] && grep -q '"state": "finished"' "$dir/status.json"; then
    old="$dir.$(date +%Y%m%dT%H%M%S)"
    mv "$dir" "$old"
    echo "the earlier run is now $old"
fi
if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
# 2 rollout + 1 reward + 1 advantage + 2 update ranks; whoever waits sleeps.
exec ${MPIRUN:-mpirun} --oversubscribe --bind-to none -np 6 \
    "$build/sluice" run examples/jpeg/run.yaml run.dir="$dir" "$@"
