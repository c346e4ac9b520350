#!/bin/bash
# Results do not depend on the machine's shape: the same bits in every sealed file for any
# group layout, and for the stages run in turn as jobs of their own.
. tests/e2e/lib.sh

model "$work/plain" && model "$work/class" class
ok $? "the tiny networks are made" || finish

# foreign DIR: HDF5's own tool reads everything, and the digests, without our code.
foreign() {
    (
        cd "$1" && find rollout reward advantage policy -name '*.h5' | sort |
            while read -r f; do
                h5dump "$f" >/dev/null || echo damaged
                echo "$f $(h5dump -a content_sha256 "$f" | grep -o '[0-9a-f]\{64\}')"
            done
    ) | cmp -s - "$work/$name.ref"
}

# compare NAME LAYOUTS ARGUMENTS...: one run per layout, against the first.
compare() {
    local name=$1 which=$2 i dir n=0
    shift 2
    for i in $which; do
        dir=$work/$name.$i
        run_layout "$work/log" "$i" run "$work/config.yaml" run.dir="$dir" "$@"
        is_code $? 0 "$name, layout ${layouts[$i]}" "$work/log"
        if [ $((n++)) = 0 ]; then
            digests "$dir" >"$work/$name.ref"
            [ "$(grep -vc damaged "$work/$name.ref")" = 25 ]
            ok $? "$name: the reference has 3 x 7 files and 4 policies"
            foreign "$dir"
            ok $? "$name: h5dump reads them all and finds the same digests"
        else
            same_bits "$dir" "$work/$name.ref" "$name, layout ${layouts[$i]}"
        fi
        [ "$(weights "$dir" file)" = 0 ] &&
            [ "$(weights "$dir" message)" -ge "${messages[$i]-0}" ]
        ok $? "$name, layout ${layouts[$i]}: no policy file of the run is read again"
        metrics_whole "$dir" 3
        ok $? "$name, layout ${layouts[$i]}: every iteration has its line"
        [ "$n" = 1 ] || rm -rf "$dir"
    done
}

# weights DIR FROM: how many versions ranks got that way, says the accounting.
weights() {
    perl -MJSON::PP -0777 -ne "print decode_json(\$_)->{weights_from}{$2}" \
        "$1/accounting.json"
}

# stages NAME: rollout, reward, advantage, update in turn, 3 times, with rank
# counts that differ every time.
stages() {
    local dir=$work/$1.stages i stage ranks n=0
    local counts=(2 3 1 2 1 2 3 1 5 1 2 3)
    mkdir "$dir"
    cp "$work/config.yaml" "$dir/config.yaml"
    for i in 1 2 3; do
        for stage in rollout reward advantage update; do
            ranks=${counts[$((n++))]}
            run_mpi "$work/log" "$ranks" stage $stage "$dir" ||
                ok 1 "$1: stage $stage of round $i on $ranks ranks" ||
                note <"$work/log"
        done
    done
    same_bits "$dir" "$work/$1.ref" "$1, stages in turn"
    [ "$(weights "$dir" message)" = 0 ]
    ok $? "$1, stages in turn: files only"
}

# Versions 1 and 2 reach each rank that rolls out and does not update, by layout; with a
# staleness of 1 it is version 1 only. (A fast rank may leave the others without a shard.)
messages=([1]=2 [2]=2 [3]=2)
config "$work/config.yaml" 3 "$work/plain"
compare seed3 "0 1 2 3 4 5 6"
stages seed3
compare seed4 "0 2 3" run.seed=4
! cmp -s "$work/seed3.ref" "$work/seed4.ref"
ok $? "another seed gives other bits"
messages=([1]=1 [2]=1)
compare stale1 "1 2 5 0" max_staleness=1
messages=()
compare stale2 "1 2 0" max_staleness=2
! cmp -s "$work/seed3.ref" "$work/stale2.ref"
ok $? "staleness gives other bits"

config "$work/config.yaml" 3 "$work/class"
sed -i 's/^rollout: {/&classes: [0, 2], copies: 2, /' "$work/config.yaml"
messages=([3]=2)
compare class "0 3 4"
stages class
finish
