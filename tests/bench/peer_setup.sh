#!/bin/sh
# What bench-peer needs beside the engine, under BUILD/bench/peer: a virtual environment
# with PyTorch and diffusers from the Python package index (3 GB; PEER_PYTHON=/path/to/python
# uses an existing one), and on Debian two libraries that make PyTorch faster, unpacked
# there so that the system stays as it is. Without the libraries the comparison runs, and
# says that they are missing.
set -eu
dir=${BUILD:-build}/bench/peer
mkdir -p "$dir/lib"
if [ -z "${PEER_PYTHON:-}" ] && [ ! -x "$dir/venv/bin/python" ]; then
    rm -rf "$dir/venv.part" # an installation that was cut short
    python3 -m venv "$dir/venv.part"
    "$dir/venv.part/bin/python" -m pip install torch diffusers pillow
    mv "$dir/venv.part" "$dir/venv" # only its scripts, not its python, name the folder
fi
if [ ! -e "$dir/lib/done" ] && command -v apt-get >/dev/null; then
    if (cd "$dir/lib" && apt-get download libtcmalloc-minimal4 libopenblas0-openmp) \
        >"$dir/lib/log" 2>&1; then
        for package in "$dir"/lib/*.deb; do
            dpkg -x "$package" "$dir/lib"
        done
        touch "$dir/lib/done"
    else
        echo "no tcmalloc, no OpenBLAS for OpenMP: $(tail -n 1 "$dir/lib/log")"
    fi
fi
