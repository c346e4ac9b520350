#!/bin/bash
# Checks of the source text that a compiler does not make. The rules about includes and
# names are in tests/layers.txt. Prints TAP; needs perl.
set -u
shopt -s lastpipe # `... | result` counts in this shell
cd "$(dirname "$0")/.." || exit 4
rules=tests/layers.txt
work=$(mktemp -d) || exit 4
trap 'rm -rf "$work"' EXIT

# All files of ours: what git knows, or without git everything outside of build folders.
{ git ls-files -co --exclude-standard 2>/dev/null ||
    find . -type f -not -path './build*' -not -path './.git/*' | sed 's|^\./||'; } |
    while read -r f; do [ -f "$f" ] && echo "$f"; done | sort -u >"$work/files"
grep -E '^(io|scheduler|stages|pipeline)/.*\.[ch]$' "$work/files" >"$work/sources"
grep -E '\.(c|h|def|sh|py)$|(^|/)Makefile$' "$work/files" >"$work/scripts"

# "file:line:code" of all sources, without comments and without the insides of strings.
xargs perl -e '
    for my $f (@ARGV) {
        open my $in, "<", $f or die "$f: $!";
        local $/; my $s = <$in>;
        $s =~ s{(/\*.*?\*/|//[^\n]*)|"((?:[^"\\\n]|\\.)*)"|(\x27(?:[^\x27\\]|\\.)+\x27)}
               {my ($c, $t) = ($1, $&); defined $c ? "\n" x ($c =~ tr/\n//) : $t =~ /^"/ ? "\"\"" : "0"}gse;
        my $n = 0;
        print "$f:", ++$n, ":$_\n" for split /\n/, $s, -1;
    }' <"$work/sources" >"$work/code"
xargs grep -nE '^[[:space:]]*#[[:space:]]*include' /dev/null <"$work/sources" |
    sed -E 's/^([^:]+):([0-9]+):[^<"]*([<"])([^>"]+)[>"].*/\1 \2 \3 \4/' >"$work/includes"

count=0 failed=0
# result NAME: `ok` if standard input is empty, else `not ok` and the lines as comments.
result() {
    local lines
    lines=$(cat)
    count=$((count + 1))
    if [ -z "$lines" ]; then
        echo "ok $count - $1"
    else
        echo "not ok $count - $1"
        printf '%s\n' "$lines" | sed 's/^/#   /'
        failed=1
    fi
}

# rule KIND: "key<TAB>words" for each rule of that kind.
rule() {
    sed -nE "s/^$1 +([^:]*): *(.*)\$/\1\t\2/p" $rules
}

# matches TEXT PATTERNS...: does a pattern match? In patterns * never crosses a slash
# where the text has more of them.
matches() {
    local text=$1 p
    shift
    for p; do
        # shellcheck disable=SC2053
        [[ $text == $p && ${text//[^\/]/} == "${p//[^\/]/}" ]] && return 0
    done
    return 1
}
set -f # the patterns in the rules are not for this folder

# Every folder has a layer; quoted includes start at the root and go leftwards only.
declare -A allowed
while IFS=$'\t' read -r folder others; do
    allowed[$folder]=" $others"
done < <(rule layer)
while read -r file line mark header; do
    [ "$mark" = '"' ] || continue
    from=${file%/*} to=${header%/*}
    if [ ! -f "$header" ]; then
        echo "$file:$line: \"$header\" is not a path from the root"
    elif [ -z "${allowed[$from]+x}" ]; then
        echo "$file:$line: $from has no layer in $rules"
    elif [ "$from" != "$to" ]; then
        # shellcheck disable=SC2086
        matches "$to" ${allowed[$from]} || echo "$file:$line: $from must not include $header"
    fi
done <"$work/includes" | result "includes go from right to left"

while IFS=$'\t' read -r header owners; do
    while read -r file line _ included; do
        # shellcheck disable=SC2053,SC2086
        [[ $included == $header ]] && ! matches "$file" $owners &&
            echo "$file:$line: $included belongs to $owners"
    done <"$work/includes"
done < <(rule owner) | result "one owner for each foreign or private header"

while IFS=$'\t' read -r name owners; do
    call='' # functions are calls; constants are not
    [[ $name == *COMM_WORLD* ]] || call='[[:space:]]*\('
    grep -E "(^|[^A-Za-z0-9_.>])($name)\>$call" "$work/code" | while IFS=: read -r file line _; do
        # shellcheck disable=SC2086
        matches "$file" $owners || echo "$file:$line: $name is only for $owners"
    done
done < <(rule only) | result "names that belong to few files"

sed -nE 's/^never +//p' $rules | while read -r name; do
    grep -E "(^|[^A-Za-z0-9_.>])($name)[[:space:]]*\(" "$work/code"
done | result "functions that nobody calls"

grep -E ':[0-9]+:(}? *)?typedef (struct|union|enum)\b' "$work/code" |
    result "no typedef of a struct"

# A block of a header, up to a blank line, has a comment where it declares functions.
plain=$(sed -nE 's/^plain +//p' $rules | tr -s ' \n' '|' | sed 's/|$//; s/\*/[a-z0-9_]*/g')
grep '\.h$' "$work/sources" | xargs awk -v plain="^($plain)\$" '
    function flush(   i) {
        for (i = 0; i < n && !comment; i++)
            if (name[i] !~ plain)
                print file ":" at[i] ": " name[i] " has no comment"
        n = comment = 0
    }
    FNR == 1 { flush(); file = FILENAME }
    FNR == 1 && !/^\/\*/ { print FILENAME ": does not open with a comment" }
    /^[ \t]*$/ { flush(); next }
    /\/\*/ { comment = 1 }
    /^[a-zA-Z_][a-zA-Z0-9_ *]*[ *][a-z0-9_]+\(/ && !/^(static|typedef|extern)/ {
        s = $0; sub(/\(.*/, "", s); sub(/.*[ *]/, "", s); at[n] = FNR; name[n++] = s
    }
    END { flush() }' | result "prototypes and headers are explained"

grep '\.c$' "$work/sources" | xargs awk 'FNR == 1 && !/^\/\*/ { print FILENAME }' |
    result "each file opens with what it does"

xargs wc -l <"$work/scripts" | awk '$2 != "total" && $1 > 700 { print $2 ": " $1 " lines" }' |
    result "files of at most 700 lines"

# The words are split so that this file does not find itself.
unfinished='TO''DO|FIX''ME|XX''X|HA''CK|not implemen''ted|st''ub'
xargs grep -nIwE "$unfinished" /dev/null <"$work/scripts" | result "no unfinished business"

machine='/(wo''rk|fa''rm)/|/tmp/ba''sh_jobs'
xargs grep -nIE "$machine" /dev/null <"$work/files" | result "no paths of one machine"

grep -E '\.[ch]$' "$work/files" | xargs grep -nE '	|[[:space:]]+$' /dev/null | cut -c1-100 |
    result "no tabs and no blanks at the ends of lines"

# Links of pages lead to files that are there, and to headings of pages.
grep -E '\.md$' "$work/files" | xargs perl -CSD -Mutf8 -e '
    sub anchors {
        my ($f) = @_; my (%a, $code); local $_;
        open my $in, "<", $f or return {};
        while (<$in>) {
            $code = !$code if /^```/;
            next if $code || !/^#+\s+(.*?)\s*$/;
            my $t = lc $1; $t =~ s/\[([^\]]*)\]\([^)]*\)/$1/g; $t =~ s/[^\w\- ]//g; $t =~ tr/ /-/;
            $a{$t} = 1;
        }
        return \%a;
    }
    for my $f (@ARGV) {
        open my $in, "<", $f or die "$f: $!";
        my ($n, $code) = (0, 0);
        while (<$in>) {
            $n++;
            $code = !$code if /^```/;
            next if $code;
            s/`[^`]*`//g unless /\]\(/;
            while (/\]\(([^)\s]+)\)/g) {
                my ($to, $at) = split /#/, $1, 2;
                next if $to =~ m{^\w+://|^mailto:};
                (my $dir = $f) =~ s{[^/]*$}{};
                my $path = $to eq "" ? $f : $dir . $to;
                if (!-e $path) { print "$f:$n: $to is not there\n"; next }
                print "$f:$n: $path has no heading #$at\n"
                    if defined $at && $path =~ /\.md$/ && !anchors($path)->{$at};
            }
        }
    }' | result "links of pages lead somewhere"

# Every command has its row in the table.
sed -nE 's/^    \{"([a-z-]+)", "[^"]*", cmd_.*/\1/p' pipeline/main.c | while read -r command; do
    grep -q "^| \`$command\` |" README.md || echo "README.md: no row for $command"
done | result "the README has all commands"

for script in $(grep -E '\.sh$' "$work/files"); do
    bash -n "$script" 2>&1
done | result "shell scripts parse"

echo "1..$count"
exit $failed
