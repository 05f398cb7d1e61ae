#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The mount of a user without privileges, where files of others lie in the workspace: what such a user
# may do on the disk is done, although the daemon may do no more. For root, who becomes that user.
# shellcheck source=tests/mount/clients-lib.sh
. "$(dirname "$0")/clients-lib.sh"

if [ "$(id -u)" != 0 ]; then
    echo 'Bail out! needs root, to make files of another user'
    exit 1
fi

# Away from a build directory that is closed to others.
cp "$LEASEFS" "$scratch/leasefs" || exit 1
LEASEFS=$scratch/leasefs
chmod 0755 "$scratch" "$LEASEFS"
mkdir "$LEASEFS_STATE_DIR"
for name in bare ws; do
    mkdir -p "$scratch/$name"
    for file in written allocated copied truncated; do
        echo text >"$scratch/$name/$file"
        chmod 04777 "$scratch/$name/$file"
    done
done
chown 65534:65534 "$scratch/bare" "$workspace" "$LEASEFS_STATE_DIR"

# A shell of that user, in a mount namespace with a /dev/fuse that is open to all, as elsewhere.
cat >"$scratch/deeds" <<'DEEDS'
cd "$1" || exit 1
printf x | dd of=written conv=notrunc status=none && echo written
fallocate -l 100 allocated && echo allocated
cp --no-preserve=all --attributes-only /dev/null copied; cat /etc/hostname >>copied && echo copied
truncate -s 1 truncated && echo truncated
stat -c '%n %a %U' *
DEEDS
cat >"$scratch/user" <<'USER'
mknod -m 0666 "$1/fuse" c 10 229 && mount --bind "$1/fuse" /dev/fuse || exit 1
exec setpriv --reuid 65534 --regid 65534 --clear-groups bash -c '
    "$LEASEFS" mount "$1/ws" && bash "$1/deeds" "$1/ws"; "$LEASEFS" umount "$1/ws"' - "$1"
USER
on_the_disk=$(setpriv --reuid 65534 --regid 65534 --clear-groups bash "$scratch/deeds" "$scratch/bare" 2>&1)
output=$(LEASEFS=$LEASEFS unshare --mount bash "$scratch/user" "$scratch" 2>&1)

check 'the deeds are done on the disk' test "$(grep -c -e '^written$' -e '^allocated$' -e '^copied$' -e '^truncated$' <<<"$on_the_disk")" = 4
check "another user's suid files are written to in the mount as on the disk" test "$output" = "$on_the_disk"

finish
