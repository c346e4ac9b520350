#!/bin/bash
# `sluice front`: members for each value, results as table, CSV, JSON and pictures; finished
# members are not run again.
. tests/e2e/lib.sh

model "$work/class" class
ok $? "the tiny network is made" || finish
config "$work/a.yaml" 1 "$work/class"
echo 'reward: {name: brightness}' >>"$work/a.yaml"
cp "$work/a.yaml" "$work/b.yaml"
front() { "$sluice" front "$work/a.yaml" "$work/b.yaml" algorithm.kl_weight=0,0.5 \
    update.lr=1e-3 --out "$work/front" "$@" >"$work/log" 2>&1; }
front --n 6
is_code $? 0 "two curves of two points" "$work/log"
[ "$(wc -l <"$work/front/front.csv")" = 5 ]
ok $? "front.csv has a line for each member and its head"
says "$work/front/front.csv" '^config,algorithm.kl_weight,.*reward.brightness.mean' \
    "with the measures' names"
perl -MJSON::PP -0777 -ne '$j = decode_json($_); exit !(@{$j->{members}} == 4 &&
    $j->{x} eq "path_kl.mean" && $j->{members}[0]{"path_kl.mean"} > 0)' \
    "$work/front/front.json"
ok $? "front.json too"
if command -v gnuplot >/dev/null; then
    grep -q '<svg' "$work/front/front.svg" &&
        [ "$(head -c 8 "$work/front/front.png" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ]
    ok $? "and pictures"
else
    skip "and pictures" "no gnuplot"
fi
cp "$work/front/front.csv" "$work/before"
rm "$work/front/a/algorithm.kl_weight=0.5/evaluation.json"
front --n 6
is_code $? 0 "again" "$work/log"
[ "$(grep -c 'there already' "$work/log")" = 3 ] && cmp -s "$work/before" "$work/front/front.csv"
ok $? "only what was missing is made, with the same numbers"
front --n 4
[ "$(grep -c 'there already' "$work/log")" = 0 ]
ok $? "another evaluation is made anew"
"$sluice" front "$work/a.yaml" algorithm.kl_weigt=0,1 --out "$work/x" >"$work/log" 2>&1
is_code $? 2 "a misspelt key" "$work/log"
[ ! -e "$work/x" ]
ok $? "is refused before anything runs"

# Members do not outlive the program that started them.
"$sluice" front "$work/a.yaml" update.lr=1e-3,1e-4 run.iterations=100000 run.keep_shards=2 \
    run.keep_policies=2 --out "$work/killed" >"$work/log" 2>&1 &
job=$!
started+=("$job")
until_true test -e "$work/killed/a/update.lr=1e-3/run/policy/v000001.h5"
member=$(ranks_of "$job")
started+=("$member")
alive "$member"
ok $? "a member is at work"
kill -9 "$job"
wait "$job" 2>/dev/null
until_true gone "$member"
ok $? "it ends with the program"
grep -q "stopped early (signal TERM)" "$work/killed/a/update.lr=1e-3/log.txt"
ok $? "like any run that is told to"

# Numbers of another configuration are not taken for those of this one.
sed -i 's/seed: 3/seed: 4/' "$work/a.yaml" "$work/b.yaml"
front --n 6
is_code $? 2 "a changed configuration meets the old runs" "$work/log"
says "$work/log" "the run ended with code 2" "its members are not taken as finished"
mkdir "$work/other" && cp "$work/a.yaml" "$work/other/a.yaml"
"$sluice" front "$work/a.yaml" "$work/other/a.yaml" update.lr=1e-3,1e-4 \
    --out "$work/twins" >"$work/log" 2>&1
is_code $? 2 "two configurations of one name" "$work/log"
says "$work/log" "another name" "says what to do"
"$sluice" front "$work/a.yaml" model.path=a/b,c/d --out "$work/paths" >"$work/log" 2>&1
is_code $? 2 "values that are paths" "$work/log"
finish
