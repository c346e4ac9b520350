#!/bin/bash
# Reports in a browser without a network: every picture is decoded, nothing lies outside of
# a wide or a narrow page, nothing is loaded, the console is quiet, the page is not blank.
. tests/e2e/lib.sh

browser=
for name in chromium chromium-browser google-chrome; do
    browser=$(command -v "$name") && break
done
# chrome ARGUMENTS...: no network, a profile of its own, at most a minute.
chrome() {
    timeout -k 5 60 "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
        --disable-background-networking --disable-component-update --no-first-run \
        --user-data-dir="$work/profile" --host-resolver-rules="MAP * ~NOTFOUND" \
        --proxy-server=127.0.0.1:9 --hide-scrollbars "$@"
}
[ -n "$browser" ] &&
    chrome --dump-dom 'data:text/html,<p>it works</p>' 2>/dev/null | grep -q 'it works' || {
    skip "reports in a browser" "no chromium, chromium-browser or google-chrome that starts"
    finish
}
make -s "$BUILD/tests/tools/colours" >"$work/log" 2>&1 || note <"$work/log"

# look NAME FILE: what frames of 1100 and 400 pixels show, a line of JSON in $work/NAME.seen.
look() {
    perl tests/e2e/browser_page.pl "$2" >"$work/$1.html"
    chrome --enable-logging=stderr --v=0 --timeout=20000 --dump-dom "file://$work/$1.html" \
        >"$work/$1.dom" 2>"$work/$1.console"
    sed -n 's/.*seen \(\[.*\]\) end.*/\1/p' "$work/$1.dom" >"$work/$1.seen"
}
# seen NAME CONDITION WHAT: a condition in perl on $f, for both frames.
seen() {
    perl -MJSON::PP -0777 -ne '$all = decode_json($_); $good = @$all == 2;
        for $f (@$all) { $good &&= ('"$2"') } END { exit !$good }' "$work/$1.seen"
    ok $? "$1: $3" || cut -c1-1000 "$work/$1.seen" | note
}
# page NAME FILE CONDITION WHAT
page() {
    look "$1" "$2"
    seen "$1" '$f->{broken} == 0 && $f->{tiny} == 0' "every picture is decoded and has a size"
    seen "$1" '$f->{unnamed} == 0' "and a text for those who cannot see it"
    seen "$1" '$f->{overflow} <= 0 && !@{$f->{wide}}' "nothing lies outside of the page"
    seen "$1" '!@{$f->{loaded}}' "nothing is loaded"
    seen "$1" "$3" "$4"
    ! grep -q CONSOLE "$work/$1.console"
    ok $? "$1: the console is quiet" || grep CONSOLE "$work/$1.console" | note
    chrome --screenshot="$work/$1.png" --window-size=1100,1500 "file://$2" >"$work/log" 2>&1
    read -r height width colours other _ < <("$BUILD/tests/tools/colours" "$work/$1.png")
    [ "$height" = 1500 ] && [ "$width" = 1100 ] && [ "$colours" -gt 50 ] &&
        perl -e "exit !($other > 0.05)"
    ok $? "$1: a page with $colours colours" || tail -n 5 "$work/log" | note
}
run() { # DIR CONFIG ARGUMENTS...: two iterations of a few samples
    local dir=$1 config=$2
    shift 2
    run_mpi "$work/log" 1 run "$config" run.dir="$work/$dir" run.iterations=2 sampler.steps=8 \
        model.micro_batch=8 rollout.samples=16 rollout.shard_samples=8 update.batch=16 \
        run.keep_shards=0 "$@"
    is_code $? 0 "a run: $dir" "$work/log"
}

run image examples/jpeg/run.yaml groups.rollout=1 groups.update=1
page image "$work/image/report.html" '$f->{maps} >= 2 && $f->{pictures} >= 2 * $f->{maps} + 78' \
    "maps, 30 samples and 48 states"
run series examples/power/run.yaml
page series "$work/series/report.html" '$f->{maps} >= 2 && $f->{curves} >= 78' \
    "maps, 30 curves and 48 states"
run text examples/molecules/run.yaml
page text "$work/text/report.html" '$f->{maps} >= 2 && $f->{letters} >= 70' \
    "maps, samples and states as letters"
cat >"$work/mixture.yaml" <<'YAML'
components: {calm: {name: power_peak, weight: 1, peak_cap: 1}, cheap: {name: power_cost, weight: -1}}
YAML
sed -n '/^model:/,/^$/p;/^sampler:/,/^$/p' examples/power/run.yaml >>"$work/mixture.yaml"
run mixture "$work/mixture.yaml" reward.name=mixture
page mixture "$work/mixture/report.html" \
    'grep { $_ eq "The components of the reward" } @{$f->{heads}}' "its components"
cat >"$work/sweep.yaml" <<YAML
sweep: {config: examples/sweep/base.yaml, dir: $work/sweep, kind: grid}
axes: {update.lr: [1e-5, 1e-4]}
YAML
timeout -k 5 90 "$sluice" sweep "$work/sweep.yaml" run.iterations=2 rollout.samples=8 \
    rollout.shard_samples=8 update.batch=8 sampler.steps=6 >"$work/log" 2>&1
is_code $? 0 "a sweep" "$work/log"
page sweep "$work/sweep/report.html" '$f->{curves} >= 2' "a curve for each member"

# Where the reader's system is dark.
chrome --blink-settings=preferredColorScheme=0 --screenshot="$work/dark.png" \
    --window-size=1100,3600 "file://$work/text/report.html" >"$work/log" 2>&1
read -r _ _ _ _ common < <("$BUILD/tests/tools/colours" "$work/dark.png")
[ "$common" = 1e293b ] || [ "$common" = 0f172a ]
ok $? "a dark page on a dark screen: mostly $common"

# What is wrong is seen.
perl -pe 's|</main>|<img src="data:image/png;base64,AAAA"><img src="http://127.0.0.1:9/x.png"
    alt="x"><div style="width:2000px">wide</div></main>|' "$work/text/report.html" >"$work/faults"
look worse "$work/faults"
seen worse '$f->{broken} == 2 && $f->{unnamed} == 1 && $f->{overflow} > 0 && @{$f->{wide}} &&
    grep { /127.0.0.1/ } @{$f->{loaded}}' "a page with faults: they are seen"
grep CONSOLE "$work/worse.console" | grep -q 127.0.0.1
ok $? "a page with faults: the console says what was refused"
finish
