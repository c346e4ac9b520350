#!/bin/bash
# Parts that meet: options of one part beside methods and commands of another.
. tests/e2e/lib.sh

make -s "$BUILD/tests/tools/make_model" "$BUILD/tests/tools/sealed"
cat >"$work/net.json" <<JSON
{"_class_name": "MLPDenoiser", "in_channels": 1, "sample_size": [1, 6], "hidden_size": 8,
 "num_layers": 2, "num_class_embeds": 2, "null_class": true}
JSON
"$BUILD/tests/tools/make_model" "$work/net.json" "$data/scheduler_config.json" "$work/fresh"
config "$work/config.yaml" 3 "$work/fresh"
sed -i -e 's/^rollout: {/&classes: [0, 1], copies: 2, /' \
    -e 's/^sampler: {/&clip_sample: false, clamp_last: false, /' \
    -e '$ a reward: {name: brightness}' "$work/config.yaml"

# A fresh network says 0 for every label: a trained one tells labels and guidance apart.
run_mpi "$work/log" 1 run "$work/config.yaml" run.dir="$work/first" update.lr=0.05
is_code $? 0 "a first run" "$work/log"
"$sluice" export "$work/first" "$work/trained" >"$work/log" 2>&1
is_code $? 0 "its network" "$work/log"
sed -i "s|$work/fresh|$work/trained|" "$work/config.yaml"

# same NAME KEYS...: one rank with all roles, and groups on ranks of their own.
same() {
    local name=$1
    shift
    run_layout "$work/log" 0 run "$work/config.yaml" run.dir="$work/$name" "$@"
    is_code $? 0 "$name" "$work/log"
    digests "$work/$name" >"$work/$name.ref"
    run_layout "$work/log" 1 run "$work/config.yaml" run.dir="$work/$name.split" "$@"
    same_bits "$work/$name.split" "$work/$name.ref" "$name, split"
}

# The regression leaves guidance out, the path KL of the rollouts has it; version 0 serves
# both where a rank has both roles.
same guided algorithm.name=adjoint_matching algorithm.adjoint_weight=20 sampler.guidance=2 \
    run.kl_budget=1e9

# What a run says about its training is no matter of its evaluation.
same trust update.optimizer=natural update.cg_iterations=2 algorithm.kl_previous_weight=0.1 \
    surrogate.kind=ucb surrogate.features=8 surrogate.period=2
"$sluice" evaluate "$work/trust" --n 8 >"$work/log" 2>&1
is_code $? 0 "its evaluation" "$work/log"
finish
