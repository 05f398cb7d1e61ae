#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Callers that the daemon cannot identify: it runs in a pid namespace of its own, and they, with all
# of this script, outside of that.
# shellcheck source=tests/mount/clients-lib.sh
. "$(dirname "$0")/clients-lib.sh"

mkdir -p "$workspace/.git" "$workspace/build"
echo one >"$workspace/file"
echo one >"$workspace/build/file"

mount_apart() {
    local i
    unshare --pid --fork "$LEASEFS" mount -f -o "$1" "$workspace" >"$scratch/daemon.log" 2>&1 &
    for ((i = 0; i < 200; i++)); do
        mountpoint -q "$workspace" && return 0
        sleep 0.05
    done
    echo 'Bail out! cannot mount'
    exit 1
}
stranger() {
    output=$(cd "$workspace" && eval "$1" 2>&1)
}
is_refused_to_stranger() { ! stranger "$1" && grep -qi 'read-only' <<<"$output"; }
holds() { # FILE TEXT
    output=$(cat "$workspace/$1")
    [ "$output" = "$2" ]
}

mount_apart 'unknown=deny,shared=build'
check 'a stranger reads' stranger 'cat file'
check 'it does not write' is_refused_to_stranger 'echo two >file'
check 'nor make what is passive' is_refused_to_stranger 'echo two >.git/index.lock'
check 'nor change what is shared' is_refused_to_stranger 'echo two >build/file'
check 'nor make anything there' is_refused_to_stranger 'mkdir build/directory'
check 'which is as it was' holds build/file one
# Its pid is that of another process here, which must not be waited for, let alone be ended.
says_read_only() { ! stranger "$1" && grep -q 'cannot be identified.* read' <<<"$output"; }
check 'whoami says that it cannot write' says_read_only '"$LEASEFS" whoami'
check 'acquire too' says_read_only '"$LEASEFS" acquire'
says_namespace() { stranger "$1" && grep -q 'another pid namespace' <<<"$output"; }
check 'run says why it is no session' says_namespace '"$LEASEFS" run -- true'
check 'the daemon is not named by a pid of another namespace' stranger '! "$LEASEFS" status | grep "daemon pid"'
check 'the mount is ended from outside' stranger 'cd / && "$LEASEFS" umount "$workspace"'
check 'with nothing to say' test -z "$output"
wait

mount_apart 'unknown=allow,shared=build'
check 'allowed, it truncates and writes' stranger 'echo two >file'
check 'what it wrote is there' holds file two
check 'it writes on through one handle' stranger 'exec 5>file; echo 1 >&5; truncate -s 0 file; echo 2 >&5'
check 'it writes anew over what it made' stranger 'cp file copy && cp build/file copy'
check 'it changes what is shared' stranger 'echo two >build/file'
says_no_lease() { ! stranger "$1" && grep -q 'may write, but hold no lease' <<<"$output"; }
check 'whoami says what it may' says_no_lease '"$LEASEFS" whoami'
check 'acquire too' says_no_lease '"$LEASEFS" acquire'

finish
