# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What the client tests share: a private mount, two sessions that stay, and TAP. Sourced.
# $LEASEFS names the command.
set -u

scratch=$(mktemp -d "${TMPDIR:-/tmp}/leasefs-clients-XXXXXX")
workspace=$scratch/ws
export LEASEFS_STATE_DIR=$scratch/state
export HOME=$scratch/home GIT_CONFIG_NOSYSTEM=1 LC_ALL=C.UTF-8
mkdir -p "$workspace" "$HOME"
git config --global user.name tester
git config --global user.email tester@example.org
git config --global init.defaultBranch main

count=0
bad=0

# All that was started here ends here, also after a failure.
clean_up() {
    exec 8>&- 9>&-
    cd /
    "$LEASEFS" umount --lazy "$workspace" >/dev/null 2>&1
    umount -l "$workspace" 2>/dev/null
    wait
    rm -rf -- "$scratch"
}
trap clean_up EXIT

mount_workspace() {
    "$LEASEFS" mount "$@" "$workspace" || {
        echo "Bail out! cannot mount"
        exit 1
    }
}

# A session of its own that takes commands one by one: `as alice 'COMMAND'`.
start_session() {
    local name=$1 fd=$2

    mkfifo "$scratch/$name.in" "$scratch/$name.done"
    "$LEASEFS" run --name "$name" -- bash <"$scratch/$name.in" >"$scratch/$name.log" 2>&1 &
    eval "pid_$name=$!; exec $fd>'$scratch/$name.in'"
}

# Runs a command in a session, below the workspace. Its output is left in $output, its status
# returned.
as() {
    local fd=8 status
    [ "$1" = alice ] || fd=9

    printf '(cd %q && %s) >%q 2>&1 </dev/null; echo $? >%q\n' "$workspace" "$2" "$scratch/out" \
        "$scratch/$1.done" >&$fd
    read -r status <"$scratch/$1.done"
    output=$(cat "$scratch/out")
    return "$status"
}

start_two_sessions() {
    start_session alice 8
    start_session bob 9
}

tap() { # STATUS NAME
    count=$((count + 1))
    if [ "$1" = 0 ]; then
        echo "ok $count - $2"
    else
        bad=$((bad + 1))
        echo "not ok $count - $2"
        sed 's/^/#   /' <<<"${output-}"
    fi
}

# check NAME CONDITION...: one case.
check() {
    local name=$1
    shift
    "$@"
    tap $? "$name"
}
works() { as "$1" "$2"; }
is_refused() { ! as "$1" "$2" && grep -qi 'read-only' <<<"$output"; }
holder_is() {
    output=$(getfattr --only-values -n user.leasefs.holder "$workspace" 2>/dev/null)
    [ "$output" = "$1" ]
}
is_free() {
    output=$(getfattr --only-values -n user.leasefs.state "$workspace" 2>/dev/null)
    [ "$output" = free ]
}
fails() { ! as "$1" "$2"; }
release() { as "$1" "$LEASEFS release ."; }

finish() {
    echo "1..$count"
    [ "$bad" = 0 ]
    exit $?
}
