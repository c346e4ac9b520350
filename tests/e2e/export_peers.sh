#!/bin/bash
# What `sluice export` writes, read by the programs that it is for: diffusers, safetensors,
# TensorBoard, RO-Crate readers. They are no packages of the distribution, so each part is
# skipped where its package is absent. PEER_PYTHON names an interpreter that has them; else
# the one that `make bench-peer` installs is taken:
#
#   pip install torch diffusers safetensors h5py tensorboard rocrate roc-validator
. tests/e2e/lib.sh

python=${PEER_PYTHON:-$BUILD/bench/peer/venv/bin/python}
"$python" -c 'import numpy' 2>/dev/null || python=/usr/bin/python3
"$python" -c 'import numpy' 2>/dev/null || {
    echo "1..0 # SKIP no Python with numpy; see PEER_PYTHON"
    exit 0
}

fail() { # TEXT LOG
    ok 1 "$1" || note <"$2"
    finish
}
model "$work/ddim/net" >"$work/log" 2>&1 || fail "a tiny network" "$work/log"
cp -r "$work/ddim" "$work/ddpm"
sed -i 's/DDIMScheduler/DDPMScheduler/' "$work/ddpm/net/scheduler/scheduler_config.json"
# diffusers lands on the clean sample at the end, hence clamp_last=false.
for kind in ddim ddpm; do
    config "$work/$kind.yaml" 1 "$work/$kind/net"
    run_mpi "$work/log" 1 run "$work/$kind.yaml" run.dir="$work/$kind/run" \
        sampler.kind=$kind sampler.clamp_last=false reward.name=brightness || fail "a run with $kind" "$work/log"
    "$sluice" export "$work/$kind/run" "$work/$kind/model" --version 0 >"$work/log" 2>&1 ||
        fail "export of its first policy" "$work/log"
done
"$sluice" export "$work/ddim/run" --samples "$work/samples.safetensors" \
    --tensorboard "$work/board" --ro-crate >"$work/log" 2>&1 || fail "exports" "$work/log"
"$python" -B tests/e2e/export_peers.py "$sluice" "$work"
