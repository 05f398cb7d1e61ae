/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ops.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>

#define DIR_BUFFER_SIZE 32768

/* What getdents64(2) fills in; offsets are cookies of the backing filesystem, never indexes. */
typedef struct BackingEntry {
    guint64 ino;
    gint64 off; /* cookie of the entry after this one */
    unsigned short reclen;
    unsigned char type;
    char name[];
} BackingEntry;

typedef struct DirHandle {
    int fd;
    Node *node; /* referenced by open_file */
    NodeOpenFile open_file;
    off_t next; /* cookie of the entry at `pos` */
    size_t pos, end;
    _Alignas(8) char buffer[DIR_BUFFER_SIZE];
} DirHandle;

static DirHandle *dir_handle_of(uint64_t fh)
{
    return (DirHandle *)(uintptr_t)fh;
}

int dir_handle_fd(uint64_t fh)
{
    return dir_handle_of(fh)->fd;
}

static void dir_handle_free(Fs *fs, DirHandle *dir)
{
    Node *node = dir->node;

    node_remove_open_file(fs->nodes, node, &dir->open_file);
    node_unref(fs->nodes, node);
    g_free(dir);
}

void dir_handle_close(Fs *fs, NodeOpenFile *file)
{
    dir_handle_free(fs, (DirHandle *)((char *)file - offsetof(DirHandle, open_file)));
}

static int open_dir_by_path(const NodeFd *path_fd)
{
    NodePath path;

    node_fd_path(path_fd, &path);
    return open(path.text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int open_dir(Fs *fs, Node *node, DirHandle **dir_out)
{
    g_auto(NodeFd) path_fd = NODE_FD_INIT;
    int unseen = fs->options->no_atime || fs->options->no_diratime ? O_NOATIME : 0;
    DirHandle *dir;
    int fd, r;

    r = node_fd_get(fs->nodes, node, &path_fd);
    if (r != 0)
        return r;
    fd = openat(path_fd.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | unseen);
    if (fd < 0 && errno == EPERM)
        fd = openat(path_fd.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* that one wants to be searched, too */
    if (fd < 0 && errno == EACCES)
        fd = open_dir_by_path(&path_fd);
    if (fd < 0)
        return -errno;
    dir = g_new(DirHandle, 1);
    dir->fd = fd;
    dir->node = node;
    node_add_open_file(fs->nodes, node, fd, &dir->open_file);
    dir->next = 0;
    dir->pos = dir->end = 0;
    *dir_out = dir;
    return 0;
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    Fs *fs = fs_of(req);
    DirHandle *dir = NULL;
    int r = open_dir(fs, fs_node(fs, ino), &dir);

    if (r != 0) {
        fuse_reply_err(req, -r);
        return;
    }
    fi->fh = (uintptr_t)dir;
    fi->cache_readdir = fi->keep_cache = fs_cache_seconds(fs) > CACHE_SHORT_S;
    if (fuse_reply_open(req, fi) != 0)
        dir_handle_free(fs, dir);
}

/* The entry at the position, NULL at the end. The kernel may go back to any cookie. */
static int next_entry(DirHandle *dir, const BackingEntry **entry_out)
{
    if (dir->pos >= dir->end) {
        long n = syscall(SYS_getdents64, dir->fd, dir->buffer, sizeof dir->buffer);

        if (n < 0)
            return -errno;
        dir->pos = 0;
        dir->end = (size_t)n;
    }
    *entry_out = dir->pos < dir->end ? (const BackingEntry *)(dir->buffer + dir->pos) : NULL;
    return 0;
}

static void skip_entry(DirHandle *dir, const BackingEntry *entry)
{
    dir->pos += entry->reclen;
    dir->next = entry->off;
}

static int go_to(DirHandle *dir, off_t off)
{
    if (off == dir->next && off != 0)
        return 0;
    if (lseek(dir->fd, off, SEEK_SET) < 0)
        return -errno;
    dir->pos = dir->end = 0;
    dir->next = off;
    return 0;
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
    gboolean plus;        /* in the format that has room for attributes */
    gboolean attributes;  /* and with them */
    gboolean any_file;    /* something that is no directory */
    GPtrArray *looked_up; /* nodes whose lookups the kernel counts when the reply arrives */
} Listing;

/* git looks every file up before it lists the directories. One entry of each reply comes with
 * attributes nonetheless: if somebody looks at that, the kernel asks for the next ones, too. */
static gboolean kernel_knows(const Listing *listing, const char *name)
{
    NodeTable *nodes = listing->fs->nodes;
    gboolean told;
    Node *node;

    if (listing->looked_up->len == 0)
        return FALSE;
    node = node_peek_child(nodes, listing->dir->node, name);
    if (!node)
        return FALSE;
    told = fs_has_told(listing->fs, node);
    node_unref(nodes, node);
    return told;
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

    if (listing->attributes)
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

static ssize_t fill_entries(Listing *listing, off_t off, char *out, size_t size)
{
    DirHandle *dir = listing->dir;
    size_t filled = 0;
    int r = go_to(dir, off);

    while (r == 0) {
        const BackingEntry *entry = NULL;
        size_t used;

        r = next_entry(dir, &entry);
        if (r != 0 || !entry)
            break;
        used = add_entry(listing, entry, out + filled, size - filled);
        if (used == 0)
            break;
        filled += used;
        skip_entry(dir, entry);
    }
    return r == 0 || filled > 0 ? (ssize_t)filled : r;
}

static void reply_listing(Listing *listing, off_t off, size_t size)
{
    g_autofree char *out = g_malloc(size);
    ssize_t filled = fill_entries(listing, off, out, size);

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
static void read_dir(fuse_req_t req, size_t size, off_t off, struct fuse_file_info *fi,
                     gboolean plus)
{
    Fs *fs = fs_of(req);
    pid_t tid = fuse_req_ctx(req)->pid;
    g_autoptr(GPtrArray) looked_up = g_ptr_array_new();
    Listing listing = {
        .req = req,
        .fs = fs,
        .dir = dir_handle_of(fi->fh),
        .plus = plus,
        .looked_up = looked_up,
    };

    if (plus && off == 0)
        tell_anew_in_time(fs);
    listing.attributes =
        plus && (off != 0 || dir_advice_begin(fs->dir_advice, tid, node_number(listing.dir->node)));
    reply_listing(&listing, off, size);
    if (plus && !listing.attributes && listing.any_file)
        dir_advice_listed_files(fs->dir_advice, tid);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino G_GNUC_UNUSED, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
    read_dir(req, size, off, fi, FALSE);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino G_GNUC_UNUSED, size_t size, off_t off,
                           struct fuse_file_info *fi)
{
    read_dir(req, size, off, fi, TRUE);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino G_GNUC_UNUSED, struct fuse_file_info *fi)
{
    dir_handle_free(fs_of(req), dir_handle_of(fi->fh));
    fuse_reply_err(req, 0);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino G_GNUC_UNUSED, int datasync,
                        struct fuse_file_info *fi)
{
    int fd = dir_handle_of(fi->fh)->fd;
    int r = datasync ? fdatasync(fd) : fsync(fd);

    fuse_reply_err(req, r == 0 ? 0 : errno);
}

void ops_add_dir(struct fuse_lowlevel_ops *ops)
{
    ops->opendir = op_opendir;
    ops->readdir = op_readdir;
    ops->readdirplus = op_readdirplus;
    ops->releasedir = op_releasedir;
    ops->fsyncdir = op_fsyncdir;
}
