#!/bin/bash
# The reward `http` in runs, against services that fail in every way we know: each sample ends
# with the right status, no advantage holds a number that is wrong, the run ends as its policy
# says, and the token is nowhere.
. tests/e2e/lib.sh

py=${PYTHON:-/usr/bin/python3}
command -v python3 >/dev/null || {
    echo "1..0 # SKIP no python3"
    exit 0
}
if "$py" -c 'import h5py, numpy' 2>/dev/null; then
    check() { "$py" tests/e2e/http_check.py "$@"; } # RUN STATUSES
else
    check() { [ ! -d "$1/advantage" ] || "$sluice" verify "$1"; }
fi
make -s "$BUILD/tests/tools/http_load" >"$work/make.log" 2>&1 || note <"$work/make.log"
load=$BUILD/tests/tools/http_load

# serve NAME OPTIONS...: starts a server; its port is then in $port.
serve() {
    local name=$1 i
    shift
    python3 -B tests/tools/reward_server.py "$work/$name.port" "$@" >"$work/$name.log" 2>&1 &
    started+=($!)
    disown
    for i in $(seq 300); do
        [ -s "$work/$name.port" ] && break
        sleep 0.1
    done
    port=$(cat "$work/$name.port")
}
serve other
other=$port
serve main --other "$other"
main=$port
stat() { # PORT NAME
    python3 -c 'import json, sys, urllib.request as u
print(json.load(u.urlopen("http://127.0.0.1:%s/stats" % sys.argv[1]))[sys.argv[2]])' "$@"
}

model "$work/model"
export SLUICE_TEST_TOKEN=sesame-b7f1-open
item='http.item={"values": "$values", "index": "$index"}'
# Runs take turns four at a time: `cases` is gone through twice, first to start them and then
# to judge them. ask CODE STATUSES NAME PATH|URL OPTIONS...: a run of 12 samples in requests
# of 4, and what must come of it (-: no statuses).
ask() {
    local code=$1 statuses=$2 name=$3 url=$4
    shift 4
    case $url in
    http*) ;;
    *) url=http://127.0.0.1:$main/$url ;;
    esac
    n=$((n + 1))
    if [ $phase = start ]; then
        while [ "$(jobs -r | grep -c exit)" -ge 4 ]; do sleep 0.05; done
        {
            timeout -k 5 60 "$sluice" run run.dir="$work/run$n" model.path="$work/model" \
                run.iterations=1 sampler.steps=2 rollout.samples=12 rollout.shard_samples=12 \
                update.batch=12 reward.name=http http.url="$url" "$item" http.batch=4 \
                http.attempts=3 http.timeout=20 http.backoff=0.02 http.patience=0.2 http.breaker=100 \
                http.token_env=SLUICE_TEST_TOKEN reward.max_failed_fraction=0.9 "$@" \
                >"$work/log$n" 2>&1
            echo $? >"$work/exit$n"
        } &
        runs+=($!)
        return
    fi
    is_code "$(cat "$work/exit$n")" "$code" "$name" "$work/log$n"
    [ "$statuses" = - ] || {
        check "$work/run$n" "$statuses" >"$work/check" 2>&1
        ok $? "its statuses and scores: $(tail -n 1 "$work/check")" || note <"$work/check"
    }
}
told() { [ $phase = start ] || says "$work/log$n" "$@"; } # PATTERN NAME
chat() { # CODE NAME MODE OPTIONS...
    local code=$1 name=$2 mode=$3
    shift 3
    ask "$code" - "$name" "chat/$mode" http.protocol=chat http.model=eye \
        http.prompts="$work/prompts" "$@"
}
column() { # WANTED NAME
    [ $phase = start ] && return
    local got
    got=$("$sluice" inspect "$work/run$n/reward/i000000/s00000.h5" |
        awk '/^  reward / {print $4, $5}')
    [ "$got" = "$1" ]
    ok $? "$2: $got"
}

cases() {
    n=0
    ask 0 0 "a good service" ok
    ask 0 0 "one that compresses" gzip
    ask 0 0 "one that is slow" slow
    ask 0 0 "one that closes after each answer" close
    ask 0 0 "429 with Retry-After in seconds" 429
    ask 0 0 "429 with Retry-After as a date" 429date
    ask 0 0 "500, then an answer" flaky
    ask 0 013414013414 "each sample its status" each 'http.response=results[].score' \
        http.batch=12
    ask 7 013414013414 "the same with reward.on_failure=stop" each \
        'http.response=results[].score' http.batch=12 reward.on_failure=stop
    ask 0 404040404040 "NaN, Infinity and 1e999" nan
    ask 7 1 "always 500" 500 http.breaker=100
    told "12 of 12 samples failed after all attempts: .*HTTP 500: always" "says so"
    told "^sluice: rank 0 .*, reward iteration 0 shard 0: .*HTTP 500: always; 12 of 12" \
        "and so does the end"
    ask 7 1 "404" 404
    told "were refused: .*HTTP 404: no such model" "with the service's words"
    ask 7 1 "HTML" html
    ask 7 1 "a count too few" count
    told "3 scores for 4 samples" "says how many"
    ask 7 1 "numbers in quotes" string
    ask 7 1 "nothing" empty
    ask 7 1 "truncated" truncated
    ask 7 1 "an endless body" endless
    ask 7 1 "a gzip bomb" bomb
    told "http.max_response" "names the key"
    ask 7 2 "silence" silent http.attempts=2 http.timeout=0.7
    ask 7 2 "hanging in the body" hang http.attempts=2 http.timeout=0.7
    ask 7 2 "hanging, by http.silence" hang http.attempts=1 http.silence=1
    ask 7 1 "nobody listens" http://127.0.0.1:1/score
    told "samples .*127.0.0.1:1/score: .*onnect" "names the address"
    ask 7 1 "every breaker open" http://127.0.0.1:1/a,http://127.0.0.1:2/b http.breaker=1
    told "no endpoint is in use" "says that none is in use"
    ask 0 0 "one of three addresses works" \
        "http://127.0.0.1:1/a,http://127.0.0.1:$main/ok,http://127.0.0.1:$main/500" \
        http.attempts=8 http.breaker=2
    ask 7 1 "a redirect to another host" redirect

    ask 7 1 "a service that repeats the token" token
    told "wrong token Bearer \*\*\*" "it is masked"
    ask 7 1 "one that repeats it in a reply that is no JSON" echo
    told "expected near ..\*\*\*" "it is masked there too"
    ask 0 0 "the token from a file" ok http.token_env= http.token_file="$work/token"
    told "http.token_file: .* can be read by others" "warns of its mode"
    ask 2 - "a password in the address" "http://joe:sesame-b7f1-open@127.0.0.1:$main/ok"
    told "http.url: entry 1 .*http.token_env" "says where it belongs"
    ask 2 - "the token in place of a variable's name" ok http.token_env=sesame-b7f1-open
    told "http.token_env: takes the name" "says what belongs there"
    ask 7 1 "the token in the clear" http://192.0.2.1:9/ok http.connect_timeout=0.2 \
        http.attempts=1
    told "the token travels in the clear" "warns"

    chat 0 "chat: yes or no" yes 'http.question=Is this {prompt}?'
    column "0.768776 0.768776" "P(yes) of yes and no"
    chat 0 "chat: a number" number 'http.question=How much of {prompt}, 0 to 10?' \
        http.score=number
    chat 0 "chat: words" words 'http.question=Say: the cat sat' http.score=recall
    column "0.5 0.5" "recall of the prompt's words"
    chat 7 "chat: no answer" none 'http.question=Is this {prompt}?' http.score=number
    chat 2 "chat: no question" yes

    [ -n "$tls" ] || return
    ask 0 0 "TLS with http.ca_file" "https://localhost:$tls/ok" http.ca_file="$work/cert"
    ask 7 1 "an authority nobody knows" "https://localhost:$tls/ok"
    told "certificate" "says that it is the certificate"
    ask 7 1 "a certificate of another name" "https://127.0.0.1:$tls/ok" \
        http.ca_file="$work/cert"
    ask 0 0 "http.insecure" "https://127.0.0.1:$tls/ok" http.insecure=true
    told "http.insecure: certificates are not checked" "warns"
}

printf 'a cat\n' >"$work/prompts"
printf 'sesame-b7f1-open\n' >"$work/token"
chmod 644 "$work/token"
tls=
if command -v openssl >/dev/null; then # an authority of our own, for localhost only
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -keyout "$work/key" -out "$work/cert" 2>"$work/log"
    serve tls --cert "$work/cert" --key "$work/key"
    tls=$port
fi
runs=()
phase=start
cases
wait "${runs[@]}"
phase=judge
cases
[ "$(cat "$work"/log* | grep -c 'warning: .*HTTP 500: always')" = 1 ]
ok $? "one line for one kind of failure"
[ "$(stat "$other" requests)" = 0 ]
ok $? "a redirect is not followed, and the token with it"
[ "$(stat "$main" tokens)" = "['Bearer sesame-b7f1-open']" ]
ok $? "the service got the token, always"
rm "$work/token"
! grep -rlF sesame-b7f1-open "$work" >"$work.found"
ok $? "no file and no log has the token: $(tr '\n' ' ' <"$work.found")"
rm -f "$work.found"

# Several ranks that score.
serve many
run_mpi "$work/log" 4 run run.dir="$work/mpi" model.path="$work/model" run.iterations=2 \
    sampler.steps=2 rollout.samples=24 rollout.shard_samples=6 update.batch=12 reward.name=http \
    http.url="http://127.0.0.1:$port/ok" "$item" http.batch=1 groups.reward=2
is_code $? 0 "two ranks that score, in a job of four" "$work/log"
check "$work/mpi" 0 >"$work/check" 2>&1
ok $? "right" || note <"$work/check"

# A service that is down ends the run; once it is back the same command goes on, to the bits
# of a run that met no trouble.
back() { # DIR RANKS PORT
    run_mpi "$work/log" "$2" run run.dir="$work/$1" model.path="$work/model" run.iterations=2 \
        sampler.steps=2 rollout.samples=12 rollout.shard_samples=6 update.batch=12 \
        reward.name=http http.url="http://127.0.0.1:$3/ok" "$item" http.batch=2 \
        http.attempts=2 http.backoff=0.01 http.patience=0.1
}
back calm 1 "$port"
is_code $? 0 "a run without trouble" "$work/log"
digests "$work/calm" >"$work/calm.ref"
back down 2 1
is_code $? 7 "a service that is down" "$work/log"
back down 3 "$port"
is_code $? 0 "once it is back, the same run" "$work/log"
same_bits "$work/down" "$work/calm.ref" "it"

# Much at once, with faults: nothing is lost, nothing is wrong.
serve load
"$load" 10000 http.url="http://127.0.0.1:$port/faults" "$item" http.batch=8 http.backoff=0.02 \
    >"$work/log" 2>&1
is_code $? 0 "10,000 samples, faults in 5 % of the requests" "$work/log"
says "$work/log" "^ok 9990 failed 0 timed_out 0 other 10 wrong 0 told 9990" \
    "all but the skipped ones are scored: $(tail -n 1 "$work/log")"
[ "$(stat "$port" answered) $(stat "$port" twice)" = "9990 0" ]
ok $? "each answered once"
"$load" 40 http.url="http://127.0.0.1:$port/slow" "$item" http.batch=2 http.in_flight=4 \
    >"$work/log" 2>&1
[ "$(stat "$port" most_in_flight)" = 4 ]
ok $? "http.in_flight bounds the requests at a time"
"$load" 100 stop http.url="http://127.0.0.1:$port/silent" "$item" >"$work/log" 2>&1
is_code $? 75 "who waits can be told to stop" "$work/log"
! grep -q "blocks of memory" "$work/log"
ok $? "and leaves nothing behind"
"$load" 100 leave http.url="http://127.0.0.1:$port/silent" "$item" >"$work/log" 2>&1
is_code $? 75 "or to leave" "$work/log"
says "$work/log" "left while 100 of 100 samples had no answer" "it says how many it left"
! grep -q "blocks of memory" "$work/log"
ok $? "and leaves nothing behind either"
http_proxy="http://127.0.0.1:$port" "$load" 100 http.url=http://scorer.invalid/ok "$item" \
    >"$work/log" 2>&1
says "$work/log" "^ok 100 failed 0" "http_proxy is honoured"
"$load" 2000 http.url="http://127.0.0.1:$port/500" "$item" http.breaker=4 http.patience=0.1 \
    http.backoff=0.01 >"$work/log" 2>&1
says "$work/log" "^ok 0 failed 1998 timed_out 0 other 2 wrong 0 told 1998" \
    "a service that is down fails them all quickly: $(tail -n 1 "$work/log")"
finish
