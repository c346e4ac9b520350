#!/bin/bash
# Rewards of series, texts and molecules in runs: the same bits for other layouts, with noise
# too, statuses of what is no molecule, and refusals that name the key.
. tests/e2e/lib.sh

small="run.iterations=2 run.keep_shards=0 model.micro_batch=4 sampler.steps=4 rollout.samples=10
    rollout.shard_samples=4 update.batch=6"

# check NAME CONFIG OPTIONS...: two layouts, the same bits; leaves $work/NAME.0.
check() {
    local name=$1 file=$2 i
    shift 2
    for i in 0 4; do
        run_layout "$work/log" "$i" run "$file" run.dir="$work/$name.$i" $small "$@"
        is_code $? 0 "$name, layout ${layouts[$i]}" "$work/log"
    done
    digests "$work/$name.0" >"$work/$name.ref"
    same_bits "$work/$name.4" "$work/$name.ref" "$name"
}

check power examples/power/run.yaml
grep -q '"reward_mean": *-' "$work/power.0/metrics.jsonl"
ok $? "power above the cap costs"
grep -q "All curves from" "$work/power.0/report.html"
ok $? "the report draws days in kW"

perl -e '@b = split //, "ACGT"; print "seq,score\n";
    for $i (0 .. 65535) { print join("", map { $b[$i >> 14 - 2 * $_ & 3] } 0 .. 7), ",",
        ($i % 97) / 97, "\n" }' >"$work/dna.csv"
# Of each letter as many as of every other: the mean is 8 (2 + 4) / 2, and 2^8 texts are of
# C and G alone.
[ "$(sh examples/dna/melting.sh | sort -u | awk -F, '$1 ~ /^[ACGT]+$/ && length($1) == 8 {
    n++; sum += $2; best += $2 == 32 } END { print n, sum / n, best }')" = "65536 24 256" ]
ok $? "the table of melting temperatures"
check dna examples/dna/run.yaml reward.table="$work/dna.csv:seq:score" reward.noise=0.1
[ "$(grep -c "<code>[ACGT]\{8\}</code>" "$work/dna.0/report.html")" = 20 ]
ok $? "the report lists the texts"
run_mpi "$work/log" 1 run examples/dna/run.yaml run.dir="$work/spent" $small \
    run.iterations=9 reward.table="$work/dna.csv:seq:score" reward.budget=27
is_code $? 0 "a budget of 27 samples" "$work/log"
says "$work/log" "policy 2 of 2" "ends after two iterations of 10"
run_mpi "$work/log" 1 run examples/dna/run.yaml run.dir="$work/spent" $small \
    run.iterations=9 reward.table="$work/dna.csv:seq:score" reward.budget=35
is_code $? 0 "a larger budget" "$work/log"
says "$work/log" "policy 3 of 3" "continues it"
run_mpi "$work/log" 1 run examples/dna/run.yaml run.dir="$work/bad" $small \
    reward.table="$work/dna.csv:seq:score" reward.budget=9
is_code $? 2 "a budget below one iteration is refused" "$work/log"
run_mpi "$work/log" 1 run examples/dna/run.yaml run.dir="$work/bad" $small \
    reward.table="$work/dna.csv:seq:none"
is_code $? 3 "a column that is not there" "$work/log"
says "$work/log" "reward.table.*none" "the message names key and column"
run_mpi "$work/log" 1 run examples/dna/run.yaml run.dir="$work/bad" $small \
    reward.name=power_peak
is_code $? 2 "a reward of series for texts" "$work/log"

perl -e 'print "smiles,v\n"; $n = 0;
    for $a ("C", "N", "O") { for $b ("C", "CC", "C=C", "C(O)C", "C(C)C") { for $c ("", "C", "O",
        "F", "N", "C#N") { print "$a$b$c,", ++$n, "\n"
        unless $seen{"$a$b$c"}++ } } }' >"$work/molecules.csv"
check molecules examples/molecules/run.yaml reward.name=molecule_property \
    reward.table="$work/molecules.csv:smiles:v" reward.max_failed_fraction=1 sampler.steps=20
run_mpi "$work/log" 1 run examples/molecules/run.yaml run.dir="$work/priced" $small \
    reward.name=molecule_property reward.table="$work/molecules.csv:smiles:v" \
    reward.infeasible_score=-1e6 reward.on_failure=stop
is_code $? 0 "what is no molecule has a price" "$work/log"
"$sluice" inspect "$work/priced/reward/i000000/s00000.h5" >"$work/log" 2>&1
says "$work/log" "^ *reward  *f64 .* -1e.06 " "and no other status"
finish
