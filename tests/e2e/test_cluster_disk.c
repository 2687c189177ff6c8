/*
 * What disks do to a cluster: one is full, one has a flipped bit, one is empty. Nobody is
 * served what is wrong, nobody stops, and what was damaged is fetched from the others.
 */
#include "e2e/cluster_case.h"

#include <errno.h>
#include <sys/mount.h>

enum { RATE = 300, SMALL_MIB = 24, LARGE_PAD = 400, PATH_BYTES = 600 };

/* ---- a full disk ------------------------------------------------------------------ */

static char small_disk[PATH_BYTES];

static void unmount(void)
{
    if (small_disk[0] != '\0')
        (void)umount2(small_disk, MNT_DETACH);
    small_disk[0] = '\0';
}

/* Puts a small file system under the folder of a broker that is down, with what it holds. */
static bool give_small_disk(const struct fleet *f, int id)
{
    static bool registered;
    char options[32];
    const char *dir = fleet_dir(f, id);
    const char *kept = temp_folder("kept");
    (void)snprintf(options, sizeof(options), "size=%dm", SMALL_MIB);
    if (!folder_copy(dir, kept))
        harness_fail("a folder could not be copied");
    if (mount("none", dir, "tmpfs", 0, options) != 0) {
        say_skipped("no tmpfs can be mounted: %s", strerror(errno));
        return false;
    }
    (void)snprintf(small_disk, sizeof(small_disk), "%s", dir);
    if (!registered)
        (void)atexit(unmount);
    registered = true;
    if (!folder_copy(kept, dir))
        harness_fail("a folder could not be copied back");
    return true;
}

/* Fills what is left of it. */
static void fill_small_disk(void)
{
    char path[PATH_BYTES + 16];
    static char zeros[1 << 16];
    (void)snprintf(path, sizeof(path), "%s/ballast", small_disk);
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    while (fwrite(zeros, 1, sizeof(zeros), file) == sizeof(zeros))
        continue;
    (void)fclose(file);
}

static void empty_small_disk(void)
{
    char path[PATH_BYTES + 16];
    (void)snprintf(path, sizeof(path), "%s/ballast", small_disk);
    CU_ASSERT_EQUAL(unlink(path), 0);
}

static void a_full_disk_of_one_stops_nobody(void)
{
    struct fleet *f = fleet_with_topic(3, 3, "segment.bytes=1MiB", false);
    int full = leader_of(f, 0, 0);
    fleet_stop(f, full);
    if (!give_small_disk(f, full)) {
        fleet_drop(&f);
        return;
    }
    fleet_start(f, full);
    CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    struct witness_spec spec = {
        .fleet = f, .topic = "t", .partitions = 3, .publishers = 2, .plain = 2, .rate = RATE, .pad = LARGE_PAD};
    struct witness *w = witness_begin(&spec);
    CU_ASSERT_FATAL(witness_advances(w, 200, GO_ON_MS));
    fill_small_disk();
    CU_ASSERT_FATAL(witness_advances(w, 2000, 2 * GO_ON_MS));
    CU_ASSERT(daemon_said(fleet_daemon(f, full), "disk full", GO_ON_MS));
    CU_ASSERT_FATAL(witness_advances(w, 500, GO_ON_MS));
    empty_small_disk();
    CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    witness_end(&w);
    fleet_end(&f);
    unmount();
}

/* ---- a flipped bit ------------------------------------------------------------------- */

enum { MESSAGES = 3000, PAD = 100, SPOILT = 17, HEAD_BYTES = 64 };

/* The sealed segment's file of t-0 at that broker that holds a message early in the log. */
static int64_t find_message(const struct fleet *f, int id, char path[PATH_BYTES])
{
    char text[32];
    char dir[PATH_BYTES];
    (void)snprintf(dir, sizeof(dir), "%s/t-0", fleet_dir(f, id));
    int n = snprintf(text, sizeof(text), "m-%d.", SPOILT);
    if (!folder_nth(dir, ".log", 0, path, PATH_BYTES))
        return -1;
    return file_find(path, text, (size_t)n, false);
}

struct repair {
    const struct fleet *fleet;
    int id;
};

static bool is_repaired(void *arg)
{
    const struct repair *r = arg;
    char path[PATH_BYTES];
    return find_message(r->fleet, r->id, path) >= 0;
}

static struct fleet *fleet_with_sealed_segments(void)
{
    struct fleet_spec spec = {.brokers = 3, .settings = {"segment.bytes=64KiB", "scrub.interval=1s"}};
    struct fleet *f = fleet_form(&spec);
    struct client *c = fleet_client(f, 1);
    topic_make(c, "t", 1, "");
    publish_range(c, "t", "m", 0, MESSAGES, PAD);
    client_close(&c);
    CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    return f;
}

/* Spoils a message in a sealed segment of that broker while it is down. */
static void spoil(struct fleet *f, int id)
{
    char path[PATH_BYTES];
    fleet_stop(f, id);
    int64_t pos = find_message(f, id, path);
    CU_ASSERT_FATAL(pos > 0);
    CU_ASSERT_FATAL(file_flip_bit(path, pos + 2, 0));
    CU_ASSERT_FATAL(find_message(f, id, path) < 0);
    fleet_start(f, id);
}

/* Every broker tells all that was published, unspoilt. */
static void expect_all_everywhere(const struct fleet *f, const char *prefix)
{
    for (int id = 1; id <= fleet_size(f); id++) {
        char subscription[ID_BYTES], group[32];
        struct client *c = fleet_client(f, id);
        (void)snprintf(group, sizeof(group), "%s-%d", prefix, id);
        subscribe(c, "t", group, subscription);
        expect_range(c, "t", subscription, 0, "m", 0, MESSAGES);
        client_close(&c);
    }
}

static void a_flipped_bit_of_a_follower_is_fetched_again(void)
{
    struct fleet *f = fleet_with_sealed_segments();
    int follower = leader_of(f, 0, 0) % 3 + 1;
    spoil(f, follower);
    struct repair r = {f, follower};
    CU_ASSERT(wait_until(is_repaired, &r, WHOLE_MS));
    CU_ASSERT(fleet_whole(f, 3, WHOLE_MS));
    expect_all_everywhere(f, "g");
    fleet_end(&f);
}

static void a_flipped_bit_of_the_leader_is_served_to_nobody(void)
{
    struct fleet *f = fleet_with_sealed_segments();
    int leader = leader_of(f, 0, 0);
    spoil(f, leader);
    struct client *c = fleet_client(f, leader);
    const char *reply = client_ask(c, "CLUS TRANSFER t 0 %d", leader);
    if (strcmp(reply, "Done") != 0) /* it may lead again by itself already, or not be fit for it yet */
        REPLY_HOLDS(reply, "lead");
    client_close(&c);
    expect_all_everywhere(f, "first"); /* from wherever it comes */
    struct repair r = {f, leader};
    CU_ASSERT(wait_until(is_repaired, &r, WHOLE_MS));
    CU_ASSERT(fleet_whole(f, 3, WHOLE_MS));
    expect_all_everywhere(f, "then");
    fleet_end(&f);
}

/* The first bytes of the oldest segment's file of t-0 at that broker. */
static bool read_head(const struct fleet *f, int id, char path[PATH_BYTES], uint8_t head[HEAD_BYTES])
{
    char dir[PATH_BYTES];
    (void)snprintf(dir, sizeof(dir), "%s/t-0", fleet_dir(f, id));
    FILE *file = folder_nth(dir, ".log", 0, path, PATH_BYTES) ? fopen(path, "rb") : NULL;
    bool whole = file != NULL && fread(head, 1, HEAD_BYTES, file) == HEAD_BYTES;
    if (file != NULL)
        (void)fclose(file);
    return whole;
}

struct head_was {
    const struct fleet *fleet;
    int id;
    uint8_t bytes[HEAD_BYTES];
};

static bool head_is_back(void *arg)
{
    const struct head_was *was = arg;
    char path[PATH_BYTES];
    uint8_t head[HEAD_BYTES];
    return read_head(was->fleet, was->id, path, head) && memcmp(head, was->bytes, HEAD_BYTES) == 0;
}

static void a_flipped_bit_of_a_segments_head_is_put_right(void)
{
    struct fleet *f = fleet_with_sealed_segments();
    struct head_was was = {.fleet = f, .id = leader_of(f, 0, 0)};
    char path[PATH_BYTES];
    fleet_stop(f, was.id);
    CU_ASSERT_FATAL(read_head(f, was.id, path, was.bytes));
    CU_ASSERT_FATAL(file_flip_bit(path, HEAD_BYTES / 2, 3));
    CU_ASSERT_FATAL(!head_is_back(&was));
    fleet_start(f, was.id);
    CU_ASSERT(daemon_said(fleet_daemon(f, was.id), "is whole again", WHOLE_MS));
    CU_ASSERT(wait_until(head_is_back, &was, WHOLE_MS));
    CU_ASSERT(fleet_whole(f, 3, WHOLE_MS));
    expect_all_everywhere(f, "g");
    fleet_end(&f);
}

/* Where t-0 at that broker has a message late in the log. */
static int64_t find_in_tail(const struct fleet *f, int id, char path[PATH_BYTES])
{
    char text[32];
    char dir[PATH_BYTES];
    int64_t pos = -1;
    (void)snprintf(dir, sizeof(dir), "%s/t-0", fleet_dir(f, id));
    int n = snprintf(text, sizeof(text), "m-%d.", MESSAGES - 20);
    for (int nth = 0; pos < 0 && folder_nth(dir, ".log", nth, path, PATH_BYTES); nth++)
        pos = file_find(path, text, (size_t)n, false);
    return pos;
}

struct tail {
    const struct fleet *fleet;
    int id;
    char path[PATH_BYTES];
    int64_t pos;
};

static int64_t le64_at(FILE *file, long pos)
{
    uint8_t bytes[8] = {0};
    uint64_t value = 0;
    if (fseek(file, pos, SEEK_SET) != 0 || fread(bytes, 1, sizeof(bytes), file) != sizeof(bytes))
        return -1;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | bytes[i];
    return (int64_t)value;
}

/* The mark in the hard state (its third slot: src/log/hard_state.c) says that the message is flushed. */
static bool tail_is_marked(void *arg)
{
    struct tail *tail = arg;
    char state[PATH_BYTES];
    tail->pos = find_in_tail(tail->fleet, tail->id, tail->path);
    (void)snprintf(state, sizeof(state), "%s/t-0/hard-state", fleet_dir(tail->fleet, tail->id));
    FILE *file = fopen(state, "rb");
    if (file == NULL)
        return false;
    bool marked = tail->pos > 0 && le64_at(file, 2 * 4096 + 96) == strtoll(strrchr(tail->path, '/') + 1, NULL, 10) &&
                  le64_at(file, 2 * 4096 + 112) > tail->pos;
    (void)fclose(file);
    return marked;
}

static void a_flipped_bit_in_what_grows_is_fetched_before_the_log_is_open(void)
{
    struct fleet *f = fleet_with_sealed_segments();
    for (int round = 0; round < 2; round++) {
        int id = round == 0 ? leader_of(f, 0, 0) : leader_of(f, 0, 0) % 3 + 1;
        struct tail tail = {.fleet = f, .id = id};
        char path[PATH_BYTES];
        CU_ASSERT_FATAL(wait_until(tail_is_marked, &tail, GO_ON_MS));
        fleet_kill(f, id);
        CU_ASSERT_FATAL(file_flip_bit(tail.path, tail.pos + 2, 0));
        CU_ASSERT_FATAL(find_in_tail(f, id, path) < 0);
        fleet_start(f, id);
        CU_ASSERT(daemon_said(fleet_daemon(f, id), "was damaged is whole again", WHOLE_MS));
        CU_ASSERT(find_in_tail(f, id, path) == tail.pos);
        CU_ASSERT(fleet_whole(f, 3, WHOLE_MS));
        expect_all_everywhere(f, round == 0 ? "leader" : "follower");
    }
    fleet_end(&f);
}

/* ---- an empty disk ---------------------------------------------------------------------- */

static void a_wiped_broker_is_filled_again(void)
{
    struct fleet *f = fleet_with_topic(3, 3, "segment.bytes=64KiB", false);
    struct witness_spec spec = {
        .fleet = f, .topic = "t", .partitions = 3, .publishers = 2, .plain = 2, .rate = RATE, .pad = LARGE_PAD};
    struct witness *w = witness_begin(&spec);
    for (int id = 1; id <= 3; id += 2) {
        CU_ASSERT_FATAL(witness_advances(w, 1000, GO_ON_MS));
        fleet_kill(f, id);
        fleet_wipe(f, id);
        CU_ASSERT_FATAL(witness_advances(w, 200, GO_ON_MS));
        fleet_start(f, id); /* with the command that formed the cluster */
        CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    }
    /* What was wiped holds all again: it and another one are a majority. */
    fleet_kill(f, 2);
    CU_ASSERT_FATAL(witness_advances(w, 200, GO_ON_MS));
    fleet_start(f, 2);
    CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    witness_end(&w);
    fleet_end(&f);
}

static const struct unit_case cases[] = {
    {"a full disk of one stops nobody", a_full_disk_of_one_stops_nobody},
    {"a flipped bit of a follower is fetched again", a_flipped_bit_of_a_follower_is_fetched_again},
    {"a flipped bit of the leader is served to nobody", a_flipped_bit_of_the_leader_is_served_to_nobody},
    {"a flipped bit of a segment's head is put right", a_flipped_bit_of_a_segments_head_is_put_right},
    {"a flipped bit in what grows is fetched before the log is open",
     a_flipped_bit_in_what_grows_is_fetched_before_the_log_is_open},
    {"a wiped broker is filled again", a_wiped_broker_is_filled_again},
};
E2E_MAIN("cluster: disk", cases)
