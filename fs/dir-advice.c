/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dir-advice.h"
#include "mutex.h"

#define N_THREADS 64 /* remembered; of two with the same place the later one counts */
#define ENOUGH    2  /* looked up after a listing without attributes */

typedef enum Habit {
    HABIT_NEW,     /* has listed once, with attributes */
    HABIT_WATCHED, /* listed without, to see what happens */
    HABIT_NAMES,   /* wants names alone */
    HABIT_LOOKS,   /* looks at what it lists */
} Habit;

typedef struct Lister {
    pid_t tid;
    Habit habit;
    guint64 directory; /* the last one, listed without attributes */
    gboolean had_files;
    guint looked_up;
} Lister;

struct DirAdvice {
    Mutex lock;
    Lister listers[N_THREADS]; /* (lock) */
};

DirAdvice *dir_advice_new(void)
{
    DirAdvice *advice = g_new0(DirAdvice, 1);

    mutex_init(&advice->lock);
    return advice;
}

void dir_advice_free(DirAdvice *advice)
{
    if (!advice)
        return;
    mutex_clear(&advice->lock);
    g_free(advice);
}

static Lister *place_of(DirAdvice *advice, pid_t tid)
{
    return &advice->listers[(guint)tid % N_THREADS];
}

static Habit next_habit(const Lister *lister)
{
    switch (lister->habit) {
    case HABIT_NEW:
        return HABIT_WATCHED;
    case HABIT_WATCHED:
        if (lister->looked_up > 0)
            return HABIT_LOOKS;
        return lister->had_files ? HABIT_NAMES : HABIT_WATCHED;
    default:
        return lister->habit;
    }
}

gboolean dir_advice_begin(DirAdvice *advice, pid_t tid, guint64 directory)
{
    MUTEX_GUARD(&advice->lock);
    Lister *lister = place_of(advice, tid);

    if (lister->tid != tid) {
        *lister = (Lister){.tid = tid, .habit = HABIT_NEW};
        return TRUE;
    }
    lister->habit = next_habit(lister);
    lister->directory = directory;
    lister->had_files = FALSE;
    lister->looked_up = 0;
    return lister->habit == HABIT_LOOKS;
}

void dir_advice_listed_files(DirAdvice *advice, pid_t tid)
{
    MUTEX_GUARD(&advice->lock);
    Lister *lister = place_of(advice, tid);

    if (lister->tid == tid)
        lister->had_files = TRUE;
}

void dir_advice_looked_up(DirAdvice *advice, pid_t tid, guint64 directory)
{
    MUTEX_GUARD(&advice->lock);
    Lister *lister = place_of(advice, tid);

    if (lister->tid != tid || lister->directory != directory || lister->habit == HABIT_NEW)
        return;
    lister->looked_up++;
    if (lister->looked_up >= ENOUGH)
        lister->habit = HABIT_LOOKS;
}
