#!/bin/bash
# Stop rules and regularisers of any method: the same bits for three layouts and after a
# resume, the right version at the end, the reason in status.json.
. tests/e2e/lib.sh

model "$work/class" class
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 4 "$work/class"
sed -i -e 's/^rollout: {/&classes: [0, 2], copies: 2, /' -e 's/lr: 1e-4/lr: 1e-3/' \
    -e '$ a reward: {name: brightness}' "$work/config.yaml"

policies() { ls "$1/policy" | wc -l; }

# same NAME POLICIES KEYS...: layouts 0, 3 and 4, and one that was cut after an iteration.
same() {
    local name=$1 wanted=$2 i
    shift 2
    for i in 0 3 4; do
        run_layout "$work/log" $i run "$work/config.yaml" run.dir="$work/$name.$i" "$@"
        is_code $? 0 "$name, layout ${layouts[$i]}" "$work/log"
        [ $i != 0 ] || digests "$work/$name.0" >"$work/$name.ref"
        [ $i = 0 ] || same_bits "$work/$name.$i" "$work/$name.ref" "$name, layout $i"
    done
    [ "$(policies "$work/$name.0")" = "$wanted" ]
    ok $? "$name: $wanted policies"
    run_layout "$work/log" 0 run "$work/config.yaml" run.dir="$work/$name.cut" "$@" \
        run.iterations=1
    run_layout "$work/log" 4 run "$work/config.yaml" run.dir="$work/$name.cut" "$@"
    same_bits "$work/$name.cut" "$work/$name.ref" "$name, resumed"
    "$sluice" verify "$work/$name.0" >"$work/log" 2>&1
    is_code $? 0 "$name: verify" "$work/log"
}
metric() { # DIR NAME
    perl -MJSON::PP -ne '$j = decode_json($_); print $j->{'"$2"'} // "null", " "
        if exists $j->{iteration}' "$1/metrics.jsonl"
}

# Iteration 1 is the first whose policy is not policy 0, so it exceeds any small budget.
same budget 3 run.kl_budget=1e-6
says "$work/budget.0/status.json" 'run.kl_budget.*nats' "the reason in status.json"
status_is "$work/budget.0" finished
ok $? "it is finished"
[[ $(metric "$work/budget.0" kl_path) =~ ^0(\.0)?\ [0-9.e-]+\ $ ]]
ok $? "path KL 0, then: $(metric "$work/budget.0" kl_path)"
run_layout "$work/log" 2 run "$work/config.yaml" run.dir="$work/budget.0" run.kl_budget=1e-6
is_code $? 0 "the same command again" "$work/log"
same_bits "$work/budget.0" "$work/budget.ref" "and nothing more happened"
same rwr_budget 3 run.kl_budget=1e-6 algorithm.name=rwr algorithm.entropy_weight=0.5 \
    algorithm.entropy_by_prompt=true

# The guard is the negative of what is trained for.
same guard 5 reward.guard=jpeg_compressibility
[[ $(metric "$work/guard.0" guard_mean) =~ ^-.*\ -.*\ -.*\ -.*\ $ ]]
ok $? "guard means: $(metric "$work/guard.0" guard_mean)"
run_mpi "$work/log" 1 run "$work/config.yaml" run.dir="$work/plain"
cmp -s <(digests "$work/plain" | grep rollout) <(digests "$work/guard.0" | grep rollout)
ok $? "the guard changes no rollout, so no policy"
drop=$(perl -e '@g = @ARGV; $m = 0; for (@g) { $m = $g[0] - $_ if $g[0] - $_ > $m }
    print $m / 2' -- $(metric "$work/guard.0" guard_mean))
if perl -e 'exit !($ARGV[0] > 0)' -- "$drop"; then
    run_mpi "$work/log" 2 run "$work/config.yaml" run.dir="$work/drop" \
        reward.guard=jpeg_compressibility run.guard_drop="$drop"
    is_code $? 0 "a guard that may fall by $drop" "$work/log"
    says "$work/drop/status.json" 'run.guard_drop' "ends the run"
else
    skip "a guard that falls" "it never fell"
fi
run_mpi "$work/log" 1 run "$work/config.yaml" run.dir="$work/x" run.guard_drop=1
is_code $? 2 "a drop without a guard is refused"

same ema 5 algorithm.kl_weight=0.1 algorithm.reference=ema algorithm.entropy_weight=0.5 \
    algorithm.entropy_neighbour=2
h5dump -H "$work/ema.0/policy/v000002.h5" | grep -q '"anchor"'
ok $? "the average is in the policy file"
same third 5 algorithm.kl_weight=0.1 algorithm.reference=2
h5dump -d parents/path "$work/third.0/policy/v000004.h5" | grep -q v000002
ok $? "version 2 is a parent of version 4"
run_mpi "$work/log" 1 run "$work/config.yaml" run.dir="$work/first" algorithm.kl_weight=0.1
cmp -s <(digests "$work/first" | grep v000002) <(digests "$work/third.0" | grep v000002)
ok $? "until it exists the first policy stands for it"
finish
