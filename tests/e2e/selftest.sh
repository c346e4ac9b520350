#!/bin/bash
# `sluice selftest`: alone and with three ranks it finds nothing wrong here and leaves nothing
# behind; where it cannot write it says FAILED and what to do.
. tests/e2e/lib.sh

checks="arithmetic throughput exchange letters files rename locks resume"
mkdir "$work/dir"
passes() { # NAME
    local check
    for check in $checks; do
        grep -Eq "^(ok|slow) +$check +[^ ]" "$work/log"
        ok $? "$1: $check" || note <"$work/log"
    done
    says "$work/log" "^verdict: ok" "$1: the verdict"
    [ -z "$(ls -A "$work/dir")" ]
    ok $? "$1: nothing is left"
}
run_mpi "$work/log" 3 selftest --quick --dir "$work/dir"
is_code $? 0 "three ranks" "$work/log"
passes "three ranks"
run_mpi "$work/log" 1 selftest --quick --dir "$work/dir"
is_code $? 0 "one rank under mpirun" "$work/log"
passes "one rank"

timeout 90 "$sluice" selftest --quick --json --dir "$work/dir" >"$work/json" 2>"$work/log"
is_code $? 0 "alone, without a launcher" "$work/log"
perl -MJSON::PP -0777 -e '$j = decode_json(<STDIN>); $j->{verdict} =~ /^(ok|slow)$/ or exit 1;
    exit !("@ARGV" eq join " ", map { $_->{name} } grep { $_->{text} } @{$j->{checks}})' -- \
    $checks <"$work/json"
ok $? "as JSON" || note <"$work/json"

run_mpi "$work/log" 3 selftest --quick --dir "$work/none"
is_code $? 3 "a folder that is not there" "$work/log"
says "$work/log" "^FAILED +files .*none.*No such file.*--dir" "it says what to do"
says "$work/log" "^verdict: FAILED" "the verdict"

drop=()
[ "$(id -u)" != 0 ] || drop=(setpriv --reuid=65534 --clear-groups)
if "${drop[@]}" true 2>/dev/null; then
    chmod 755 "$work"
    mkdir -m 777 "$work/home"
    chmod 555 "$work/dir"
    HOME=$work/home TMPDIR=$work/home timeout 90 "${drop[@]}" "$sluice" selftest --quick \
        --dir "$work/dir" >"$work/log" 2>&1
    is_code $? 5 "a read-only folder" "$work/log"
    says "$work/log" "^FAILED +files .*Permission denied" "it says why"
    chmod 755 "$work/dir"
else
    skip "a read-only folder" "root, and setpriv cannot drop the rights"
fi

"$sluice" selftest --quik >"$work/log" 2>&1
is_code $? 2 "an unknown option" "$work/log"
"$sluice" selftest here >"$work/log" 2>&1
is_code $? 2 "an argument" "$work/log"
finish
