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
    int cpu, caller_cpu;
    gboolean yields;
    int refusal; /* of the policy: 0 or -errno */
    int prepared, moved;
    gboolean looks_on; /* the lookout, just before the policy changes */
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
    return host->caller_cpu;
}

static void fake_prepare(PlacementHost *base)
{
    ((FakeHost *)base)->prepared++;
}

static void fake_move(PlacementHost *base, int cpu)
{
    FakeHost *host = (FakeHost *)base;

    host->cpu = cpu;
    host->moved++;
}

static int fake_set_yielding(PlacementHost *base, pid_t tid, gboolean yielding)
{
    FakeHost *host = (FakeHost *)base;

    assert_int_equal(tid, gettid());
    /* the lookout has to see every moment at which the policy may be the other one */
    assert_true(placement_is_beside(&host->placement));
    if (host->refusal != 0)
        return host->refusal;
    if (host->looks_on && yielding) {
        host->runnable = 4;
        placement_look_after(&host->placement, FALSE);
    }
    host->yields = yielding;
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
        .move = fake_move,
        .set_yielding = fake_set_yielding,
    };
    host->now_ns = 1000 * NS_PER_MS;
    host->runnable = 1;
    host->caller_cpu = 1;
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

/* As the lookout does, after so many more requests. */
static void look(FakeHost *host, int n_taken, gboolean waiting)
{
    host->placement.taken_before = host->placement.taken;
    for (int i = 0; i < n_taken; i++)
        placement_follow(&host->placement, 0, FALSE);
    placement_look_after(&host->placement, waiting);
}

static void expect(FakeHost *host, gboolean beside)
{
    assert_int_equal(placement_is_beside(&host->placement), beside);
    assert_int_equal(host->yields, beside);
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
    assert_int_equal(host->moved, 1);
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

static void two_in_turn_are_never_come_beside(void **state)
{
    FakeHost *host = *state;

    for (int i = 0; i < 1000; i++)
        ask(host, i % 2 == 0 ? ANN : BEN, 1);
    expect(host, FALSE);
    assert_int_equal(host->moved, 0);
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

static void follows_a_caller_who_was_moved(void **state)
{
    FakeHost *host = *state;

    ask(host, ANN, MANY);
    host->caller_cpu = 0;
    ask(host, ANN, 1);
    assert_int_equal(host->cpu, 1); /* was awake: nothing tells of a move */
    placement_follow(&host->placement, 0, TRUE);
    assert_int_equal(host->cpu, 1);
    ask(host, ANN, 1); /* woken before, for what nobody waits for */
    assert_int_equal(host->cpu, 0);
    host->caller_cpu = 1;
    placement_follow(&host->placement, ANN, TRUE);
    assert_int_equal(host->cpu, 1);
    host->caller_cpu = -ESRCH;
    placement_follow(&host->placement, ANN, TRUE);
    assert_int_equal(host->cpu, 1);
    expect(host, TRUE);
}

static void keeps_away_while_others_want_to_run(void **state)
{
    FakeHost *host = *state;

    host->runnable = 2; /* itself, and one that has the other processor */
    ask(host, ANN, 10 * MANY);
    expect(host, FALSE);
    host->runnable = 1;
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
    host->runnable = 8;
    ask(host, ANN, MANY);
    expect(host, FALSE);
    host->now_ns += 20 * NS_PER_MS;
    host->runnable = 7;
    ask(host, ANN, MANY);
    expect(host, TRUE);
    host->runnable = 9; /* the caller and the lookout run, too */
    look(host, 1000, FALSE);
    expect(host, TRUE);
    host->runnable = 10;
    look(host, 1000, FALSE);
    assert_false(host->yields);
}

static void is_called_back_when_others_want_to_run(void **state)
{
    FakeHost *host = *state;

    ask(host, ANN, MANY);
    host->runnable = 3; /* the lookout, itself, its caller */
    look(host, 1000, FALSE);
    expect(host, TRUE);
    host->runnable = 4;
    look(host, 1000, FALSE);
    assert_false(host->yields); /* at once, whatever the thread does */
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
    assert_false(host->yields);
    ask(host, ANN, 1);
    expect(host, FALSE);
    ask(host, ANN, 10 * MANY);
    expect(host, FALSE);
    host->now_ns += 20 * NS_PER_MS; /* nobody has come to harm */
    ask(host, ANN, MANY);
    expect(host, TRUE);
}

/* Each time it keeps away for twice as long, up to 3.2 s. */
static void one_that_starved_keeps_away(void **state)
{
    static const int bans_ms[] = {100, 200, 400, 800, 1600, 3200, 3200};
    FakeHost *host = *state;

    for (guint i = 0; i < G_N_ELEMENTS(bans_ms); i++) {
        ask(host, ANN, MANY);
        expect(host, TRUE);
        look(host, 0, TRUE);
        assert_false(host->yields);
        ask(host, ANN, 10 * MANY);
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
    host->now_ns += 100 * NS_PER_MS;
    ask(host, BEN, MANY);
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

/* The right to it was taken away meanwhile. Until it is back, the lookout goes on looking. */
static void policy_that_is_not_had_back_is_asked_for_again(void **state)
{
    FakeHost *host = *state;

    ask(host, ANN, MANY);
    host->refusal = -EPERM;
    ask(host, BEN, 1);
    expect(host, TRUE);
    look(host, 0, TRUE);
    expect(host, TRUE);
    host->refusal = 0;
    ask(host, BEN, 1);
    expect(host, FALSE);
}

/* The lookout may look between any two steps of the thread. */
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

static void where_the_policy_is_refused_all_stays(void **state)
{
    FakeHost *host = *state;

    host->refusal = -EPERM;
    ask(host, ANN, MANY);
    expect(host, FALSE);
    host->refusal = 0;
    ask(host, ANN, 10 * MANY);
    expect(host, FALSE);
    assert_int_equal(host->moved, 0);
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
        CASE(two_in_turn_are_never_come_beside),
        CASE(what_nobody_waits_for_counts_for_nothing),
        CASE(follows_a_caller_who_was_moved),
        CASE(keeps_away_while_others_want_to_run),
        CASE(more_processors_hold_more_others),
        CASE(is_called_back_when_others_want_to_run),
        CASE(is_called_back_when_requests_come_slowly),
        CASE(one_that_starved_keeps_away),
        CASE(leaves_when_told),
        CASE(policy_that_is_not_had_back_is_asked_for_again),
        CASE(call_on_the_way_is_answered_by_the_next_request),
        CASE(where_the_policy_is_refused_all_stays),
        CASE(without_a_scheduler_all_stays),
        cmocka_unit_test(load_line_tells_how_many_want_to_run),
    };

    return cmocka_run_group_tests_name("placement", tests, NULL, NULL);
}
