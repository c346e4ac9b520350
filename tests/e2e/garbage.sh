#!/bin/bash
# Damaged, foreign and odd things in a run directory: no wrong result, a message that names
# the file, and the exit code of the design. One tiny run, copied and spoilt.
. tests/e2e/lib.sh

model "$work/net"
ok $? "the tiny network is made" || finish
config "$work/config.yaml" 2 "$work/net"
run_dir=$work/run

# refuses CODE PATTERN NAME ARGUMENTS...: one rank, at most a minute.
refuses() {
    local code=$1 pattern=$2 name=$3
    shift 3
    timeout -k 5 60 "$sluice" "$@" >"$work/log" 2>&1 </dev/null
    is_code $? "$code" "$name" "$work/log"
    says "$work/log" "$pattern" "$name: says so"
}
again() { # CODE PATTERN NAME [ARGUMENTS...]: the run on the spoilt copy
    local code=$1 pattern=$2 name=$3
    shift 3
    refuses "$code" "$pattern" "$name" run "$work/config.yaml" run.dir="$run_dir" "$@"
}
fresh() { rm -rf "$run_dir" && cp -r "$work/a" "$run_dir"; }

# A configuration that is refused at the first start binds nobody.
refuses 2 'eta=1' "no random step" run "$work/config.yaml" run.dir="$work/a" sampler.eta=0
[ ! -e "$work/a/config.yaml" ] && [ -z "$(ls "$work/a/policy")" ]
ok $? "it leaves neither config.yaml nor a policy"
refuses 0 'finished' "the corrected one" run "$work/config.yaml" run.dir="$work/a"

# Another run: the same configuration, other weights at the same path.
"$BUILD/tests/tools/make_model" "$data/unet_tiny_config.json" \
    "$data/scheduler_config.json" "$work/net" 7 || ok 1 "other weights"
refuses 0 'finished' "the other run" run "$work/config.yaml" run.dir="$work/b"
for file in rollout/i000001/s00001.h5 reward/i000001/s00000.h5 advantage/i000001.h5; do
    fresh
    rm "$run_dir/policy/v000002.h5"
    cp "$work/b/$file" "$run_dir/$file"
    again 3 "$file: belongs to another run" "a foreign $file"
done
fresh
cp "$work/b/policy/v000002.h5" "$run_dir/policy/"
again 3 'v000002.h5: belongs to another run' "a foreign policy" run.iterations=3
fresh
cp "$work/b/advantage/i000001.h5" "$run_dir/advantage/"
again 3 'another advantage/i000001.h5' "a foreign tracker" run.iterations=3
fresh
cp "$run_dir/rollout/i000001/s00000.h5" "$run_dir/rollout/i000001/s00001.h5"
rm "$run_dir/policy/v000002.h5"
again 3 's00001.h5: is a copy' "a shard under another's name"

fresh
rm "$run_dir/config.yaml"
again 3 'another configuration' "another seed without config.yaml" run.seed=9
again 0 'finished' "the right seed after it" run.iterations=3
fresh
head -c 64 /dev/urandom >"$run_dir/config.yaml"
again 2 'config.yaml:1' "a spoilt config.yaml"
fresh
touch "$run_dir/policy/v7.h5" "$run_dir/policy/v 9.h5" "$run_dir/policy/notes"
again 0 'policy 3 of 3' "foreign names in policy/" run.iterations=3
fresh
sed -i '2s/.*/garbage/' "$run_dir/metrics.jsonl"
truncate -s -9 "$run_dir/metrics.jsonl"
again 0 'metrics.jsonl: 1 lines are no JSON' "spoilt metrics" run.iterations=3
fresh
rm "$run_dir/status.json"
head -c 3000 "$work/a/index.h5" >"$run_dir/index.h5"
refuses 3 'index.h5: is damaged' "verify with a cut index" verify "$run_dir"
again 0 'finished' "no status.json, a cut index"
rm "$run_dir/index.h5" && mkfifo "$run_dir/index.h5"
refuses 3 'index.h5: is damaged' "verify with a pipe as index" verify "$run_dir"
[ -s "$run_dir/status.json" ]
ok $? "status.json is written again"

# Numbers that no run writes.
fresh
perl -pi -e 's/("ranks": *)\d+/${1}9000000000/' "$run_dir/accounting.json"
refuses 3 'accounting.json: does not name' "rates of nine billion ranks" plan \
    "$work/config.yaml" --from "$run_dir"
fresh
perl -pi -e 's/("(working|io|vote)_s": *)[-+.\de]+/${1}1e308/g' "$run_dir/metrics.jsonl"
refuses 3 'metrics.jsonl: has no line with rank_time' "rates of 1e308 seconds" plan \
    "$work/config.yaml" --from "$run_dir"
perl -pi -e 's/"iteration": *1\b/"iteration": 9223372036854775807/; s/\}\s*$/, "a,b\\"": 1}\n/' \
    "$run_dir/metrics.jsonl"
refuses 0 'metrics.jsonl: 1 lines cannot' "watch passes over an iteration of 2^63 - 1" watch --once "$run_dir"
refuses 0 'x.csv' "export --csv" export "$run_dir" --csv "$work/x.csv"
head -n 1 "$work/x.csv" | grep -q '"a,b"""' && [ "$(wc -l <"$work/x.csv")" = 2 ]
ok $? "it quotes a name with a comma"

# A disk that fills up while a small file is flushed: one page more each time.
disk=$work/disk
mkdir "$disk"
at_exit() { umount "$disk" 2>/dev/null; }
if mount -t tmpfs -o size=4k none "$disk" 2>/dev/null; then
    umount "$disk"
    first=$(cd "$work/a" && du -ck --apparent-size policy/v000000.h5 \
        rollout/i000000/s00000.h5 config.yaml | tail -n 1 | cut -f 1)
    bad=0
    for ((k = 1; k <= 9; k++)); do
        mount -t tmpfs -o size=$((first + 4 * k + 12))k none "$disk"
        timeout -k 5 60 "$sluice" run "$work/config.yaml" run.dir="$disk/run" \
            >"$work/log" 2>&1
        code=$?
        [ $code = 5 ] && grep -q 'No space left' "$work/log" &&
            [ -z "$(find "$disk" -name '*.tmp.*')" ] || {
            bad=1
            echo "# $((first + 4 * k + 12)) KiB: exit $code"
            tail -n 3 "$work/log" | note
        }
        umount "$disk"
    done
    ok $bad "nine sizes of a full disk: exit 5, no leftovers"
else
    skip "a full disk" "no tmpfs may be mounted here"
fi

mkdir "$work/folder" && cp -r "$work/net" "$work/folder/net"
: >"$work/folder/net/scheduler/scheduler_config.json"
refuses 3 'scheduler.*no valid JSON' "an empty scheduler_config.json" sample \
    "$work/folder/net" --n 1 --steps 1 --out "$work/x.npy"

# Pipes, directories, loops and devices where files belong.
mkfifo "$work/pipe.yaml"
refuses 3 'pipe.yaml' "a pipe as configuration" config "$work/pipe.yaml"
ln -s loop.yaml "$work/loop.yaml"
echo 'run: {iterations: 2}' >"$work/bare.yaml"
"$sluice" plan "$work/bare.yaml" >"$work/log" 2>&1
is_code $? 0 "a plan without a model" "$work/log"
says "$work/log" "model.path is empty" "says what it does not know"
refuses 5 'loop.yaml' "a loop of links" plan "$work/loop.yaml"
refuses 3 'net: is a directory' "a directory as configuration" config "$work/net"
ln -s /dev/zero "$work/zero.yaml"
refuses 3 'zero.yaml' "an endless configuration" config "$work/zero.yaml"
sed 's/steps/st\xffps/' "$work/config.yaml" >"$work/bytes.yaml"
refuses 2 'bytes.yaml:' "bytes that are no UTF-8" config "$work/bytes.yaml"
sed 's/$/\r/' "$work/config.yaml" >"$work/crlf.yaml"
refuses 0 'steps: 5' "lines that end in CR LF" config "$work/crlf.yaml"
finish
