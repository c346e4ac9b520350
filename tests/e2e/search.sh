#!/bin/bash
# Every search at sampling time: the same bits for any group layout, for the stages run in
# turn and for a run that is continued; what does not fit is refused.
. tests/e2e/lib.sh

model "$work/class" class
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 2 "$work/class"
sed -i -e 's/^rollout: {/&classes: [0, 2], copies: 2, /' \
    -e 's/^sampler: {/&clip_sample: false, /' \
    -e 's/^algorithm: .*/algorithm: {name: distil}\nreward: {name: brightness}/' \
    "$work/config.yaml"

# column FILE NAME: the numbers of a data set.
column() {
    h5dump -d "$2" -y -w 1 "$1" | sed -n 's/^ *\(-\?[0-9][-+0-9.e]*\),\? *$/\1/p'
}

# rises FILE FILE: the mean of the second is above that of the first.
rises() {
    paste "$1" "$2" | awk '{ a += $1; b += $2 } END { exit !(NR > 0 && b > a) }'
}

stages() { # DIR OPTIONS...
    local i stage n=0 counts=(3 1 2 1 2 3 1 5)
    mkdir "$1"
    "$sluice" config "$work/config.yaml" "${@:2}" >"$1/config.yaml"
    for i in 1 2; do
        for stage in rollout reward advantage update; do
            run_mpi "$work/log" "${counts[$((n++))]}" stage $stage "$1" || note <"$work/log"
        done
    done
}

# check KIND OPTIONS...
check() {
    local name=$1 i dir=$work/$1.0 s rollout
    shift
    set -- search.kind="$name" "$@"
    for i in 0 5 4 6; do # 1, 2, 3 and 5 ranks
        run_layout "$work/log" "$i" run "$work/config.yaml" run.dir="$work/$name.$i" "$@"
        is_code $? 0 "$name, layout ${layouts[$i]}" "$work/log"
        if [ "$i" = 0 ]; then
            digests "$dir" >"$work/$name.ref"
            [ "$(grep -vc damaged "$work/$name.ref")" = 17 ]
            ok $? "$name: the reference has 2 x 7 files and 3 policies"
        else
            same_bits "$work/$name.$i" "$work/$name.ref" "$name, layout ${layouts[$i]}"
        fi
    done
    [ "$name" != smc ] || {
        stages "$work/$name.stages" "$@"
        same_bits "$work/$name.stages" "$work/$name.ref" "$name, stages in turn"
    }
    run_layout "$work/log" 2 run "$work/config.yaml" run.dir="$work/$name.more" "$@" \
        run.iterations=1 &&
        run_layout "$work/log" 3 run "$work/config.yaml" run.dir="$work/$name.more" "$@"
    is_code $? 0 "$name: a run is continued with another layout" "$work/log"
    same_bits "$work/$name.more" "$work/$name.ref" "$name, continued"
    for s in 0 1 2; do
        rollout=$dir/rollout/i000000/s0000$s.h5
        column "$rollout" search_cost
    done >"$work/cost"
    awk '$1 != 0 { n++ } END { exit !(NR == 10 && n > 0) }' "$work/cost"
    ok $? "$name: the search's cost is stored"
    case $name in
    best_of | noise)
        column "$dir/rollout/i000000/s00000.h5" search_reward_plain >"$work/plain"
        column "$dir/reward/i000000/s00000.h5" reward >"$work/found"
        rises "$work/plain" "$work/found"
        ok $? "$name: rewards rise above those of plain samples"
        ;;
    esac
    "$sluice" verify "$dir" >"$work/log" 2>&1
    is_code $? 0 "$name: verify" "$work/log"
    rm -rf "$work/$name".*
}

check best_of search.candidates=3
check svdd search.candidates=3 search.alpha=0.01
check smc search.alpha=0.01 search.resample=0.9
check noise search.iterations=3 search.weight=100
check dps search.weight=0.1

# Without training: searched samples and their rewards.
for kind in none noise; do
    timeout -k 5 90 "$sluice" evaluate "$work/class" sampler.steps=5 sampler.clip_sample=false \
        reward.name=brightness search.kind=$kind search.iterations=2 search.weight=100 \
        --n 4 --out "$work/$kind.json" --save-samples "$work/$kind.npy" >"$work/log" 2>&1
    is_code $? 0 "evaluate with search.kind=$kind" "$work/log"
done
perl -MJSON::PP -0777 -e '@m = map { open $f, "<", $_; decode_json(<$f>)->{reward}{brightness}{mean} }
    @ARGV; exit !($m[1] > $m[0])' "$work/none.json" "$work/noise.json"
ok $? "the search raises the reward" || note <"$work/noise.json"

# refused NAME PATTERN OPTIONS...
refused() {
    local name=$1 pattern=$2
    shift 2
    run_mpi "$work/log" 1 run "$work/config.yaml" run.dir="$work/refused" "$@"
    is_code $? 2 "$name" "$work/log"
    says "$work/log" "$pattern" "$name: says why"
    rm -rf "$work/refused"
}
refused "a method that needs the policy's samples" "not samples of the policy" \
    search.kind=best_of algorithm.name=ddpo_is
refused "a reward without gradient" "needs the reward's gradient" search.kind=noise \
    reward.name=jpeg_compressibility
refused "groups that shards cut" "rollout.copies" search.kind=smc rollout.shard_samples=5
refused "clipping" "clip_sample=false" search.kind=noise sampler.clip_sample=true
refused "a misspelt search" "did you mean" search.kind=best_off
finish
