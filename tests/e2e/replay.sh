#!/bin/bash
# `sluice replay`: unchanged it gives the run's bits with any layout, also after a kill;
# with another method or step size it is a run of its own that verifies; what stored shards
# cannot serve is refused by name.
. tests/e2e/lib.sh

model "$work/class" class
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 3 "$work/class"
sed -i 's/^rollout: {/&classes: [0, 2], copies: 2, /' "$work/config.yaml"
live=$work/live
run_mpi "$work/log" 2 run "$work/config.yaml" run.dir="$live"
is_code $? 0 "a run of three iterations" "$work/log"
digests "$live" >"$work/live.ref"

refused() { # PATTERN NAME ARGUMENTS...
    local pattern=$1 name=$2
    shift 2
    "$sluice" replay "$@" >"$work/log" 2>&1
    [ $? != 0 ] && grep -Eq -- "$pattern" "$work/log"
    ok $? "refused: $name" || note <"$work/log"
}

replay() { # LOG RANKS ARGUMENTS...
    local log=$1 ranks=$2
    shift 2
    run_mpi "$log" "$ranks" replay "$@"
}

replay "$work/log" 1 "$live"
is_code $? 0 "replay with nothing changed" "$work/log"
same_bits "$live-replay-1" "$work/live.ref" "unchanged"
[ "$(stat -c %h "$live/rollout/i000000/s00000.h5")" = 2 ]
ok $? "its rollouts are hard links"
"$sluice" verify "$live-replay-1" >"$work/log" 2>&1
is_code $? 0 "verify of a replay" "$work/log"
"$sluice" replay "$live" >"$work/log" 2>&1
is_code $? 0 "the same command again" "$work/log"
[ ! -e "$live-replay-2" ]
ok $? "goes to the same directory"

replay "$work/log" 5 "$live" --out "$work/split" groups.rollout=1 groups.reward=1 \
    groups.update=2 groups.placement=split
is_code $? 0 "another layout" "$work/log"
same_bits "$work/split" "$work/live.ref" "another layout"

# Interrupted behind its first policy, then the same command.
replay "$work/log" 1 "$live" --out "$work/cut" run.iterations=1
is_code $? 0 "one iteration" "$work/log"
rm "$work/cut/policy/v000001.h5"
replay "$work/log" 2 "$live" --out "$work/cut"
is_code $? 0 "resumed" "$work/log"
same_bits "$work/cut" "$work/live.ref" "resumed"

# Killed before it could write anything: folders alone.
mkdir -p "$work/early/policy" "$work/early/rollout"
replay "$work/log" 1 "$live" --out "$work/early"
is_code $? 0 "into folders that a killed replay left" "$work/log"
same_bits "$work/early" "$work/live.ref" "killed early"

# Other settings: policies of their own, for any layout.
replay "$work/log" 1 "$live" --out "$work/slow" update.lr=1e-5
is_code $? 0 "another step size" "$work/log"
digests "$work/slow" >"$work/slow.ref"
grep '^policy/v000001' "$work/slow.ref" | cmp -s - <(grep '^policy/v000001' "$work/live.ref")
[ $? = 1 ]
ok $? "gives another policy"
cmp -s <(grep advantage/i000001 "$work/slow.ref") <(grep advantage/i000001 "$work/live.ref")
ok $? "and the same advantages"
perl -MJSON::PP -ne '$j = decode_json($_); push @r, $j->{ratio_absdev_max}
    if exists $j->{iteration}; END { exit !($r[0] == 0 && $r[1] > 0) }' \
    "$work/slow/metrics.jsonl"
ok $? "the ratio is 1 for the policy that sampled, and another number afterwards"
"$sluice" verify "$work/slow" >"$work/log" 2>&1
is_code $? 0 "it verifies" "$work/log"
replay "$work/log" 4 "$live" --out "$work/slow4" update.lr=1e-5
same_bits "$work/slow4" "$work/slow.ref" "another step size on 4 ranks"

# Another method.
for method in dpok rwr nft; do
    replay "$work/log" 2 "$live" --out "$work/$method" algorithm.name=$method
    is_code $? 0 "replayed by $method" "$work/log"
    "$sluice" verify "$work/$method" >"$work/log" 2>&1
    is_code $? 0 "$method: verify" "$work/log"
done

# What methods store beside trajectories is replayed too.
stored() { # NAME KEYS...
    local name=$1
    shift
    run_mpi "$work/log" 2 run "$work/config.yaml" run.dir="$work/$name.live" \
        run.iterations=2 reward.name=brightness "$@"
    is_code $? 0 "a run: $name" "$work/log"
    digests "$work/$name.live" >"$work/$name.ref"
    replay "$work/log" 3 "$work/$name.live" --out "$work/$name.again"
    is_code $? 0 "replayed" "$work/log"
    same_bits "$work/$name.again" "$work/$name.ref" "$name"
}
stored values algorithm.name=ppo
stored gradients algorithm.name=adjoint_matching sampler.clip_sample=false update.inner_epochs=1
stored stale algorithm.name=nft max_staleness=1

refused "sampler.steps" "a key of the sampler" "$live" sampler.steps=4
refused "reward.name" "another reward" "$live" reward.name=brightness
refused "model.path" "another network" "$live" model.path="$work"
refused "run.iterations=9" "more iterations than there are" "$live" run.iterations=9
refused "no such|config.yaml" "no run directory" "$work/nowhere"
refused "run of its own" "a run as --out" "$live" --out "$live"
run_mpi "$work/log" 1 run "$work/config.yaml" run.dir="$work/final" algorithm.name=rwr \
    run.iterations=1
refused "'latents'" "a trajectory that was not stored" "$work/final" algorithm.name=ddpo_is
refused "'kl_reference'|'log_prob_reference'" "a budget without stored KL" "$live" \
    run.kl_budget=1
refused "'reward_gradient'" "a gradient that was not stored" "$live" algorithm.name=draft_k \
    reward.name=jpeg_compressibility
rm "$live/policy/v000001.h5"
refused "v000001.h5" "a policy that was not kept" "$live" --out "$work/none" \
    algorithm.name=nft
finish
