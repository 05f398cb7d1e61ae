/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xattr-memory.h"
#include "mutex.h"
#include <linux/xattr.h>
#include <stdatomic.h>
#include <string.h>

struct XattrMemory {
    Mutex lock;       /* of what is written to node_lacks */
    guint64 last_set; /* (lock) grows whenever an attribute of any file was set */
};

XattrMemory *xattr_memory_new(void)
{
    XattrMemory *memory = g_new0(XattrMemory, 1);

    mutex_init(&memory->lock);
    return memory;
}

void xattr_memory_free(XattrMemory *memory)
{
    if (!memory)
        return;
    mutex_clear(&memory->lock);
    g_free(memory);
}

/* As a bit of node_lacks; 0 for what is not remembered. */
static guint8 bit_of(const char *name)
{
    static const char *const names[] = {XATTR_NAME_SELINUX, XATTR_NAME_CAPS,
                                        XATTR_NAME_POSIX_ACL_ACCESS, XATTR_NAME_POSIX_ACL_DEFAULT};

    for (guint i = 0; i < G_N_ELEMENTS(names); i++)
        if (strcmp(name, names[i]) == 0)
            return (guint8)(1u << i);
    return 0;
}

gboolean xattr_memory_lacks(Node *node, const char *name)
{
    return (atomic_load(node_lacks(node)) & bit_of(name)) != 0;
}

guint64 xattr_memory_begin(XattrMemory *memory)
{
    MUTEX_GUARD(&memory->lock);

    return memory->last_set;
}

void xattr_memory_absent(XattrMemory *memory, Node *node, const char *name, guint64 begun)
{
    MUTEX_GUARD(&memory->lock);

    if (memory->last_set == begun)
        atomic_fetch_or(node_lacks(node), bit_of(name));
}

void xattr_memory_set(XattrMemory *memory, Node *node)
{
    MUTEX_GUARD(&memory->lock);

    memory->last_set++;
    atomic_store(node_lacks(node), 0);
}
