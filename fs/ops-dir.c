/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ops.h"
#include "dir-handle.h"
#include "util.h"
#include "warden.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

#define BUFFER_SIZE 32768
#define NOWHERE     -1 /* a place that no part of a listing begins at */

/* What getdents64(2) fills in; offsets are cookies of the backing filesystem, never indexes. */
typedef struct BackingEntry {
    guint64 ino;
    gint64 off; /* cookie of the entry after this one */
    unsigned short reclen;
    unsigned char type;
    char name[];
} BackingEntry;

static DirHandle *dir_handle_of(uint64_t fh)
{
    return (DirHandle *)(uintptr_t)fh;
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    Fs *fs = fs_of(req);
    gboolean keeps = fs_cache_seconds(fs) > CACHE_SHORT_S;
    DirHandle *dir = NULL;
    int r;

    if (dir_handles_refuse(fs->dir_handles, keeps && fs->spares_dir_handles)) {
        fuse_reply_err(req, ENOSYS);
        return;
    }
    r = dir_handles_open(fs->dir_handles, fs_node(fs, ino), &dir);
    if (r == 0) {
        fi->fh = (uintptr_t)dir;
        fi->cache_readdir = fi->keep_cache = keeps;
        if (fuse_reply_open(req, fi) == 0)
            return;
        dir_handles_close(fs->dir_handles, dir);
    } else {
        fuse_reply_err(req, -r);
    }
    dir_handles_returned(fs->dir_handles);
}

static gboolean is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* One reply on its way. */
typedef struct Listing {
    fuse_req_t req;
    Fs *fs;
    DirHandle *dir;
    char *buffer; /* what was read from below: BUFFER_SIZE */
    size_t pos, end;
    gboolean plus;        /* in the format that has room for attributes */
    gboolean attributes;  /* and with them */
    gboolean any_file;    /* something that is no directory */
    GPtrArray *looked_up; /* nodes whose lookups the kernel counts when the reply arrives */
} Listing;

/* git looks every file up before it lists the directories. One entry of each reply comes with
 * attributes nonetheless: if somebody looks at that, the kernel asks for the next ones, too. */
static gboolean kernel_knows(const Listing *listing, const char *name)
{
    Fs *fs = listing->fs;
    Node *node = node_peek_child(fs->nodes, listing->dir->node, name);
    gboolean knows;

    if (!node)
        return FALSE;
    knows = listing->looked_up->len > 0 && fs_has_told(fs, node);
    /* now, for what changes after the look: guard_on_names_changed */
    if (!knows)
        fs_tell(fs, node);
    node_unref(fs->nodes, node);
    return knows;
}

/* The node that an entry is listed with; NULL for one without attributes: one that is known, a name
 * that has vanished since, or a mount that is refused. The kernel looks it up then, or not. */
static Node *look_up_entry(const Listing *listing, const char *name,
                           struct fuse_entry_param *param_out)
{
    Fs *fs = listing->fs;
    struct statx stx;
    struct stat st;
    Node *node;

    if (is_dot(name) || kernel_knows(listing, name) ||
        node_statx(listing->dir->fd, name, 0, &stx) != 0 || node_table_refuses(fs->nodes, &stx))
        return NULL;
    node_stat_from_statx(&stx, &st);
    node = node_find_or_add(fs->nodes, listing->dir->node, name, &stx);
    ops_fill_entry(fs, node, &st, param_out);
    return node;
}

/* Who lists names alone still looks at the directories among them, on his way into them: a look
 * now costs less than the request then. Not at what may be mounted there, which may hang. */
static gboolean is_worth_looking_up(const Listing *listing, const BackingEntry *entry)
{
    return listing->attributes || (listing->plus && entry->type == DT_DIR && listing->fs->is_whole);
}

/* Adds one entry to the reply; 0 where it does not fit. */
static size_t add_entry(Listing *listing, const BackingEntry *entry, char *out, size_t room)
{
    const DirHandle *dir = listing->dir;
    struct fuse_entry_param param = {
        .attr = {.st_ino =
                     node_table_shown_ino(listing->fs->nodes, node_dev(dir->node), entry->ino),
                 .st_mode = DTTOIF(entry->type)},
    };
    Node *node = NULL;
    size_t used;

    if (is_worth_looking_up(listing, entry))
        node = look_up_entry(listing, entry->name, &param);
    used = listing->plus
               ? fuse_add_direntry_plus(listing->req, out, room, entry->name, &param, entry->off)
               : fuse_add_direntry(listing->req, out, room, entry->name, &param.attr, entry->off);
    if (used > room) {
        if (node)
            node_forget(listing->fs->nodes, node, 1);
        return 0;
    }
    if (node)
        g_ptr_array_add(listing->looked_up, node);
    listing->any_file |= entry->type != DT_DIR;
    return used;
}

/* The kernel may go back to any cookie. */
static int go_to(DirHandle *dir, off_t off)
{
    if (off == dir->next)
        return 0;
    dir->next = NOWHERE;
    if (lseek(dir->fd, off, SEEK_SET) < 0)
        return -errno;
    dir->next = off;
    return 0;
}

static int read_entries(Listing *listing, size_t size)
{
    long n = syscall(SYS_getdents64, listing->dir->fd, listing->buffer, MIN(size, BUFFER_SIZE));

    listing->pos = 0;
    listing->end = n > 0 ? (size_t)n : 0;
    return n < 0 ? -errno : 0;
}

/* No more at once than is sure to fit into the reply, as what does not has to be read again: 24
 * bytes take 32 there, and 160 with attributes, larger entries less. At the end of the directory or
 * of the reply there is nothing. 0 or -errno. */
static int read_what_fits(Listing *listing, size_t filled, size_t size)
{
    int r = read_entries(listing, (size - filled) * 3 / (listing->plus ? 20 : 4));

    if (r != -EINVAL) /* the next one is larger, or not sure to fit */
        return r;
    return filled > 0 ? 0 : read_entries(listing, BUFFER_SIZE);
}

static ssize_t fill_entries(Listing *listing, off_t off, char *out, size_t size)
{
    DirHandle *dir = listing->dir;
    size_t filled = 0;
    int r = go_to(dir, off);

    if (r != 0)
        return r;
    dir->next = NOWHERE;
    for (;;) {
        const BackingEntry *entry;
        size_t used;

        if (listing->pos >= listing->end)
            r = read_what_fits(listing, filled, size);
        if (listing->pos >= listing->end)
            break;
        entry = (const BackingEntry *)(listing->buffer + listing->pos);
        used = add_entry(listing, entry, out + filled, size - filled);
        if (used == 0)
            break;
        filled += used;
        listing->pos += entry->reclen;
        off = entry->off;
    }
    if (listing->pos < listing->end)
        go_to(dir, off);
    else if (r == 0)
        dir->next = off;
    return r == 0 || filled > 0 ? (ssize_t)filled : r;
}

static void reply_listing(const Listing *listing, const char *out, ssize_t filled)
{
    if (filled < 0)
        fuse_reply_err(listing->req, (int)-filled);
    else if (fuse_reply_buf(listing->req, out, (size_t)filled) != 0)
        for (guint i = 0; i < listing->looked_up->len; i++)
            node_forget(listing->fs->nodes, g_ptr_array_index(listing->looked_up, i), 1);
}

/* Long before the kernel does by itself. */
static void tell_anew_in_time(Fs *fs)
{
    gint64 since_s = atomic_load_explicit(&fs->telling_since_s, memory_order_relaxed);

    if (g_get_monotonic_time() / G_USEC_PER_SEC - since_s > (gint64)CACHE_LONG_S / 2)
        fs_begin_telling(fs);
}

/* Further on in a directory the kernel asks for attributes only where it saw that they are used. */
static gboolean wants_attributes(Listing *listing, pid_t tid, off_t off)
{
    Fs *fs = listing->fs;

    if (!listing->plus)
        return FALSE;
    if (off != 0)
        return TRUE;
    tell_anew_in_time(fs);
    return dir_advice_begin(fs->dir_advice, tid, node_number(listing->dir->node));
}

/* `dir`: NULL where the kernel has no handle. */
static void read_dir(fuse_req_t req, DirHandle *dir, fuse_ino_t ino, size_t size, off_t off,
                     gboolean plus)
{
    Fs *fs = fs_of(req);
    pid_t tid = fuse_req_ctx(req)->pid;
    g_autoptr(GPtrArray) looked_up = g_ptr_array_new();
    g_autofree char *buffer = g_malloc(BUFFER_SIZE);
    g_autofree char *out = g_malloc(size);
    Listing listing = {
        .req = req, .fs = fs, .dir = dir, .plus = plus, .buffer = buffer, .looked_up = looked_up};
    ssize_t filled;
    int r = 0;

    if (!dir)
        r = dir_handles_take(fs->dir_handles, fs_node(fs, ino), off, &listing.dir);
    /* told by open(2), it would make the kernel look again by itself */
    if (r == -ESTALE)
        warden_forget_name(fs->warden, fs_node(fs, ino));
    if (r != 0) {
        fuse_reply_err(req, -r);
        return;
    }
    listing.attributes = wants_attributes(&listing, tid, off);
    filled = fill_entries(&listing, off, out, size);
    /* before the reply, which the next request follows; at the end there is none */
    if (!dir && filled > 0)
        dir_handles_keep(fs->dir_handles, g_steal_pointer(&listing.dir));
    reply_listing(&listing, out, filled);
    if (!dir && listing.dir)
        dir_handles_close(fs->dir_handles, listing.dir);
    if (plus && !listing.attributes && listing.any_file)
        dir_advice_listed_files(fs->dir_advice, tid);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
    read_dir(req, dir_handle_of(fi->fh), ino, size, off, FALSE);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                           struct fuse_file_info *fi)
{
    read_dir(req, dir_handle_of(fi->fh), ino, size, off, TRUE);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino G_GNUC_UNUSED, struct fuse_file_info *fi)
{
    Fs *fs = fs_of(req);

    dir_handles_close(fs->dir_handles, dir_handle_of(fi->fh));
    dir_handles_returned(fs->dir_handles);
    fuse_reply_err(req, 0);
}

int ops_dir_fd(Fs *fs, fuse_ino_t ino, const struct fuse_file_info *fi, int *own_fd_out)
{
    if (fi->fh != 0)
        return dir_handle_of(fi->fh)->fd;
    *own_fd_out = node_open(fs->nodes, fs_node(fs, ino), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *own_fd_out;
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    autofd own_fd = -1;
    int fd = ops_dir_fd(fs_of(req), ino, fi, &own_fd);
    int r = fd;

    if (fd >= 0)
        r = (datasync ? fdatasync(fd) : fsync(fd)) == 0 ? 0 : -errno;
    fuse_reply_err(req, -r);
}

void ops_add_dir(struct fuse_lowlevel_ops *ops)
{
    ops->opendir = op_opendir;
    ops->readdir = op_readdir;
    ops->readdirplus = op_readdirplus;
    ops->releasedir = op_releasedir;
    ops->fsyncdir = op_fsyncdir;
}
