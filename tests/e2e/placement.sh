#!/bin/bash
# Threads and cores: what the start says, records and changes.
. tests/e2e/lib.sh

model "$work/plain"
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 1 "$work/plain"
unset OMP_WAIT_POLICY GOMP_SPINCOUNT
many=$(($(nproc) + 1))

run_mpi "$work/log" 2 run "$work/config.yaml" run.dir="$work/a" groups.threads=$many
is_code $? 0 "more threads than cores" "$work/log"
says "$work/log" "^placement +ranks 0-1: cpus [0-9,-]+ of [0-9]+, $many threads each" \
    "the start prints each rank's cpus and threads"
says "$work/log" "warning: .*groups.threads=$many.*groups.threads=" \
    "and warns with key and remedy"
[ "$(grep -c 'warning: .*groups.threads' "$work/log")" = 1 ]
ok $? "once"
grep -q '"OMP_WAIT_POLICY": *"passive"' "$work/a/provenance.json" &&
    grep -q '"placement": *"ranks 0-1: cpus' "$work/a/provenance.json"
ok $? "idle threads do not spin, and the record says so"

OMP_WAIT_POLICY=active run_mpi "$work/log" 2 run "$work/config.yaml" run.dir="$work/b" \
    groups.threads=$many
grep -q '"OMP_WAIT_POLICY": *"active"' "$work/b/provenance.json"
ok $? "the user's own choice stays"

run_mpi "$work/log" "$many" run "$work/config.yaml" run.dir="$work/c" groups.threads=auto
is_code $? 0 "groups.threads=auto" "$work/log"
grep -Eq 'threads: *1$' "$work/c/config.yaml"
ok $? "ranks that share all cores get a thread each, and the run records the number"
! grep -q OMP_WAIT_POLICY "$work/c/provenance.json"
ok $? "nothing is changed where one thread cannot spin"
finish
