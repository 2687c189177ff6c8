/*
 * Segments: rolling, retention by size and by age, log start and what readers
 * below it are told, deletion of a topic, and all of it across restarts.
 */
#include "e2e/e2e.h"
#include "e2e/scenario.h"

enum { PAD = 1000 };

static const char *dir;
static struct daemon *shared;

static void restart(bool killed)
{
    struct daemon_spec spec = {.dir = dir};
    if (shared != NULL && killed)
        daemon_kill(&shared);
    else if (shared != NULL)
        daemon_end(&shared);
    shared = daemon_start(&spec);
}

static struct client *session(void)
{
    if (dir == NULL)
        dir = temp_folder("retention");
    if (shared == NULL)
        restart(false);
    return client_open(daemon_port(shared));
}

static int segments_of(const char *topic)
{
    char folder[64];
    (void)snprintf(folder, sizeof(folder), "%s-0", topic);
    return folder_count(path_in(dir, folder), ".log");
}

static void a_full_segment_is_followed_by_the_next(void)
{
    char id[ID_BYTES];
    struct client *c = session();
    topic_make(c, "rolled", 1, " segment.bytes=65536");
    CU_ASSERT(segments_of("rolled") <= 1);
    for (int i = 0; i < 1000; i += 20) /* entries smaller than a segment */
        publish_range(c, "rolled", "m", i, i + 20, PAD);
    CU_ASSERT(segments_of("rolled") >= 10);
    subscribe(c, "rolled", "g", id);
    expect_range(c, "rolled", id, 0, "m", 0, 1000);
    expect_range(c, "rolled", id, 777, "m", 777, 1000);
    for (int killed = 0; killed < 2; killed++) {
        client_close(&c);
        restart(killed == 1);
        c = session();
        expect_range(c, "rolled", id, 0, "m", 0, 1000);
        expect_range(c, "rolled", id, 501, "m", 501, 1000);
    }
    publish_range(c, "rolled", "m", 1000, 1100, PAD);
    expect_range(c, "rolled", id, 0, "m", 0, 1100);
    client_close(&c);
}

struct start_wait {
    struct client *c;
    const char *topic;
    int64_t beyond;
};

static bool start_is_beyond(void *arg)
{
    struct start_wait *w = arg;
    return partition_start(w->c, w->topic, 0) > w->beyond;
}

/* Whole segments go as long as the limit is left, so at rest there is less than the
 * limit and one segment; with the last one still on its way out, less than two. */
static bool size_is_at_rest(void *arg)
{
    struct start_wait *w = arg;
    int64_t before = w->beyond;
    w->beyond = partition_start(w->c, w->topic, 0);
    return w->beyond == before && partition_bytes(w->c, w->topic, 0) < 262144 + 65536;
}

static void retention_by_size_moves_the_log_start(void)
{
    char id[ID_BYTES];
    struct client *c = session();
    topic_make(c, "bysize", 1, " segment.bytes=65536 retention.bytes=262144");
    for (int i = 0; i < 2000; i += 20)
        publish_range(c, "bysize", "m", i, i + 20, PAD);
    struct start_wait w = {c, "bysize", 1000};
    CU_ASSERT(wait_until(start_is_beyond, &w, REPLY_MS));
    CU_ASSERT(wait_until(size_is_at_rest, &w, REPLY_MS));
    int start = (int)partition_start(c, "bysize", 0);
    CU_ASSERT(start <= 2000 - 200); /* what it may keep, it keeps */
    subscribe(c, "bysize", "g", id);
    expect_range(c, "bysize", id, -1, "m", start, 2000); /* a new group begins at the log start */
    expect_range(c, "bysize", id, start, "m", start, 2000);
    const char *reply = client_ask(c, "CONS bysize %s 0", id);
    char ends[32];
    (void)snprintf(ends, sizeof(ends), "%d", start);
    REPLY_REFUSES(reply, ends);
    REPLY_HOLDS(reply, "2000");
    for (int killed = 0; killed < 2; killed++) {
        client_close(&c);
        restart(killed == 1);
        c = session();
        CU_ASSERT(partition_start(c, "bysize", 0) >= start); /* it never goes back */
        CU_ASSERT_EQUAL(partition_end(c, "bysize", 0), 2000);
    }
    client_close(&c);
}

static bool few_segments(void *arg)
{
    return segments_of(arg) <= 7;
}

static void deleted_segments_leave_the_disk(void)
{
    struct client *c = session();
    static char topic[] = "bysize";
    CU_ASSERT(wait_until(few_segments, topic, REPLY_MS));
    client_close(&c);
}

static void retention_by_age_moves_it_too(void)
{
    struct client *c = session();
    topic_make(c, "byage", 1, " segment.bytes=65536 retention.ms=500");
    publish_range(c, "byage", "m", 0, 300, PAD);
    struct start_wait w = {c, "byage", 299};
    CU_ASSERT(wait_until(start_is_beyond, &w, REPLY_MS)); /* the unsealed one too: all are old */
    CU_ASSERT_EQUAL(partition_end(c, "byage", 0), 300);
    publish_range(c, "byage", "m", 300, 310, PAD);
    CU_ASSERT_EQUAL(partition_end(c, "byage", 0), 310);
    client_close(&c);
}

static void a_reader_half_way_is_not_cut_off_by_retention(void)
{
    char id[ID_BYTES], line[256], body[32];
    int64_t offset, last = -1;
    struct client *reader = session(), *writer = session();
    topic_make(writer, "reader", 1, " segment.bytes=1048576 retention.bytes=4194304");
    publish_range(writer, "reader", "m", 0, 400, 10000);
    subscribe(reader, "reader", "g", id);
    (void)snprintf(line, sizeof(line), "CONS reader %s\n", id);
    CU_ASSERT(client_send_text(reader, line)); /* 4 MB, read below: more than socket buffers hold */
    publish_range(writer, "reader", "m", 400, 1600, 10000);
    struct start_wait w = {writer, "reader", 400};
    CU_ASSERT(wait_until(start_is_beyond, &w, REPLY_MS));
    const char *reply = client_reply(reader);
    for (const char *at = reply; next_message(&at, body, sizeof(body), &offset); last = offset)
        CU_ASSERT(last < 0 || offset == last + 1);
    /* Either all of it (and what came before the command was taken), or an end that
     * says why; never a hole or silence. */
    CU_ASSERT(last >= 399 || strstr(reply, "],\"Error\":\"") != NULL);
    client_close(&reader);
    client_close(&writer);
}

static bool folder_is_gone(void *arg)
{
    return access(arg, F_OK) != 0;
}

static void a_deleted_topic_leaves_the_disk_and_can_come_again(void)
{
    char id[ID_BYTES], folder[512];
    struct client *c = session();
    topic_make(c, "away", 2, " segment.bytes=65536");
    publish_range(c, "away", "secret", 0, 500, PAD);
    (void)snprintf(folder, sizeof(folder), "%s/away-0", dir);
    CU_ASSERT_EQUAL(access(folder, F_OK), 0);
    REPLY_IS(client_ask(c, "DELE away"), "Done");
    CU_ASSERT(wait_until(folder_is_gone, folder, REPLY_MS));
    topic_make(c, "away", 1, "");
    CU_ASSERT_EQUAL(partition_end(c, "away", 0), 0);
    publish_range(c, "away", "m", 0, 10, 0);
    for (int killed = 0; killed < 2; killed++) {
        client_close(&c);
        restart(killed == 0);
        c = session();
        (void)snprintf(folder, sizeof(folder), "g-%d", killed);
        subscribe(c, "away", folder, id);
        expect_range(c, "away", id, 0, "m", 0, 10);
    }
    CU_ASSERT_FALSE(folder_holds(dir, "secret-7", 8));
    client_close(&c);
}

static void delete_is_remembered_through_a_kill(void)
{
    struct client *c = session();
    topic_make(c, "dead", 3, "");
    publish_range(c, "dead", "m", 0, 30, 0);
    REPLY_IS(client_ask(c, "DELE dead"), "Done");
    client_close(&c);
    restart(true);
    c = session();
    REPLY_REFUSES(client_ask(c, "DESC dead"), "does not exist");
    CU_ASSERT_PTR_NULL(strstr(client_ask(c, "LIST"), "\"dead\""));
    client_close(&c);
}

static void it_stops_cleanly(void)
{
    if (shared != NULL)
        daemon_end(&shared);
}

static const struct unit_case cases[] = {
    {"a full segment is followed by the next", a_full_segment_is_followed_by_the_next},
    {"retention by size moves the log start", retention_by_size_moves_the_log_start},
    {"deleted segments leave the disk", deleted_segments_leave_the_disk},
    {"retention by age moves it too", retention_by_age_moves_it_too},
    {"a reader half way is not cut off by retention", a_reader_half_way_is_not_cut_off_by_retention},
    {"a deleted topic leaves the disk and can come again", a_deleted_topic_leaves_the_disk_and_can_come_again},
    {"a delete is remembered through a kill", delete_is_remembered_through_a_kill},
    {"it stops cleanly", it_stops_cleanly},
};

E2E_MAIN("retention", cases)
