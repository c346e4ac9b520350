#!/bin/bash
# Classifiers and conditional control: the same bits for any number of ranks, data of several
# kinds, calibrated probabilities against those that made the labels, a corruption detector;
# and a grafted network that is taught its labels has the posterior p(x) p(y|x) / Z.
cd "$(dirname "$0")/../.." || exit 4
. tests/e2e/lib.sh

# Four normals at (+-1, +-1) of deviation 0.4; label a is 1 with p = 1 / (1 + exp(-3 x)), b
# with p = 1 / (1 + exp(-2 y)).
perl -e '
    sub normal { sqrt(-2 * log(1 - rand)) * cos(6.283185307 * rand) }
    srand 1; open X, ">$ARGV[0]/x.csv"; open Y, ">$ARGV[0]/y.csv"; print Y "a,b\n";
    for (1 .. 3000) {
        my @x = map { (rand() < 0.5 ? -1 : 1) + 0.4 * normal() } 0, 1;
        printf X "%.6f,%.6f\n", @x;
        printf Y "%d,%d\n", rand() < 1 / (1 + exp(-3 * $x[0])), rand() < 1 / (1 + exp(-2 * $x[1]));
    }' "$work"
cat >"$work/c.yaml" <<YAML
model: {micro_batch: 32}
classifier:
  data: $work/x.csv
  labels: "$work/y.csv:a,$work/y.csv:b"
  steps: 250
  hidden: 24
  lr: 3e-3
YAML
train() { # NAME RANKS OVERRIDES...
    local name=$1 ranks=$2
    shift 2
    run_mpi "$work/log" "$ranks" classifier "$work/c.yaml" "classifier.output=$work/$name" "$@"
}
bits() { cat "$work/$1/config.json" "$work/$1/classifier.safetensors" "$work/$1/metrics.json" | sha256sum; }
holds() { perl -e "exit !($1)"; }

train one 1
is_code $? 0 "a classifier of two labels" "$work/log"
reference=$(bits one)
for ranks in 2 5; do
    train many $ranks
    is_code $? 0 "with $ranks ranks" "$work/log"
    [ "$(bits many)" = "$reference" ]
    ok $? "the same bits"
done

# The labels are random: nobody can have much more than 0.91 and 0.84.
value() { perl -MJSON::PP -0777 -e '
    my ($file, $head, $key) = @ARGV; open F, $file; my $j = decode_json(<F>);
    print $j->{heads}[$head]{$key}' "$work/$1/metrics.json" "$2" "$3"; }
a=$(value one 0 accuracy) b=$(value one 1 accuracy)
holds "$a > 0.87 && $b > 0.78"
ok $? "accuracy $a and $b"
for head in 0 1; do
    before=$(value one $head nll_before) after=$(value one $head nll)
    error=$(value one $head calibration_error)
    holds "$after <= $before && $error < 0.06"
    ok $? "calibrated: nll $after from $before, calibration error $error"
done

# Text with one label; a network that knows its coding; the wrong one.
perl -e 'srand 2; print "seq,class\n"; for (1 .. 400) {
    my $s = join "", map { substr "ACGT", int rand 4, 1 } 1 .. 6;
    print "$s,", ($s =~ tr/G//) > 1 ? 1 : 0, "\n" }' >"$work/dna.csv"
run_mpi "$work/log" 1 classifier "$work/c.yaml" classifier.data="$work/dna.csv" \
    classifier.format=text classifier.column=seq classifier.labels="$work/dna.csv:class" \
    classifier.alphabet=ACGT classifier.output="$work/dna"
is_code $? 0 "a classifier of text" "$work/log"
a=$(value dna 0 accuracy)
holds "$a > 0.9"
ok $? "counts letters: accuracy $a"
grep -q '"alphabet": "ACGT"' "$work/dna/config.json"
ok $? "its folder has the coding"
train bad 1 classifier.labels="$work/y.csv:c"
is_code $? 3 "a column that is not there"
train bad 2 classifier.labels=
is_code $? 2 "no labels"
says "$work/log" "classifier.corrupt=true" "says what to do"
train bad 2 classifier.batch=1000000
is_code $? 2 "a batch of far more than the data"
says "$work/log" "classifier.batch: 1000000 samples" "names the key"

# Pictures: discs; their damaged copies are told apart.
perl -e 'srand 3; binmode STDOUT; my ($n, $w) = (300, 12);
    print pack("C4 N3", 0, 0, 8, 3, $n, $w, $w);
    for (1 .. $n) { my ($cx, $cy, $r) = map { 4 + 4 * rand } 1 .. 3; $r *= 0.6;
        for my $y (0 .. $w - 1) { for my $x (0 .. $w - 1) {
            my $d = sqrt(($x - $cx) ** 2 + ($y - $cy) ** 2) - $r;
            print chr int 255 / (1 + exp(2 * $d)) } } }' >"$work/discs.idx"
for ranks in 1 3; do
    run_mpi "$work/log" $ranks classifier "$work/c.yaml" classifier.data="$work/discs.idx" \
        classifier.labels= classifier.corrupt=true classifier.output="$work/clean$ranks" \
        classifier.hidden=8 classifier.layers=2 classifier.steps=120 classifier.batch=32 \
        classifier.held_out=0.3
    is_code $? 0 "a corruption detector with $ranks ranks" "$work/log"
done
[ "$(bits clean1)" = "$(bits clean3)" ]
ok $? "the same bits"
a=$(value clean1 0 accuracy)
holds "$a > 0.8"
ok $? "detects damage: accuracy $a"

# Conditional control: train p(x), graft, teach.
cat >"$work/net.json" <<JSON
{"_class_name": "MLPDenoiser", "in_channels": 1, "sample_size": [1, 2], "hidden_size": 32, "num_layers": 2}
JSON
cat >"$work/scheduler.json" <<JSON
{"_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "beta_start": 0.0001,
 "beta_end": 0.02, "beta_schedule": "linear", "clip_sample": false}
JSON
run_mpi "$work/log" 1 pretrain "$work/c.yaml" run.dir="$work/pre" model.micro_batch=64 \
    pretrain.data="$work/x.csv" pretrain.network="$work/net.json" pretrain.steps=1000 \
    pretrain.scheduler="$work/scheduler.json" pretrain.output="$work/base" \
    pretrain.batch=256 pretrain.lr=3e-3 pretrain.flip=false pretrain.ema_decay=0.99
is_code $? 0 "pretraining" "$work/log"
mkdir -p "$work/grafted.partial/unet" # what a killed graft leaves
"$sluice" graft "$work/base" --classes 2,2 --out "$work/grafted/" >"$work/log" 2>&1
is_code $? 0 "graft" "$work/log"
says "$work/log" "4 labels" "four joint labels"
[ ! -e "$work/grafted.partial" ]
ok $? "the folder appears as a whole"
"$sluice" graft "$work/grafted" --classes 2 --out "$work/twice" >"$work/log" 2>&1
is_code $? 3 "a second graft is refused"

cat >"$work/r.yaml" <<YAML
run: {seed: 1, iterations: 20, keep_shards: 2}
model: {path: $work/grafted, micro_batch: 64}
sampler: {steps: 20}
rollout: {samples: 256, shard_samples: 128}
reward: {name: classifier, classifier: $work/one}
algorithm: {name: adjoint_matching, adjoint_weight: 1, adjoint_steps: all}
update:
  {batch: 64, inner_epochs: 4, lr: 2e-3, embedding_lr: 10, weight_decay: 0, beta2: 0.95, ema_decay: 0.99}
YAML
for layout in 0 2; do
    run_layout "$work/log" $layout run "$work/r.yaml" run.dir="$work/layout$layout" \
        run.iterations=2 rollout.samples=24 rollout.shard_samples=5 run.keep_shards=0
    is_code $? 0 "two iterations in layout $layout" "$work/log"
done
digests "$work/layout0" >"$work/reference"
same_bits "$work/layout2" "$work/reference" "control in layout 2"
run_mpi "$work/log" 1 run "$work/r.yaml" run.dir="$work/ctrl" rollout.shard_samples=256
is_code $? 0 "a run of 20 iterations" "$work/log"

# Final samples of label y against p(x) p(y | x) / Z, samples of the first network weighted
# with the probabilities that made the labels: means of both coordinates, and the fractions
# right of 0. Without training the means differ by 0.7.
"$sluice" sample "$work/base" --n 6000 --steps 20 --batch 500 --seed 7 --out "$work/base.csv" \
    >"$work/log" 2>&1
for y in 0 1 2 3; do
    "$sluice" sample "$work/ctrl" --ema --class $y --n 1500 --steps 20 --batch 256 \
        --out "$work/s$y.csv" >"$work/log" 2>&1
done
perl -e '
    sub rows { open my $f, $_[0]; map { chomp; [split /,/] } <$f> }
    my @data = rows("$ARGV[0]/base.csv"); my $worst = 0;
    for my $y (0 .. 3) {
        my (@want, @got, $z);
        for (@data) {
            my ($p, $q) = (1 / (1 + exp(-3 * $_->[0])), 1 / (1 + exp(-2 * $_->[1])));
            my $w = ($y >= 2 ? $p : 1 - $p) * ($y % 2 ? $q : 1 - $q);
            $z += $w;
            my @v = (@$_, $_->[0] > 0, $_->[1] > 0);
            $want[$_] += $w * $v[$_] for 0 .. 3;
        }
        my @s = rows("$ARGV[0]/s$y.csv");
        for (@s) { my @v = (@$_, $_->[0] > 0, $_->[1] > 0); $got[$_] += $v[$_] for 0 .. 3 }
        $_ /= $z for @want; $_ /= @s for @got;
        printf "label %d: want %s got %s\n", $y, map { join " ", map { sprintf "%.3f", $_ } @$_ } \@want, \@got;
        for (0 .. 3) {
            my $d = abs($want[$_] - $got[$_]) / ($_ < 2 ? 0.15 : 0.1);
            $worst = $d if $d > $worst;
        }
    }
    exit !($worst < 1)' "$work" >"$work/posterior"
ok $? "the posterior: means within 0.15, fractions within 0.1" || note <"$work/posterior"
sed 's/^/# /' "$work/posterior"

run_mpi "$work/log" 1 evaluate "$work/ctrl" --class 1 --n 64
is_code $? 0 "samples of one label are scored by it" "$work/log"

# A classifier of stored samples: a data set inside an HDF5 file.
shard=$work/layout0/rollout/i000001/s00000.h5
train stored 1 classifier.data="$shard:/final_sample" classifier.labels="$shard:/prompt_id" \
    classifier.steps=5
is_code $? 0 "data from HDF5" "$work/log"
train bad 1 classifier.data="$shard:/nothing"
is_code $? 3 "a data set that is not there" "$work/log"

run_mpi "$work/log" 1 run "$work/r.yaml" run.dir="$work/bad" reward.classifier="$work/dna"
is_code $? 2 "a classifier of other samples is refused" "$work/log"
run_mpi "$work/log" 1 run "$work/r.yaml" run.dir="$work/bad" model.path="$work/base"
is_code $? 2 "an unconditional network needs a target" "$work/log"
says "$work/log" "sluice graft" "and says so"
run_mpi "$work/log" 1 run "$work/r.yaml" run.dir="$work/target" model.path="$work/base" \
    reward.target_class=3 run.iterations=1 rollout.samples=8 rollout.shard_samples=8
is_code $? 0 "and does with one" "$work/log"
finish
