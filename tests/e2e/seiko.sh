#!/bin/bash
# Learned rewards: the same bits for any layout, for the stages in turn and after a
# resume; what is asked and what is not; what is refused.
. tests/e2e/lib.sh

make -s "$BUILD/tests/tools/sealed"
cat >"$work/config.yaml" <<YAML
run: {seed: 3, iterations: 4, keep_policies: 0}
model: {path: examples/dna/base/model, micro_batch: 8}
sampler: {steps: 3}
rollout: {samples: 20, shard_samples: 6}
reward: {name: brightness}
update: {lr: 1e-4}
surrogate: {kind: ucb, period: 2, rounds: 2, queries: 13, noise: 0.05}
YAML

# numbers DIR NAME: the values of all iterations, in order.
numbers() {
    perl -MJSON::PP -ne '$j = decode_json($_); print defined $j->{'"$2"'} ?
        sprintf("%g ", $j->{'"$2"'}) : "null " if exists $j->{iteration}' "$1/metrics.jsonl"
}

# check NAME OPTIONS...: layouts, stages in turn, resume.
check() {
    local name=$1 i stage n=0 counts=(2 1 3 1 1 2 2 2)
    shift
    for i in 0 3; do
        run_layout "$work/log" "$i" run "$work/config.yaml" run.dir="$work/$name.$i" "$@"
        is_code $? 0 "$name, layout ${layouts[$i]}" "$work/log"
        [ "$i" = 0 ] && digests "$work/$name.0" >"$work/$name.ref"
    done
    same_bits "$work/$name.3" "$work/$name.ref" "$name, layout ${layouts[3]}"
    "$sluice" verify "$work/$name.0" >"$work/log" 2>&1
    is_code $? 0 "$name: verify" "$work/log"
    dir=$work/$name.stages
    mkdir "$dir"
    "$sluice" config "$work/config.yaml" "$@" >"$dir/config.yaml"
    for ((i = 0; i < 2; i++)); do
        for stage in rollout reward advantage update; do
            run_mpi "$work/log" "${counts[$((n++))]}" stage $stage "$dir" ||
                ok 1 "stage $stage" || note <"$work/log"
        done
    done
    run_layout "$work/log" 2 run "$dir/config.yaml" run.dir="$dir"
    is_code $? 0 "$name: two iterations stage by stage, then resumed" "$work/log"
    same_bits "$dir" "$work/$name.ref" "$name, stages in turn and resumed"
    rm -rf "$dir" "$work/$name.3"
}

check ucb
[ "$(numbers "$work/ucb.0" queries)" = "13 13 26 26 " ]
ok $? "two rounds ask 13 samples each: $(numbers "$work/ucb.0" queries)"
[[ $(numbers "$work/ucb.0" answer_mean) =~ ^-?0\.[0-9]+\ null\ -?0\.[0-9]+\ null\ $ ]]
ok $? "mean answers: $(numbers "$work/ucb.0" answer_mean)"
h5dump -d best_reward "$work/ucb.0/policy/v000004.h5" | perl -0777 -e '<STDIN> =~ /: (\S+)\n/;
    @a = sort { $b <=> $a } grep { $_ ne "null" } @ARGV;
    exit !(abs($1 - $a[0]) < 1e-5)' -- $(numbers "$work/ucb.0" answer_mean)
ok $? "the best version is that of the best answers"
[ "$(numbers "$work/ucb.0" failed)" = "0 0 0 0 " ]
ok $? "what is not asked has not failed"
h5dump -d status "$work/ucb.0/reward/i000002/s00002.h5" | grep -q '(0): 0, 5, 5, 5, 5, 5'
ok $? "samples from number 13 on are not asked"
h5dump -d parents/path "$work/ucb.0/reward/i000003/s00000.h5" | grep -q advantage/i000002
ok $? "scores name the file of the learned reward"

check bootstrap surrogate.kind=bootstrap surrogate.feature_kind=fourier \
    surrogate.features=40 algorithm.kl_previous_weight=0.5 algorithm.kl_weight=0.1
perl -e 'exit !($ARGV[0] == 0 && $ARGV[1] > 0 && $ARGV[2] == 0 && $ARGV[3] > 0)' \
    $(numbers "$work/bootstrap.0" kl_previous)
ok $? "distance to the round's first policy: $(numbers "$work/bootstrap.0" kl_previous)"
[[ $(numbers "$work/bootstrap.0" ratio_absdev_max) =~ ^(0\ ){4}$ ]]
ok $? "ratios before the first step are exactly 1"
h5dump -d parents/path "$work/bootstrap.0/policy/v000004.h5" | grep -q v000002
ok $? "the round's first policy is a parent"
check follow algorithm.name=draft_k algorithm.draft_k=2 sampler.clip_sample=false \
    sampler.clamp_last=false algorithm.kl_previous_weight=0.01
perl -e 'exit !($ARGV[0] == 0 && $ARGV[1] > 0 && $ARGV[2] == 0 && $ARGV[3] > 0)' \
    $(numbers "$work/follow.0" kl_previous)
ok $? "the same for chains: $(numbers "$work/follow.0" kl_previous)"

# Retention takes whole iterations away; answers and model go on in the newest file.
run_layout "$work/log" 0 run "$work/config.yaml" run.dir="$work/kept" run.keep_shards=1 \
    run.keep_policies=1 surrogate.kind=bootstrap surrogate.feature_kind=fourier \
    surrogate.features=40 algorithm.kl_previous_weight=0.5 algorithm.kl_weight=0.1
is_code $? 0 "one iteration kept" "$work/log"
[ "$(numbers "$work/kept" loss)" = "$(numbers "$work/bootstrap.0" loss)" ]
ok $? "the same rewards with retention"

refuse() { # PATTERN NAME OPTIONS...
    run_layout "$work/log" 0 run "$work/config.yaml" run.dir="$work/refused" "${@:3}"
    is_code $? 2 "$2" "$work/log"
    says "$work/log" "$1" "$2: says why"
}
"$sluice" replay "$work/ucb.0" --out "$work/replay" >"$work/log" 2>&1
is_code $? 2 "a replay" "$work/log"
says "$work/log" "learned on" "a replay: says why"
refuse "does not weigh the steps" "a KL of steps without steps" \
    algorithm.name=rwr algorithm.kl_previous_weight=1
refuse "max_staleness=0" "stale rollouts" max_staleness=1
refuse "asks the true reward again" "a search" search.kind=best_of \
    algorithm.name=rwr
refuse "needs a network of texts" "pairs of characters of a picture" \
    model.path="$PWD/examples/jpeg/model" surrogate.feature_kind=onehot_pairs
finish
