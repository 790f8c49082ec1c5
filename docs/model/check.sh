#!/usr/bin/env bash
# Checks order.pml: every state within small bounds, random walks within larger ones, and that each broken rule is
# noticed. Takes some minutes and 4 GB. Ends with 0 also where SPIN is missing, after saying so.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
rules="NO_MAJORITY NO_STABILITY NO_CONTIGUITY NO_FREEZE NO_CEILING NO_FLOOR CUT_MIN SEND_FIRST OLD_BALLOT FORGET_BALLOT FRESH_VALUE"
walks=${WALKS:-1000}

if ! command -v spin >/dev/null || ! command -v "${CC:-cc}" >/dev/null; then
    echo "model not checked: it needs spin and a C compiler; on Debian: apt-get install spin gcc"
    exit 0
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

echo "every state: 3 members, an entry of each of 2 origins in each view, 2 ballots, clocks to 2 ..."
spin -DENTRIES_0=1 -DTIME_MAX=2 -a "$here/order.pml" >/dev/null
# Hash-compact: 12 bytes a state instead of 220, so that 82 million of them fit into 4 GB.
"${CC:-cc}" -O2 -w -DSAFETY -DHC4 -o pan pan.c
./pan -m1000000 -w26 >pan.out 2>&1 || true
grep -E "states, stored|elapsed" pan.out
if ! grep -q "errors: 0" pan.out || grep -q -e "not completed" -e "too small" pan.out; then
    cat pan.out
    exit 1
fi

walk() {  # seed, then -D... ; true when an assertion was violated
    local seed=$1
    shift
    spin -T "-n$seed" -u8000 "$@" "$here/order.pml" >walk.out 2>&1 || true
    grep -q "assertion violated" walk.out
}
echo "$walks random walks: 3 members, 2 entries of one origin and 1 of the other, 2 ballots, clocks to 4 ..."
for seed in $(seq 1 "$walks"); do
    if walk "$seed"; then
        cat walk.out
        echo "the rules do not hold: spin -T -n$seed -u8000 -p $here/order.pml shows how"
        exit 1
    fi
done
for rule in $rules; do
    caught=""
    for seed in $(seq 1 "$walks"); do
        if walk "$seed" "-D$rule"; then
            caught=$seed
            break
        fi
    done
    if [ -z "$caught" ]; then
        echo "$rule: not noticed within $walks walks"
        exit 1
    fi
    echo "$rule: noticed by walk $caught"
done
echo "the rules hold together, and none of them can be left out"
