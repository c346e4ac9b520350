#!/bin/bash
# `sluice sample` and `sluice export` as a user runs them: files, determinism, refusals,
# and the way of a policy out to a diffusers folder and back in.
set -u
sluice=${SLUICE:-build/sluice}
goldens=${SLUICE_SHARED:-../shared}/goldens
model=$goldens/unet_tiny
if [ ! -d "$model" ]; then
    echo "1..0 # SKIP the reference models (goldens) are not here"
    exit 0
fi
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
count=0

# Runs sluice; its output goes to $dir/log, its exit code is the result.
run() { timeout 120 "$sluice" "$@" >"$dir/log" 2>&1; }

# check NAME COMMAND...: ok when the command succeeds.
check() {
    local name=$1 rc
    shift
    count=$((count + 1))
    "$@" && rc=0 || rc=$?
    if [ $rc = 0 ]; then
        echo "ok $count - $name"
    else
        echo "not ok $count - $name (exit $rc)"
        sed 's/^/# /' "$dir/log"
    fi
}

# refuses NAME CODE WORD ARGUMENTS...: sluice exits with CODE and says WORD.
refuses() {
    local name=$1 code=$2 word=$3 got
    shift 3
    count=$((count + 1))
    run "$@" && got=0 || got=$?
    if [ $got = "$code" ] && grep -q -e "$word" "$dir/log"; then
        echo "ok $count - $name: $(head -c 200 "$dir/log" | head -n 1)"
    else
        echo "not ok $count - $name: exit $got, $code wanted, with '$word'"
        sed 's/^/# /' "$dir/log"
    fi
}

sample() { run sample "$model" --steps 4 --threads 1 "$@"; }
# As the run below: its seed, its steps, its number of samples.
drawn() { run sample "$@" --seed 5 --n 4 --steps 4 --threads 1; }
differ() { ! cmp -s "$1" "$2"; }
bytes() { [ "$(stat -c %s "$1")" = "$2" ]; }
# The values alone: the last N bytes of a file.
same_tail() { cmp -s <(tail -c "$3" "$1") <(tail -c "$3" "$2"); }
is_png() { [ "$(head -c 8 "$1" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ]; }
npy_shape() { head -c 128 "$1" | grep -a -q -F "'shape': ($2)"; }

check "samples as .npy" sample --n 5 --out "$dir/a.npy" --batch 2 --threads 2
check "with their shape" npy_shape "$dir/a.npy" "5, 3, 16, 16"
check "and size" bytes "$dir/a.npy" $((128 + 5 * 3 * 16 * 16 * 4))
check "the same call again" sample --n 5 --out "$dir/b.npy" --batch 5
check "other --batch and --threads: the same bits" cmp "$dir/a.npy" "$dir/b.npy"
check "another seed" sample --n 5 --seed 1 --out "$dir/b.npy"
check "gives other samples" differ "$dir/a.npy" "$dir/b.npy"
check "as .safetensors" sample --n 5 --out "$dir/a.safetensors"
check "the same values" same_tail "$dir/a.npy" "$dir/a.safetensors" $((5 * 3 * 16 * 16 * 4))
check "as one picture" sample --n 5 --out "$dir/a.png" --columns 3 --zoom 2
check "a PNG" is_png "$dir/a.png"
check "as a folder" sample --n 3 --out "$dir/many/a"
check "that holds five files" [ "$(ls "$dir/many/a" | tr '\n' ' ')" = \
    "grid.png sample_00000.png sample_00001.png sample_00002.png samples.npy " ]
check "with the first samples of the larger call" cmp -s \
    <(tail -c $((3 * 3072)) "$dir/many/a/samples.npy") \
    <(tail -c +129 "$dir/a.npy" | head -c $((3 * 3072)))
check "DDPM with its options" sample --n 1 --sampler ddpm --spacing trailing --clip false \
    --clamp-last false --init normal --out "$dir/b.npy"
check "another size" sample --n 1 --height 8 --width 24 --out "$dir/b.npy"
check "is that size" npy_shape "$dir/b.npy" "1, 3, 8, 24"

refuses "--class without classes" 2 unconditional sample "$model" --class 1 --out "$dir/x.npy"
refuses "no samples" 2 "n:" sample "$model" --n 0 --out "$dir/x.npy"
refuses "no such model" 3 "no such" sample "$dir/nowhere" --out "$dir/x.npy"
refuses "no --out" 2 "--out" sample "$model"
refuses "a misspelt option" 2 "--steps" sample "$model" --stpes 3 --out "$dir/x.npy"
refuses "--ema of a model folder" 2 "--ema" sample "$model" --ema --out "$dir/x.npy"
refuses "a file in no folder" 2 "does not exist" sample "$model" --out "$dir/no/x.npy"
refuses "fewer samples into a used folder" 2 "earlier" sample "$model" --n 2 \
    --out "$dir/many/a"
refuses "a size that the network cannot halve" 3 "multiples" sample "$model" --height 7 \
    --out "$dir/x.npy"
mkdir -p "$dir/sizeless"
cp "$goldens/unet_oldnames/"diffusion* "$dir/sizeless" && chmod u+w "$dir/sizeless/"*
sed 's/"sample_size": [0-9]*/"sample_size": null/' "$goldens/unet_oldnames/config.json" \
    >"$dir/sizeless/config.json"
refuses "no sample_size" 2 "--height and --width" sample "$dir/sizeless" --out "$dir/x.npy"
refuses "no width" 2 "give --width" sample "$dir/sizeless" --height 8 --out "$dir/x.npy"
check "both given" run sample "$dir/sizeless" --height 8 --width 8 --n 1 --steps 2 --threads 1 \
    --out "$dir/b.npy"

# A run of one iteration: its samples, and its policies out to folders.
check "a run" run run run.dir="$dir/run" run.iterations=1 run.seed=5 model.path="$model" \
    rollout.samples=4 rollout.shard_samples=4 sampler.steps=4 update.ema_decay=0.9 \
    update.ema_warmup=false
check "samples of its first policy" run sample "$dir/run" --version 0 --seed 5 --n 4 \
    --steps 4 --out "$dir/r0.npy"
check "are those of the model" drawn "$model" --out "$dir/m.npy"
check "to the bit" cmp "$dir/r0.npy" "$dir/m.npy"
if command -v h5dump >/dev/null; then
    h5dump -d final_sample -b LE -o "$dir/rollout.bin" \
        "$dir/run/rollout/i000000/s00000.h5" >"$dir/log" 2>&1
    check "and those of the rollouts" same_tail "$dir/r0.npy" "$dir/rollout.bin" 12288
else
    check "and those of the rollouts # SKIP no h5dump" true
fi
check "samples of the newest policy" drawn "$dir/run" --out "$dir/r1.npy"
check "differ" differ "$dir/r0.npy" "$dir/r1.npy"
check "as named by file" drawn "$dir/run/policy/v000001.h5" --out "$dir/r1f.npy"
check "are the same" cmp "$dir/r1.npy" "$dir/r1f.npy"
check "samples of its average" drawn "$dir/run" --ema --out "$dir/r1e.npy"
check "differ again" differ "$dir/r1.npy" "$dir/r1e.npy"
refuses "a version that is not kept" 3 "version 7" sample "$dir/run" --version 7 \
    --out "$dir/x.npy"

check "export of policy 0" run export "$dir/run" "$dir/p0" --version 0
check "keeps config.json" cmp "$dir/p0/unet/config.json" "$model/unet/config.json"
check "and the scheduler" cmp "$dir/p0/scheduler/scheduler_config.json" \
    "$model/scheduler/scheduler_config.json"
check "the original's output" run forward "$model" --in "$model/io.safetensors" \
    --out "$dir/f.safetensors" --threads 1
check "the exported folder's output" run forward "$dir/p0" --in "$model/io.safetensors" \
    --out "$dir/f0.safetensors" --threads 1
check "the same bits" cmp "$dir/f.safetensors" "$dir/f0.safetensors"
check "export of the newest, averaged" run export "$dir/run" "$dir/p1" --ema
check "samples of that folder" drawn "$dir/p1" --out "$dir/p1.npy"
check "are those of the average" cmp "$dir/p1.npy" "$dir/r1e.npy"
refuses "a folder that is not empty" 2 "--force" export "$dir/run" "$dir/p1"
check "unless forced" run export "$dir/run/policy/v000001.h5" "$dir/p1" --force
check "samples of that" drawn "$dir/p1" --out "$dir/p1.npy"
check "are those of the weights" cmp "$dir/p1.npy" "$dir/r1.npy"
refuses "--version of a file" 2 "--version" export "$dir/run/policy/v000001.h5" "$dir/q" \
    --version 1
refuses "export of a model folder" 2 "already" export "$model" "$dir/q"
refuses "export of no policy" 3 "a.npy" export "$dir/a.npy" "$dir/q"
check "refusals write nothing" [ ! -e "$dir/q" -a ! -e "$dir/x.npy" ]
echo "1..$count"
