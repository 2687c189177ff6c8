#include "base/config.h"
#include "base/logger.h"
#include "support/unit.h"

#include <stdio.h>
#include <unistd.h>

static struct fault fault;

static enum kq_err load(struct config *cfg, const char *text)
{
    memset(&fault, 0, sizeof fault);
    config_defaults(cfg);
    return config_load_text(cfg, "test.conf", text, strlen(text), &fault);
}

/* True: the text is refused, and the message holds both parts. */
static bool refused(const char *text, const char *part, const char *another)
{
    struct config cfg;
    if (load(&cfg, text) != KQ_INVALID || fault.err != KQ_INVALID)
        return false;
    if (strstr(fault.text, part) != NULL && strstr(fault.text, another) != NULL)
        return true;
    printf("\n    said: %s\n", fault.text);
    return false;
}

static void the_defaults_are_whole_and_agree_with_each_other(void)
{
    struct config cfg;
    config_defaults(&cfg);
    CU_ASSERT_EQUAL(config_check(&cfg, &fault), KQ_OK);
    CU_ASSERT_EQUAL(cfg.broker_id, 1);
    CU_ASSERT_STRING_EQUAL(cfg.host, "127.0.0.1");
    CU_ASSERT_EQUAL(cfg.port, 8080);
    CU_ASSERT_EQUAL(cfg.raft_port, 7070);
    CU_ASSERT_EQUAL(cfg.line_max_bytes, 1088 * 1024);
    CU_ASSERT_EQUAL(cfg.worker_linger_us, 5000);
    CU_ASSERT_EQUAL(cfg.retention_us, INT64_C(7) * 86400 * 1000000);
    CU_ASSERT_EQUAL(cfg.retention_bytes, CONFIG_UNLIMITED);
    CU_ASSERT_EQUAL(cfg.flush, CONFIG_FLUSH_ALWAYS);
    CU_ASSERT_EQUAL(config_log_level(&cfg), LOGGER_INFO);
}

static void every_row_says_why_and_takes_its_own_default_and_bounds(void)
{
    size_t count;
    const struct config_key *keys = config_keys(&count);
    for (size_t i = 0; i < count; i++) {
        const char *values[] = {keys[i].value, keys[i].smallest, keys[i].largest};
        CU_ASSERT_TRUE(strlen(keys[i].why) > 10);
        for (size_t j = 0; j < (keys[i].kind >= CONFIG_CHOICE ? 1 : 3); j++) {
            struct config cfg;
            char line[256];
            config_defaults(&cfg);
            (void)snprintf(line, sizeof line, "%s = %s", keys[i].name, values[j]);
            CU_ASSERT_EQUAL(config_set(&cfg, line, "--set", &fault), KQ_OK);
        }
    }
    CU_ASSERT_TRUE(count > 30);
}

static void a_file_sets_what_it_names_and_nothing_else(void)
{
    struct config cfg;
    CU_ASSERT_EQUAL(load(&cfg, "# a comment\n\n  broker.id = 7   # another\r\nhost=::1\nline.max = 2 MiB\n"
                               "retention.ms = -1\nflush=interval\nlog.level = debug\ndata.dir = /srv/a#b c\nport = 0"),
                    KQ_OK);
    CU_ASSERT_EQUAL(cfg.broker_id, 7);
    CU_ASSERT_STRING_EQUAL(cfg.host, "::1");
    CU_ASSERT_EQUAL(cfg.line_max_bytes, 2 << 20);
    CU_ASSERT_EQUAL(cfg.retention_us, CONFIG_UNLIMITED);
    CU_ASSERT_EQUAL(cfg.flush, CONFIG_FLUSH_INTERVAL);
    CU_ASSERT_EQUAL(config_log_level(&cfg), LOGGER_DEBUG);
    CU_ASSERT_STRING_EQUAL(cfg.data_dir, "/srv/a#b c");
    CU_ASSERT_EQUAL(cfg.port, 0);
    CU_ASSERT_EQUAL(cfg.raft_port, 7070);
}

static void units_mean_what_they_say(void)
{
    static const struct {
        const char *text;
        int64_t value;
    } sizes[] = {{"64KiB", 1 << 16}, {"65536B", 1 << 16}, {"64k", 1 << 16}, {"1MiB", 1 << 20},
                 {"3M", 3 << 20},    {"1GiB", 1 << 30},   {"1 g", 1 << 30}},
      spans[] = {
          {"100ms", 100000}, {"100000us", 100000}, {"2s", 2000000}, {"3min", 180000000}, {"1h", INT64_C(3600000000)}};
    struct config cfg;
    char line[64];
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        (void)snprintf(line, sizeof line, "segment.bytes = %s", sizes[i].text);
        CU_ASSERT_EQUAL(load(&cfg, line), KQ_OK);
        CU_ASSERT_EQUAL(cfg.segment_bytes, sizes[i].value);
    }
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
        (void)snprintf(line, sizeof line, "publish.timeout = %s", spans[i].text);
        CU_ASSERT_EQUAL(load(&cfg, line), KQ_OK);
        CU_ASSERT_EQUAL(cfg.publish_timeout_us, spans[i].value);
    }
}

static void a_bare_number_is_refused_where_a_unit_is_needed(void)
{
    CU_ASSERT_TRUE(refused("segment.bytes = 1000000", "test.conf:1: ", "needs a unit"));
    CU_ASSERT_TRUE(refused("\n\nline.timeout = 30", "test.conf:3: ", "needs a unit"));
    CU_ASSERT_TRUE(refused("port = 8080ms", "test.conf:1: ", "without a unit"));
    struct config cfg;
    CU_ASSERT_EQUAL(load(&cfg, "drain.min.rate = 0\nretention.bytes = -1"), KQ_OK);
}

static void bad_values_are_refused_with_file_and_line(void)
{
    CU_ASSERT_TRUE(refused("# x\nline.timeout = 30 fortnights", "test.conf:2: ", "not a unit"));
    CU_ASSERT_TRUE(refused("line.timeout = 1MiB", "test.conf:1: ", "us, ms, s, min, h or d"));
    CU_ASSERT_TRUE(refused("line.max = 1.5MiB", "test.conf:1: ", "not a unit"));
    CU_ASSERT_TRUE(refused("line.max =", "test.conf:1: ", "not a whole number"));
    CU_ASSERT_TRUE(refused("port = 70000", "test.conf:1: ", "0 to 65535"));
    CU_ASSERT_TRUE(refused("port = -1", "test.conf:1: ", "0 to 65535"));
    CU_ASSERT_TRUE(refused("port = 99999999999999999999", "test.conf:1: ", "not a whole number"));
    CU_ASSERT_TRUE(refused("segment.bytes = 999999999TiB", "test.conf:1: ", "too large"));
    CU_ASSERT_TRUE(refused("segment.bytes = -1", "test.conf:1: ", "64KiB to 1GiB"));
    CU_ASSERT_TRUE(refused("retention.ms = -2", "test.conf:1: ", "needs a unit"));
    CU_ASSERT_TRUE(refused("retention.ms = -2ms", "test.conf:1: ", "-1 for no limit"));
    CU_ASSERT_TRUE(refused("flush = sometimes", "test.conf:1: ", "always|interval"));
    CU_ASSERT_TRUE(refused("port 8080", "test.conf:1: port 8080: ", "key = value"));
    CU_ASSERT_TRUE(refused("port = 1\nhost = x\nport = 2", "test.conf:3: ", "line 1"));
    CU_ASSERT_TRUE(refused("port = 1\nho\001st = x", "test.conf:2: ", "control character"));
}

static void an_unknown_key_is_refused_and_the_nearest_is_named(void)
{
    CU_ASSERT_TRUE(refused("line.mux = 1MiB", "test.conf:1: unknown key line.mux", "did you mean line.max?"));
    CU_ASSERT_TRUE(refused("retention = 1d", "unknown key retention", "did you mean retention.ms?"));
    CU_ASSERT_TRUE(refused("colour = blue", "unknown key colour", "kafkaesqued.conf(5)"));
    CU_ASSERT_TRUE(refused("= 1", "unknown key", "kafkaesqued.conf(5)"));
    struct config cfg;
    memset(&fault, 0, sizeof fault);
    config_defaults(&cfg);
    CU_ASSERT_EQUAL(config_set(&cfg, "prot=1", "--set", &fault), KQ_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "--set: unknown key prot; did you mean port?"));
}

static void texts_longer_than_their_field_are_refused(void)
{
    char text[2 * CONFIG_TEXT_BYTES];
    struct config cfg;
    (void)snprintf(text, sizeof text, "data.dir = %0*d", CONFIG_TEXT_BYTES - 1, 0);
    CU_ASSERT_EQUAL(load(&cfg, text), KQ_OK);
    CU_ASSERT_EQUAL(strlen(cfg.data_dir), CONFIG_TEXT_BYTES - 1);
    (void)snprintf(text, sizeof text, "data.dir = %0*d", CONFIG_TEXT_BYTES, 0);
    CU_ASSERT_TRUE(refused(text, "test.conf:1: ", "longer than"));
}

static void values_that_contradict_each_other_are_refused(void)
{
    static const char *const pairs[] = {
        "workers.min = 20",          "message.max.bytes = 2MiB", "mailbox.max = 1MiB", "memory.max = 4MiB",
        "prepare.min = 16MiB",       "prepare.budget = 4MiB",    "raft.port = 8080",   "host =",
        "offsets.partitions = 1000",
    };
    struct config cfg;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        CU_ASSERT_EQUAL(load(&cfg, pairs[i]), KQ_OK);
        if (i == 8)
            CU_ASSERT_EQUAL(config_set(&cfg, "partitions.max = 999", "--set", &fault), KQ_OK);
        CU_ASSERT_EQUAL(config_check(&cfg, &fault), KQ_INVALID);
    }
}

struct heard {
    unsigned live;
    unsigned fixed;
};

static void hear(void *arg, const struct config_key *key, bool live)
{
    struct heard *heard = arg;
    (void)key;
    if (live)
        heard->live++;
    else
        heard->fixed++;
}

static void a_reload_takes_live_keys_and_names_those_that_wait_for_a_restart(void)
{
    struct config cfg;
    struct config next;
    struct heard heard = {0};
    config_defaults(&cfg);
    CU_ASSERT_EQUAL(load(&next, "log.level = error\nline.timeout = 5s\nport = 9\nhost = ::"), KQ_OK);
    config_take_live(&cfg, &next, hear, &heard);
    CU_ASSERT_EQUAL(heard.live, 2);
    CU_ASSERT_EQUAL(heard.fixed, 2);
    CU_ASSERT_EQUAL(config_log_level(&cfg), LOGGER_ERROR);
    CU_ASSERT_EQUAL(cfg.line_timeout_us, 5000000);
    CU_ASSERT_EQUAL(cfg.port, 8080);
    CU_ASSERT_STRING_EQUAL(cfg.host, "127.0.0.1");
}

static void files_that_cannot_be_read_are_named(void)
{
    struct config cfg;
    config_defaults(&cfg);
    CU_ASSERT_EQUAL(config_load_file(&cfg, "/nonexistent/k.conf", &fault), KQ_NOT_FOUND);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "/nonexistent/k.conf"));
    CU_ASSERT_NOT_EQUAL(config_load_file(&cfg, "/", &fault), KQ_OK);
    CU_ASSERT_EQUAL(config_load_file(&cfg, "/dev/zero", &fault), KQ_INVALID);
    char path[] = "/tmp/test_config.XXXXXX";
    int fd = mkstemp(path);
    CU_ASSERT_EQUAL(write(fd, "port = 81\nprot = 2\n", 19), 19);
    (void)close(fd);
    CU_ASSERT_EQUAL(config_load_file(&cfg, path, &fault), KQ_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, ":2: "));
    CU_ASSERT_EQUAL(cfg.port, 81);
    (void)unlink(path);
}

static const struct unit_case cases[] = {
    {"the defaults are whole and agree with each other", the_defaults_are_whole_and_agree_with_each_other},
    {"every row says why and takes its own default and bounds",
     every_row_says_why_and_takes_its_own_default_and_bounds},
    {"a file sets what it names and nothing else", a_file_sets_what_it_names_and_nothing_else},
    {"units mean what they say", units_mean_what_they_say},
    {"a bare number is refused where a unit is needed", a_bare_number_is_refused_where_a_unit_is_needed},
    {"bad values are refused with file and line", bad_values_are_refused_with_file_and_line},
    {"an unknown key is refused and the nearest is named", an_unknown_key_is_refused_and_the_nearest_is_named},
    {"texts longer than their field are refused", texts_longer_than_their_field_are_refused},
    {"values that contradict each other are refused", values_that_contradict_each_other_are_refused},
    {"a reload takes live keys and names those that wait for a restart",
     a_reload_takes_live_keys_and_names_those_that_wait_for_a_restart},
    {"files that cannot be read are named", files_that_cannot_be_read_are_named},
};
UNIT_MAIN("config", cases)
