#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The benchmark itself at a tiny scale: that it runs, checks, counts, reports and leaves nothing
# behind. No time is judged. $BENCH and $LEASEFS name the programs.
set -u

# An image on a disk would be as good, and slower.
scratch=$(mktemp -d /dev/shm/leasefs-smoke-XXXXXX)
export TMPDIR=$scratch/tmp
mkdir "$TMPDIR" "$scratch/images"
trap 'rm -rf -- "$scratch"' EXIT

count=0
bad=0

check() { # NAME COMMAND...
    local name=$1
    shift

    count=$((count + 1))
    if "$@"; then
        echo "ok $count - $name"
    else
        bad=$((bad + 1))
        echo "not ok $count - $name"
        sed 's/^/#   /' "$scratch/table"
    fi
}
finish() {
    echo "1..$count"
    exit "$bad"
}

bench() {
    "$BENCH" --leasefs="$LEASEFS" --image-dir="$scratch/images" --size=128M --big=1M --scale=1 \
        --rounds=1 --settle=0 --targets=bare,leasefs,blocked "$@" \
        >"$scratch/out" 2>"$scratch/table"
}

is_for_root() {
    ! bench && [ "$(wc -l <"$scratch/table")" = 1 ] && grep -q root "$scratch/table"
}
if [ "$(id -u)" != 0 ]; then
    check 'an ordinary user is told in one line that only root can run it' is_for_root
    finish
fi

# The targets of a workload's block, in one line.
targets_of() {
    awk -v head="$1:" '
        $1 == head { on = 1; next }
        NF == 0 { on = 0 }
        on && $2 ~ /^[0-9]/ { print $1 }
    ' "$scratch/table" | xargs
}
runs() { bench --json --only='write-4k,create,git-status-warm'; }
covers() {
    [ "$(targets_of create)" = 'bare leasefs' ] &&
        [ "$(targets_of git-status-warm)" = 'bare leasefs blocked' ]
}
# A dash where the kernel has no tracepoint to count with.
counts() {
    awk '$1 == "write-4k:" { on = 1 } on && $1 == "leasefs" { exit $NF != "1.000" && $NF != "-" }' \
        "$scratch/table"
}
leaves_nothing() {
    [ -z "$(ls -A "$TMPDIR")$(ls -A "$scratch/images")" ] && ! losetup -a | grep -F "$scratch"
}
reports_again() {
    mv "$scratch/out" "$scratch/results.json"
    bench --from="$scratch/results.json" --svg="$scratch/picture.svg" &&
        grep -q '^git-status-warm' "$scratch/out" &&
        tail -n 1 "$scratch/picture.svg" | grep -q '</svg>'
}
# A peer of that name which does not mount.
goes_on_without() {
    local PATH=$scratch/bin:$PATH

    mkdir "$scratch/bin"
    printf '#!/bin/sh\necho no luck >&2\nexit 1\n' >"$scratch/bin/bindfs"
    chmod +x "$scratch/bin/bindfs"
    bench --only='create' --targets=bindfs && grep -q '^failed: create on bindfs:' "$scratch/out" &&
        grep -q 'x bare' "$scratch/out"
}
refuses() { ! bench --only=no-such-workload && grep -q -- --list "$scratch/table"; }
refuses_rest() { ! bench --settle=-1 && grep -q 'settle is from 0' "$scratch/table"; }

check 'three workloads run and give the right results' runs
check 'a blocked reader takes part in what only reads' covers
check 'a write is one request' counts
check 'nothing is left behind' leaves_nothing
check 'what was measured can be reported and drawn later' reports_again
check 'a peer that fails is left out, loudly' goes_on_without
check 'an unknown workload is refused' refuses
check 'a rest of less than nothing is refused' refuses_rest
finish
