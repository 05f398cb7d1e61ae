#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A real git repository mounted in place, and two sessions that work in it.
# shellcheck source=tests/mount/clients-lib.sh
. "$(dirname "$0")/clients-lib.sh"

git init -q "$workspace"
for i in $(seq 40); do echo "line $i" >"$workspace/file$i"; done
git -C "$workspace" add .
git -C "$workspace" commit -qm first
git -C "$workspace" branch other
mount_workspace
start_two_sessions

head_of() { git -C "$workspace" rev-parse HEAD; }
same_head() { output=$(head_of) && [ "$output" = "$1" ]; }
says() { grep -q "$1" <<<"$output"; }

check 'status takes nothing' works alice 'touch -d yesterday /dev/null; git status --short'
check 'and the lease stays free' is_free
check 'alice edits a file' works alice 'echo more >>file1'
check 'and holds the lease' holder_is alice
first=$(head_of)
check 'bob reads the status' works bob 'git status --short'
check 'with the change of alice in it' says 'M file1'
check 'bob reads the log' works bob 'git log --oneline'
check 'bob reads a diff' works bob 'git diff'
check 'bob cannot commit' is_refused bob 'git commit -am stolen'
check 'bob cannot stash' fails bob 'git stash'
check 'bob cannot switch the branch' is_refused bob 'git checkout other'
check 'bob cannot add' is_refused bob 'git add -A'
check 'bob cannot reset' is_refused bob 'git reset --hard'
check 'bob cannot make a branch' is_refused bob 'git branch mine'
check 'HEAD stands where it stood' same_head "$first"
check 'the work of alice is whole' works alice 'grep -q more file1'
check 'no index.lock is left' works alice 'test ! -e .git/index.lock'
check 'alice commits' works alice 'git commit -qam second'
check 'alice stashes' works alice 'echo again >>file2 && git stash -q && git stash pop -q'
check 'alice switches' works alice 'git stash -q && git checkout -q other && git checkout -q main'
check 'alice collects garbage' works alice 'git gc -q'
check 'alice releases' release alice
check 'then bob commits' works bob 'git stash pop -q; git commit -qam third'
check 'and holds the lease' holder_is bob
check 'alice is refused now' is_refused alice 'git commit --allow-empty -m fourth'
check 'the repository is sound' works bob 'git fsck --strict'
check 'the second tree is one of git too' works bob 'git worktree add -q ../wt other && rm -rf ../wt && git worktree prune'
check 'bob releases' release bob
check 'status after a touch takes nothing' works alice 'git status --short'
check 'it is free' is_free
finish
