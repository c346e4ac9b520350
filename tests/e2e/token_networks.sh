#!/bin/bash
# The networks of tokens and vectors against numpy, where python3 has it.
cd "$(dirname "$0")/../.." || exit 4
python=
for p in python3 /usr/bin/python3; do
    "$p" -c 'import numpy' 2>/dev/null && python=$p && break
done
[ -n "$python" ] || {
    echo "1..0 # SKIP needs python3 with numpy"
    exit 0
}
exec "$python" -B tests/peer/token_networks.py --sluice "$BUILD/sluice" --cases 14
