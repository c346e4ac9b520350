#!/bin/bash
# `make install`: what it puts where, that all of it works from another place after a move,
# and that uninstall takes it away; recipes and citation parse.
. tests/e2e/lib.sh

version=$(sed -n 's/^VERSION *:= *//p' Makefile)
to=$work/root/opt/sluice
make -s install BUILD="$BUILD" DESTDIR="$work/root" PREFIX=/opt/sluice >"$work/log" 2>&1
is_code $? 0 "make install" "$work/log"
for f in bin/sluice include/sluice_reward.h lib/pkgconfig/sluice.pc share/man/man1/sluice.1 \
    share/bash-completion/completions/sluice "share/modulefiles/sluice/$version" \
    share/sluice/examples/power/run.yaml share/sluice/slurm/README.md; do
    [ -s "$to/$f" ]
    ok $? "$f"
done
[ "$(find "$work/root" -type f | wc -l)" = "$(find "$to" -type f | wc -l)" ] &&
    [ ! -e "$to/share/sluice/slurm/packaging" ]
ok $? "nothing beside it, no recipes"
grep -rlF "$work" "$to/share" "$to/lib" "$to/include" | note
[ "${PIPESTATUS[0]}" = 1 ]
ok $? "no text names DESTDIR"

# From here on it lies elsewhere.
away="$work/another place"
mv "$to" "$away"
cd "$work" || exit 4
PATH="$away/bin:$PATH"
[ "$(sluice --version | head -n 1 | cut -d' ' -f2)" = "$version" ]
ok $? "it runs from another folder"
cp -r "$away/share/sluice/examples" .
timeout 60 sluice reward-check examples/power/run.yaml sampler.steps=4 >"$work/log" 2>&1
is_code $? 0 "an installed example" "$work/log"

export PKG_CONFIG_PATH="$away/lib/pkgconfig"
[ "$(pkg-config --modversion sluice)" = "$version" ]
ok $? "pkg-config knows the version"
if command -v cc >/dev/null; then
    eval "cc -fPIC -shared $(pkg-config --cflags sluice) -o target.so" \
        examples/rewards/plugin_target.c >"$work/log" 2>&1
    is_code $? 0 "a plugin is built against it" "$work/log"
    sluice reward-check examples/power/run.yaml sampler.steps=4 reward.name=plugin \
        plugin.path="$work/target.so" plugin.options=1 >"$work/log" 2>&1
    is_code $? 0 "and scores" "$work/log"
else
    skip "a plugin" "there is no cc"
fi

page="$away/share/man/man1/sluice.1"
for word in "^\.SS selftest" "^\.B algorithm.name" "^\.B draft_k" "^\.SH EXIT STATUS"; do
    says "$page" "$word" "the manual page has $word"
done
! grep -Eq '@[A-Z]+@' "$page"
ok $? "it has no blanks to fill"
if command -v groff >/dev/null; then
    groff -man -t -ww -Tascii "$page" >"$work/page" 2>"$work/log"
    [ ! -s "$work/log" ]
    ok $? "groff has nothing against it" || note <"$work/log"
    says "$work/page" "SLUICE\(1\)" "it renders"
else
    skip "the manual page" "there is no groff"
fi

# completes WANTED LINE: the last word of LINE, as bash would ask for it.
completes() {
    COMP_LINE=$2 COMP_POINT=${#2} COMP_WORDS=($2) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _sluice sluice "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    [[ " ${COMPREPLY[*]} " == *" $1 "* ]]
    ok $? "completion of '$2'" || note <<<"${COMPREPLY[*]}"
}
. "$away/share/bash-completion/completions/sluice"
completes run "sluice ru"
[ "${COMPREPLY[*]}" = run ]
ok $? "and nothing else"
completes --retry-failed "sluice score --re"
completes run.keep_best= "sluice run my.yaml run.k"
completes ddpo_is "sluice run my.yaml algorithm.name=dd"
completes brightness "sluice run my.yaml reward.name=b"
completes thompson "sluice plan my.yaml surrogate.kind="

module="$away/share/modulefiles/sluice/$version"
head -n 1 "$module" | grep -q '^#%Module'
ok $? "the module file begins as one"
if command -v tclsh >/dev/null; then
    cat >read.tcl <<'TCL'
proc module-whatis {text} {}
proc conflict {name} {}
proc prepend-path {name value} { puts "$name $value" }
proc setenv {name value} { puts "$name $value" }
set ModulesCurrentModulefile [lindex $argv 0]
source $ModulesCurrentModulefile
ModulesHelp
TCL
    tclsh read.tcl "$module" >"$work/log" 2>&1
    is_code $? 0 "tclsh reads it" "$work/log"
    grep -qxF "PATH $away/bin" "$work/log" && grep -qxF "SLUICE_ROOT $away" "$work/log"
    ok $? "it finds its own root" || note <"$work/log"
else
    skip "the module file" "there is no tclsh"
fi

cd "$OLDPWD" || exit 4
mkdir -p "$to" && cp -r "$away/." "$to" && touch "$to/bin/other" "$to/share/sluice/site.yaml" "$to/share/sluice/examples/old"
make -s install BUILD="$BUILD" DESTDIR="$work/root" PREFIX=/opt/sluice >"$work/log" 2>&1 &&
    [ -e "$to/share/sluice/site.yaml" ] && [ ! -e "$to/share/sluice/examples/old" ]
ok $? "installing again keeps the site file, and no example that is gone" || note <"$work/log"
make -s uninstall BUILD="$BUILD" DESTDIR="$work/root" PREFIX=/opt/sluice >"$work/log" 2>&1
is_code $? 0 "make uninstall" "$work/log"
[ "$(cd "$to" && find . -type f | sort | xargs)" = "./bin/other ./share/sluice/site.yaml" ]
ok $? "it takes away what was installed, and nothing else"

# The recipes name what tests/setup.sh and the Makefile need.
spack=slurm/packaging/spack/packages/sluice/package.py
if command -v python3 >/dev/null; then
    python3 -c 'import ast, sys
tree = ast.parse(open(sys.argv[1]).read())
needs = {n.args[0].value.split("@")[0].split("+")[0] for n in ast.walk(tree)
         if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "depends_on"}
version, = [n.args[0].value for n in ast.walk(tree)
            if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "version"]
print(*sorted(set(sys.argv[3:]) - needs), end="")
sys.exit(version != sys.argv[2])' $spack "$version" mpi hdf5 petsc netlib-scalapack onednn \
        jansson libyaml libpng libjpeg-turbo openssl curl gnuplot >"$work/log" 2>&1
    [ $? = 0 ] && [ ! -s "$work/log" ]
    ok $? "the Spack recipe parses and names version and libraries" || note <"$work/log"
else
    skip "the Spack recipe" "there is no python3"
fi
for f in $(sed -n '/^%files/,/^%post/s/^ *\([a-zA-Z]*\) .*/\1/p' slurm/packaging/sluice.def); do
    [ -e "$f" ]
    ok $? "the Apptainer recipe copies $f"
done
sed -n '/^%post/,/^%test/p' slurm/packaging/sluice.def | grep -v '^%' | sh -n
ok $? "its script parses"
says CITATION.cff "^version: $version\$" "CITATION.cff has the version"
if python3 -c 'import yaml' 2>/dev/null; then
    python3 -c 'import sys, yaml
c = yaml.safe_load(open("CITATION.cff"))
known = {"cff-version", "message", "title", "abstract", "type", "authors", "version",
         "license", "keywords"}
assert c["cff-version"] == "1.2.0" and c["type"] == "software" and set(c) <= known
assert all(c[k] for k in ("message", "title", "authors"))
assert all(set(a) == {"name"} for a in c["authors"])' >"$work/log" 2>&1
    is_code $? 0 "it has the fields of CFF 1.2.0" "$work/log"
else
    says CITATION.cff "^cff-version: 1.2.0" "it is CFF 1.2.0"
fi
finish
