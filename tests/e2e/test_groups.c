/*
 * Consumer groups: no partition to two subscriptions of a group, rebalance with
 * its events, ids that outlive connections and restarts, expiry and renewal,
 * committed offsets.
 */
#include "e2e/e2e.h"
#include "e2e/scenario.h"

static struct daemon *shared; /* the defaults */
static struct daemon *hasty;  /* subscriptions expire after a second */
static const char *hasty_dir;

static struct client *session(void)
{
    if (shared == NULL)
        shared = daemon_fresh("groups");
    return client_open(daemon_port(shared));
}

static struct client *hasty_session(void)
{
    if (hasty == NULL) {
        hasty_dir = temp_folder("hasty");
        struct daemon_spec spec = {.dir = hasty_dir, .settings = {"session.timeout=1s"}};
        hasty = daemon_start(&spec);
    }
    return client_open(daemon_port(hasty));
}

static void nobody_shares_a_partition_within_a_group(void)
{
    char ids[4][ID_BYTES], id[ID_BYTES];
    struct client *a = session(), *b = session();
    topic_make(a, "excl", 4, "");
    CU_ASSERT_EQUAL(subscribe_many(a, "excl", "g", 2, ids), 2);
    CU_ASSERT_EQUAL(subscribe_many(b, "excl", "g", 2, ids + 2), 2);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < i; k++)
            CU_ASSERT_STRING_NOT_EQUAL(ids[i], ids[k]);
    /* Each partition got one message; the four ids see each of them once. */
    for (int i = 0; i < 4; i++)
        REPLY_IS(client_ask(a, "PUBS excl {\"Body\":\"m\"}"), "Done");
    for (int i = 0; i < 4; i++) {
        struct json j = json_open(client_ask(a, "CONS excl %s", ids[i]));
        CU_ASSERT_EQUAL(json_count(&j, "Data"), 1);
        json_close(&j);
    }
    subscribe(b, "excl", "another.group", id);
    CU_ASSERT_STRING_NOT_EQUAL(id, ids[0]);
    client_close(&a);
    client_close(&b);
}

static void more_than_there_is_gives_what_there_is(void)
{
    char ids[8][ID_BYTES];
    struct client *c = session();
    topic_make(c, "few", 3, "");
    CU_ASSERT_EQUAL(subscribe_many(c, "few", "g", 8, ids), 3);
    REPLY_IS(client_ask(c, "SUBS few g"), "Error, failed to create subscription: all partitions are already assigned");
    client_close(&c);
}

static void two_groups_read_the_same_messages(void)
{
    char a[ID_BYTES], b[ID_BYTES];
    struct client *c = session();
    topic_make(c, "both", 1, "");
    publish_range(c, "both", "m", 0, 20, 0);
    subscribe(c, "both", "g1", a);
    subscribe(c, "both", "g2", b);
    REPLY_IS(client_ask(c, "CMIT both %s 5", a), "Done");
    expect_range(c, "both", a, -1, "m", 5, 20);
    expect_range(c, "both", b, -1, "m", 0, 20);
    client_close(&c);
}

static void a_newcomer_takes_from_who_holds_most(void)
{
    char ids[4][ID_BYTES], id[ID_BYTES];
    struct client *a = session(), *b = session();
    topic_make(a, "balance", 4, "");
    CU_ASSERT_EQUAL(subscribe_many(a, "balance", "g", 4, ids), 4);
    publish_range(a, "balance", "m", 0, 8, 0);
    subscribe(b, "balance", "g", id);
    const char *event = client_event(a, REPLY_MS);
    CU_ASSERT_PTR_NOT_NULL_FATAL(event);
    struct json j = json_open(event);
    CU_ASSERT_STRING_EQUAL(json_text(&j, "Event"), "revoked");
    CU_ASSERT_STRING_EQUAL(json_text(&j, "Topic"), "balance");
    CU_ASSERT(json_number(&j, "Partition") >= 0 && json_number(&j, "Partition") < 4);
    int revoked = -1;
    for (int i = 0; i < 4; i++)
        if (strcmp(json_text(&j, "Id"), ids[i]) == 0)
            revoked = i;
    json_close(&j);
    CU_ASSERT(revoked >= 0);
    for (int i = 0; i < 4; i++)
        if (i == revoked) {
            REPLY_IS(client_ask(a, "CONS balance %s", ids[i]), "Error, unknown, expired or revoked subscription");
            REPLY_IS(client_ask(a, "CMIT balance %s 1", ids[i]), "Error, unknown, expired or revoked subscription");
        } else
            REPLY_HOLDS(client_ask(a, "CONS balance %s", ids[i]), "\"Ok\":true");
    REPLY_HOLDS(client_ask(b, "CONS balance %s", id), "\"Ok\":true");
    client_close(&a);
    client_close(&b);
}

static void a_balanced_group_gives_nothing_up(void)
{
    char id[ID_BYTES];
    struct client *a = session(), *b = session();
    topic_make(a, "single", 1, "");
    subscribe(a, "single", "g", id);
    REPLY_IS(client_ask(b, "SUBS single g"),
             "Error, failed to create subscription: all partitions are already assigned");
    CU_ASSERT_PTR_NULL(client_event(a, 100));
    REPLY_HOLDS(client_ask(a, "CONS single %s", id), "\"Ok\":true");
    client_close(&a);
    client_close(&b);
}

static void a_freed_partition_goes_to_who_asked_for_more(void)
{
    char ids[3][ID_BYTES], id[ID_BYTES], fresh[ID_BYTES];
    struct client *a = session(), *b = session();
    topic_make(a, "freed", 3, "");
    CU_ASSERT_EQUAL(subscribe_many(a, "freed", "g", 3, ids), 3);
    subscribe(b, "freed", "g", id);
    CU_ASSERT_PTR_NOT_NULL(client_event(a, REPLY_MS));
    REPLY_IS(client_ask(b, "UNSB freed %s", id), "Done");
    const char *event = client_event(a, REPLY_MS);
    CU_ASSERT_PTR_NOT_NULL_FATAL(event);
    struct json j = json_open(event);
    CU_ASSERT_STRING_EQUAL(json_text(&j, "Event"), "assigned");
    CU_ASSERT_STRING_EQUAL(json_text(&j, "Topic"), "freed");
    (void)snprintf(fresh, sizeof(fresh), "%s", json_text(&j, "Id"));
    json_close(&j);
    REPLY_HOLDS(client_ask(a, "CONS freed %s", fresh), "\"Ok\":true");
    REPLY_IS(client_ask(b, "CONS freed %s", id), "Error, unknown, expired or revoked subscription");
    client_close(&a);
    client_close(&b);
}

static void events_never_stand_inside_a_reply(void)
{
    enum { BODIES = 3000, PAD = 500 };
    char ids[3][ID_BYTES], id[ID_BYTES], line[2 * ID_BYTES + 64], body[64];
    int64_t offset;
    struct client *a = session(), *b = session();
    topic_make(a, "inside", 3, "");
    CU_ASSERT_EQUAL(subscribe_many(a, "inside", "g", 3, ids), 3);
    publish_range(a, "inside", "m", 0, BODIES, PAD);
    (void)snprintf(line, sizeof(line), "CONS inside %s\nCONS inside %s\n", ids[0], ids[0]);
    CU_ASSERT(client_send_text(a, line)); /* long replies are on their way while b takes a partition */
    subscribe(b, "inside", "g", id);
    for (int i = 0; i < 2; i++) {
        const char *reply = client_reply(a);
        if (strncmp(reply, "Error, ", 7) == 0)
            continue; /* it was this one that b got */
        int seen = 0;
        struct json j = json_open(reply);
        CU_ASSERT_PTR_NOT_NULL(j.root);
        json_close(&j);
        for (const char *at = reply; next_message(&at, body, sizeof(body), &offset);)
            seen++;
        CU_ASSERT_EQUAL(seen, BODIES / 3);
    }
    REPLY_IS(client_ask(a, "PING"), "Done");
    CU_ASSERT_PTR_NOT_NULL(client_event(a, REPLY_MS));
    client_close(&a);
    client_close(&b);
}

static void an_id_is_not_a_connection(void)
{
    char id[ID_BYTES];
    struct client *a = session(), *b;
    topic_make(a, "loose", 1, "");
    publish_range(a, "loose", "m", 0, 5, 0);
    subscribe(a, "loose", "g", id);
    (void)client_send_text(a, "DISC\n");
    client_close(&a);
    b = session();
    expect_range(b, "loose", id, -1, "m", 0, 5);
    REPLY_IS(client_ask(b, "CMIT loose %s 3", id), "Done");
    client_close(&b);
    b = session();
    expect_range(b, "loose", id, -1, "m", 3, 5);
    REPLY_IS(client_ask(b, "UNSB loose %s", id), "Done");
    client_close(&b);
}

static void grps_shows_members_offsets_and_lag(void)
{
    char id[ID_BYTES];
    struct client *c = session();
    topic_make(c, "lag", 1, "");
    publish_range(c, "lag", "m", 0, 10, 0);
    subscribe(c, "lag", "lag.group", id);
    REPLY_IS(client_ask(c, "CMIT lag %s 4", id), "Done");
    REPLY_HOLDS(client_ask(c, "GRPS"), "lag.group");
    const char *reply = client_ask(c, "GRPS lag.group");
    REPLY_HOLDS(reply, "\"Ok\":true");
    REPLY_HOLDS(reply, "\"lag\"");
    REPLY_HOLDS(reply, "\"Lag\":6");
    REPLY_HOLDS(reply, ":4");
    client_close(&c);
}

/* ---- expiry ------------------------------------------------------------------------ */

struct attempt {
    struct client *c;
    const char *line;
    const char *begins;
};

static bool answers(void *arg)
{
    struct attempt *a = arg;
    const char *reply = client_ask(a->c, "%s", a->line);
    return strncmp(reply, a->begins, strlen(a->begins)) == 0;
}

static void an_id_that_is_not_used_expires(void)
{
    char id[ID_BYTES];
    struct client *a = hasty_session(), *b = hasty_session();
    topic_make(a, "expire", 1, "");
    int64_t begin = now_us();
    subscribe(a, "expire", "g", id);
    struct attempt again = {b, "SUBS expire g", "{\"Ok\":true,\"Data\":[\""};
    CU_ASSERT(wait_until(answers, &again, REPLY_MS));
    CU_ASSERT(now_us() - begin >= 900000);
    REPLY_IS(client_ask(a, "CONS expire %s", id), "Error, unknown, expired or revoked subscription");
    client_close(&a);
    client_close(&b);
}

struct renewal {
    struct client *owner, *rival;
    const char *line;
    int64_t until_us;
    bool lost;
};

static bool renew_and_try(void *arg)
{
    struct renewal *r = arg;
    (void)client_ask(r->owner, "%s", r->line);
    r->lost = r->lost || strncmp(client_ask(r->rival, "SUBS renew g"), "Error, ", 7) != 0;
    return r->lost || now_us() > r->until_us;
}

static void ping_and_cons_renew_it(void)
{
    char id[ID_BYTES], cons[ID_BYTES + 32];
    struct client *a = hasty_session(), *b = hasty_session();
    topic_make(a, "renew", 1, "");
    subscribe(a, "renew", "g", id);
    struct renewal r = {a, b, "PING", now_us() + 2500000, false};
    CU_ASSERT(wait_until(renew_and_try, &r, REPLY_MS));
    CU_ASSERT_FALSE(r.lost);
    (void)snprintf(cons, sizeof(cons), "CONS renew %s", id);
    r = (struct renewal){a, b, cons, now_us() + 2500000, false};
    CU_ASSERT(wait_until(renew_and_try, &r, REPLY_MS));
    CU_ASSERT_FALSE(r.lost);
    REPLY_HOLDS(client_ask(a, "%s", cons), "\"Ok\":true");
    client_close(&a);
    client_close(&b);
}

static void a_tail_renews_it_too(void)
{
    char id[ID_BYTES];
    struct client *a = hasty_session(), *b = hasty_session();
    topic_make(a, "tailed", 1, "");
    subscribe(a, "tailed", "g", id);
    char line[ID_BYTES + 32];
    (void)snprintf(line, sizeof(line), "TAIL tailed %s\n", id);
    CU_ASSERT(client_send_text(a, line));
    struct attempt never = {b, "SUBS tailed g", "{\"Ok\":true,\"Data\":[\""};
    CU_ASSERT_FALSE(wait_until(answers, &never, 2500));
    publish_range(b, "tailed", "m", 0, 1, 0);
    const char *message = client_line(a, REPLY_MS);
    CU_ASSERT_PTR_NOT_NULL_FATAL(message);
    REPLY_HOLDS(message, "\"m-0\"");
    client_close(&a);
    client_close(&b);
}

/* ---- restart ------------------------------------------------------------------------ */

static void ids_and_offsets_survive(bool killed)
{
    const char *dir = temp_folder("keep");
    struct daemon_spec spec = {.dir = dir};
    struct daemon *d = daemon_start(&spec);
    struct client *c = client_open(daemon_port(d));
    char id[ID_BYTES], other[ID_BYTES];
    topic_make(c, "kept", 2, "");
    publish_range(c, "kept", "m", 0, 40, 0);
    subscribe(c, "kept", "g", id);
    subscribe(c, "kept", "g2", other);
    REPLY_IS(client_ask(c, "CMIT kept %s 7", id), "Done");
    REPLY_IS(client_ask(c, "CMIT kept %s 9", other), "Done");
    REPLY_IS(client_ask(c, "CMIT kept %s 11", other), "Done");
    client_close(&c);
    if (killed)
        daemon_kill(&d);
    else
        daemon_end(&d);
    d = daemon_start(&spec);
    c = client_open(daemon_port(d));
    struct json j = json_open(client_ask(c, "CONS kept %s", id));
    CU_ASSERT_EQUAL(json_count(&j, "Data"), 13);
    CU_ASSERT_EQUAL(json_number(&j, "Data.0.Offset"), 7);
    json_close(&j);
    j = json_open(client_ask(c, "CONS kept %s", other));
    CU_ASSERT_EQUAL(json_count(&j, "Data"), 9);
    json_close(&j);
    struct client *rest = client_open(daemon_port(d)); /* takes the other partition of the two */
    REPLY_HOLDS(client_ask(rest, "SUBS kept g"), "\"Ok\":true");
    client_close(&rest);
    REPLY_IS(client_ask(c, "UNSB kept %s", id), "Done");
    client_close(&c);
    daemon_end(&d);
    d = daemon_start(&spec);
    c = client_open(daemon_port(d));
    REPLY_IS(client_ask(c, "CONS kept %s", id), "Error, unknown, expired or revoked subscription");
    subscribe(c, "kept", "g", id); /* whoever comes next goes on where the group is */
    j = json_open(client_ask(c, "CONS kept %s", id));
    CU_ASSERT_EQUAL(json_number(&j, "Data.0.Offset"), 7);
    json_close(&j);
    client_close(&c);
    daemon_end(&d);
}

static void ids_and_offsets_survive_a_restart(void)
{
    ids_and_offsets_survive(false);
}

static void ids_and_offsets_survive_a_kill(void)
{
    ids_and_offsets_survive(true);
}

static void after_a_restart_an_id_still_expires(void)
{
    char id[ID_BYTES];
    struct client *c = hasty_session();
    topic_make(c, "later", 1, "");
    subscribe(c, "later", "g", id);
    client_close(&c);
    daemon_kill(&hasty);
    struct daemon_spec spec = {.dir = hasty_dir, .settings = {"session.timeout=1s"}};
    hasty = daemon_start(&spec);
    c = hasty_session();
    struct attempt again = {c, "SUBS later g", "{\"Ok\":true,\"Data\":[\""};
    CU_ASSERT(wait_until(answers, &again, REPLY_MS));
    client_close(&c);
}

static void deleting_a_topic_ends_its_subscriptions(void)
{
    char id[ID_BYTES];
    struct client *c = session();
    topic_make(c, "gone", 1, "");
    publish_range(c, "gone", "old", 0, 3, 0);
    subscribe(c, "gone", "g", id);
    REPLY_IS(client_ask(c, "CMIT gone %s 2", id), "Done");
    REPLY_IS(client_ask(c, "DELE gone"), "Done");
    REPLY_REFUSES(client_ask(c, "CONS gone %s", id), "");
    topic_make(c, "gone", 1, "");
    publish_range(c, "gone", "new", 0, 3, 0);
    REPLY_REFUSES(client_ask(c, "CONS gone %s", id), "");
    subscribe(c, "gone", "g", id);
    expect_range(c, "gone", id, -1, "new", 0, 3); /* not from the old topic's offset */
    client_close(&c);
}

static void they_stop_cleanly(void)
{
    if (shared != NULL)
        daemon_end(&shared);
    if (hasty != NULL)
        daemon_end(&hasty);
}

static const struct unit_case cases[] = {
    {"nobody shares a partition within a group", nobody_shares_a_partition_within_a_group},
    {"more than there is gives what there is", more_than_there_is_gives_what_there_is},
    {"two groups read the same messages", two_groups_read_the_same_messages},
    {"a newcomer takes from who holds most", a_newcomer_takes_from_who_holds_most},
    {"a balanced group gives nothing up", a_balanced_group_gives_nothing_up},
    {"a freed partition goes to who asked for more", a_freed_partition_goes_to_who_asked_for_more},
    {"events never stand inside a reply", events_never_stand_inside_a_reply},
    {"an id is not a connection", an_id_is_not_a_connection},
    {"GRPS shows members, offsets and lag", grps_shows_members_offsets_and_lag},
    {"an id that is not used expires", an_id_that_is_not_used_expires},
    {"PING and CONS renew it", ping_and_cons_renew_it},
    {"a TAIL renews it too", a_tail_renews_it_too},
    {"ids and offsets survive a restart", ids_and_offsets_survive_a_restart},
    {"ids and offsets survive a kill", ids_and_offsets_survive_a_kill},
    {"after a restart an id still expires", after_a_restart_an_id_still_expires},
    {"deleting a topic ends its subscriptions", deleting_a_topic_ends_its_subscriptions},
    {"they stop cleanly", they_stop_cleanly},
};

E2E_MAIN("groups", cases)
