#!/bin/bash
# `sluice evaluate`: a model, a policy, a run and given samples; the same bits for any number
# of ranks; measures that are known in closed form; what does not apply is absent.
. tests/e2e/lib.sh
mkdir "$work/tmp" && export TMPDIR=$work/tmp

model "$work/class" class
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 2 "$work/class"
sed -i -e 's/^rollout: {/&classes: [0, 2], /' -e '$ a reward: {name: brightness}' \
    "$work/config.yaml"
run_mpi "$work/log" 1 run "$work/config.yaml" run.dir="$work/run"
is_code $? 0 "a run" "$work/log"

# value FILE PATH: a number of the JSON, or "absent".
value() {
    perl -MJSON::PP -0777 -ne '$v = decode_json($_); for (split /\./, "'"$2"'") {
        $v = ref $v ? $v->{$_} : undef } print $v // "absent"' "$1"
}
holds() { # FILE EXPRESSION-OF-$v PATH NAME
    perl -e '$v = shift; exit !('"$2"')' -- "$(value "$1" "$3")"
    ok $? "$4: $(value "$1" "$3")"
}

evaluate() { # OUT RANKS ARGUMENTS...
    local out=$1 ranks=$2
    shift 2
    run_mpi "$work/log" "$ranks" evaluate "$@" --n 14 --out "$work/$out.json"
}

evaluate model 1 "$work/class" "$work/config.yaml" --save-samples "$work/model.npy"
is_code $? 0 "a model folder" "$work/log"
[ "$(value "$work/model.json" path_kl)$(value "$work/model.json" reference)" = absentabsent ]
ok $? "no KL and no reference: absent"
[ "$(value "$work/model.json" reward.brightness.status.ok)" = 14 ]
ok $? "14 scores"
evaluate model3 3 "$work/class" "$work/config.yaml" --save-samples "$work/model3.npy"
cmp -s "$work/model.json" "$work/model3.json" && cmp -s "$work/model.npy" "$work/model3.npy"
ok $? "3 ranks: the same numbers and samples"

evaluate first 1 "$work/run" --version 0 --save-samples "$work/first.npy"
cmp -s "$work/model.npy" "$work/first.npy"
ok $? "version 0 of the run gives the model's samples"
holds "$work/first.json" '$v eq "absent"' path_kl "version 0 has no path KL"
evaluate newest 2 "$work/run" --rewards brightness,jpeg_compressibility
is_code $? 0 "the newest policy" "$work/log"
holds "$work/newest.json" '$v > 0' path_kl.mean "its path KL"
holds "$work/newest.json" '$v ne "absent"' reward.jpeg_compressibility.mean "a second reward"
evaluate policy 1 "$work/run/policy/v000002.h5" --rewards brightness,jpeg_compressibility
perl -pi -e 's/"source".*/"source": "",/' "$work/newest.json" "$work/policy.json"
cmp -s "$work/newest.json" "$work/policy.json"
ok $? "the same by the policy's file"

evaluate one 1 "$work/run" --class 2 --seed 4
is_code $? 0 "one class, another seed" "$work/log"

run_mpi "$work/log" 1 evaluate "$work/run" surrogate.kind=ucb run.kl_budget=1 \
    reward.guard=jpeg_compressibility --n 4 --out "$work/odd.json"
is_code $? 0 "keys of training have no meaning" "$work/log"
holds "$work/odd.json" '$v ne "absent"' reward.jpeg_compressibility.mean "the guard's mean"

# Signals amid the drawing leave nothing behind.
draw() {
    # a shell's background job ignores INT: perl does not
    perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' "$sluice" evaluate "$work/run" --n 200000 \
        rollout.shard_samples=100 >"$work/log" 2>&1 &
    job=$!
    started+=("$job")
    drawing() { [ -n "$(find "$TMPDIR" -path '*sluice-evaluate-*rollout/*.h5*' 2>/dev/null)" ]; }
    until_true drawing
}
for signal in TERM INT; do
    draw
    kill -$signal "$job"
    end_job
    is_code "$code" 75 "SIG$signal while samples are drawn" "$work/log"
    [ -z "$(find "$TMPDIR" -name 'sluice-evaluate-*')" ]
    ok $? "SIG$signal: the scratch folder is gone"
done

# What SIGKILL leaves the next evaluation removes, and no other.
draw
old=$(ls -d "$TMPDIR"/sluice-evaluate-*)
kill -KILL "$job"
end_job
[ -d "$old/policy" ]
ok $? "SIGKILL leaves the folder"
mkdir -p "$TMPDIR/sluice-evaluated"
rm -rf "$old/rollout" # draw looks for rollouts
touch -d "1 hour ago" "$old" "$TMPDIR/sluice-evaluated"
draw
[ ! -e "$old" ] && [ -e "$TMPDIR/sluice-evaluated" ]
ok $? "the next evaluation removes it"
live=$(ls -d "$TMPDIR"/sluice-evaluate-*)
touch -d "1 hour ago" "$live"
"$sluice" evaluate "$work/run" --n 2 >"$work/log2" 2>&1
is_code $? 0 "another one beside it" "$work/log2"
[ -d "$live/policy" ]
ok $? "the folder of one that works stays"
kill -TERM "$job"
end_job
rmdir "$TMPDIR/sluice-evaluated"

# Given samples against themselves.
evaluate given 2 "$work/model.npy" "$work/config.yaml" --reference "$work/model.npy" \
    --training "$work/model.npy" --near 1e-6
is_code $? 0 "given samples" "$work/log"
holds "$work/given.json" '$v == 0' reference.wasserstein "distance to themselves"
holds "$work/given.json" '$v == 1' training.near_share "all near"
holds "$work/given.json" '$v == 1' training.copied_share "all copied"
[ "$(value "$work/given.json" reward.brightness.mean)" = \
    "$(value "$work/model.json" reward.brightness.mean)" ]
ok $? "and the reward as it was drawn"
evaluate split 1 "$work/model.npy" "$work/config.yaml" --reference "$work/model.npy" \
    --reference-rows 7:
holds "$work/split.json" '$v > 0' reference.wasserstein "half of them"

refused() { # CODE PATTERN NAME ARGUMENTS...
    local code=$1 pattern=$2 name=$3 got
    shift 3
    "$sluice" evaluate "$@" >"$work/log" 2>&1
    got=$?
    [ $got = "$code" ] && grep -Eq -- "$pattern" "$work/log"
    ok $? "refused: $name" || note <"$work/log"
}
refused 2 "did you mean --seed" "a misspelt option" "$work/run" --sed 3
refused 3 "no such" "no model" "$work/nowhere"
refused 2 "unknown reward" "an unknown reward" "$work/run" --n 2 --rewards brightnes
refused 2 "rows" "rows that are not there" "$work/model.npy" "$work/config.yaml" \
    --reference "$work/model.npy" --reference-rows 3:99
[ -z "$(ls -d "$TMPDIR"/sluice-evaluate-* 2>/dev/null)" ]
ok $? "no scratch folder is left"
finish
