/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake-store.h"
#include "mutex.h"

#include <gio/gio.h>

#define CALL_KINDS (FAKE_STORE_ANY + 1)

typedef struct FailOrder {
    guint skip;
    guint times;
    gint code;
} FailOrder;

struct FakeStore {
    gint references;
    Mutex lock;
    pthread_cond_t changed;
    GBytes *record; /* NULL where there is none; with a NUL behind its end */
    GBytes *set_aside;
    guint set_aside_count;
    gint64 mtime_ms;
    guint64 epoch;
    guint calls[CALL_KINDS];
    gboolean held[CALL_KINDS];
    FailOrder orders[CALL_KINDS];
};

typedef struct OpenStore {
    Store base;
    FakeStore *fake;
} OpenStore;

static FakeStore *fake_of(Store *base)
{
    return ((OpenStore *)base)->fake;
}

static GBytes *bytes_of(const char *text, gssize size_bytes)
{
    g_autoptr(GString) copy = NULL;

    if (text == NULL)
        return NULL;
    copy = size_bytes < 0 ? g_string_new(text) : g_string_new_len(text, size_bytes);
    return g_string_free_to_bytes(g_steal_pointer(&copy));
}

static char *text_of(GBytes *bytes)
{
    gsize size;
    const char *data;

    if (bytes == NULL)
        return NULL;
    data = g_bytes_get_data(bytes, &size);
    return g_strndup(data, size);
}

static void replace_locked(GBytes **target, GBytes *bytes)
{
    g_clear_pointer(target, g_bytes_unref);
    *target = bytes;
}

static gboolean obey_locked(FakeStore *fake, FakeStoreCall call, GError **error)
{
    FailOrder *order = &fake->orders[call];

    if (order->times == 0)
        return TRUE;
    if (order->skip > 0) {
        order->skip--;
        return TRUE;
    }
    order->times--;
    /* The order for ANY may fail the same call. */
    if (error == NULL || *error == NULL)
        g_set_error_literal(error, G_IO_ERROR, order->code, "the fake store was told to fail");
    return FALSE;
}

/* Counts the call, waits while such calls are held, and tells whether it may succeed. */
static gboolean enter_locked(FakeStore *fake, FakeStoreCall call, GError **error)
{
    gboolean one;
    gboolean any;

    fake->calls[call]++;
    fake->calls[FAKE_STORE_ANY]++;
    pthread_cond_broadcast(&fake->changed);
    while (fake->held[call] || fake->held[FAKE_STORE_ANY])
        pthread_cond_wait(&fake->changed, &fake->lock);
    one = obey_locked(fake, call, error);
    any = obey_locked(fake, FAKE_STORE_ANY, error);
    return one && any;
}

static gboolean fake_load(Store *base, char **text_out, gsize *size_out, gint64 *mtime_ms_out,
                          GError **error)
{
    FakeStore *fake = fake_of(base);
    MUTEX_GUARD(&fake->lock);
    const char *data;

    if (!enter_locked(fake, FAKE_STORE_LOAD, error))
        return FALSE;
    *text_out = NULL;
    *size_out = 0;
    *mtime_ms_out = 0;
    if (fake->record == NULL)
        return TRUE;
    data = g_bytes_get_data(fake->record, size_out);
    *text_out = g_malloc0(*size_out + 1);
    if (*size_out > 0)
        memcpy(*text_out, data, *size_out);
    *mtime_ms_out = fake->mtime_ms;
    return TRUE;
}

static gboolean fake_save(Store *base, const char *text, GError **error)
{
    FakeStore *fake = fake_of(base);
    MUTEX_GUARD(&fake->lock);

    if (!enter_locked(fake, FAKE_STORE_SAVE, error))
        return FALSE;
    replace_locked(&fake->record, bytes_of(text, -1));
    return TRUE;
}

static gboolean fake_set_aside(Store *base, char **moved_to_out, GError **error)
{
    FakeStore *fake = fake_of(base);
    MUTEX_GUARD(&fake->lock);

    if (!enter_locked(fake, FAKE_STORE_SET_ASIDE, error))
        return FALSE;
    if (fake->record == NULL) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "no record to move aside");
        return FALSE;
    }
    replace_locked(&fake->set_aside, g_steal_pointer(&fake->record));
    *moved_to_out = g_strdup_printf("record.unreadable-%u", ++fake->set_aside_count);
    return TRUE;
}

static gboolean fake_load_epoch(Store *base, guint64 *epoch_out, GError **error)
{
    FakeStore *fake = fake_of(base);
    MUTEX_GUARD(&fake->lock);

    if (!enter_locked(fake, FAKE_STORE_LOAD_EPOCH, error))
        return FALSE;
    *epoch_out = fake->epoch;
    return TRUE;
}

static gboolean fake_note_epoch(Store *base, guint64 epoch, GError **error)
{
    FakeStore *fake = fake_of(base);
    MUTEX_GUARD(&fake->lock);

    if (!enter_locked(fake, FAKE_STORE_NOTE_EPOCH, error))
        return FALSE;
    fake->epoch = MAX(fake->epoch, epoch);
    return TRUE;
}

static void fake_free(Store *base)
{
    fake_store_unref(fake_of(base));
    g_free(base);
}

static const StoreOps fake_store_ops = {
    .load = fake_load,
    .save = fake_save,
    .set_aside = fake_set_aside,
    .load_epoch = fake_load_epoch,
    .note_epoch = fake_note_epoch,
    .free = fake_free,
};

FakeStore *fake_store_new(void)
{
    FakeStore *fake = g_new0(FakeStore, 1);
    pthread_condattr_t monotonic;

    fake->references = 1;
    mutex_init(&fake->lock);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&fake->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return fake;
}

FakeStore *fake_store_ref(FakeStore *fake)
{
    g_atomic_int_inc(&fake->references);
    return fake;
}

void fake_store_unref(FakeStore *fake)
{
    if (fake == NULL || !g_atomic_int_dec_and_test(&fake->references))
        return;
    g_clear_pointer(&fake->record, g_bytes_unref);
    g_clear_pointer(&fake->set_aside, g_bytes_unref);
    pthread_cond_destroy(&fake->changed);
    mutex_clear(&fake->lock);
    g_free(fake);
}

Store *fake_store_open(FakeStore *fake)
{
    OpenStore *store = g_new0(OpenStore, 1);

    store->base.ops = &fake_store_ops;
    store->fake = fake_store_ref(fake);
    return &store->base;
}

void fake_store_set_record(FakeStore *fake, const char *text, gssize size_bytes)
{
    MUTEX_GUARD(&fake->lock);

    replace_locked(&fake->record, bytes_of(text, size_bytes));
}

void fake_store_set_mtime_ms(FakeStore *fake, gint64 mtime_ms)
{
    MUTEX_GUARD(&fake->lock);

    fake->mtime_ms = mtime_ms;
}

void fake_store_set_epoch(FakeStore *fake, guint64 epoch)
{
    MUTEX_GUARD(&fake->lock);

    fake->epoch = epoch;
}

char *fake_store_dup_record(FakeStore *fake)
{
    MUTEX_GUARD(&fake->lock);

    return text_of(fake->record);
}

char *fake_store_dup_set_aside(FakeStore *fake)
{
    MUTEX_GUARD(&fake->lock);

    return text_of(fake->set_aside);
}

guint64 fake_store_epoch(FakeStore *fake)
{
    MUTEX_GUARD(&fake->lock);

    return fake->epoch;
}

void fake_store_fail(FakeStore *fake, FakeStoreCall call, guint nth, guint times, gint code)
{
    MUTEX_GUARD(&fake->lock);

    fake->orders[call] = (FailOrder){.skip = nth > 0 ? nth - 1 : 0, .times = times, .code = code};
}

void fake_store_hold(FakeStore *fake, FakeStoreCall call, gboolean hold)
{
    MUTEX_GUARD(&fake->lock);

    fake->held[call] = hold;
    pthread_cond_broadcast(&fake->changed);
}

guint fake_store_calls(FakeStore *fake, FakeStoreCall call)
{
    MUTEX_GUARD(&fake->lock);

    return fake->calls[call];
}

gboolean fake_store_wait_calls(FakeStore *fake, FakeStoreCall call, guint n, gint64 limit_ms)
{
    gint64 limit_us = g_get_monotonic_time() + limit_ms * 1000;
    struct timespec limit = {.tv_sec = limit_us / G_USEC_PER_SEC,
                             .tv_nsec = limit_us % G_USEC_PER_SEC * 1000};
    MUTEX_GUARD(&fake->lock);

    while (fake->calls[call] < n) {
        if (pthread_cond_timedwait(&fake->changed, &fake->lock, &limit) != 0)
            return fake->calls[call] >= n;
    }
    return TRUE;
}
