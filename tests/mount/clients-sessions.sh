#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Sessions as people and agents make them: leasefs run, what it starts, and how it ends.
# shellcheck source=tests/mount/clients-lib.sh
. "$(dirname "$0")/clients-lib.sh"

git init -q "$workspace"
mkdir "$workspace/build"
echo one >"$workspace/file"
git -C "$workspace" add .
git -C "$workspace" commit -qm first
mount_workspace -o 'shared=build:*.log'
start_two_sessions

output_is() { [ "$output" = "$1" ]; }
says() { grep -q -- "$1" <<<"$output"; }
status_is() { # NUMBER SESSION COMMAND
    as "$2" "$3"
    [ $? = "$1" ]
}
# Waits for the event, not for a time; gives up after ten seconds.
until_true() {
    local i
    for i in $(seq 200); do
        "$@" && return 0
        sleep 0.05
    done
    return 1
}

session_of='getfattr --only-values -n user.leasefs.session .'
check 'a command of alice is alice' works alice "$session_of"
check 'by its name' output_is alice
check 'whoami says it too' works alice "$LEASEFS whoami"
check 'with the rule' says registered
check 'a child in a terminal session of its own is alice' works alice "setsid -w $session_of"
check 'setsid leaves nothing' output_is alice
check 'a daemonised grandchild is alice' works alice "rm -f ../who; (setsid sh -c '$session_of >../who.new; mv ../who.new ../who' &) ; for i in \$(seq 200); do [ -e ../who ] && break; sleep 0.05; done; cat ../who"
check 'a double fork leaves nothing' output_is alice
check 'a nested run only starts its command' works alice "$LEASEFS run --name inner -- $session_of"
check 'and says so' says 'already in session alice'

# The three sentences that a blocked agent sees.
check 'alice writes' works alice 'echo two >file'
check 'bob sees errno' is_refused bob 'echo three >file'
check 'bob sees the reason' works bob 'getfattr --only-values -n user.leasefs.reason .'
check 'who, for how long, and what to do' says '^held by alice (pid [0-9]*, leasefs) for [0-9]*m[0-9]*s more; wait, or work read-only$'
check 'bob sees the status' works bob "$LEASEFS status"
check 'that he may read, not write' says 'may read, not write'
check 'and what to do next' says 'leasefs acquire --wait'
check 'acquire is refused with 75' status_is 75 bob "$LEASEFS acquire"
check 'a wait that is over too' status_is 75 bob "$LEASEFS acquire --wait=100ms"
check 'release by bob changes nothing' status_is 75 bob "$LEASEFS release"
check 'refresh by bob neither' status_is 75 bob "$LEASEFS refresh"
check 'alice still holds it' holder_is alice

# Shared and passive paths.
check 'bob writes into a shared directory' works bob 'echo x >build/x && mkdir build/y && mv build/x build/y/'
check 'and a shared name' works bob 'echo x >>dev.log'
check 'alice too' works alice 'echo y >>dev.log && rm -r build/y'
check 'bob cannot lock the index' is_refused bob 'echo x >.git/index.lock'
check 'alice releases' release alice
check 'bob locks the index while it is free' works bob 'exec 5>.git/index.lock'
check 'which takes nothing' is_free
check 'alice writes' works alice 'echo four >file'
check 'bob cannot put it in place' is_refused bob 'mv .git/index.lock .git/index'
check 'but remove it' works bob 'echo more >>.git/index.lock && rm .git/index.lock'
check 'alice releases again' release alice

# What run passes on.
run="$LEASEFS run --workspace $workspace"
exits_with() {
    (cd / && timeout 20 bash -c "$2" >/dev/null 2>&1)
    local status=$?
    output="status $status"
    [ "$status" = "$1" ]
}
check 'its exit status' exits_with 7 "$run -- sh -c 'exit 7'"
check 'its death by a signal' exits_with 143 "$run -- sh -c 'kill -TERM \$\$'"
check 'a command that is not there' exits_with 127 "$run -- ./no-such-command"
check 'one that cannot be run' exits_with 126 "$run -- /etc/passwd"
check 'a bad name' exits_with 2 "$run --name 'a b' -- true"
check 'a live name is not given twice' exits_with 1 "$run --name alice -- true"
check 'a signal sent to it' exits_with 3 "$run -- sh -c 'trap \"exit 3\" TERM; kill -TERM \$PPID; while :; do sleep 0.05; done'"
check 'an interrupt sent to it alone' exits_with 4 "$run -- sh -c 'trap \"exit 4\" INT; kill -INT \$PPID; while :; do sleep 0.05; done'"
check 'a workspace in no mount' exits_with 1 "$LEASEFS run --state-dir $scratch/none --workspace / -- true"
check 'leaves nothing behind' test ! -e "$scratch/none"
check 'GIT_OPTIONAL_LOCKS' exits_with 0 "$run -- sh -c 'test \$GIT_OPTIONAL_LOCKS = 0'"

# The lease of the starter is handed on, and freed at the end.
start_session carol 7
as_carol() {
    printf '(cd %q && %s) >%q 2>&1 </dev/null; echo $? >%q\n' "$workspace" "$1" "$scratch/out" \
        "$scratch/carol.done" >&7
    read -r status <"$scratch/carol.done"
    output=$(cat "$scratch/out")
    return "$status"
}
check 'an unnamed session writes, starts an agent, and is not in its way' \
    exits_with 0 "cd $workspace && setsid -w bash -c 'touch mine && $LEASEFS run --name agent -- touch yours'"
check 'the lease is free at the end' until_true is_free

# acquire for a process beside the command.
sibling='cd "$workspace" && { sleep 100 & }; p=$!; "$LEASEFS" acquire --session helper --pid $p'
export workspace LEASEFS
check 'acquire for a process beside the command' exits_with 0 "$sibling; r=\$?; \
    h=\$(getfattr --only-values -n user.leasefs.holder .); kill \$p; [ \$r-\$h = 0-helper ]"
check 'it is free when that process ends' until_true is_free
check 'alice writes meanwhile' works alice 'echo x >file'
check 'acquire for it is refused' exits_with 75 "$sibling; r=\$?; kill \$p; exit \$r"
is_queued() { "$LEASEFS" status --json "$workspace" | tr -d ' \n' | grep -q '"queue":\[{'; }
exits_with 0 "$sibling --wait=20s; r=\$?; \
    h=\$(getfattr --only-values -n user.leasefs.holder .); kill \$p; [ \$r-\$h = 0-helper ]" &
waiting=$!
check 'it can wait' until_true is_queued
check 'alice gives it back' release alice
check 'and it has it' wait "$waiting"
check 'a process of another session cannot be named' \
    exits_with 1 "$LEASEFS acquire --session thief --pid $pid_alice $workspace"
check 'free again' until_true is_free

# Ends.
check 'carol writes' as_carol 'echo five >file'
check 'and holds it' holder_is carol
# shellcheck disable=SC2154
kill -KILL "$pid_carol"
printf 'exit\n' >&7
exec 7>&-
check 'killed, and the last of it gone, it is free' until_true is_free
check 'bob writes at once' works bob 'echo six >file'
check 'and waits for nobody' holder_is bob
check 'bob ends' as bob 'kill -KILL $PPID; true'
printf 'exit\n' >&9
check 'and the lease is free' until_true is_free
finish
