/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When a thread comes beside its caller, and when it leaves: on a scheduler that the test plays.
 */
#include "placement.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#define NS_PER_MS G_GINT64_CONSTANT(1000000)
#define ANN       101u
#define BEN       102u
#define MANY      16 /* requests in a row after which a thread comes beside its caller */

typedef struct FakeHost {
    PlacementHost base;
    Placement placement;
    gint64 now_ns;
    int runnable;
    int caller_cpu;
    int cpu; /* where the thread is settled; -1: it is not */
    int settle_refusal, release_refusal;
    int prepared, n_sought, settled;
    gboolean is_lookout;   /* who acts just now */
    gboolean looks_on;     /* the lookout, just before the thread settles */
    gboolean looks_finely; /* the lookout, just before the thread is released */
} FakeHost;

static gint64 fake_now_ns(PlacementHost *base)
{
    return ((FakeHost *)base)->now_ns;
}

static int fake_count_runnable(PlacementHost *base)
{
    return ((FakeHost *)base)->runnable;
}

static int fake_cpu_of(PlacementHost *base, pid_t tid)
{
    FakeHost *host = (FakeHost *)base;

    assert_true(tid == (pid_t)ANN || tid == (pid_t)BEN);
    assert_false(host->is_lookout); /* nobody holds the caller then */
    host->n_sought++;
    return host->caller_cpu;
}

static void fake_prepare(PlacementHost *base)
{
    ((FakeHost *)base)->prepared++;
}

/* As the lookout does, after so many more requests. */
static void look(FakeHost *host, int n_taken, gboolean waiting)
{
    host->placement.taken_before = host->placement.taken;
    for (int i = 0; i < n_taken; i++)
        placement_follow(&host->placement, 0, FALSE);
    host->is_lookout = TRUE;
    placement_look_after(&host->placement, waiting);
    host->is_lookout = FALSE;
}

static int fake_settle(PlacementHost *base, pid_t tid, int cpu)
{
    FakeHost *host = (FakeHost *)base;

    assert_int_equal(tid, gettid());
    if (host->looks_on && !host->is_lookout) {
        host->runnable = 5;
        look(host, 1000, FALSE);
    }
    if (host->settle_refusal != 0)
        return host->settle_refusal;
    /* the lookout has to see every moment at which the thread may be settled */
    assert_false(host->is_lookout); /* which does not know whether it is still beside */
    assert_true(placement_is_beside(&host->placement));
    host->cpu = cpu;
    host->settled++;
    return 0;
}

static int fake_release(PlacementHost *base, pid_t tid)
{
    FakeHost *host = (FakeHost *)base;

    assert_int_equal(tid, gettid());
    assert_true(host->is_lookout || placement_is_beside(&host->placement));
    if (host->looks_finely && !host->is_lookout)
        look(host, 1000, FALSE);
    if (host->release_refusal != 0)
        return host->release_refusal;
    host->cpu = -1;
    return 0;
}

static int set_up(void **state)
{
    FakeHost *host = g_new0(FakeHost, 1);

    host->base = (PlacementHost){
        .n_cpus = 2,
        .now_ns = fake_now_ns,
        .count_runnable = fake_count_runnable,
        .cpu_of = fake_cpu_of,
        .prepare = fake_prepare,
        .settle = fake_settle,
        .release = fake_release,
    };
    host->now_ns = 1000 * NS_PER_MS;
    host->runnable = 1;
    host->caller_cpu = 1;
    host->cpu = -1;
    placement_init(&host->placement, &host->base);
    *state = host;
    return 0;
}

static int tear_down(void **state)
{
    g_free(*state);
    return 0;
}

static void ask(FakeHost *host, guint32 caller, int n)
{
    for (int i = 0; i < n; i++)
        placement_follow(&host->placement, caller, FALSE);
}

static void expect(FakeHost *host, gboolean beside)
{
    assert_int_equal(placement_is_beside(&host->placement), beside);
    assert_int_equal(host->cpu >= 0, beside);
}

static void comes_beside_one_who_asks_again_and_again(void **state)
{
    FakeHost *host = *state;

    assert_int_equal(host->prepared, 1);
    ask(host, ANN, MANY - 1);
    expect(host, FALSE);
    ask(host, ANN, 1);
    expect(host, TRUE);
    assert_int_equal(host->cpu, 1);
    ask(host, ANN, 1000);
    expect(host, TRUE);
    assert_int_equal(host->settled, 1);
}

static void leaves_at_the_first_request_of_another(void **state)
{
    FakeHost *host = *state;

    ask(host, ANN, MANY);
    ask(host, BEN, 1);
    expect(host, FALSE);
    ask(host, BEN, MANY - 1);
    expect(host, TRUE);
}

static void read_ahead(FakeHost *host, guint32 caller, int n)
{
    for (int i = 0; i < n; i++)
        placement_follow_ahead(&host->placement, caller, FALSE);
}

static void keeps_apart_from_one_who_reads_ahead(void **state)
{
    FakeHost *host = *state;

    ask(host, ANN, MANY);
    for (int i = 0; i < 10; i++) { /* files with few large parts */
        read_ahead(host, ANN, 3);
        ask(host, ANN, 1);
    }
    expect(host, TRUE);
    look(host, 1000, FALSE); /* asks for a look at the caller, who may be gone by now */
    host->n_sought = 0;
    read_ahead(host, ANN, 3);
    assert_int_equal(host->n_sought, 0);
    ask(host, ANN, 1);
    assert_int_equal(host->n_sought, 1);
    read_ahead(host, ANN, 4); /* and one with many */
    expect(host, FALSE);
    read_ahead(host, ANN, 10 * MANY);
    expect(host, FALSE);
    ask(host, ANN, MANY);
    expect(host, TRUE);
}

static void two_in_turn_are_never_come_beside(void **state)
{
    FakeHost *host = *state;

    for (int i = 0; i < 1000; i++)
        ask(host, i % 2 == 0 ? ANN : BEN, 1);
    expect(host, FALSE);
    assert_int_equal(host->settled, 0);
}

static void what_nobody_waits_for_counts_for_nothing(void **state)
{
    FakeHost *host = *state;

    for (int i = 0; i < MANY; i++) {
        ask(host, ANN, 1);
        ask(host, 0, 3);
    }
    expect(host, TRUE);
    ask(host, 0, 1);
    expect(host, TRUE);
}

static void ask_asleep(FakeHost *host, guint32 caller, int n)
{
    for (int i = 0; i < n; i++)
        placement_follow(&host->placement, caller, TRUE);
}

static void follows_a_caller_who_was_moved(void **state)
{
    FakeHost *host = *state;

    ask(host, ANN, MANY);
    host->caller_cpu = 0;
    ask(host, ANN, 100);
    assert_int_equal(host->cpu, 1); /* was awake: nothing tells of a move */
    ask_asleep(host, 0, 1);
    assert_int_equal(host->cpu, 1);
    ask(host, ANN, 1); /* woken before, for what nobody waits for */
    assert_int_equal(host->cpu, 0);
    host->caller_cpu = 1;
    ask_asleep(host, ANN, 1);
    assert_int_equal(host->cpu, 1);
    host->caller_cpu = 0;
    look(host, 100, FALSE);
    host->n_sought = 0;
    ask(host, ANN, 100); /* once after each look of the lookout */
    assert_int_equal(host->n_sought, 1);
    assert_int_equal(host->cpu, 0);
    expect(host, TRUE);
}

/* Where it is woken for each request, on the right processor. */
static void looks_rarely_for_a_caller_who_stays(void **state)
{
    FakeHost *host = *state;

    ask(host, ANN, MANY);
    host->n_sought = 0;
    ask_asleep(host, ANN, 64 * 100);
    assert_true(host->n_sought < 110);
    host->caller_cpu = 0;
    for (int i = 0; i < 64 && host->cpu != 0; i++)
        ask_asleep(host, ANN, 1);
    assert_int_equal(host->cpu, 0);
    host->caller_cpu = 1; /* seems to move about */
    ask_asleep(host, ANN, 1);
    assert_int_equal(host->cpu, 1);
}

/* Its processor is not one of the daemon's, or it is gone. */
static void leaves_one_who_cannot_be_followed(void **state)
{
    FakeHost *host = *state;

    ask(host, ANN, MANY);
    host->settle_refusal = -EINVAL;
    look(host, 100, FALSE);
    ask(host, ANN, 10 * MANY);
    expect(host, FALSE);
    host->settle_refusal = 0;
    host->now_ns += 20 * NS_PER_MS;
    ask(host, ANN, MANY);
    expect(host, TRUE);
    host->settle_refusal = -EINVAL;
    host->caller_cpu = 0;
    ask_asleep(host, ANN, 1);
    expect(host, FALSE);
    host->settle_refusal = 0;
    host->caller_cpu = -ESRCH;
    host->now_ns += 20 * NS_PER_MS;
    ask(host, ANN, MANY);
    expect(host, FALSE);
    host->caller_cpu = 0;
    ask(host, ANN, MANY); /* does not look again at once */
    expect(host, FALSE);
    host->now_ns += 20 * NS_PER_MS;
    ask(host, ANN, MANY);
    expect(host, TRUE);
}

static void keeps_away_while_others_want_to_run(void **state)
{
    FakeHost *host = *state;

    host->runnable = 3; /* itself, and two who share the other processor */
    ask(host, ANN, 10 * MANY);
    expect(host, FALSE);
    host->runnable = 2;
    ask(host, ANN, MANY); /* does not look again at once */
    expect(host, FALSE);
    host->now_ns += 20 * NS_PER_MS;
    ask(host, ANN, MANY);
    expect(host, TRUE);
}

static void more_processors_hold_more_others(void **state)
{
    FakeHost *host = *state;

    host->base.n_cpus = 8;
    host->runnable = 9;
    ask(host, ANN, MANY);
    expect(host, FALSE);
    host->now_ns += 20 * NS_PER_MS;
    host->runnable = 8;
    ask(host, ANN, MANY);
    expect(host, TRUE);
    host->runnable = 10; /* the caller and the lookout run, too */
    look(host, 1000, FALSE);
    expect(host, TRUE);
    host->runnable = 11;
    look(host, 1000, FALSE);
    assert_int_equal(host->cpu, -1);
}

static void is_called_back_when_others_want_to_run(void **state)
{
    FakeHost *host = *state;

    ask(host, ANN, MANY);
    host->runnable = 4; /* the lookout, itself, its caller, and one for the other processor */
    look(host, 1000, FALSE);
    expect(host, TRUE);
    host->runnable = 5;
    look(host, 1000, FALSE);
    assert_int_equal(host->cpu, -1); /* at once, whatever the thread does */
    ask(host, ANN, 1);
    expect(host, FALSE);
    host->runnable = -EIO; /* cannot be told */
    ask(host, ANN, MANY);
    expect(host, FALSE);
}

static void is_called_back_when_requests_come_slowly(void **state)
{
    FakeHost *host = *state;

    ask(host, ANN, MANY);
    look(host, 8, FALSE);
    expect(host, TRUE);
    look(host, 7, FALSE);
    assert_int_equal(host->cpu, -1);
    ask(host, ANN, 1);
    expect(host, FALSE);
    ask(host, ANN, 10 * MANY);
    expect(host, FALSE);
    host->now_ns += 20 * NS_PER_MS; /* nobody has come to harm */
    ask(host, ANN, MANY);
    expect(host, TRUE);
}

/* Each time it keeps away for four times as long, up to 3.2 s. */
static void one_that_starved_keeps_away(void **state)
{
    static const int bans_ms[] = {20, 80, 320, 1280, 3200, 3200};
    FakeHost *host = *state;

    for (guint i = 0; i < G_N_ELEMENTS(bans_ms); i++) {
        ask(host, ANN, MANY);
        expect(host, TRUE);
        look(host, 0, TRUE);
        assert_int_equal(host->cpu, -1);
        ask(host, ANN, 5000);
        expect(host, FALSE);
        host->now_ns += bans_ms[i] * NS_PER_MS - 1;
        ask(host, ANN, MANY);
        expect(host, FALSE);
        host->now_ns += 1;
    }
    ask(host, ANN, 5000); /* all is well again */
    ask(host, BEN, MANY);
    look(host, 0, TRUE);
    ask(host, BEN, 1);
    host->now_ns += 20 * NS_PER_MS;
    ask(host, BEN, MANY);
    expect(host, TRUE);
}

/* Somebody else has had the processor for a moment, a long time after the last one. */
static void one_that_starved_long_after_is_soon_back(void **state)
{
    FakeHost *host = *state;

    for (int i = 0; i < 3; i++) {
        ask(host, ANN, 5000);
        expect(host, TRUE);
        look(host, 0, TRUE);
        ask(host, ANN, 1);
        host->now_ns += 20 * NS_PER_MS;
    }
    ask(host, ANN, MANY);
    expect(host, TRUE);
}

static void leaves_when_told(void **state)
{
    FakeHost *host = *state;

    placement_leave();
    ask(host, ANN, MANY);
    placement_leave();
    expect(host, FALSE);
    placement_leave();
    expect(host, FALSE);
    look(host, 0, TRUE);
    expect(host, FALSE);
}

/* The right to it was taken away meanwhile. Until it is back, the lookout goes on trying. */
static void policy_that_is_not_had_back_is_asked_for_again(void **state)
{
    FakeHost *host = *state;

    ask(host, ANN, MANY);
    host->release_refusal = -EPERM;
    ask(host, BEN, 1);
    expect(host, TRUE);
    look(host, 1000, FALSE);
    expect(host, TRUE);
    host->settled = 0;
    ask_asleep(host, BEN, 10 * MANY);
    assert_int_equal(host->settled, 0); /* not while it is to leave */
    host->release_refusal = 0;
    look(host, 1000, FALSE);
    assert_int_equal(host->cpu, -1);
    ask(host, BEN, 1);
    expect(host, FALSE);
}

/* The lookout may look between any two steps of the thread, and the other way round. */
static void call_on_the_way_is_answered_by_the_next_request(void **state)
{
    FakeHost *host = *state;

    host->looks_on = TRUE;
    ask(host, ANN, MANY);
    host->looks_on = FALSE;
    assert_true(placement_is_beside(&host->placement));
    ask(host, ANN, 1);
    expect(host, FALSE);
}

/* It was about to release a thread that left, and meanwhile that came again. */
static void late_release_is_made_good(void **state)
{
    FakeHost *host = *state;

    ask(host, ANN, MANY);
    host->is_lookout = TRUE;
    host->base.release(&host->base, gettid());
    host->is_lookout = FALSE;
    look(host, 1000, FALSE);
    ask(host, ANN, 1);
    expect(host, TRUE);
    assert_int_equal(host->cpu, 1);
}

static void one_that_leaves_is_helped_by_the_lookout(void **state)
{
    FakeHost *host = *state;

    ask(host, ANN, MANY);
    host->looks_finely = TRUE;
    ask(host, BEN, 1);
    assert_int_equal(host->settled, 1);
    expect(host, FALSE);
}

static void where_the_policy_is_refused_all_stays(void **state)
{
    FakeHost *host = *state;

    host->settle_refusal = -EPERM;
    ask(host, ANN, MANY);
    expect(host, FALSE);
    host->settle_refusal = 0;
    host->now_ns += 1000 * NS_PER_MS;
    ask(host, ANN, 10 * MANY);
    expect(host, FALSE);
    assert_int_equal(host->settled, 0);
}

static void without_a_scheduler_all_stays(void **state)
{
    FakeHost *host = *state;

    placement_init(&host->placement, NULL);
    ask(host, ANN, 10 * MANY);
    expect(host, FALSE);
    placement_leave();
}

static void load_line_tells_how_many_want_to_run(void **state G_GNUC_UNUSED)
{
    static const char *const garbage[] = {"",
                                          "0.5",
                                          "0.1 0.2 0.3",
                                          "0.1 0.2 0.3 ",
                                          "0.1 0.2 0.3 /5",
                                          "0.1 0.2 0.3 4",
                                          "0.1 0.2 0.3 -1/5 6",
                                          "0.1 0.2 0.3 99999999999/5 6"};

    assert_int_equal(placement_parse_runnable("0.20 0.18 0.12 3/80 11206\n"), 3);
    assert_int_equal(placement_parse_runnable("1042.07 999.00 5.12 1024/80000 11206\n"), 1024);
    for (guint i = 0; i < G_N_ELEMENTS(garbage); i++)
        assert_int_equal(placement_parse_runnable(garbage[i]), -EBADMSG);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(comes_beside_one_who_asks_again_and_again),
        CASE(leaves_at_the_first_request_of_another),
        CASE(keeps_apart_from_one_who_reads_ahead),
        CASE(two_in_turn_are_never_come_beside),
        CASE(what_nobody_waits_for_counts_for_nothing),
        CASE(follows_a_caller_who_was_moved),
        CASE(looks_rarely_for_a_caller_who_stays),
        CASE(leaves_one_who_cannot_be_followed),
        CASE(keeps_away_while_others_want_to_run),
        CASE(more_processors_hold_more_others),
        CASE(is_called_back_when_others_want_to_run),
        CASE(is_called_back_when_requests_come_slowly),
        CASE(one_that_starved_keeps_away),
        CASE(one_that_starved_long_after_is_soon_back),
        CASE(leaves_when_told),
        CASE(policy_that_is_not_had_back_is_asked_for_again),
        CASE(call_on_the_way_is_answered_by_the_next_request),
        CASE(late_release_is_made_good),
        CASE(one_that_leaves_is_helped_by_the_lookout),
        CASE(where_the_policy_is_refused_all_stays),
        CASE(without_a_scheduler_all_stays),
        cmocka_unit_test(load_line_tells_how_many_want_to_run),
    };

    return cmocka_run_group_tests_name("placement", tests, NULL, NULL);
}
