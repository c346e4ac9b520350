#!/bin/bash
# The benchmark programs run and write what they say; no time is asserted.
. tests/e2e/lib.sh

make -s "$BUILD/tests/bench/engine_bench" >"$work/log" 2>&1 || note <"$work/log"
"$BUILD/tests/bench/engine_bench" "$data/unet_tiny_config.json" 2 1 f32 forward=1 \
    profile-train=2 >"$work/lines" 2>"$work/log"
is_code $? 0 "engine_bench" "$work/log"
perl -MJSON::PP -ne 'push @l, decode_json($_);
    END { exit !(@l == 3 && $l[0]{flops_per_item} > 0 && @{$l[1]{seconds}} == 1 &&
        @{$l[2]{seconds}} == 2 && $l[2]{loss} > 0 && $l[2]{tape_bytes} > 0 &&
        $l[2]{rss_bytes} > 0 && exists $l[2]{profile}{conv}{seconds}) }' "$work/lines"
ok $? "three lines of JSON with their keys" || note <"$work/lines"
"$BUILD/tests/bench/engine_bench" "$data/unet_tiny_config.json" 2 1 f32 sideways=1 \
    >/dev/null 2>"$work/log"
is_code $? 2 "an unknown command" "$work/log"

if command -v python3 >/dev/null; then
    mkdir "$work/build"
    ln -s "$sluice" "$PWD/$BUILD/tests" "$work/build"
    BUILD=$work/build BENCH=tiny BENCH_REPEAT=1 BENCH_THREADS=1 \
        python3 -B tests/bench/bench.py >"$work/log" 2>&1
    is_code $? 0 "bench.py" "$work/log"
    says "$work/log" "^tiny +f32 +1 +forward \+ backward +[0-9]" "a row of the table"
    perl -MJSON::PP -0777 -ne '$j = decode_json($_); $r = $j->{networks}[0];
        exit !($r->{train}{median} > 0 && $r->{forward}{samples_per_s} > 0 &&
            exists $r->{train}{profile}{matmul}{share} && @{$j->{networks}} == 2)' \
        "$work/build/bench/bench.json"
    ok $? "bench.json: rows for both dtypes, with rates and shares"
    python3 -B - <<'PY' 2>"$work/log"
import ast, glob
for name in glob.glob("tests/bench/*.py"):
    ast.parse(open(name).read(), name)
PY
    is_code $? 0 "the Python files parse" "$work/log"
else
    skip "bench.py" "no python3"
fi
finish
