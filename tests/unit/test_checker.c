/*
 * The judge is judged: for every anomaly a history that has it, and one that
 * comes near and has it not.
 *
 * A history is written as operations with `;` between:
 *
 *     PROCESS BEGIN-END ok|fail|info ITEM...
 *     sK:V[@O][#P/E/S]  sends V to key K (* any), told offset O, as P's number S of epoch E
 *     rK:O=V            reads V at offset O
 *     aK gK:A-B         takes K (* any) up anew; shows all of [A, B)
 *     eK:N lK:N         log end, log start
 *     cG/K:N fG/K:N     commits, finds committed (N may be none)
 *     dense, final N    instead of an operation: as history_dense, history_final
 */
#include "support/checker.h"
#include "support/unit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- reading a history ------------------------------------------------------------ */

static int64_t number(const char **at)
{
    if (strncmp(*at, "none", 4) == 0) {
        *at += 4;
        return HISTORY_OFFSET_NONE;
    }
    char *end;
    int64_t n = strtoll(*at, &end, 10);
    if (end == *at) {
        fprintf(stderr, "no number at: %s\n", *at);
        abort();
    }
    *at = end;
    return n;
}

static uint32_t key_at(const char **at)
{
    if (**at != '*')
        return (uint32_t)number(at);
    (*at)++;
    return HISTORY_KEY_ANY;
}

static void expect(const char **at, char c)
{
    if (**at != c) {
        fprintf(stderr, "no '%c' at: %s\n", c, *at);
        abort();
    }
    (*at)++;
}

static void skip_blanks(const char **at)
{
    while (**at == ' ' || **at == '\n')
        (*at)++;
}

static void read_send(struct history *h, uint32_t op, uint32_t key, const char **at)
{
    uint32_t send = history_send(h, op, key, (uint64_t)number(at));
    if (**at == '@') {
        (*at)++;
        history_sent_at(h, send, key, number(at));
    }
    if (**at == '#') {
        (*at)++;
        uint64_t producer = (uint64_t)number(at);
        expect(at, '/');
        uint32_t epoch = (uint32_t)number(at);
        expect(at, '/');
        history_numbered(h, send, producer, epoch, number(at));
    }
}

static void read_item(struct history *h, uint32_t op, const char **at)
{
    char what = *(*at)++;
    uint32_t key = key_at(at), group = key;
    if (what == 'a') {
        history_assign(h, op, key);
        return;
    }
    if (what == 'c' || what == 'f') {
        expect(at, '/');
        key = key_at(at);
    }
    expect(at, ':');
    if (what == 's') {
        read_send(h, op, key, at);
        return;
    }
    int64_t n = number(at);
    if (what == 'r') {
        expect(at, '=');
        history_read(h, op, key, n, (uint64_t)number(at));
    } else if (what == 'g') {
        expect(at, '-');
        history_range(h, op, key, n, number(at));
    } else if (what == 'e')
        history_log_end(h, op, key, n);
    else if (what == 'l')
        history_log_start(h, op, key, n);
    else if (what == 'c')
        history_commit(h, op, group, key, n);
    else if (what == 'f')
        history_committed(h, op, group, key, n);
    else
        abort();
}

static void read_op(struct history *h, const char **at)
{
    uint32_t process = (uint32_t)number(at);
    expect(at, ' ');
    int64_t begin = number(at);
    expect(at, '-');
    int64_t end = number(at);
    expect(at, ' ');
    uint32_t op = history_begin(h, process, begin);
    enum history_outcome outcome = **at == 'o' ? HISTORY_OK : **at == 'f' ? HISTORY_FAIL : HISTORY_INFO;
    *at += outcome == HISTORY_OK ? 2 : 4;
    for (skip_blanks(at); **at != '\0' && **at != ';'; skip_blanks(at))
        read_item(h, op, at);
    history_end(h, op, outcome, end);
}

static struct history *read_history(const char *text)
{
    struct history *h = history_new();
    const char *at = text;
    for (skip_blanks(&at); *at != '\0'; skip_blanks(&at)) {
        if (strncmp(at, "dense", 5) == 0) {
            at += 5;
            history_dense(h);
        } else if (strncmp(at, "final ", 6) == 0) {
            at += 6;
            history_final(h, number(&at));
        } else
            read_op(h, &at);
        skip_blanks(&at);
        if (*at == ';')
            at++;
    }
    return h;
}

/* ---- what is expected of it ---------------------------------------------------------- */

/* It has one of each of these, and nothing else; CHECK_KINDS: none. */
static void judged(const char *text, enum check_kind one, enum check_kind other)
{
    struct check_report r;
    struct history *h = read_history(text);
    bool clean = checker_judge(h, &r);
    bool right = clean == (one == CHECK_KINDS);
    for (unsigned kind = 0; kind < CHECK_KINDS; kind++)
        right = right && r.counts[kind] == (kind == one || kind == other ? 1 : 0);
    if (!right) {
        printf("\nof %s\nexpected %s\n", text, one == CHECK_KINDS ? "nothing" : check_name(one));
        checker_print(&r, h, stdout);
    }
    CU_ASSERT_TRUE(right);
    if (right && !clean) {
        CU_ASSERT_TRUE(r.examples[one][0].op_count > 0);
        CU_ASSERT_TRUE(r.examples[one][0].text[0] != '\0');
    }
    history_free(&h);
}

static void has(enum check_kind kind, const char *text)
{
    judged(text, kind, kind);
}

static void is_good(const char *text)
{
    judged(text, CHECK_KINDS, CHECK_KINDS);
}

/* ---- versions ------------------------------------------------------------------------- */

static void two_values_at_an_offset(void)
{
    has(CHECK_INCONSISTENT_OFFSETS, "1 0-1 ok s0:10; 2 0-1 ok s0:11; 3 2-3 ok r0:0=10; 4 2-3 ok r0:0=11");
    judged("1 0-1 ok s0:10@0; 2 0-1 info s0:11; 3 2-3 ok r0:0=11", CHECK_INCONSISTENT_OFFSETS, CHECK_LOST_WRITE);
    has(CHECK_INCONSISTENT_OFFSETS, "1 0-1 ok s0:10@0; 2 0-1 info s0:11; 3 2-3 info r0:0=11");
    is_good("1 0-1 ok s0:10; 2 0-1 ok s0:11; 3 2-3 ok r0:0=10; 4 2-3 ok r0:0=10 r0:1=11");
    is_good("1 0-1 ok s0:10@0; 2 0-1 ok s1:11@0; 3 2-3 ok r0:0=10 r1:0=11");
    is_good("1 0-1 ok s0:10@0; 2 0-1 info s0:11@0; 3 2-3 ok r0:0=10"); /* told, but never committed */
}

static void a_value_at_two_offsets(void)
{
    has(CHECK_DUPLICATE, "1 0-1 ok s0:10; 3 2-3 ok r0:0=10 r0:1=10");
    has(CHECK_DUPLICATE, "1 0-1 ok s0:10@3; 3 2-3 ok r0:4=10");
    has(CHECK_DUPLICATE, "1 0-1 ok s*:10; 3 2-3 ok r0:0=10; 3 4-5 ok r1:0=10");
    is_good("1 0-1 ok s0:10; 3 2-3 ok r0:0=10; 4 2-3 ok r0:0=10; 3 5-6 ok a0 r0:0=10");
}

static void a_failed_send_that_is_read(void)
{
    has(CHECK_PHANTOM, "1 0-1 fail s0:10; 3 2-3 ok r0:0=10");
    has(CHECK_PHANTOM, "1 0-1 fail s0:10; 3 2-3 info r0:0=10");
    is_good("1 0-1 info s0:10; 3 2-3 ok r0:0=10");
    is_good("1 0-1 fail s0:10; 1 1-2 ok s0:11; 3 2-3 ok r0:0=11");
}

static void a_value_nobody_sent(void)
{
    has(CHECK_GARBAGE, "1 0-1 ok s0:10; 3 2-3 ok r0:0=10 r0:1=12");
    is_good("1 0-1 ok s0:10; 2 0-9 info s0:12; 3 2-3 ok r0:0=10 r0:1=12");
}

static void a_read_that_ended_before_the_send(void)
{
    judged("3 0-1 ok r0:0=10; 1 2-3 info s0:10", CHECK_READ_BEFORE_SEND, CHECK_REALTIME);
    is_good("3 0-3 ok r0:0=10; 1 2-4 ok s0:10");
}

static void a_value_of_another_key(void)
{
    has(CHECK_MISPLACED, "1 0-1 ok s0:10; 3 2-3 ok r1:0=10");
    is_good("1 0-1 ok s*:10; 3 2-3 ok r1:0=10");
}

/* ---- what is missing ---------------------------------------------------------------------- */

static void an_acknowledged_message_that_readers_passed_by(void)
{
    has(CHECK_LOST_WRITE, "1 0-1 ok s0:10@0; 2 2-3 ok s0:11@1; 3 4-5 ok r0:1=11");
    is_good("1 0-1 ok s0:10@0; 2 2-3 ok s0:11@1; 3 4-5 ok r0:0=10");                /* nobody read so far */
    is_good("1 0-1 info s0:10@0; 2 2-3 ok s0:11@1; 3 4-5 ok r0:1=11");              /* never sure */
    is_good("1 0-1 ok s0:10@0; 2 2-3 ok s0:11@1; 3 4-5 ok r0:1=11; 3 6-7 ok l0:1"); /* removed */
    has(CHECK_LOST_WRITE, "1 0-1 ok s0:10@1; 2 2-3 ok s0:11@2; 3 4-5 ok r0:2=11; 3 6-7 ok l0:1");
}

static void an_acknowledged_message_with_no_room_left(void)
{
    has(CHECK_LOST_WRITE, "1 0-1 ok s0:10; 2 0-1 ok s0:11; 3 2-3 ok g0:0-1 e0:1 r0:0=11");
    has(CHECK_LOST_WRITE,
        "1 0-1 ok s*:10; 2 0-1 ok s*:11; 2 1-2 ok s*:12; 3 3-4 ok e0:1 r0:0=11; 3 5-6 ok e1:1 r1:0=12");
    is_good("1 0-2 ok s0:10; 2 0-1 ok s0:11; 3 2-3 ok g0:0-1 e0:1 r0:0=11"); /* asked before the answer */
    is_good("1 0-1 ok s0:10; 2 0-1 ok s0:11; 3 2-3 ok e0:2 r0:0=11");        /* one place nobody read */
    is_good("1 0-1 ok s*:10; 2 0-1 ok s*:11; 2 1-2 ok s*:12; 3 3-4 ok e0:1 r0:0=11; 3 5-6 ok e1:2 r1:0=12");
    is_good("1 0-1 info s0:10; 2 0-1 ok s0:11; 3 2-3 ok g0:0-1 e0:1 r0:0=11");
}

static void what_is_not_read_in_the_end(void)
{
    has(CHECK_UNSEEN, "final 10; 1 0-1 ok s0:10; 1 2-3 ok s0:11; 3 11-12 ok r0:0=10");
    has(CHECK_UNSEEN, "final 10; 1 0-1 info s0:10; 3 2-3 ok r0:0=10"); /* it was there */
    is_good("final 10; 1 0-1 ok s0:10; 1 2-3 info s0:11; 3 11-12 ok r0:0=10");
    is_good("final 10; 1 0-1 ok s0:10; 3 11-12 ok r0:0=10; 1 13-14 ok s0:11");
    is_good("1 0-1 ok s0:10; 1 2-3 ok s0:11; 3 11-12 ok r0:0=10"); /* no final phase */
    is_good("final 10; 1 0-1 ok s0:10; 1 2-3 ok s0:11; 3 11-12 ok r0:1=11 l0:1");
}

/* ---- reads ------------------------------------------------------------------------------------ */

#define THREE "1 0-1 ok s0:10@0; 1 2-3 ok s0:11@1; 1 4-5 ok s0:12@2; 9 6-7 ok r0:0=10 r0:1=11 r0:2=12; "

static void a_process_that_leaves_messages_out(void)
{
    has(CHECK_POLL_SKIP, THREE "3 8-9 ok r0:0=10; 3 10-11 ok r0:2=12");
    is_good(THREE "3 8-9 ok r0:0=10; 3 10-11 ok a0 r0:2=12");
    is_good(THREE "3 8-9 ok r0:0=10; 3 10-10 ok a*; 3 10-11 ok r0:2=12");
    has(CHECK_POLL_SKIP, THREE "3 8-9 ok r0:0=10; 3 10-10 ok a1; 3 10-11 ok r0:2=12");
    is_good(THREE "3 8-9 ok r0:0=10; 4 10-11 ok r0:2=12");                  /* somebody else */
    is_good(THREE "3 8-9 ok r0:0=10; 3 10-11 ok r0:2=12; 3 12-13 ok l0:2"); /* removed */
    has(CHECK_POLL_SKIP, THREE "3 8-9 ok r0:0=10; 3 10-11 ok r0:2=12; 3 12-13 ok l0:1");
}

static void gaps_are_allowed_unless_dense(void)
{
    is_good("1 0-1 ok s0:10@0; 1 2-3 ok s0:12@2; 3 8-9 ok r0:0=10; 3 10-11 ok r0:2=12");
    has(CHECK_POLL_SKIP, "dense; 1 0-1 ok s0:10@0; 1 2-3 ok s0:12@2; 3 8-9 ok r0:0=10; 3 10-11 ok r0:2=12");
    has(CHECK_INT_POLL_SKIP, "dense; 1 0-1 ok s0:10@0; 1 2-3 ok s0:12@2; 3 8-9 ok r0:0=10 r0:2=12");
    is_good("dense; 1 0-1 ok s0:10@0; 1 2-3 ok s0:11@1; 3 8-9 ok r0:0=10; 3 10-11 ok r0:1=11");
}

static void a_process_that_goes_back(void)
{
    has(CHECK_NONMONOTONIC_POLL, THREE "3 8-9 ok r0:0=10 r0:1=11; 3 10-11 ok r0:1=11");
    has(CHECK_NONMONOTONIC_POLL, THREE "3 8-9 ok r0:2=12; 3 10-11 ok r0:0=10");
    is_good(THREE "3 8-9 ok r0:0=10 r0:1=11; 3 10-11 ok r0:2=12");
    is_good(THREE "3 8-9 info r0:0=10; 3 10-11 ok r0:0=10"); /* the first was not taken */
}

static void one_read_that_leaves_out_or_goes_back(void)
{
    has(CHECK_INT_POLL_SKIP, THREE "3 8-9 ok r0:0=10 r0:2=12");
    has(CHECK_INT_NONMONOTONIC_POLL, THREE "3 8-9 ok r0:1=11 r0:0=10");
    has(CHECK_INT_NONMONOTONIC_POLL, THREE "3 8-9 ok r0:1=11 r0:1=11");
    is_good(THREE "1 6-7 ok s1:20@0; 3 8-9 ok r0:0=10 r1:0=20 r0:1=11");
    is_good(THREE "3 8-9 ok a0 r0:1=11 r0:0=10");
}

static void a_range_that_is_not_whole(void)
{
    has(CHECK_POLL_RANGE, THREE "3 8-9 ok g0:0-3 r0:0=10 r0:1=11");
    has(CHECK_POLL_RANGE, THREE "3 8-9 ok g0:0-3 r0:1=11 r0:2=12");
    has(CHECK_POLL_RANGE, THREE "3 8-9 ok g0:0-3");
    has(CHECK_POLL_RANGE, THREE "3 8-9 ok g0:1-2 r0:1=11 r0:2=12");
    has(CHECK_POLL_RANGE, "dense; 1 0-1 ok s0:10; 3 8-9 ok g0:0-2 r0:0=10");
    is_good(THREE "3 8-9 ok g0:0-3 r0:0=10 r0:1=11 r0:2=12; 3 10-11 ok g0:1-3 r0:1=11 r0:2=12; 3 11-12 ok g0:3-3");
    is_good(THREE "3 8-9 info g0:0-3 r0:0=10");
    is_good(THREE "3 8-9 ok g0:0-3 r0:2=12; 3 9-10 ok l0:2");
}

/* ---- sends --------------------------------------------------------------------------------------- */

static void a_process_whose_sends_change_places(void)
{
    has(CHECK_NONMONOTONIC_SEND, "1 0-9 ok s0:10@1; 1 1-9 ok s0:11@0");
    has(CHECK_NONMONOTONIC_SEND, "1 0-9 ok s0:10; 1 1-9 ok s0:11; 3 10-11 ok r0:0=11 r0:1=10");
    is_good("1 0-9 ok s0:10@0; 1 1-9 ok s0:11@1");
    is_good("1 0-9 ok s0:10@1; 2 1-9 ok s0:11@0");
    is_good("1 0-9 info s0:10; 1 1-9 ok s0:11; 3 10-11 ok r0:0=11 r0:1=10");
    is_good("1 0-9 ok s0:10@1; 1 1-9 ok s1:11@0; 2 0-9 ok s0:12@0; 2 0-9 ok s1:13@1");
}

static void sends_of_one_operation_that_change_places(void)
{
    has(CHECK_INT_NONMONOTONIC_SEND, "1 0-9 ok s0:10@1 s0:11@0");
    is_good("1 0-9 ok s0:10@1 s0:11@3; 2 0-9 ok s0:20@0 s0:21@2");
}

/* ---- time ------------------------------------------------------------------------------------------ */

static void a_send_before_what_was_there(void)
{
    has(CHECK_REALTIME, "1 0-1 ok s0:10@1; 2 2-3 ok s0:11@0");
    has(CHECK_REALTIME, "1 0-9 info s0:10; 4 1-2 ok r0:1=10; 2 3-4 ok s0:11; 3 5-6 ok r0:0=11");
    has(CHECK_REALTIME, "1 0-1 ok s0:10@1; 2 2-3 info s0:11; 3 4-5 ok r0:0=11");
    has(CHECK_REALTIME, "3 0-1 ok e0:1; 2 2-3 ok s0:11@0");
    is_good("1 0-2 ok s0:10@1; 2 2-3 ok s0:11@0"); /* at one instant either came first */
    is_good("1 0-1 ok s0:10@1; 2 2-3 ok s1:11@0; 3 0-9 ok s0:12@0");
    is_good("1 0-9 info s0:10; 2 3-4 ok s0:11; 3 5-6 ok r0:0=11 r0:1=10");
}

static void an_end_that_leaves_something_out(void)
{
    has(CHECK_STRONG_END, "1 0-1 ok s0:10@4; 3 2-3 ok e0:4");
    has(CHECK_STRONG_END, "1 0-9 info s0:10; 3 1-2 ok r0:4=10; 3 3-4 ok e0:4");
    has(CHECK_STRONG_END, "3 0-1 ok e0:5; 4 2-3 ok e0:4");
    is_good("1 0-3 ok s0:10@4; 3 2-3 ok e0:4; 3 4-5 ok e0:5");
    is_good("1 0-1 ok s0:10@4; 3 2-3 ok e1:0; 3 2-3 info e0:0");
}

static void a_producer_whose_numbers_change_places(void)
{
    has(CHECK_SEQUENCE_ORDER, "1 0-9 ok s0:10@1#7/0/0; 2 0-9 ok s0:11@0#7/0/1");
    has(CHECK_SEQUENCE_ORDER, "1 0-9 info s0:10#7/0/3; 2 0-9 ok s0:11@0#7/1/0; 3 10-11 ok r0:0=11 r0:1=10");
    is_good("1 0-9 ok s0:10@0#7/0/0; 2 0-9 ok s0:11@1#7/0/1; 2 0-9 ok s0:12@2#7/1/0");
    is_good("1 0-9 ok s0:10@1#7/0/0; 2 0-9 ok s0:11@0#8/0/1");
}

static void a_number_that_was_taken_twice(void)
{
    has(CHECK_SEQUENCE_TWICE, "1 0-9 info s0:10#7/0/0; 2 0-9 ok s0:11@1#7/0/0; 3 10-11 ok r0:0=10 r0:1=11");
    is_good("1 0-9 fail s0:10#7/0/0; 2 0-9 ok s0:11@0#7/0/0; 3 10-11 ok r0:0=11");
}

static void a_number_that_is_missing(void)
{
    has(CHECK_SEQUENCE_GAP, "1 0-9 ok s0:10@0#7/0/0; 1 0-9 info s0:11#7/0/1; 1 0-9 ok s0:12@1#7/0/2");
    is_good("1 0-9 ok s0:10@0#7/0/0; 1 0-9 info s0:11#7/0/1; 1 0-9 ok s0:12@2#7/0/2"); /* perhaps at 1 */
    has(CHECK_SEQUENCE_GAP, "1 0-9 ok s0:10@0#7/0/0; 1 0-9 info s0:11#7/0/1; 1 0-9 ok s0:12@2#7/0/2; 2 0-9 ok s0:20@1; "
                            "3 10-11 ok r0:0=10 r0:1=20 r0:2=12");
    is_good("1 0-9 ok s0:10@0#7/0/0; 1 0-9 ok s0:12@1#7/1/2");
}

static void a_log_start_that_goes_back(void)
{
    has(CHECK_LOG_START_REGRESS, "3 0-1 ok l0:5; 4 2-3 ok l0:4");
    is_good("3 0-2 ok l0:5; 4 2-3 ok l0:4; 4 4-5 ok l0:5; 4 6-7 ok l1:0");
}

static void a_read_below_the_log_start(void)
{
    has(CHECK_BELOW_LOG_START, "1 0-1 ok s0:10@4; 3 2-3 ok l0:5; 4 4-5 ok r0:4=10");
    is_good("1 0-1 ok s0:10@4; 3 2-4 ok l0:5; 4 4-5 ok r0:4=10");
    is_good("1 0-1 ok s0:10@5; 3 2-3 ok l0:5; 4 4-5 ok r0:5=10");
}

static void a_committed_offset_that_was_overwritten(void)
{
    has(CHECK_GROUP_OFFSET_STALE, "1 0-1 ok c1/0:5; 1 2-3 ok c1/0:8; 2 4-5 ok f1/0:5");
    has(CHECK_GROUP_OFFSET_STALE, "1 0-1 ok c1/0:5; 2 4-5 ok f1/0:none");
    has(CHECK_GROUP_OFFSET_STALE, "1 0-1 ok c1/0:8; 1 2-3 ok c1/0:5; 2 4-5 ok f1/0:8"); /* back is a commit too */
    is_good("1 0-1 ok c1/0:5; 1 2-3 ok c1/0:8; 2 3-5 ok f1/0:5");
    is_good("1 0-1 info c1/0:5; 1 2-3 ok c1/0:8; 2 4-5 ok f1/0:5"); /* it may have come late */
    is_good("1 0-1 ok c1/0:5; 1 2-3 fail c1/0:8; 2 4-5 ok f1/0:5");
    is_good("1 0-1 ok c1/0:5; 1 2-3 ok c1/0:8; 1 3-4 ok c1/0:5; 2 4-5 ok f1/0:5");
    is_good("1 0-1 ok c1/0:5; 2 4-5 ok f2/0:none; 2 6-7 ok f1/1:none");
}

static void a_committed_offset_from_nowhere(void)
{
    has(CHECK_GROUP_OFFSET_UNKNOWN, "1 0-1 ok c1/0:5; 2 1-2 ok f1/0:6");
    has(CHECK_GROUP_OFFSET_UNKNOWN, "1 0-1 fail c1/0:5; 2 1-2 ok f1/0:5");
    has(CHECK_GROUP_OFFSET_UNKNOWN, "2 1-2 ok f1/0:5; 1 3-4 ok c1/0:5");
    is_good("1 0-1 info c1/0:5; 2 1-2 ok f1/0:5; 2 1-2 ok f3/0:none");
}

static void a_value_that_is_recorded_twice(void)
{
    has(CHECK_REUSED_VALUE, "1 0-1 ok s0:10@0; 2 0-1 info s1:10");
    is_good("1 0-1 ok s0:10@0; 1 2-3 ok s1:11");
}

/* ---- a broker that is right: whatever its clients do, nothing is found -------------------------------- */

enum { KEYS = 3, SENDERS = 4, READERS = 4, GROUPS = 2, LOG_MAX = 4000 };

/* What it may do wrong, once in a while. */
enum bug {
    NO_BUG,
    LOSES_AN_ACKNOWLEDGED_MESSAGE,
    APPENDS_TWICE,
    APPENDS_WHAT_IT_REFUSED,
    APPENDS_BEFORE_THE_LAST,
    REPLACES_A_MESSAGE,
    LEAVES_OUT_IN_A_READ,
    SHOWS_A_STALE_END,
    GOES_BACK_IN_A_READ,
    MOVES_THE_START_BACK,
    FORGETS_A_COMMITTED_OFFSET,
    BUGS
};

/* Its calls take effect one after the other; when they began and ended is drawn around that. */
struct model {
    struct history *h;
    enum bug bug;
    uint64_t random;
    int64_t now, free_at[SENDERS + READERS];
    uint64_t log[KEYS][LOG_MAX];
    int64_t end[KEYS], start[KEYS], pos[READERS][KEYS], committed[GROUPS][KEYS];
    uint64_t values;
    uint32_t epoch[SENDERS];
    int64_t sequence[SENDERS][KEYS];
};

static uint32_t draw(struct model *m, uint32_t below)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(m->random >> 33) % below;
}

static bool errs(struct model *m, enum bug bug)
{
    return m->bug == bug && draw(m, 6) == 0;
}

static uint32_t model_begin(struct model *m, uint32_t process)
{
    m->now += 10;
    int64_t begin = m->now - draw(m, 100);
    begin = begin > m->free_at[process] ? begin : m->free_at[process];
    m->now = m->now > begin ? m->now : begin;
    return history_begin(m->h, process, begin);
}

static void model_end(struct model *m, uint32_t process, uint32_t op, enum history_outcome outcome)
{
    m->free_at[process] = m->now + draw(m, 100);
    history_end(m->h, op, outcome, m->free_at[process]);
}

static void model_send(struct model *m)
{
    uint32_t process = draw(m, SENDERS), key = draw(m, KEYS), op = model_begin(m, process), luck = draw(m, 10);
    bool told = draw(m, 2) == 0, chosen = process == 0, commits = luck != 0 && luck != 1 && m->end[key] < LOG_MAX;
    uint32_t send = history_send(m->h, op, chosen ? HISTORY_KEY_ANY : key, ++m->values);
    enum history_outcome outcome = luck == 1 || luck == 2 ? HISTORY_INFO : commits ? HISTORY_OK : HISTORY_FAIL;
    if (process >= 2)
        history_numbered(m->h, send, process, m->epoch[process], m->sequence[process][key]);
    if (outcome == HISTORY_FAIL && errs(m, APPENDS_WHAT_IT_REFUSED))
        m->log[key][m->end[key]++] = m->values;
    if (commits) {
        int64_t at = m->end[key]++;
        m->log[key][at] = m->values;
        m->sequence[process][key]++;
        if (at > m->start[key] && errs(m, APPENDS_BEFORE_THE_LAST)) {
            m->log[key][at] = m->log[key][at - 1];
            m->log[key][at - 1] = m->values;
        }
        if (errs(m, APPENDS_TWICE))
            m->log[key][m->end[key]++] = m->values;
        if (outcome == HISTORY_OK && errs(m, LOSES_AN_ACKNOWLEDGED_MESSAGE))
            m->end[key]--;
        if (errs(m, REPLACES_A_MESSAGE))
            m->log[key][m->start[key] + draw(m, (uint32_t)(at + 1 - m->start[key]))] = m->values;
        if (told && outcome == HISTORY_OK)
            history_sent_at(m->h, send, key, m->end[key] - 1);
    }
    if (outcome == HISTORY_INFO) {
        m->epoch[process]++;
        memset(m->sequence[process], 0, sizeof(m->sequence[process]));
    }
    model_end(m, process, op, outcome);
}

static void model_show(struct model *m, uint32_t op, uint32_t key, int64_t from, int64_t to)
{
    bool leaves_out = to - from > 2 && errs(m, LEAVES_OUT_IN_A_READ), goes_back = errs(m, GOES_BACK_IN_A_READ);
    for (int64_t off = from; off < to; off++)
        if (!leaves_out || off != from + 1)
            history_read(m->h, op, key, off, m->log[key][off]);
    if (goes_back && to > from)
        history_read(m->h, op, key, from, m->log[key][from]);
}

static void model_poll(struct model *m)
{
    uint32_t reader = draw(m, READERS), op = model_begin(m, SENDERS + reader);
    bool ok = draw(m, 8) != 0;
    for (uint32_t key = 0; key < KEYS; key++) {
        int64_t *pos = &m->pos[reader][key], to = *pos + draw(m, 6);
        if (draw(m, 40) == 0 || *pos < m->start[key]) {
            history_assign(m->h, op, key);
            *pos = m->start[key] + draw(m, (uint32_t)(m->end[key] - m->start[key]) + 1);
            to = *pos;
        }
        to = to < m->end[key] ? to : m->end[key];
        model_show(m, op, key, *pos, to);
        *pos = ok ? to : *pos;
    }
    model_end(m, SENDERS + reader, op, ok ? HISTORY_OK : HISTORY_INFO);
}

static void model_read_all(struct model *m, uint32_t reader)
{
    for (uint32_t key = 0; key < KEYS; key++) {
        uint32_t op = model_begin(m, SENDERS + reader);
        int64_t end = m->end[key];
        if (end - m->start[key] > 30 && errs(m, SHOWS_A_STALE_END))
            end -= 30; /* more than what calls under way could explain */
        history_range(m->h, op, key, m->start[key], end);
        history_log_end(m->h, op, key, end);
        model_show(m, op, key, m->start[key], end);
        m->pos[reader][key] = m->end[key];
        model_end(m, SENDERS + reader, op, HISTORY_OK);
    }
}

static void model_group(struct model *m)
{
    uint32_t reader = draw(m, READERS), group = draw(m, GROUPS), key = draw(m, KEYS);
    uint32_t op = model_begin(m, SENDERS + reader), luck = draw(m, 6);
    if (luck < 3) {
        if (errs(m, FORGETS_A_COMMITTED_OFFSET))
            m->committed[group][key] = HISTORY_OFFSET_NONE;
        history_committed(m->h, op, group, key, m->committed[group][key]);
        model_end(m, SENDERS + reader, op, HISTORY_OK);
        return;
    }
    int64_t offset = draw(m, 20);
    history_commit(m->h, op, group, key, offset);
    if (luck != 3)
        m->committed[group][key] = offset;
    model_end(m, SENDERS + reader, op, luck == 3 ? HISTORY_FAIL : luck == 4 ? HISTORY_INFO : HISTORY_OK);
}

static void model_trim(struct model *m)
{
    uint32_t reader = draw(m, READERS), key = draw(m, KEYS), op = model_begin(m, SENDERS + reader);
    if (m->start[key] + 10 < m->end[key])
        m->start[key] += draw(m, 10);
    if (m->start[key] > 20 && errs(m, MOVES_THE_START_BACK))
        m->start[key] -= 20;
    history_log_start(m->h, op, key, m->start[key]);
    model_end(m, SENDERS + reader, op, HISTORY_OK);
}

static struct history *model_run(enum bug bug, uint64_t seed, uint32_t steps, bool trims)
{
    struct model *m = calloc(1, sizeof(*m));
    if (m == NULL)
        abort();
    m->h = history_new();
    m->bug = bug;
    m->random = seed;
    history_dense(m->h);
    for (uint32_t i = 0; i < GROUPS * KEYS; i++)
        m->committed[i / KEYS][i % KEYS] = HISTORY_OFFSET_NONE;
    for (uint32_t i = 0; i < steps; i++) {
        uint32_t what = draw(m, 100);
        if (what < 50)
            model_send(m);
        else if (what < 85)
            model_poll(m);
        else if (what < 88)
            model_read_all(m, draw(m, READERS));
        else if (what < 96)
            model_group(m);
        else if (trims)
            model_trim(m);
    }
    for (uint32_t i = 0; i < SENDERS + READERS; i++)
        m->now = m->free_at[i] > m->now ? m->free_at[i] : m->now;
    history_final(m->h, m->now);
    m->now += 100; /* no call of the final phase begins before it */
    model_read_all(m, 0);
    struct history *h = m->h;
    free(m);
    return h;
}

static void a_right_broker_is_never_accused(void)
{
    enum { SEEDS = 300, STEPS = 400 };
    struct check_report r;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct history *h = model_run(NO_BUG, seed, STEPS, seed % 2 == 0);
        bool clean = checker_judge(h, &r);
        if (!clean) {
            printf("\nseed %" PRIu64 "\n", seed);
            checker_print(&r, h, stdout);
        }
        CU_ASSERT_TRUE_FATAL(clean);
        CU_ASSERT_TRUE_FATAL(r.sends_ok > 50 && r.reads > 100);
        history_free(&h);
    }
}

static void a_wrong_broker_is_found_out(void)
{
    enum { SEEDS = 20, STEPS = 1500 };
    struct check_report r;
    for (enum bug bug = NO_BUG + 1; bug < BUGS; bug++)
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            struct history *h = model_run(bug, seed, STEPS, true);
            bool clean = checker_judge(h, &r);
            if (clean)
                printf("\nbug %d, seed %" PRIu64 "\n", (int)bug, seed);
            CU_ASSERT_FALSE(clean);
            history_free(&h);
        }
}

/* ---- the whole --------------------------------------------------------------------------------------- */

static void an_empty_history_is_good(void)
{
    is_good("");
    is_good("dense; final 0");
    is_good("1 0-1 ok; 2 0-1 info r0:5=10 s0:10");
}

static void merged_histories_are_judged_together(void)
{
    struct check_report r;
    struct history *all = history_new(), *one = read_history("1 0-1 ok s0:10; 1 2-3 ok s0:11");
    struct history *other = read_history("dense; final 4; 2 4-5 ok r0:0=10 r0:1=11 e0:2");
    history_merge(all, one);
    history_merge(all, other);
    CU_ASSERT_TRUE(checker_judge(all, &r));
    CU_ASSERT_EQUAL(r.sends_ok, 2);
    CU_ASSERT_EQUAL(r.messages, 2);
    CU_ASSERT_EQUAL(r.lag_max, 4);
    CU_ASSERT_EQUAL(history_op_count(all), 3);
    struct history *wrong = read_history("3 6-7 ok e0:1");
    history_merge(all, wrong);
    CU_ASSERT_FALSE(checker_judge(all, &r));
    CU_ASSERT_EQUAL(r.counts[CHECK_STRONG_END], 1);
    CU_ASSERT_EQUAL(r.examples[CHECK_STRONG_END][0].ops[0], 3);
    history_free(&all);
    history_free(&one);
    history_free(&other);
    history_free(&wrong);
}

static void a_report_names_the_operations(void)
{
    struct check_report r;
    char *text = NULL;
    size_t size = 0;
    struct history *h = read_history(THREE "3 8-9 ok r0:0=10 r0:2=12");
    FILE *to = open_memstream(&text, &size);
    CU_ASSERT_FALSE(checker_judge(h, &r));
    checker_print(&r, h, to);
    (void)fclose(to);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "int-poll-skip: 1"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "op 4, process 3, ok, 8 to 9, reads 0@0 = 10, reads 0@2 = 12"));
    for (unsigned kind = 0; kind < CHECK_KINDS; kind++)
        CU_ASSERT_PTR_NOT_NULL(check_name(kind));
    free(text);
    history_free(&h);
}

/* A million sends and as many reads by each of two readers; one bit is wrong in the end. */
static void a_million_operations_take_seconds(void)
{
    enum { MESSAGES = 1000000, PARTITIONS = 8, BATCH = 100 };
    struct check_report r;
    struct history *h = history_new();
    clock_t begin = clock();
    history_dense(h);
    for (int64_t i = 0; i < MESSAGES; i++) {
        uint32_t op = history_begin(h, (uint32_t)(i % 16), 10 * i);
        (void)history_send(h, op, HISTORY_KEY_ANY, (uint64_t)i * 0x9e3779b97f4a7c15u);
        history_end(h, op, i % 50 == 0 ? HISTORY_INFO : HISTORY_OK, 10 * i + 15);
    }
    for (uint32_t reader = 100; reader < 102; reader++)
        for (int64_t key = 0; key < PARTITIONS; key++)
            for (int64_t off = 0; off < MESSAGES / PARTITIONS; off += BATCH) {
                uint32_t op = history_begin(h, reader, 20 * MESSAGES);
                for (int64_t k = off; k < off + BATCH && k < MESSAGES / PARTITIONS; k++)
                    history_read(h, op, (uint32_t)key, k, (uint64_t)(k * PARTITIONS + key) * 0x9e3779b97f4a7c15u);
                history_end(h, op, HISTORY_OK, 20 * MESSAGES);
            }
    uint32_t op = history_begin(h, 200, 30 * (int64_t)MESSAGES);
    history_read(h, op, 3, 70000, 4242);
    history_end(h, op, HISTORY_OK, 30 * (int64_t)MESSAGES);
    CU_ASSERT_FALSE(checker_judge(h, &r));
    CU_ASSERT_EQUAL(r.messages, MESSAGES);
    CU_ASSERT_EQUAL(r.anomalies, 2);
    CU_ASSERT_EQUAL(r.counts[CHECK_INCONSISTENT_OFFSETS], 1);
    CU_ASSERT_EQUAL(r.counts[CHECK_GARBAGE], 1);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    printf("(%.1f s) ", seconds);
    CU_ASSERT_TRUE(seconds < 60); /* n * n would be hours */
    history_free(&h);
}

static const struct unit_case cases[] = {
    {"two values at an offset", two_values_at_an_offset},
    {"a value at two offsets", a_value_at_two_offsets},
    {"a failed send that is read", a_failed_send_that_is_read},
    {"a value nobody sent", a_value_nobody_sent},
    {"a read that ended before the send", a_read_that_ended_before_the_send},
    {"a value of another key", a_value_of_another_key},
    {"an acknowledged message that readers passed by", an_acknowledged_message_that_readers_passed_by},
    {"an acknowledged message with no room left", an_acknowledged_message_with_no_room_left},
    {"what is not read in the end", what_is_not_read_in_the_end},
    {"a process that leaves messages out", a_process_that_leaves_messages_out},
    {"gaps are allowed unless dense", gaps_are_allowed_unless_dense},
    {"a process that goes back", a_process_that_goes_back},
    {"one read that leaves out or goes back", one_read_that_leaves_out_or_goes_back},
    {"a range that is not whole", a_range_that_is_not_whole},
    {"a process whose sends change places", a_process_whose_sends_change_places},
    {"sends of one operation that change places", sends_of_one_operation_that_change_places},
    {"a send before what was there", a_send_before_what_was_there},
    {"an end that leaves something out", an_end_that_leaves_something_out},
    {"a producer whose numbers change places", a_producer_whose_numbers_change_places},
    {"a number that was taken twice", a_number_that_was_taken_twice},
    {"a number that is missing", a_number_that_is_missing},
    {"a log start that goes back", a_log_start_that_goes_back},
    {"a read below the log start", a_read_below_the_log_start},
    {"a committed offset that was overwritten", a_committed_offset_that_was_overwritten},
    {"a committed offset from nowhere", a_committed_offset_from_nowhere},
    {"a value that is recorded twice", a_value_that_is_recorded_twice},
    {"a right broker is never accused", a_right_broker_is_never_accused},
    {"a wrong broker is found out", a_wrong_broker_is_found_out},
    {"an empty history is good", an_empty_history_is_good},
    {"merged histories are judged together", merged_histories_are_judged_together},
    {"a report names the operations", a_report_names_the_operations},
    {"a million operations take seconds", a_million_operations_take_seconds},
};

UNIT_MAIN("checker", cases)
