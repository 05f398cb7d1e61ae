/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is mounted below the workspace.
 *
 * Its files may bear the inode numbers of others, and the mount has one st_dev for all: programs
 * that take two files of one inode number for hard links of each other would copy one and drop the
 * other. So the filesystems other than the workspace's own are counted as they come to sight, and
 * the count stands in the upper bits of the numbers that are shown. It is the same again in the
 * same mount, as long as the filesystem keeps its device number.
 *
 * A mount of the workspace's own filesystem shows what it has: two names of one file are that.
 */
#include "node-private.h"
#include <sys/sysmacros.h>

#define COUNT_SHIFT 48
#define MOST        0x7fffu /* an inode number stays positive where it is signed */

void node_table_refuse_nested(NodeTable *table)
{
    table->refuse_nested = TRUE;
}

void node_table_let_nested_go(NodeTable *table)
{
    table->let_nested_go = TRUE;
}

gboolean node_is_nested(const Node *node)
{
    const Node *root = node->table->root;

    return node->dev != root->dev || (node->mount != 0 && node->mount != root->mount);
}

gboolean node_table_refuses(const NodeTable *table, const struct statx *stx)
{
    if (!table->refuse_nested)
        return FALSE;
    return table->root->dev != node_dev_of(stx->stx_dev_major, stx->stx_dev_minor) ||
           (table->mount_id != 0 && stx->stx_mask & STATX_MNT_ID &&
            stx->stx_mnt_id != table->mount_id);
}

static guint count_of_locked(NodeTable *table, guint32 dev)
{
    guint i;

    for (i = 0; i < table->foreign->len; i++) {
        if (g_array_index(table->foreign, guint32, i) == dev)
            return i + 1;
    }
    if (i < MOST)
        g_array_append_val(table->foreign, dev);
    return MIN(i + 1, MOST);
}

ino_t node_table_shown_ino(NodeTable *table, dev_t dev, ino_t ino)
{
    NodeTrash trash = NODE_TRASH_INIT;
    guint32 packed = node_dev_of(major(dev), minor(dev));
    guint count;

    if (packed == table->root->dev)
        return ino;
    node_table_lock(table);
    count = count_of_locked(table, packed);
    node_table_unlock(table, &trash);
    return ino ^ (ino_t)count << COUNT_SHIFT;
}
