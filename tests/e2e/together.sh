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
# A search among the samples of a prompt finds several of each there, too.
same cloud algorithm.name=distil search.kind=smc rollout.samples=8
"$sluice" evaluate "$work/cloud" --n 16 >"$work/log" 2>&1
is_code $? 0 "its evaluation" "$work/log"

# Options that would have no effect, or another than they say.
refuse() { # PATTERN NAME KEYS...
    run_layout "$work/log" 0 run "$work/config.yaml" run.dir="$work/refused" "${@:3}"
    is_code $? 2 "$2 is refused" "$work/log"
    says "$work/log" "$1" "$2: says why"
}
refuse "reward.budget: counts every sample" "a budget beside a learned reward" \
    surrogate.kind=ucb reward.budget=5
refuse "algorithm.entropy_weight.*adjoint" "a bonus that no gradient has" \
    algorithm.name=adjoint_matching algorithm.entropy_weight=0.1

# What the plan counts: the learned reward's file, version 0 as a running average.
"$sluice" plan "$work/config.yaml" surrogate.kind=ucb surrogate.features=100 \
    surrogate.queries=3 run.iterations=6 >"$work/log" 2>&1
says "$work/log" "learned reward of 101 features and up to 6 answers" "the plan counts answers"
"$sluice" plan "$work/config.yaml" algorithm.kl_previous_weight=1 algorithm.kl_weight=1 \
    >"$work/log" 2>&1
says "$work/log" "2 other version" "the plan counts the networks that are compared with"

# A policy is measured by the table itself: noise and budget are the training's.
perl -e '@l = qw(A C G T); print "kmer,score\n"; for my $i (0 .. 65535) {
    print map({ $l[($i >> 2 * $_) & 3] } 0 .. 7), ",1\n" }' >"$work/table.csv"
run_mpi "$work/log" 1 run "$work/config.yaml" run.dir="$work/dna" run.iterations=1 \
    model.path=examples/dna/base/model rollout.classes=[] reward.name=table \
    reward.table="$work/table.csv:kmer:score" reward.noise=1 reward.budget=12
is_code $? 0 "noisy answers, some of them" "$work/log"
"$sluice" evaluate "$work/dna" --n 20 >"$work/log" 2>&1
is_code $? 0 "the evaluation of its policy" "$work/log"
says "$work/log" 'status.ok +20$' "every sample has an answer"
says "$work/log" 'reward.table.std +0$' "without noise"
finish
