# Functions for tests on a real Slurm; source it after lib.sh. Each test has a cluster of its
# own in $work/slurm.
mini=$work/slurm
at_exit() { [ ! -d "$mini" ] || bash tests/tools/slurm_mini.sh stop "$mini"; }
# All nodes are this machine: messages between them go by its loopback, not by whatever
# network it has, whose connections may fail.
export OMPI_MCA_btl_tcp_if_include=lo
# Peers are known from the start: Open MPI 4.1.4 can crash where the first thing that it hears
# of one is its connection.
export OMPI_MCA_mpi_add_procs_cutoff=1024

# start_slurm NODES: or ends the test, which then has skipped what needs it.
start_slurm() {
    local p
    for p in slurmctld slurmd munged sbatch unshare; do
        command -v $p >/dev/null && [ "$(id -u)" = 0 ] || {
            skip "real jobs" "no $p, or not root: sh tests/setup.sh --tests as root"
            finish
        }
    done
    bash tests/tools/slurm_mini.sh start "$mini" "$1" >"$work/mini" 2>&1 || {
        note <"$work/mini"
        skip "real jobs" "Slurm does not start on this machine"
        finish
    }
    export SLURM_CONF=$mini/slurm.conf
}

# Like until_true, but asks slurmctld less often.
soon() { until_true eval "sleep 0.1; $(printf '%q ' "$@")"; }
state() { # ID
    scontrol show job "$1" | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p;T;q'
}
is_state() { [ "$(state "$1")" = "$2" ]; }
has_ended() {
    case $(state "$1") in
    COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL | OUT_OF_MEMORY) ;;
    *) false ;;
    esac
}
completed() { # NAME ID
    soon has_ended "$2"
    is_state "$2" COMPLETED
    ok $? "$1: the job completes" || {
        scontrol show job "$2" | head -n 8 | note
        tail -n 12 "$work/$1"/log/slurm-*.out | note
    }
}
# back ID: waits until the job is in the queue again and lets it start: Slurm would wait for
# two minutes. Its permission to start is refused within a second of its last end.
back() {
    soon is_state "$1" PENDING || return 1
    sleep 2
    scontrol update jobid="$1" StartTime=now
}
newest() { # RUNDIRS...: the largest number of a policy in them
    local dir
    for dir; do ls "$dir/policy"; done 2>/dev/null |
        sed -n 's/^v0*\([0-9][0-9]*\)\.h5$/\1/p' | sort -n | tail -n 1
}
restarts() { # NAME ID COUNT
    scontrol show job "$2" | grep -q " Restarts=$3 "
    ok $? "$1: restarted $3 time(s)" || scontrol show job "$2" | grep Restarts | note
}
# reaches DIR REFERENCE NAME [FILES]: so many files (all) that REFERENCE has are there, and none
# of them differs. A run that was disturbed may have gone further.
reaches() {
    digests "$1" >"$work/digests"
    awk -v want="${4:-$(wc -l <"$2")}" 'NR == FNR { bits[$1] = $2; next }
        $1 in bits { n++; if (bits[$1] != $2) print $1, "differs" }
        END { if (n < want || want == 0) print n, "of", want, "files" }' "$2" "$work/digests" >"$work/other"
    [ ! -s "$work/other" ]
    ok $? "$3" || head -n 4 "$work/other" | note
}
