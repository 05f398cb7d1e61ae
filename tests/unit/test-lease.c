/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define SECOND_NS G_GINT64_CONSTANT(1000000000)
#define TTL_NS    (300 * SECOND_NS)

static LeaseFacts held_since_ns(gint64 ago_ns)
{
    return (LeaseFacts){
        .held = TRUE,
        .renewed_ns = 1000 * SECOND_NS,
        .ttl_ns = TTL_NS,
        .now_ns = 1000 * SECOND_NS + ago_ns,
    };
}

static void lease_that_nobody_holds_is_free(void **state)
{
    LeaseFacts facts = {.holder_ended = TRUE, .in_flight = TRUE, .unflushed = TRUE};

    (void)state;
    assert_int_equal(lease_state(&facts), LEASE_FREE);
    assert_int_equal(lease_judge(&facts, FALSE), LEASE_GRANT_FREE);
    assert_int_equal(lease_judge(&facts, TRUE), LEASE_GRANT_FREE);
    assert_int_equal(lease_remaining_ns(&facts), 0);
}

static void lease_is_fresh_up_to_exactly_its_ttl(void **state)
{
    LeaseFacts facts = held_since_ns(TTL_NS);

    (void)state;
    assert_int_equal(lease_state(&facts), LEASE_FRESH);
    facts.now_ns++;
    assert_int_equal(lease_state(&facts), LEASE_STALE);
}

static void fresh_lease_is_refused_to_others(void **state)
{
    LeaseFacts facts = held_since_ns(0);

    (void)state;
    assert_int_equal(lease_judge(&facts, FALSE), LEASE_REFUSE_HELD);
    assert_false(lease_verdict_grants(lease_judge(&facts, FALSE)));
}

static void holder_is_granted_its_lease_in_every_state(void **state)
{
    LeaseFacts facts = held_since_ns(0);

    (void)state;
    assert_int_equal(lease_judge(&facts, TRUE), LEASE_GRANT_SAME);
    facts = held_since_ns(2 * TTL_NS);
    assert_int_equal(lease_judge(&facts, TRUE), LEASE_GRANT_SAME);
    facts.unflushed = TRUE;
    assert_int_equal(lease_judge(&facts, TRUE), LEASE_GRANT_SAME);
    facts.holder_ended = TRUE;
    assert_int_equal(lease_judge(&facts, TRUE), LEASE_GRANT_SAME);
    assert_true(lease_verdict_grants(LEASE_GRANT_SAME));
}

static void stale_lease_is_granted_to_others(void **state)
{
    LeaseFacts facts = held_since_ns(TTL_NS + 1);

    (void)state;
    assert_int_equal(lease_judge(&facts, FALSE), LEASE_GRANT_STALE);
}

static void lease_with_dirty_mappings_expires_before_it_is_stale(void **state)
{
    LeaseFacts facts = held_since_ns(TTL_NS + 1);

    (void)state;
    facts.unflushed = TRUE;
    assert_int_equal(lease_state(&facts), LEASE_EXPIRING);
    assert_int_equal(lease_judge(&facts, FALSE), LEASE_REFUSE_HELD);
    assert_int_equal(lease_remaining_ns(&facts), 0);
}

static void dirty_mappings_do_not_make_a_fresh_lease_expire(void **state)
{
    LeaseFacts facts = held_since_ns(TTL_NS);

    (void)state;
    facts.unflushed = TRUE;
    assert_int_equal(lease_state(&facts), LEASE_FRESH);
}

static void lease_of_a_dead_holder_is_orphaned_before_its_ttl(void **state)
{
    LeaseFacts facts = held_since_ns(0);

    (void)state;
    facts.holder_ended = TRUE;
    assert_int_equal(lease_state(&facts), LEASE_ORPHANED);
    assert_int_equal(lease_judge(&facts, FALSE), LEASE_GRANT_ORPHANED);
    assert_int_equal(lease_remaining_ns(&facts), 0);
    facts.unflushed = TRUE;
    assert_int_equal(lease_state(&facts), LEASE_ORPHANED);
}

static void change_in_flight_keeps_an_old_lease_fresh(void **state)
{
    LeaseFacts facts = held_since_ns(10 * TTL_NS);

    (void)state;
    facts.in_flight = TRUE;
    assert_int_equal(lease_state(&facts), LEASE_FRESH);
    assert_int_equal(lease_judge(&facts, FALSE), LEASE_REFUSE_HELD);
    assert_int_equal(lease_remaining_ns(&facts), TTL_NS + 1);
}

static void change_in_flight_keeps_a_dead_holders_lease_fresh(void **state)
{
    LeaseFacts facts = held_since_ns(10 * TTL_NS);

    (void)state;
    facts.in_flight = TRUE;
    facts.holder_ended = TRUE;
    assert_int_equal(lease_state(&facts), LEASE_FRESH);
    assert_int_equal(lease_judge(&facts, FALSE), LEASE_REFUSE_HELD);
}

static void clock_that_went_back_counts_as_fresh(void **state)
{
    LeaseFacts facts = held_since_ns(-5 * SECOND_NS);

    (void)state;
    assert_int_equal(lease_state(&facts), LEASE_FRESH);
    assert_int_equal(lease_remaining_ns(&facts), TTL_NS + 1);
}

static void lease_is_no_longer_fresh_once_its_remaining_time_passed(void **state)
{
    LeaseFacts facts = held_since_ns(7 * SECOND_NS);
    gint64 remaining_ns = lease_remaining_ns(&facts);

    (void)state;
    facts.now_ns += remaining_ns - 1;
    assert_int_equal(lease_state(&facts), LEASE_FRESH);
    facts.now_ns += 1;
    assert_int_equal(lease_state(&facts), LEASE_STALE);
    assert_int_equal(lease_remaining_ns(&facts), 0);
}

static void ttl_of_zero_is_past_after_one_nanosecond(void **state)
{
    LeaseFacts facts = held_since_ns(0);

    (void)state;
    facts.ttl_ns = 0;
    assert_int_equal(lease_state(&facts), LEASE_FRESH);
    assert_int_equal(lease_remaining_ns(&facts), 1);
    facts.now_ns++;
    assert_int_equal(lease_state(&facts), LEASE_STALE);
}

static void absurd_values_do_not_overflow(void **state)
{
    static const gint64 values[] = {
        G_MININT64,     G_MININT64 + 1, -1, 0, 1, G_GINT64_CONSTANT(1) << 62,
        G_MAXINT64 - 1, G_MAXINT64,
    };
    const gsize n = G_N_ELEMENTS(values);

    (void)state;
    for (gsize i = 0; i < n * n * n; i++) {
        LeaseFacts facts = {
            .held = TRUE,
            .renewed_ns = values[i % n],
            .ttl_ns = values[i / n % n],
            .now_ns = values[i / n / n],
        };
        gboolean past = (__int128)facts.now_ns - facts.renewed_ns > MAX(facts.ttl_ns, 0) &&
                        facts.now_ns > facts.renewed_ns;

        assert_int_equal(lease_state(&facts), past ? LEASE_STALE : LEASE_FRESH);
        if (past)
            assert_int_equal(lease_remaining_ns(&facts), 0);
        else
            assert_true(lease_remaining_ns(&facts) > 0);
    }
}

static void every_state_has_the_name_that_users_see(void **state)
{
    (void)state;
    assert_string_equal(lease_state_name(LEASE_FREE), "free");
    assert_string_equal(lease_state_name(LEASE_FRESH), "fresh");
    assert_string_equal(lease_state_name(LEASE_EXPIRING), "expiring");
    assert_string_equal(lease_state_name(LEASE_STALE), "stale");
    assert_string_equal(lease_state_name(LEASE_ORPHANED), "orphaned");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lease_that_nobody_holds_is_free),
        cmocka_unit_test(lease_is_fresh_up_to_exactly_its_ttl),
        cmocka_unit_test(fresh_lease_is_refused_to_others),
        cmocka_unit_test(holder_is_granted_its_lease_in_every_state),
        cmocka_unit_test(stale_lease_is_granted_to_others),
        cmocka_unit_test(lease_with_dirty_mappings_expires_before_it_is_stale),
        cmocka_unit_test(dirty_mappings_do_not_make_a_fresh_lease_expire),
        cmocka_unit_test(lease_of_a_dead_holder_is_orphaned_before_its_ttl),
        cmocka_unit_test(change_in_flight_keeps_an_old_lease_fresh),
        cmocka_unit_test(change_in_flight_keeps_a_dead_holders_lease_fresh),
        cmocka_unit_test(clock_that_went_back_counts_as_fresh),
        cmocka_unit_test(lease_is_no_longer_fresh_once_its_remaining_time_passed),
        cmocka_unit_test(ttl_of_zero_is_past_after_one_nanosecond),
        cmocka_unit_test(absurd_values_do_not_overflow),
        cmocka_unit_test(every_state_has_the_name_that_users_see),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
