#!/bin/bash
# Rewards in shared objects in runs: learning by a plugin's gradient, the same bits for other
# layouts and after a resume, texts in C++, and refusals before anything is written.
. tests/e2e/lib.sh

object() { # NAME SOURCE FLAGS...: $work/NAME.so
    local compiler=cc
    [ "${2##*.}" = c ] || compiler=c++
    "$compiler" -O2 -fPIC -shared -Istages/reward/plugin "${@:3}" -o "$work/$1.so" "$2" \
        >"$work/$1.log" 2>&1
}
command -v cc >/dev/null || {
    echo "1..0 # SKIP there is no cc"
    exit 0
}
object target examples/rewards/plugin_target.c
ok $? "the example is built"

power=(examples/power/run.yaml reward.name=plugin plugin.path="$work/target.so"
    plugin.options=1 run.keep_shards=0 model.micro_batch=8 sampler.steps=5
    rollout.samples=16 rollout.shard_samples=8 update.batch=auto update.inner_epochs=1)
follow=(algorithm.name=draft_k sampler.clip_sample=false update.lr=1e-3)
mean() { # DIR ITERATION
    perl -MJSON::PP -ne '$j = decode_json($_); print $j->{reward_mean}
        if $j->{iteration} == '"$2" "$1/metrics.jsonl"
}

run_layout "$work/log" 0 run "${power[@]}" "${follow[@]}" run.dir="$work/one" run.iterations=6
is_code $? 0 "draft_k on a plugin" "$work/log"
digests "$work/one" >"$work/ref"
perl -e 'exit !($ARGV[1] > $ARGV[0] + 0.05)' -- "$(mean "$work/one" 0)" "$(mean "$work/one" 5)"
ok $? "its gradient teaches: $(mean "$work/one" 0), then $(mean "$work/one" 5)"
run_layout "$work/log" 4 run "${power[@]}" "${follow[@]}" run.dir="$work/three" run.iterations=3
is_code $? 0 "half of it on three ranks" "$work/log"
run_layout "$work/log" 1 run "${power[@]}" "${follow[@]}" run.dir="$work/three" run.iterations=6
is_code $? 0 "the rest on four" "$work/log"
same_bits "$work/three" "$work/ref" "a resumed run in other layouts"

# Another object under the same name: a resumed run says so.
[ "$(grep -c 'is not what it was' "$work/log")" = 0 ]
ok $? "the same object: no warning"
cp "$work/target.so" "$work/target.so.first"
{ cat examples/rewards/plugin_target.c && echo 'const int other = 1;'; } >"$work/other.c"
object target "$work/other.c"
run_layout "$work/log" 0 run "${power[@]}" "${follow[@]}" run.dir="$work/three" run.iterations=7
is_code $? 0 "continued with another object" "$work/log"
says "$work/log" "warning: the reward is not what it was .*reward_identity" "it warns"
[ "$(perl -MJSON::PP -ne 'print decode_json($_)->{reward_identity}, "\n"' \
    "$work/three/log/sessions.jsonl" | sort -u | wc -l)" = 2 ]
ok $? "sessions.jsonl has both digests"
mv "$work/target.so.first" "$work/target.so"

# refuse CODE PATTERN NAME ARGUMENTS...: nothing is written.
refuse() {
    local want=$1 pattern=$2 name=$3
    shift 3
    rm -rf "$work/bad"
    run_mpi "$work/log" 1 run "${power[@]}" run.dir="$work/bad" "$@"
    is_code $? "$want" "$name" "$work/log"
    says "$work/log" "$pattern" "the message names what is wrong"
    [ -z "$(find "$work/bad" -name '*.h5' 2>/dev/null)" ]
    ok $? "nothing is written"
}
refuse 3 "plugin.path: $work/none.so: no such file" "a plugin that is not there" \
    plugin.path="$work/none.so"
refuse 2 "plugin.path is not set" "no plugin at all" plugin.path=
refuse 2 "plugin.options: wants 1 or 24 numbers" "options that it refuses" plugin.options=1,2
object old tests/data/plugin.c -DCASE=1
refuse 3 "$work/old.so: built for version 2" "another version" plugin.path="$work/old.so"
object good tests/data/plugin.c
refuse 2 "draft_k needs the reward's gradient" "a plugin without a gradient" \
    "${follow[@]}" plugin.options=noisy plugin.path="$work/good.so"

object fails tests/data/plugin.c -DCASE=8
run_mpi "$work/log" 1 run "${power[@]}" run.dir="$work/fails" plugin.path="$work/fails.so"
is_code $? 7 "a plugin that gives up" "$work/log"
says "$work/log" "the simulator is gone" "its words are in the message"
object garbage tests/data/plugin.c -DCASE=7
run_mpi "$work/log" 1 run "${power[@]}" run.dir="$work/garbage" run.iterations=1 \
    plugin.path="$work/garbage.so"
is_code $? 0 "garbage in five of sixteen samples" "$work/log"
grep -q '"failed": *5\b' "$work/garbage/metrics.jsonl"
ok $? "five are counted as failed"

if command -v c++ >/dev/null; then
    object motif examples/rewards/plugin_motif.cpp
    for i in 0 4; do
        run_layout "$work/log" $i run examples/dna/run.yaml reward.name=plugin \
            plugin.path="$work/motif.so" plugin.options=A run.dir="$work/dna.$i" \
            run.iterations=1 run.keep_shards=0 sampler.steps=4 rollout.samples=12 \
            rollout.shard_samples=5 update.batch=6
        is_code $? 0 "a plugin in C++ scores texts" "$work/log"
    done
    digests "$work/dna.0" >"$work/ref"
    same_bits "$work/dna.4" "$work/ref" "texts"
else
    skip "a plugin in C++" "there is no c++"
fi

if command -v gfortran >/dev/null && gfortran -O2 -fPIC -shared -J"$work" -o "$work/ramp.so" \
    examples/rewards/plugin_ramp.f90 2>"$work/log"; then
    "$sluice" reward-check examples/power/run.yaml reward.name=plugin sampler.steps=5 \
        plugin.path="$work/ramp.so" --n 12 >"$work/log" 2>&1
    is_code $? 0 "a plugin in Fortran" "$work/log"
    says "$work/log" "plugin +12 ok +-[0-9.]+ +[0-9.e-]+ +-$" "twelve scores, no gradient"
else
    skip "a plugin in Fortran" "there is no gfortran"
fi
finish
