/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A store in memory whose content outlives the Store opened on it, so that a test can restart what
 * it tests, look at what was written, and make any call fail or hang.
 * Thread safety: every function may be called from any thread.
 */
#include "store.h"

typedef enum FakeStoreCall {
    FAKE_STORE_LOAD,
    FAKE_STORE_SAVE,
    FAKE_STORE_SET_ASIDE,
    FAKE_STORE_LOAD_EPOCH,
    FAKE_STORE_NOTE_EPOCH,
    FAKE_STORE_ANY, /* all of them together */
} FakeStoreCall;

typedef struct FakeStore FakeStore;

FakeStore *fake_store_new(void);
FakeStore *fake_store_ref(FakeStore *fake);
void fake_store_unref(FakeStore *fake);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FakeStore, fake_store_unref)

/* A store on this content; it keeps a reference. As many as wanted, one after another or not. */
Store *fake_store_open(FakeStore *fake);

/* The content. text NULL: no record; size_bytes -1: up to the NUL. A save stamps the record with
 * the mtime set last. */
void fake_store_set_record(FakeStore *fake, const char *text, gssize size_bytes);
void fake_store_set_mtime_ms(FakeStore *fake, gint64 mtime_ms);
void fake_store_set_epoch(FakeStore *fake, guint64 epoch);
char *fake_store_dup_record(FakeStore *fake);    /* NULL where there is none */
char *fake_store_dup_set_aside(FakeStore *fake); /* what was moved aside last, or NULL */
guint64 fake_store_epoch(FakeStore *fake);

/* From the nth call of this kind from now on (1: the next) `times` of them fail with this
 * GIOErrorEnum, having changed nothing; times 0 takes it back. One such order per kind. */
void fake_store_fail(FakeStore *fake, FakeStoreCall call, guint nth, guint times, gint code);
/* Calls of this kind (save and load, say) wait inside the store until let go. */
void fake_store_hold(FakeStore *fake, FakeStoreCall call, gboolean hold);

/* How many calls began, failed ones among them. */
guint fake_store_calls(FakeStore *fake, FakeStoreCall call);
/* Waits until n calls of this kind began; FALSE when that takes longer than limit_ms. */
gboolean fake_store_wait_calls(FakeStore *fake, FakeStoreCall call, guint n, gint64 limit_ms);
