/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A mutex, and a guard that unlocks it at the end of its scope. pthread's and not GLib's, because
 * ThreadSanitizer cannot see into GMutex.
 */
#include <glib.h>
#include <pthread.h>

typedef pthread_mutex_t Mutex;

static inline void mutex_init(Mutex *mutex)
{
    pthread_mutex_init(mutex, NULL);
}

static inline void mutex_clear(Mutex *mutex)
{
    pthread_mutex_destroy(mutex);
}

static inline void mutex_lock(Mutex *mutex)
{
    pthread_mutex_lock(mutex);
}

static inline void mutex_unlock(Mutex *mutex)
{
    pthread_mutex_unlock(mutex);
}

static inline Mutex *mutex_guard_begin(Mutex *mutex)
{
    mutex_lock(mutex);
    return mutex;
}

static inline void mutex_guard_end(Mutex **mutex)
{
    mutex_unlock(*mutex);
}

/* Declared last in its scope, so that it is the first to go. */
#define MUTEX_GUARD(mutex)                                                                         \
    __attribute__((cleanup(mutex_guard_end), unused)) Mutex *mutex_guard = mutex_guard_begin(mutex)
