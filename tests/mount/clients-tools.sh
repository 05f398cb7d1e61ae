#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Editors, databases, archives and builds on a mount, in two sessions.
# shellcheck source=tests/mount/clients-lib.sh
. "$(dirname "$0")/clients-lib.sh"

mkdir "$workspace/src"
for i in $(seq 30); do
    printf 'int f%d(void);\nint f%d(void)\n{\n    return %d;\n}\n' "$i" "$i" "$i" >"$workspace/src/f$i.c"
done
echo 'int main(void) { return 0; }' >"$workspace/src/main.c"
cat >"$workspace/Makefile" <<'MAKE'
OBJECTS = $(patsubst %.c,%.o,$(wildcard src/*.c))
program: $(OBJECTS)
	$(CC) -o $@ $(OBJECTS)
clean:
	rm -f program $(OBJECTS)
MAKE
echo one >"$workspace/text"
mount_workspace
start_two_sessions
says() { grep -qx "$1" <<<"$output"; }

check 'alice builds' works alice 'make -s -j2 && ./program'
check 'a second build has nothing to do' works alice 'make -q'
check 'bob cannot build' is_refused bob 'make -s clean'
check 'bob runs what alice built' works bob './program'
check 'alice edits with ed' works alice 'printf "%s\n" 1s/one/two/ w q | ed -s text'
check 'bob sees it' works bob 'grep -qx two text'
check 'bob cannot edit with ed' works bob 'printf "%s\n" 1s/two/three/ w q | ed -s text; grep -qx two text'
check 'alice edits with vim, by rename' works alice 'vim -Nu NONE -i NONE -es -c "set backupcopy=no" -c "normal othree" -c wq text && grep -qx three text'
check 'bob cannot edit with vim' works bob 'vim -Nu NONE -i NONE -es -c "normal ofour" -c "w!" -c q! text; ! grep -qx four text'
check 'bob cannot rewrite by rename' is_refused bob 'sed -i s/two/bob/ text'
for mode in wal delete; do
    check "alice makes a $mode database" works alice "sqlite3 $mode.db 'pragma journal_mode=$mode; create table t(x); insert into t values(1);'"
    check "alice reads it back ($mode)" works alice "sqlite3 $mode.db 'select count(*) from t'"
    check "one row ($mode)" says 1
    check "two processes of alice write it ($mode)" works alice "for i in 1 2 3 4 5; do sqlite3 -cmd '.timeout 5000' $mode.db 'insert into t values(2)' & done; wait; test \$(sqlite3 $mode.db 'select count(*) from t') = 6"
    check "bob cannot write it ($mode)" works bob "! sqlite3 $mode.db 'insert into t values(3)'"
    check "it is whole ($mode)" works alice "test \"\$(sqlite3 $mode.db 'pragma integrity_check; select count(*) from t' | tr '\n' ' ')\" = 'ok 6 '"
done
check 'bob reads the rollback database' works bob "sqlite3 delete.db 'select count(*) from t'"
check 'alice packs the tree' works alice 'tar cf ../all.tar . && mkdir ../unpacked && tar xf ../all.tar -C ../unpacked && diff -r . ../unpacked'
check 'alice unpacks into the mount' works alice 'mkdir again && tar xf ../all.tar -C again && diff -r ../unpacked again'
check 'cp -a copies no attribute of ours' works alice 'cp -a again ../copied && diff -r again ../copied && test -z "$(getfattr -R -d -m user.leasefs ../copied)"'
check 'bob cannot unpack' works bob '! tar xf ../all.tar 2>/dev/null'
check 'bob cannot remove' is_refused bob 'rm -rf again'
check 'alice removes' works alice 'rm -rf again && test ! -e again'
check 'the holder is alice all along' holder_is alice
# mount(8) hands its options over to mount.leasefs.
mkdir "$scratch/other" "$scratch/at"
ln -s "$LEASEFS" "$scratch/mount.leasefs"
helper() { output=$("$scratch/mount.leasefs" "$scratch/other" "$scratch/at" "$@" 2>&1); }
has_flag() { output=$(findmnt -no VFS-OPTIONS "$scratch/at") && [[ ,$output, == *,$1,* ]]; }
lacks_flag() { ! has_flag "$1"; }
can_write() { (: >"$scratch/at/file") 2>/dev/null; }
cannot_write() { ! can_write; }
check 'the helper mounts' helper -o rw
check 'with devices, as mount does unless told' lacks_flag nodev
check 'and suid' lacks_flag nosuid
check 'it can be written to' can_write
check 'made read-only' helper -o remount,ro,nosuid
check 'it cannot' cannot_write
check 'and has the flag' has_flag nosuid
check 'made writable' helper -o remount,rw
check 'it can again' can_write
check 'unmounted' "$LEASEFS" umount "$scratch/at"
# Where mount(8) finds mount.fuse3 alone, that runs the program itself.
direct() { output=$("$LEASEFS" "$scratch/other" "$scratch/at" "$@" 2>&1); }
check 'the program mounts without a command' direct -o rw
check 'and so it can be written to' can_write
check 'and made read-only' direct -o remount,ro
check 'so that it cannot' cannot_write
check 'and unmounted' "$LEASEFS" umount "$scratch/at"
finish
