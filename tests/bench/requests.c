/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "requests.h"

#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct Requests {
    GArray *fds; /* one counter for each processor */
};

static gboolean read_event_id(Place *place, guint64 *id_out)
{
    g_autofree char *path = NULL;
    g_autofree char *text = NULL;

    if (place->tracing == NULL)
        return FALSE;
    path = g_build_filename(place->tracing, "events/fuse/fuse_request_send/id", NULL);
    if (!g_file_get_contents(path, &text, NULL, NULL))
        return FALSE;
    *id_out = strtoull(text, NULL, 10);
    return TRUE;
}

static int open_counter(guint64 event_id, int processor, const char *filter)
{
    struct perf_event_attr attributes = {
        .type = PERF_TYPE_TRACEPOINT,
        .size = sizeof attributes,
        .config = event_id,
    };
    int fd =
        (int)syscall(SYS_perf_event_open, &attributes, -1, processor, -1, PERF_FLAG_FD_CLOEXEC);

    if (fd >= 0 && ioctl(fd, PERF_EVENT_IOC_SET_FILTER, filter) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

Requests *requests_new(Place *place, dev_t device)
{
    g_autoptr(Requests) requests = NULL;
    g_autofree char *filter = NULL;
    int processors = (int)sysconf(_SC_NPROCESSORS_CONF);
    guint64 event_id;

    if (!read_event_id(place, &event_id))
        return NULL;
    requests = g_new0(Requests, 1);
    requests->fds = g_array_new(FALSE, FALSE, sizeof(int));
    /* The kernel's own form of a device number (MKDEV). */
    filter = g_strdup_printf("connection == %u", (major(device) << 20) | minor(device));
    for (int i = 0; i < processors; i++) {
        int fd = open_counter(event_id, i, filter);

        if (fd >= 0)
            g_array_append_val(requests->fds, fd);
    }
    return requests->fds->len > 0 ? g_steal_pointer(&requests) : NULL;
}

void requests_free(Requests *requests)
{
    if (requests == NULL)
        return;
    for (guint i = 0; i < requests->fds->len; i++)
        close(g_array_index(requests->fds, int, i));
    g_array_unref(requests->fds);
    g_free(requests);
}

guint64 requests_read(Requests *requests)
{
    guint64 sum = 0;

    for (guint i = 0; i < requests->fds->len; i++) {
        guint64 value;

        if (read(g_array_index(requests->fds, int, i), &value, sizeof value) == sizeof value)
            sum += value;
    }
    return sum;
}
