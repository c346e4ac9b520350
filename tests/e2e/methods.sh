#!/bin/bash
# Every method beside the default: two iterations give the same bits for any group layout
# and for the stages run in turn as jobs of their own, ratios are exactly 1, and trajectories
# are stored only where they are needed. METHODS: names to test (default: all).
. tests/e2e/lib.sh

model "$work/class" class
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 2 "$work/class"
sed -i 's/^rollout: {/&classes: [0, 2], copies: 2, /' "$work/config.yaml"

# set_keys FILE section.key=value...: writes overrides into the file.
set_keys() {
    "$sluice" config "$@" >"$1.new" && mv "$1.new" "$1"
}

iterations=2

# stages DIR OPTIONS...: all iterations, with rank counts that differ every time.
stages() {
    local i stage ranks n=0 counts=(2 1 1 3 3 2 1 2 1 2 1 1)
    mkdir "$1" && cp "$work/config.yaml" "$1/config.yaml"
    set_keys "$1/config.yaml" "${@:2}"
    for ((i = 1; i <= iterations; i++)); do
        for stage in rollout reward advantage update; do
            ranks=${counts[$((n++))]}
            run_mpi "$work/log" "$ranks" stage $stage "$1" ||
                ok 1 "stage $stage of round $i on $ranks ranks" || note <"$work/log"
        done
    done
}

# metric DIR NAME: the values of all iterations, in order.
metric() {
    perl -MJSON::PP -ne '$j = decode_json($_); print $j->{'"$2"'} // "null", " "
        if exists $j->{iteration}' "$1/metrics.jsonl"
}

# check METHOD latents|final kl|kl0|none OPTIONS... (kl0: 0 in the first iteration, which
# has one optimizer step)
check() {
    local name=$1 stored=$2 kl=$3 i dir
    [[ " ${METHODS-$name} " == *" $name "* ]] || return
    shift 3
    set -- algorithm.name="$name" "$@"
    for i in 0 3 4; do
        dir=$work/$name.$i
        run_layout "$work/log" "$i" run "$work/config.yaml" run.dir="$dir" "$@"
        is_code $? 0 "$name, layout ${layouts[$i]}" "$work/log"
        if [ "$i" = 0 ]; then
            digests "$dir" >"$work/$name.ref"
            [ "$(grep -vc damaged "$work/$name.ref")" = $((8 * iterations + 1)) ]
            ok $? "$name: the reference has $iterations x 7 files and the policies"
        else
            same_bits "$dir" "$work/$name.ref" "$name, layout ${layouts[$i]}"
        fi
    done
    dir=$work/$name.0
    [[ $(metric "$dir" ratio_absdev_max) =~ ^0(\.0)?\ 0(\.0)?\ $ ]]
    ok $? "$name: ratios before the first step are exactly 1"
    if [ "$kl" != none ]; then
        perl -e 'exit !(($ARGV[0] > 0) == ($ARGV[2] eq "kl") && $ARGV[1] > 0)' \
            $(metric "$dir" kl_reference) "$kl"
        ok $? "$name: distances to version 0: $(metric "$dir" kl_reference)"
        h5dump -d parents/path "$dir/policy/v000002.h5" | grep -q v000000
        ok $? "$name: version 0 is a parent of version 2"
    else
        [ "$(metric "$dir" kl_reference)" = "null null " ]
        ok $? "$name: no distance is measured"
    fi
    case $stored in
    latents) h5dump -H "$dir/rollout/i000000/s00000.h5" | grep -q '"latents"' ;;
    final) ! h5dump -H "$dir/rollout/i000000/s00000.h5" | grep -q '"latents"' ;;
    esac
    ok $? "$name: shards hold what it needs ($stored)"
    "$sluice" verify "$dir" >"$work/log" 2>&1
    is_code $? 0 "$name: verify" "$work/log"
    stages "$work/$name.stages" "$@"
    same_bits "$work/$name.stages" "$work/$name.ref" "$name, stages in turn"
    case $name in # what is fitted goes on from the previous iteration's file
    ppo | control | pcl)
        dir=$work/$name.resumed
        run_layout "$work/log" 3 run "$work/config.yaml" run.dir="$dir" "$@" \
            run.iterations=1
        is_code $? 0 "$name, one iteration" "$work/log"
        run_layout "$work/log" 4 run "$work/config.yaml" run.dir="$dir" "$@"
        is_code $? 0 "$name, the next one, in another layout" "$work/log"
        same_bits "$dir" "$work/$name.ref" "$name, resumed"
        rm -rf "$dir"
        ;;
    esac
    rm -rf "$work/$name".[034] "$work/$name.stages"
}

check flow_grpo latents kl update.timestep_fraction=0.8 algorithm.group_std=batch
check dance_grpo latents none update.timestep_fraction=0.6 update.batch=auto
check dpok latents kl
check ddpo_is latents kl algorithm.kl_weight=0.1
check ddpo_is latents none update.optimizer=natural update.cg_iterations=3 update.batch=auto \
    update.fisher_part=0.4
check rwr final none algorithm.draws=3 max_staleness=1
check rwr_sparse final kl algorithm.rwr_percentile=60 algorithm.kl_weight=0.5
check distil final none search.kind=best_of search.candidates=2
check nft final kl sampler.eta=0
paths="reward.name=brightness sampler.clip_sample=false sampler.clamp_last=false"
check draft_k latents kl0 $paths algorithm.draft_k=3 algorithm.kl_weight=0.1 \
    update.batch=auto update.inner_epochs=1
check draft_lv final none $paths
check alignprop latents none $paths algorithm.truncation=per_step update.batch=auto \
    update.inner_epochs=1 algorithm.reward_target=2
check adjoint_matching latents kl $paths algorithm.adjoint_weight=20

# What methods that follow the reward's gradient refuse.
refuse() { # PATTERN NAME OPTIONS...
    run_layout "$work/log" 0 run "$work/config.yaml" run.dir="$work/refused" "${@:3}"
    is_code $? 2 "$2" "$work/log"
    says "$work/log" "$1" "$2: says why"
    "$sluice" plan "$work/config.yaml" "${@:3}" >"$work/log" 2>&1
    is_code $? 2 "$2: so does the plan" "$work/log"
    says "$work/log" "$1" "$2: with the same words"
}
[[ " ${METHODS-draft_k} " != *" draft_k "* ]] || {
    one="update.batch=auto update.inner_epochs=1"
    refuse "draft_k needs the reward's gradient, and reward.name jpeg" \
        "a reward without a gradient" algorithm.name=draft_k $one
    refuse "sampler.clip_sample=false" "clipped samples" algorithm.name=draft_k $one \
        reward.name=brightness sampler.clip_sample=true
    refuse "sampler.clamp_last=false" "a last step that does not ask the network" \
        algorithm.name=draft_lv $paths sampler.clamp_last=true
    refuse "natural needs a method whose pairs" "natural gradient without pairs" \
        algorithm.name=nft update.optimizer=natural
    refuse "one optimizer step" "several steps per iteration" algorithm.name=draft_k $paths
}
check ppo latents none algorithm.kl_reward=0.1 value.kind=mlp value.hidden=8 value.epochs=2
check control latents kl value.features=3 value.knots=2
check pcl latents none value.kind=none algorithm.kl_weight=0
check trajectory_balance latents none update.batch=auto update.inner_epochs=1

# A stale version that is not the first, beside the network: from memory or from files.
[[ " ${METHODS-nft} " != *" nft "* ]] || {
    iterations=3
    sed -i 's/iterations: 2/iterations: 3/' "$work/config.yaml"
    run_layout "$work/log" 1 run "$work/config.yaml" run.dir="$work/stale" \
        algorithm.name=nft max_staleness=1
    is_code $? 0 "nft, one version behind" "$work/log"
    digests "$work/stale" >"$work/stale.ref"
    stages "$work/stale.stages" algorithm.name=nft max_staleness=1
    same_bits "$work/stale.stages" "$work/stale.ref" "nft, one version behind, in turn"
}
finish
