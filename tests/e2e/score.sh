#!/bin/bash
# `sluice score` and `sluice reward-check`: a run's own reward gives the run's own scores; the
# same bits for any number of ranks and after a kill; pictures, tables and texts; what is there
# with other settings is refused, what failed is judged as in a run.
. tests/e2e/lib.sh
mkdir "$work/tmp" && export TMPDIR=$work/tmp

model "$work/class" class
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 2 "$work/class"
sed -i -e 's/^rollout: {/&classes: [0, 2], /' -e '$ a reward: {name: brightness}' \
    "$work/config.yaml"
run_mpi "$work/log" 1 run "$work/config.yaml" run.dir="$work/run" run.keep_shards=0
is_code $? 0 "a run" "$work/log"

# sums DIR: one line per file of scores.
sums() { (cd "$1" && find . -name '*.h5' | sort | xargs -r "$sealed"); }
# alike DIR NAME: the same files as in $work/ref.
alike() {
    sums "$1" >"$work/sums"
    [ -s "$work/ref" ] && cmp -s "$work/ref" "$work/sums"
    ok $? "$2: the same bits in $(wc -l <"$work/ref") files" || diff "$work/ref" "$work/sums" | note
}
# value FILE PATH: a number of the JSON, or "absent".
value() {
    perl -MJSON::PP -0777 -ne '$v = decode_json($_); for (split /\./, "'"$2"'") {
        $v = ref $v ? $v->{$_} : undef } print $v // "absent"' "$1"
}
# score LOG RANKS ARGUMENTS...
score() {
    local log=$1 ranks=$2
    shift 2
    timeout -k 5 90 "$MPIRUN" --oversubscribe -np "$ranks" "$sluice" score "$@" >"$log" 2>"$log.err"
    local got=$?
    cat "$log.err" >>"$log"
    return $got
}

# A run's own reward.
sums "$work/run/reward" >"$work/ref"
score "$work/log" 1 "$work/run"
is_code $? 0 "the run's own reward" "$work/log"
alike "$work/run/score/brightness" "the run's own scores"
score "$work/log" 1 "$work/run"
says "$work/log" "shards +6, 0 scored now" "nothing is scored twice"
"$sluice" verify "$work/run" >"$work/log" 2>&1
is_code $? 0 "verify finds nothing" "$work/log"

# Another reward; ranks.
other=(--reward jpeg_compressibility)
score "$work/log" 1 "$work/run" "${other[@]}" --out "$work/one" --csv "$work/one.csv"
is_code $? 0 "another reward" "$work/log"
sums "$work/one" >"$work/ref"
for n in 2 3; do
    score "$work/log" $n "$work/run" "${other[@]}" --out "$work/ranks$n" --csv "$work/ranks.csv"
    is_code $? 0 "$n ranks" "$work/log"
    alike "$work/ranks$n" "$n ranks"
    cmp -s "$work/one.csv" "$work/ranks.csv"
    ok $? "$n ranks: the same table"
done
[ "$(wc -l <"$work/one.csv")" = 21 ] && grep -Eq '^1,2,9,-[0-9.]+,ok$' "$work/one.csv"
ok $? "a line for each of 20 samples"
rm "$work/one/i000001/s00001.h5"
score "$work/log" 2 "$work/run" "${other[@]}" --out "$work/one"
says "$work/log" "shards +6, 1 scored now" "only what is missing is scored"
alike "$work/one" "what is missing"
score "$work/log" 1 "$work/run" "${other[@]}" --out "$work/one" run.seed=9
is_code $? 2 "other settings in the same folder" "$work/log"
says "$work/log" "one/i000000/s00000.h5: holds scores of other settings" "named"
cp tests/tools/exec_peer.pl "$work/peer.pl"
for program in one other; do # the same command, and then with other content
    score "$work/log" 1 "$work/run" --reward exec "exec.command=perl $work/peer.pl good" --out \
        "$work/peer"
    is_code $? $([ $program = one ] && echo 0 || echo 2) "$program program" "$work/log"
    echo "# changed" >>"$work/peer.pl"
done
says "$work/log" "holds scores of another service or program" "what differs is named"
score "$work/log" 1 "$work/run" --out "$work/one"
is_code $? 2 "another reward in the same folder" "$work/log"

# A mixture; a component by itself.
mix=(reward.name=mixture components.a.name=brightness components.a.weight=2
    components.b.name=jpeg_compressibility)
score "$work/log" 2 "$work/run" "${mix[@]}" --csv "$work/mix.csv"
is_code $? 0 "a mixture" "$work/log"
score "$work/log" 1 "$work/run" "${mix[@]}" --reward a --csv "$work/a.csv"
is_code $? 0 "one of its components" "$work/log"
says "$work/log" "run/score/a$" "in a folder of its own"
paste -d, "$work/mix.csv" "$work/a.csv" "$work/one.csv" | tail -n +2 |
    awk -F, '{ d = $4 - 2 * $9 - $14; n++; bad += d > 1e-9 || d < -1e-9 }
        END { exit !(n == 20 && bad == 0) }'
ok $? "the sum of both"

# Killed and resumed: a slow reward.
cat >"$work/slow.c" <<'C'
#include "sluice_reward.h"
#include <stdlib.h>
#include <unistd.h>
static int score(void *state, const struct sluice_reward_batch *b)
{
    (void)state;
    usleep((useconds_t)atoi(getenv("SLOW_US")));
    for (int64_t i = 0; i < b->n; i++) {
        b->score[i] = b->sample[i * b->channels * b->height * b->width];
        b->status[i] = getenv("SLOW_FAILS") != NULL && i % 2 ? SLUICE_REWARD_FAILED : 0;
    }
    return 0;
}
const struct sluice_reward_description *sluice_reward_entry(const struct sluice_reward_host *h)
{
    static const struct sluice_reward_description is = {
        .size = sizeof is, .abi = SLUICE_REWARD_ABI, .flags = SLUICE_REWARD_DETERMINISTIC,
        .name = "slow", .units = "1", .score = score};
    (void)h;
    return &is;
}
C
if cc -O2 -fPIC -shared -Istages/reward/plugin -o "$work/slow.so" "$work/slow.c"; then
    slow=("$work/run" --reward plugin plugin.path="$work/slow.so" reward.retries=0)
    export SLOW_US=1
    score "$work/log" 1 "${slow[@]}" --out "$work/quick"
    is_code $? 0 "a plugin" "$work/log"
    sums "$work/quick" >"$work/ref"
    SLOW_US=300000 begin "$work/log" 2 score "${slow[@]}" --out "$work/killed"
    until_file "$work/killed/i000000/s00000.h5"
    ok $? "it begins"
    kill -9 "$job" $(ranks_of "$job") 2>/dev/null
    end_job
    [ "$(find "$work/killed" -name 's*.h5' | wc -l)" -lt 6 ]
    ok $? "killed in the middle"
    score "$work/log" 3 "${slow[@]}" --out "$work/killed"
    is_code $? 0 "and resumed" "$work/log"
    alike "$work/killed" "after a kill"

    # A program as the reward: started from here too.
    if cc -O2 -o "$work/mean" examples/rewards/exec_mean.c; then
        program=(exec.protocol=binary exec.command="$work/mean")
        score "$work/log" 2 "$work/run" --reward exec "${program[@]}" --csv "$work/exec.csv"
        is_code $? 0 "a program scores" "$work/log"
        score "$work/log" 1 "$work/run" --reward brightness --out "$work/bright" \
            --csv "$work/bright.csv"
        paste -d, "$work/exec.csv" "$work/bright.csv" | tail -n +2 |
            awk -F, '{ d = $4 - $9; n++; bad += d > 1e-6 || d < -1e-6 }
                END { exit !(n == 20 && bad == 0) }'
        ok $? "as brightness does"
        "$sluice" reward-check "$work/config.yaml" reward.name=exec "${program[@]}" \
            >"$work/log" 2>&1
        is_code $? 0 "and is checked" "$work/log"
    fi

    # Told to end: the shard at hand is finished.
    SLOW_US=400000 timeout -k 5 90 "$sluice" score "${slow[@]}" --out "$work/told" \
        >"$work/log" 2>&1 &
    job=$!
    started+=("$job")
    until_file "$work/told/i000000/s00000.h5"
    kill -TERM "$job"
    wait "$job"
    is_code $? 75 "told to end" "$work/log"
    score "$work/log" 1 "${slow[@]}" --out "$work/told"
    alike "$work/told" "after that"

    # Failures: judged as in a run, kept as statuses, tried again when asked to.
    SLOW_FAILS=1 score "$work/log" 2 "${slow[@]}" --out "$work/half" \
        reward.max_failed_fraction=0.4
    is_code $? 7 "half of it fails" "$work/log"
    says "$work/log" "10 of 20 samples have no score, more than" "the policy is named"
    SLOW_FAILS=1 score "$work/log" 1 "${slow[@]}" --out "$work/half" \
        reward.max_failed_fraction=0.4 --json
    is_code $? 7 "and stays so" "$work/log"
    [ "$(value "$work/log" scored 2>/dev/null)" = 0 ] || grep -q '"scored": 0' "$work/log"
    ok $? "nothing is asked again"
    score "$work/log" 2 "${slow[@]}" --out "$work/half" reward.max_failed_fraction=0.4 \
        --retry-failed
    is_code $? 0 "failures are tried again" "$work/log"
    grep -q "20 ok" "$work/log"
    ok $? "with success"
    export SLOW_US=
else
    skip "a slow plugin" "there is no cc"
fi

# Given samples: pictures in a folder, their array, texts.
"$sluice" sample "$work/class" --n 10 --steps 3 --clip true --out "$work/pictures" >"$work/log" 2>&1
rm -f "$work/pictures/grid.png" "$work/pictures/samples.npy"
score "$work/log" 1 "$work/pictures" "${other[@]}" --out "$work/given" --csv "$work/given.csv" \
    rollout.shard_samples=4
is_code $? 0 "a folder of pictures" "$work/log"
grep -Eq '^0,2,9,sample_00009.png,-[0-9.]+,ok$' "$work/given.csv"
ok $? "the table has their names"
sums "$work/given" >"$work/ref"
score "$work/log" 3 "$work/pictures" "${other[@]}" --out "$work/given3" rollout.shard_samples=4
alike "$work/given3" "pictures on 3 ranks"
cp "$work/pictures/sample_00003.png" "$work/pictures/sample_00004.png"
score "$work/log" 1 "$work/pictures" "${other[@]}" --out "$work/given" rollout.shard_samples=4
is_code $? 2 "a picture that has changed" "$work/log"
says "$work/log" "given/i000000/s00001.h5: holds scores of other samples" "its shard is named"
head -c 100 "$work/pictures/sample_00002.png" >"$work/pictures/sample_00001.png"
score "$work/log" 1 "$work/pictures" "${other[@]}" --out "$work/given4"
is_code $? 3 "a damaged picture" "$work/log"
says "$work/log" "sample_00001.png" "is named"
printf 'CCO\nC1CC1\nC(\n' >"$work/texts.txt"
score "$work/log" 1 "$work/texts.txt" --reward molecule_valid --out "$work/texts" --json
is_code $? 0 "texts" "$work/log"
grep -q '"mean": 0.66' "$work/log"
ok $? "two of three are molecules"

refused() { # CODE PATTERN NAME ARGUMENTS...
    local code=$1 pattern=$2 name=$3 got
    shift 3
    "$sluice" "$@" >"$work/log" 2>&1
    got=$?
    [ $got = "$code" ] && grep -Eq -- "$pattern" "$work/log"
    ok $? "refused: $name" || note <"$work/log"
}
refused 2 "name a run directory" "no source" score
refused 2 "did you mean --reward" "a misspelt option" score "$work/run" --rewards brightness
refused 2 "did you mean \"brightness\"" "an unknown reward" score "$work/run" --reward brightnes
refused 2 "which reward" "no reward" score "$work/pictures" --out "$work/x"
refused 2 "name the folder" "no folder" score "$work/pictures" --reward brightness
refused 3 "nowhere" "no source there" score "$work/nowhere" --reward brightness --out "$work/x"
mkdir "$work/empty"
refused 3 "holds no .png" "an empty folder" score "$work/empty" --reward brightness --out "$work/x"
refused 2 "labels" "labels for a run" score "$work/run" --labels "$work/one.csv:status"

# reward-check.
refused 0 "^brightness +3 ok +[-0-9.e]+ +[0-9.e+-]+ +[0-9.e-]+$" "nothing: a check" \
    reward-check "$work/config.yaml" --n 3
refused 7 "power_peak.*error" "nothing: a reward that does not fit" \
    reward-check "$work/config.yaml" reward.name=power_peak
refused 7 "^brightness +1 ok" "nothing: the others are asked all the same" \
    reward-check "$work/config.yaml" reward.guard=power_peak
refused 0 "^jpeg_compressibility +1 ok" "nothing: a guard, on a given sample" \
    reward-check "$work/config.yaml" reward.guard=jpeg_compressibility \
    --sample "$work/pictures/../pictures"
refused 2 "unknown" "an unknown key" reward-check "$work/config.yaml" reward.nam=x
refused 3 "nowhere" "no network" reward-check "$work/config.yaml" model.path="$work/nowhere"
refused 2 "model.path is not set" "nothing to ask for" reward-check reward.name=brightness
"$sluice" reward-check "$work/config.yaml" components.a.name=brightness \
    components.b.name=jpeg_compressibility reward.name=mixture --json >"$work/log" 2>&1
is_code $? 0 "a mixture" "$work/log"
perl -MJSON::PP -0777 -ne '$r = decode_json($_)->{rewards};
    exit !(@$r == 3 && $r->[0]{name} eq "a" && $r->[2]{name} eq "mixture" &&
           abs($r->[0]{score} + $r->[1]{score} - $r->[2]{score}) < 1e-9 &&
           $r->[0]{gradient_norm} > 0 && !defined $r->[1]{gradient_norm})' "$work/log"
ok $? "each component and their sum"
[ -z "$(ls -d "$TMPDIR"/sluice-evaluate-* 2>/dev/null)" ]
ok $? "no scratch folder is left"
finish
