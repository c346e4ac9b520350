#!/bin/sh
# Puts what was built below $DESTDIR$PREFIX, or takes it away again. `make install` and
# `make uninstall` call it from the top of the tree, with BUILD and VERSION set. The result
# can be moved: nothing in it but the module file's fallback knows PREFIX.
set -eu
: "${BUILD:?}" "${VERSION:?}" "${PREFIX:?}"
case $PREFIX in
/*) ;;
*) PREFIX=$PWD/$PREFIX ;;
esac
to=${DESTDIR-}$PREFIX
here=slurm/packaging

put() { # MODE FILE TARGET
    mkdir -p "$(dirname "$to/$3")"
    install -m "$1" "$2" "$to/$3"
}

fill() { # TEMPLATE TARGET
    mkdir -p "$(dirname "$to/$2")"
    VERSION=$VERSION PREFIX=$PREFIX perl -pe 's/\@(VERSION|PREFIX)\@/$ENV{$1}/g' "$1" >"$to/$2"
    chmod 644 "$to/$2"
}

# What belongs to a user's copy: no runs, objects or packages.
tree() { # FOLDER
    find "$1" \( -name packaging -o -name runs -o -name '*.tmp.*' \) -prune -o -type f \
        ! -name '*.so' ! -name '*.o' ! -name '*.h5' -print | while IFS= read -r f; do
        mode=644
        [ ! -x "$f" ] || mode=755
        put $mode "$f" "share/sluice/$f"
    done
}

# The rest of share/sluice is the site's own: site.yaml.
remove_trees() {
    rm -rf "$to/share/sluice/examples" "$to/share/sluice/slurm"
}

remove() {
    rm -f "$to/bin/sluice" "$to/include/sluice_reward.h" "$to/lib/pkgconfig/sluice.pc" \
        "$to/share/man/man1/sluice.1" "$to/share/bash-completion/completions/sluice" \
        "$to/share/modulefiles/sluice/$VERSION"
    remove_trees
    for d in share/modulefiles/sluice share/sluice; do
        [ ! -d "$to/$d" ] || rmdir "$to/$d" 2>/dev/null || true
    done
}

case ${1-} in
install)
    remove_trees # what an older version had
    put 755 "$BUILD/sluice" bin/sluice
    put 644 stages/reward/plugin/sluice_reward.h include/sluice_reward.h
    fill $here/sluice.pc.in lib/pkgconfig/sluice.pc
    put 644 "$BUILD/sluice.1" share/man/man1/sluice.1
    put 644 $here/sluice.bash share/bash-completion/completions/sluice
    fill $here/modulefile.in "share/modulefiles/sluice/$VERSION"
    tree examples
    tree slurm
    echo "installed in $to"
    ;;
uninstall)
    remove
    ;;
*)
    echo "usage: install.sh install|uninstall" >&2
    exit 2
    ;;
esac
