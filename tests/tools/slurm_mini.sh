#!/bin/bash
# Real Slurm on one machine, as root: munged, slurmctld and a slurmd for each of N virtual
# nodes of 2 CPUs (n1, n2, ...), which are not isolated from each other.
#
#   slurm_mini.sh start DIR [N]   starts it and prints `export SLURM_CONF=...`
#   slurm_mini.sh node DIR NAME   starts a node's slurmd again
#   slurm_mini.sh crash DIR NAME  kills a node with all that runs on it
#   slurm_mini.sh stop DIR        ends everything that it started
#
# Partitions: main, big (the same nodes), urgent (takes nodes from jobs of the others, which
# go back into the queue after 10 s of grace).
set -eu
cmd=$1 d=$(mkdir -p "$2" && cd "$2" && pwd)
export SLURM_CONF=$d/slurm.conf

slurmd_of() { # NAME: Debian's slurmd takes -N
    mkdir -p "$d/spool/$1" "$d/tmp/$1"
    unshare --uts bash -c 'hostname "$1" && readlink /proc/self/ns/uts >"$3/run/$1.ns" &&
        exec slurmd -N "$1" -f "$2"' - "$1" "$SLURM_CONF" "$d"
}

# processes NAME: a node and all that runs on it, known by their namespace of host names.
processes() {
    local p ns
    [ -s "$d/run/$1.ns" ] || return 0
    ns=$(cat "$d/run/$1.ns")
    for p in /proc/[0-9]*; do
        [ "$(readlink "$p/ns/uts")" != "$ns" ] || echo "${p#/proc/}"
    done
} 2>/dev/null

kill_all() { # SIGNAL IDS...
    local signal=$1 p
    shift
    for p; do kill "-$signal" "$p" 2>/dev/null || true; done
}

case $cmd in
node)
    slurmd_of "$3"
    exit
    ;;
crash)
    kill_all KILL $(processes "$3")
    rm -f "$d/run/$3.ns"
    exit
    ;;
stop)
    for f in "$d"/run/*.ns; do
        [ -f "$f" ] || continue
        node=${f##*/}
        kill_all KILL $(processes "${node%.ns}")
    done
    for f in "$d/run/slurmctld.pid" "$d/run/munged.pid"; do
        [ -f "$f" ] || continue
        p=$(cat "$f")
        kill "$p" 2>/dev/null || true
        for _ in $(seq 50); do [ -d "/proc/$p" ] && sleep 0.1; done
        kill -9 "$p" 2>/dev/null || true
    done
    exit
    ;;
start) ;;
*)
    sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

n=${3:-2}
mkdir -p "$d"/{run,state,log,spool,tmp}
# Ports that nobody listens at. Several that start at a time wait for each other until they
# have theirs.
exec 9<"$0"
flock -w 60 9 || true
in_use() { # PORT
    grep -qi "^ *[0-9]*: [0-9A-F]*:$(printf %04X "$1") .* 0A " /proc/net/tcp /proc/net/tcp6
} 2>/dev/null
for _ in $(seq 100); do
    port=$((20000 + RANDOM % 700 * 17)) free=1
    for i in $(seq 0 "$n"); do ! in_use $((port + i)) || free=; done
    [ -z "$free" ] || break
done
[ -f "$d/run/munge.key" ] || {
    dd if=/dev/urandom of="$d/run/munge.key" bs=128 count=1 2>/dev/null
    chmod 600 "$d/run/munge.key"
}
# TmpFS: the second node's PMIx server fails without a folder of its own.
cat >"$SLURM_CONF" <<CONF
ClusterName=mini
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$d/run/munge.sock
SlurmctldPort=$port
SlurmctldPidFile=$d/run/slurmctld.pid
SlurmdPidFile=$d/run/slurmd.%n.pid
SlurmctldLogFile=$d/log/slurmctld.log
SlurmdLogFile=$d/log/slurmd.%n.log
SlurmdSpoolDir=$d/spool/%n
StateSaveLocation=$d/state
TmpFS=$d/tmp/%n
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
KillOnBadExit=1
MaxArraySize=8
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=pmix
ReturnToService=2
KillWait=10
SlurmdTimeout=6
SlurmctldTimeout=6
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0
NodeName=n[1-$n] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + n))] CPUs=2 Boards=1 SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=n[1-$n] Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=10
PartitionName=big Nodes=n[1-$n] MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=10
PartitionName=urgent Nodes=n[1-$n] MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
CONF
munged --force --key-file="$d/run/munge.key" --socket="$d/run/munge.sock" \
    --pid-file="$d/run/munged.pid" --log-file="$d/log/munged.log" --seed-file="$d/run/munged.seed" 9>&-
slurmctld -c -f "$SLURM_CONF" 9>&-
for i in $(seq "$n"); do slurmd_of "n$i" 9>&-; done
for _ in $(seq 200); do
    [ "$(sinfo -h -N -p main -o %t 2>/dev/null | grep -c '^idle$' || true)" != "$n" ] || {
        echo "export SLURM_CONF=$SLURM_CONF"
        exit 0
    }
    sleep 0.1
done
echo "slurm_mini.sh: the nodes are not idle after 20 s, see $d/log" >&2
exit 1
