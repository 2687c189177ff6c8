/*
 * What the disk does to a broker: full, and room again; a folder of a newer
 * format or of somebody else; flipped bits in unsealed and sealed segments; lost
 * indexes. What is not touched by it goes on.
 */
#include "e2e/e2e.h"
#include "e2e/scenario.h"

#include <errno.h>
#include <sys/mount.h>

enum { EXIT_FOLDER = 3, OUTPUT_BYTES = 8192, PAD = 1000, LARGE = 50000 };

/* ---- a full disk ---------------------------------------------------------------- */

static char small_disk[256];

static void unmount(void)
{
    if (small_disk[0] != '\0')
        (void)umount2(small_disk, MNT_DETACH);
    small_disk[0] = '\0';
}

/* A tmpfs of that many MiB; NULL, and says so, where that is not permitted. */
static const char *mount_small_disk(int size_mib)
{
    char options[32];
    static bool registered;
    const char *dir = temp_folder("disk");
    (void)snprintf(options, sizeof(options), "size=%dm", size_mib);
    unmount();
    if (mount("none", dir, "tmpfs", 0, options) != 0) {
        say_skipped("no tmpfs can be mounted: %s", strerror(errno));
        return NULL;
    }
    (void)snprintf(small_disk, sizeof(small_disk), "%s", dir);
    if (!registered)
        (void)atexit(unmount);
    registered = true;
    return small_disk;
}

/* One large publish; true when it was acknowledged, else reply says why not. */
static bool publish_large(struct client *c, const char *topic, int i, char reply[512])
{
    static char line[LARGE + 128];
    int n = snprintf(line, sizeof(line), "PUBS %s {\"Body\":\"m-%d", topic, i);
    memset(line + n, '.', LARGE);
    memcpy(line + n + LARGE, "\"}\n", 3);
    CU_ASSERT(client_send(c, line, (size_t)n + LARGE + 3));
    (void)snprintf(reply, 512, "%s", client_reply(c));
    return strcmp(reply, "Done") == 0;
}

/* Publishes until it is refused; how many were acknowledged. */
static int publish_until_full(struct client *c, const char *topic, int from, char reply[512])
{
    int i = from;
    while (i < from + 2000 && publish_large(c, topic, i, reply))
        i++;
    return i;
}

struct room_wait {
    struct client *c;
    const char *topic;
    int next;
};

static bool publishes_again(void *arg)
{
    struct room_wait *w = arg;
    char reply[512];
    bool done = publish_large(w->c, w->topic, w->next, reply);
    w->next += done;
    return done;
}

static void a_full_disk_refuses_publishes_and_recovers_without_a_restart(void)
{
    enum { BALLAST = 6 << 20 };
    char id[ID_BYTES], reply[512], ballast[300], data[300];
    const char *disk = mount_small_disk(24);
    if (disk == NULL)
        return;
    (void)snprintf(ballast, sizeof(ballast), "%s/ballast", disk);
    (void)snprintf(data, sizeof(data), "%s/data", disk);
    char *zeros = calloc(1, BALLAST);
    CU_ASSERT(zeros != NULL && file_write(ballast, zeros, BALLAST));
    free(zeros);
    struct daemon_spec spec = {.dir = data, .settings = {"segment.bytes=1MiB"}};
    struct daemon *d = daemon_start(&spec);
    struct client *c = client_open(daemon_port(d));
    topic_make(c, "full", 1, "");
    subscribe(c, "full", "g", id);
    int acked = publish_until_full(c, "full", 0, reply);
    CU_ASSERT(acked > 50);
    REPLY_REFUSES(reply, "disk full");
    for (int i = 0; i < 3; i++) { /* it goes on saying so, and goes on serving */
        CU_ASSERT_FALSE(publish_large(c, "full", acked, reply));
        REPLY_REFUSES(reply, "disk full");
        expect_range(c, "full", id, 0, "m", 0, acked);
    }
    REPLY_IS(client_ask(c, "PING"), "Done");
    CU_ASSERT_EQUAL(unlink(ballast), 0);
    struct room_wait w = {c, "full", acked};
    CU_ASSERT(daemon_said(d, "disk full", REPLY_MS));
    CU_ASSERT(wait_until(publishes_again, &w, REPLY_MS));
    CU_ASSERT(daemon_said(d, "there is room again", REPLY_MS));
    for (int i = 0; i < 20; i++)
        CU_ASSERT(publishes_again(&w));
    expect_range(c, "full", id, 0, "m", 0, w.next);
    acked = publish_until_full(c, "full", w.next, reply);
    REPLY_REFUSES(reply, "disk full");
    client_close(&c);
    daemon_kill(&d);
    d = daemon_start(&spec); /* killed on a full disk: it starts on a full disk */
    c = client_open(daemon_port(d));
    expect_range(c, "full", id, 0, "m", 0, acked);
    client_close(&c);
    daemon_end(&d);
    unmount();
}

static void deleting_a_topic_makes_room_on_a_full_disk(void)
{
    char reply[512], data[300];
    const char *disk = mount_small_disk(24);
    if (disk == NULL)
        return;
    (void)snprintf(data, sizeof(data), "%s/data", disk);
    struct daemon_spec spec = {.dir = data, .settings = {"segment.bytes=1MiB"}};
    struct daemon *d = daemon_start(&spec);
    struct client *c = client_open(daemon_port(d));
    topic_make(c, "fat", 1, "");
    topic_make(c, "thin", 1, "");
    (void)publish_until_full(c, "fat", 0, reply);
    REPLY_REFUSES(reply, "disk full");
    REPLY_IS(client_ask(c, "DELE fat"), "Done");
    struct room_wait w = {c, "thin", 0};
    CU_ASSERT(wait_until(publishes_again, &w, REPLY_MS));
    CU_ASSERT(w.next > 0);
    client_close(&c);
    daemon_end(&d);
    unmount();
}

static void a_small_disk_leaves_the_broker_idle(void)
{
    enum { WATCH_MS = 500 };
    char data[300];
    const char *disk = mount_small_disk(8); /* 2 % of it is less than any step */
    if (disk == NULL)
        return;
    (void)snprintf(data, sizeof(data), "%s/data", disk);
    struct daemon_spec spec = {.dir = data, .settings = {"segment.bytes=1MiB"}};
    struct daemon *d = daemon_start(&spec);
    struct client *c = client_open(daemon_port(d));
    topic_make(c, "t", 1, "");
    for (int i = 0; i < 30; i++)
        publish_range(c, "t", "m", i, i + 1, PAD);
    CU_ASSERT(client_quiet(c, WATCH_MS)); /* marks and lingering are over */
    int64_t before = proc_switches(daemon_pid(d));
    CU_ASSERT(client_quiet(c, WATCH_MS));
    CU_ASSERT(SANITIZED || proc_switches(daemon_pid(d)) - before <= 4); /* a sanitizer has a thread of its own */
    client_close(&c);
    daemon_end(&d);
    unmount();
}

/* ---- a folder that is not for this daemon -------------------------------------------- */

static void a_newer_format_is_refused_and_left_alone(void)
{
    static const char newer[] = "format 2\nbroker 1\n";
    char output[OUTPUT_BYTES];
    struct daemon_spec spec = {.dir = temp_folder("newer")};
    struct daemon *d = daemon_start(&spec);
    daemon_end(&d);
    CU_ASSERT(file_write(path_in(spec.dir, "FORMAT"), newer, strlen(newer)));
    CU_ASSERT_EQUAL(daemon_refused(&spec, output, sizeof(output)), EXIT_FOLDER);
    REPLY_HOLDS(output, "format");
    REPLY_HOLDS(output, spec.dir);
    CU_ASSERT_EQUAL(file_find(path_in(spec.dir, "FORMAT"), newer, strlen(newer), false), 0);
}

static void a_folder_of_other_things_is_refused_and_left_alone(void)
{
    char output[OUTPUT_BYTES];
    struct daemon_spec spec = {.dir = temp_folder("theirs")};
    CU_ASSERT(file_write(path_in(spec.dir, "thesis.txt"), "words", 5));
    CU_ASSERT_EQUAL(daemon_refused(&spec, output, sizeof(output)), EXIT_FOLDER);
    REPLY_HOLDS(output, spec.dir);
    CU_ASSERT_EQUAL(file_bytes(path_in(spec.dir, "thesis.txt")), 5);
}

/* ---- flipped bits ------------------------------------------------------------------ */

/* The file of dir/topic-0 with that suffix that holds text, and where. */
static bool find_in_log(const char *dir, const char *topic, const char *suffix, const char *text, char path[600],
                        int64_t *pos)
{
    char folder[300];
    (void)snprintf(folder, sizeof(folder), "%s/%s-0", dir, topic);
    for (int i = 0; folder_nth(folder, suffix, i, path, 600); i++)
        if ((*pos = file_find(path, text, strlen(text), false)) >= 0)
            return true;
    return false;
}

static void damage_below_the_flushed_mark_stops_that_partition_alone(void)
{
    char path[600], id[ID_BYTES], well[ID_BYTES];
    int64_t pos;
    struct daemon_spec spec = {.dir = temp_folder("flip")};
    struct daemon *d = daemon_start(&spec);
    struct client *c = client_open(daemon_port(d));
    topic_make(c, "hurt", 1, "");
    topic_make(c, "well", 1, "");
    for (int i = 0; i < 50; i++) /* one by one: an entry each, which says what was flushed before it */
        publish_range(c, "hurt", "m", i, i + 1, 0);
    publish_range(c, "well", "m", 0, 50, 0);
    subscribe(c, "hurt", "g", id);
    subscribe(c, "well", "g", well);
    client_close(&c);
    daemon_kill(&d);
    CU_ASSERT_FATAL(find_in_log(spec.dir, "hurt", ".log", "m-7", path, &pos));
    CU_ASSERT(file_flip_bit(path, pos, 2));
    for (int round = 0; round < 2; round++) {
        d = daemon_start(&spec);
        CU_ASSERT(daemon_said(d, "kafkaesque log repair", REPLY_MS));
        CU_ASSERT(daemon_said(d, strstr(path, "hurt-0"), REPLY_MS));
        c = client_open(daemon_port(d));
        REPLY_REFUSES(client_ask(c, "PUBS hurt {\"Body\":\"x\"}"), "");
        REPLY_REFUSES(client_ask(c, "CONS hurt %s 0", id), "");
        REPLY_HOLDS(client_ask(c, "LIST"), "\"hurt\"");
        expect_range(c, "well", well, 0, "m", 0, 50 + round);
        publish_range(c, "well", "m", 50 + round, 51 + round, 0);
        client_close(&c);
        daemon_end(&d);
        CU_ASSERT(file_find(path, "m-49", 4, false) >= 0); /* nothing was cut */
    }
    CU_ASSERT(file_flip_bit(path, pos, 2)); /* the bit comes back, and with it the partition */
    d = daemon_start(&spec);
    c = client_open(daemon_port(d));
    expect_range(c, "hurt", id, 0, "m", 0, 50);
    publish_range(c, "hurt", "m", 50, 60, 0);
    client_close(&c);
    daemon_end(&d);
}

static void damage_in_a_sealed_segment_takes_out_that_range_alone(void)
{
    char path[600], id[ID_BYTES];
    int64_t pos;
    struct daemon_spec spec = {.dir = temp_folder("sealed")};
    struct daemon *d = daemon_start(&spec);
    struct client *c = client_open(daemon_port(d));
    topic_make(c, "hurt", 1, " segment.bytes=65536");
    for (int i = 0; i < 500; i += 10)
        publish_range(c, "hurt", "m", i, i + 10, PAD);
    subscribe(c, "hurt", "g", id);
    client_close(&c);
    daemon_end(&d);
    CU_ASSERT_FATAL(find_in_log(spec.dir, "hurt", ".log", "m-25.", path, &pos));
    CU_ASSERT(file_flip_bit(path, pos + 5, 0));
    d = daemon_start(&spec);
    c = client_open(daemon_port(d));
    expect_range(c, "hurt", id, 200, "m", 200, 500);
    const char *reply = client_ask(c, "CONS hurt %s 0", id);
    REPLY_HOLDS(reply, "\"m-5.");
    REPLY_HOLDS(reply, "],\"Error\":\"");
    CU_ASSERT_PTR_NULL(strstr(reply, "m-25")); /* nothing that does not check out */
    CU_ASSERT(daemon_said(d, "does not match its checksum", REPLY_MS));
    publish_range(c, "hurt", "m", 500, 600, PAD);
    expect_range(c, "hurt", id, 300, "m", 300, 600);
    client_close(&c);
    daemon_end(&d);
}

static void a_lost_or_damaged_index_is_made_anew(void)
{
    char path[600], folder[300], id[ID_BYTES];
    struct daemon_spec spec = {.dir = temp_folder("index")};
    struct daemon *d = daemon_start(&spec);
    struct client *c = client_open(daemon_port(d));
    topic_make(c, "t", 1, " segment.bytes=65536");
    for (int i = 0; i < 500; i += 10)
        publish_range(c, "t", "m", i, i + 10, PAD);
    subscribe(c, "t", "g", id);
    client_close(&c);
    (void)snprintf(folder, sizeof(folder), "%s/t-0", spec.dir);
    for (int killed = 0; killed < 2; killed++) {
        if (killed == 1)
            daemon_kill(&d);
        else
            daemon_end(&d);
        CU_ASSERT(folder_nth(folder, ".index", 0, path, sizeof(path)));
        for (int i = 0; folder_nth(folder, ".index", i, path, sizeof(path)); i++)
            if (i % 2 == 0)
                CU_ASSERT(file_flip_bit(path, 8, 3));
        CU_ASSERT(folder_nth(folder, ".index", 1, path, sizeof(path)));
        CU_ASSERT_EQUAL(unlink(path), 0);
        d = daemon_start(&spec);
        c = client_open(daemon_port(d));
        expect_range(c, "t", id, 0, "m", 0, 500);
        expect_range(c, "t", id, 123, "m", 123, 500);
        client_close(&c);
    }
    daemon_end(&d);
}

static void a_copied_folder_serves_what_the_first_had(void)
{
    char id[ID_BYTES];
    struct daemon_spec first = {.dir = temp_folder("first")}, second = {.dir = temp_folder("second")};
    struct daemon *d = daemon_start(&first);
    struct client *c = client_open(daemon_port(d));
    topic_make(c, "t", 1, "");
    publish_range(c, "t", "m", 0, 100, 0);
    subscribe(c, "t", "g", id);
    client_close(&c);
    daemon_kill(&d);
    CU_ASSERT(folder_copy(first.dir, second.dir));
    d = daemon_start(&second);
    c = client_open(daemon_port(d));
    expect_range(c, "t", id, 0, "m", 0, 100);
    publish_range(c, "t", "m", 100, 110, 0);
    client_close(&c);
    daemon_end(&d);
}

static const struct unit_case cases[] = {
    {"a full disk refuses publishes and recovers without a restart",
     a_full_disk_refuses_publishes_and_recovers_without_a_restart},
    {"deleting a topic makes room on a full disk", deleting_a_topic_makes_room_on_a_full_disk},
    {"a small disk leaves the broker idle", a_small_disk_leaves_the_broker_idle},
    {"a newer format is refused and left alone", a_newer_format_is_refused_and_left_alone},
    {"a folder of other things is refused and left alone", a_folder_of_other_things_is_refused_and_left_alone},
    {"damage below the flushed mark stops that partition alone",
     damage_below_the_flushed_mark_stops_that_partition_alone},
    {"damage in a sealed segment takes out that range alone", damage_in_a_sealed_segment_takes_out_that_range_alone},
    {"a lost or damaged index is made anew", a_lost_or_damaged_index_is_made_anew},
    {"a copied folder serves what the first had", a_copied_folder_serves_what_the_first_had},
};

E2E_MAIN("disk", cases)
