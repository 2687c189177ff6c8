/*
 * `kafkaesque consume`: subscribes, reads each partition that it is given, prints.
 *
 * One session holds the subscriptions (the member, in the broker's eyes); each
 * partition is read over a connection of its own. Without --follow the partitions
 * are read one after the other, to the end that each had when it was asked; with
 * --follow all at once, and the member's events give and take partitions.
 *
 * A group's offset is committed only for what has left through stdout, so that
 * what was not printed is read again. A throw-away group commits nothing.
 */
#include "base/clock.h"
#include "base/uuid.h"
#include "client/commands.h"
#include "client/reader.h"
#include "client/show.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    COMMIT_EVERY_US = 1000 * 1000,
    PING_EVERY_US = 60 * 1000 * 1000, /* renews what no reader uses; well below the broker's session timeout */
    TICK_MS = 200,
    STDOUT_BYTES = 256 * 1024,
    PARTITIONS_MAX = 100000,
};

const struct option_row consume_options[] = {
    {"group", 'g', "GROUP",
     "read as a member of a consumer group: its partitions only, from its offset, which is moved on"},
    {"from", 0, "WHERE",
     "`start`, `end`, or an offset, in each partition (default: the group's offset, else the start)"},
    {"follow", 'f', NULL, "go on as messages arrive, until interrupted"},
    {"count", 'n', "N", "stop after N messages"},
    {"no-commit", 0, NULL, "leave the group's offset where it is"},
    {NULL, 0, NULL, NULL},
};

enum from { FROM_DEFAULT, FROM_START, FROM_END, FROM_OFFSET };

struct consumer {
    struct client *client;
    const char *topic;
    size_t at; /* the broker that the readers turn to */
    char group[300];
    bool throw_away;
    bool commits;
    bool follow;
    enum from from;
    int64_t from_off;
    int64_t count_most; /* -1: no limit */
    int64_t count;
    struct reader *readers;
    bool output_failed;
};

/* The one thing that a signal touches. */
static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

/* ---- output -------------------------------------------------------------------------------- */

static enum kq_err print_record(void *context, const struct reply_record *record)
{
    struct consumer *c = context;
    if (c->client->json) {
        buf_reset(&c->client->line);
        reply_tail_record(&c->client->line, record);
        (void)fwrite(c->client->line.data, 1, c->client->line.len, stdout);
    } else {
        (void)fwrite(record->body.data == NULL ? (const uint8_t *)"" : record->body.data, 1, record->body.len, stdout);
        (void)putchar('\n');
    }
    c->count++;
    if (ferror(stdout) != 0) {
        c->output_failed = true;
        return KQ_IO;
    }
    return c->count_most >= 0 && c->count >= c->count_most ? KQ_LIMIT : KQ_OK;
}

/* ---- subscribing ------------------------------------------------------------------------------ */

/* Sets where each reader begins, for --from start and end. */
static enum kq_err find_bounds(struct consumer *c)
{
    struct fault *fault = &c->client->fault;
    enum kq_err err = CLIENT_INSIST(c->client, "DESC", c->topic);
    if (err != KQ_OK)
        return err;
    yajl_val data = NULL;
    yajl_val root = show_parse(&c->client->line, &data, fault);
    if (root == NULL)
        return fault->err;
    for (struct reader *reader = c->readers; reader != NULL && err == KQ_OK; reader = reader->next) {
        int64_t partition = -1;
        if (reader_partition_of(reader->id, &partition))
            reader->next_off = client_partition_bound(data, partition, c->from == FROM_START);
        if (reader->next_off < 0)
            err = fault_set(fault, KQ_GARBAGE, "the broker does not say where partition %lld begins and ends",
                            (long long)partition);
    }
    yajl_tree_free(root);
    return err;
}

static struct reader *add_reader(struct consumer *c, struct slice id, int64_t from_off)
{
    struct reader *reader = reader_new(c->topic, id, c->follow, from_off, print_record, c);
    struct reader **last = &c->readers;
    while (*last != NULL)
        last = &(*last)->next;
    *last = reader;
    return reader;
}

/* A throw-away group has a name that nobody else has, and nothing of an attempt before. */
static void name_group(struct consumer *c)
{
    char random[UUID_TEXT_BYTES];
    struct uuid id = uuid_random();
    if (c->throw_away)
        (void)snprintf(c->group, sizeof(c->group), "kafkaesque-%s", uuid_format(&id, random));
}

/* SUBS, waiting out what may pass. */
static enum kq_err ask_for_partitions(struct consumer *c, uint32_t partition_count)
{
    int64_t deadline_us = clock_mono_us() + c->client->timeout_us;
    char wanted[16];
    (void)snprintf(wanted, sizeof(wanted), "%u", partition_count);
    for (;;) {
        name_group(c);
        enum kq_err err = CLIENT_CALL(c->client, "SUBS", c->topic, c->group, wanted);
        bool lost = err == KQ_EOF || err == KQ_TIMEOUT;
        if ((!lost && !client_may_pass(err)) || clock_mono_us() >= deadline_us || interrupted != 0)
            return err;
        if (lost) {
            wire_close(&c->client->wire);
            brokers_move_on(&c->client->brokers);
        }
        (void)poll(NULL, 0, TICK_MS);
    }
}

static enum kq_err subscribe(struct consumer *c)
{
    uint32_t partition_count = 0;
    struct fault *fault = &c->client->fault;
    enum kq_err err = client_partition_count(c->client, c->topic, &partition_count);
    if (err == KQ_OK)
        err = ask_for_partitions(c, partition_count);
    if (err != KQ_OK)
        return err;
    yajl_val data = NULL;
    yajl_val root = show_parse(&c->client->line, &data, fault);
    if (root == NULL)
        return fault->err;
    for (size_t i = 0; YAJL_IS_ARRAY(data) && i < data->u.array.len && i < PARTITIONS_MAX; i++) {
        const char *id = YAJL_GET_STRING(data->u.array.values[i]);
        if (id == NULL ||
            add_reader(c, slice_text(id), c->from == FROM_OFFSET ? c->from_off : READER_FROM_DEFAULT) == NULL)
            err = fault_set(fault, KQ_GARBAGE, "the broker's reply to SUBS has no list of ids");
    }
    yajl_tree_free(root);
    bool bounds = c->from == FROM_END || (c->from == FROM_START && !c->throw_away);
    return err == KQ_OK && bounds ? find_bounds(c) : err;
}

/* ---- what the group is told ----------------------------------------------------------------------- */

/* Commits what has been printed. Errors about a subscription that has ended are
 * not errors here: whoever has the partition now reads it again. */
static enum kq_err commit(struct consumer *c)
{
    enum kq_err result = KQ_OK;
    if (fflush(stdout) != 0)
        c->output_failed = true;
    for (struct reader *r = c->readers; c->commits && !c->output_failed && r != NULL; r = r->next) {
        if (r->next_off < 0 || r->next_off == r->committed_off)
            continue;
        char offset[24];
        (void)snprintf(offset, sizeof(offset), "%lld", (long long)r->next_off);
        enum kq_err err = CLIENT_INSIST(c->client, "CMIT", c->topic, r->id, offset);
        if (err == KQ_OK)
            r->committed_off = r->next_off;
        else if (err != KQ_UNKNOWN_SUBSCRIPTION)
            result = err;
        if (err == KQ_EOF || err == KQ_TIMEOUT) {
            wire_close(&c->client->wire); /* the next call connects again */
            break;
        }
    }
    return result;
}

/* Gives the partitions back; whatever this comes to, the reading is over. */
static void unsubscribe(struct consumer *c)
{
    struct fault kept = c->client->fault;
    bool gone = false;
    for (struct reader *r = c->readers; r != NULL; r = r->next) {
        wire_close(&r->wire);
        if (!gone && !(c->follow && r->over)) {
            enum kq_err err = CLIENT_CALL(c->client, "UNSB", c->topic, r->id);
            gone = err == KQ_EOF || err == KQ_TIMEOUT;
        }
    }
    c->client->fault = kept;
}

/* ---- reading ------------------------------------------------------------------------------------------ */

static enum kq_err wait_for(struct consumer *c, struct reader *only, bool control)
{
    nfds_t count = 1;
    for (const struct reader *r = c->readers; r != NULL; r = r->next)
        count++;
    struct pollfd *waits = calloc(count, sizeof(*waits));
    if (waits == NULL)
        return fault_set(&c->client->fault, KQ_NO_MEMORY, "out of memory");
    count = 0;
    if (control && c->client->wire != NULL)
        waits[count++] = (struct pollfd){.fd = wire_fd(c->client->wire), .events = POLLIN};
    for (const struct reader *r = c->readers; r != NULL; r = r->next)
        if (r->wire != NULL && (only == NULL || only == r))
            waits[count++] = (struct pollfd){.fd = wire_fd(r->wire),
                                             .events = (short)(POLLIN | (wire_unsent(r->wire) > 0 ? POLLOUT : 0))};
    (void)poll(waits, count, TICK_MS); /* also when a signal ends it: the loop looks at everything */
    free(waits);
    return KQ_OK;
}

/* Asks, and asks again while no broker can be reached, for as long as the timeout. */
static enum kq_err ask(struct consumer *c, struct reader *reader)
{
    int64_t deadline_us = clock_mono_us() + c->client->timeout_us;
    for (;;) {
        enum kq_err err = reader_ask(reader, &c->client->brokers, deadline_us, &c->client->fault);
        if (err != KQ_EOF || interrupted != 0 || clock_mono_us() >= deadline_us)
            return err;
        wire_close(&reader->wire);
        (void)poll(NULL, 0, TICK_MS);
    }
}

/* Whether the reader may go on after this error: the connection is gone, or what was
 * refused may pass, and not for longer than the timeout. */
static bool goes_on(struct consumer *c, struct reader *reader, enum kq_err err)
{
    int64_t now_us = clock_mono_us();
    if (err != KQ_EOF && err != KQ_TIMEOUT && !client_may_pass(err))
        return false;
    if (err != KQ_EOF && now_us - reader->refused_us > BROKERS_PATIENCE_US)
        reader->failing_us = now_us;
    if (err != KQ_EOF)
        reader->refused_us = now_us;
    if (err != KQ_EOF && now_us - reader->failing_us > c->client->timeout_us)
        return false;
    wire_close(&reader->wire);
    bool left = err == KQ_EOF || err == KQ_TIMEOUT || err == KQ_STOPPING;
    if (left && reader->broker == c->client->brokers.at) /* else another reader has moved on already */
        brokers_move_on(&c->client->brokers);
    return true;
}

static enum kq_err read_to_end(struct consumer *c, struct reader *reader)
{
    enum kq_err err = ask(c, reader);
    int64_t quiet_since_us = clock_mono_us();
    while (err == KQ_OK && !reader->over && interrupted == 0) {
        err = reader_try_read(reader, &c->client->fault);
        int64_t now_us = clock_mono_us();
        if (err == KQ_OK) {
            quiet_since_us = now_us;
        } else if (err == KQ_AGAIN) {
            int64_t until_us = quiet_since_us + c->client->timeout_us;
            err = wait_for(c, reader, false);
            if (err == KQ_OK && now_us > brokers_patience(&c->client->brokers, quiet_since_us, until_us))
                err = fault_set(&c->client->fault, KQ_TIMEOUT, "the broker does not answer");
        }
        if (err != KQ_OK && (err != KQ_TIMEOUT || c->client->brokers.count > 1) && goes_on(c, reader, err)) {
            if (err != KQ_EOF)
                (void)poll(NULL, 0, TICK_MS);
            err = ask(c, reader);
            quiet_since_us = clock_mono_us();
        }
    }
    return err;
}

/* Events that came to the member's session between replies. */
static enum kq_err take_events(struct consumer *c)
{
    if (c->client->wire == NULL)
        return KQ_OK;
    enum kq_err err = wire_try_fill(c->client->wire, &c->client->fault);
    if (err == KQ_EOF)
        wire_close(&c->client->wire); /* the next call connects again; ids outlive a session */
    for (;;) {
        size_t left = 0;
        const uint8_t *in = c->client->wire == NULL ? NULL : wire_in(c->client->wire, &left);
        const uint8_t *feed = left == 0 ? NULL : memchr(in, '\n', left);
        if (feed == NULL)
            return KQ_OK;
        buf_reset(&c->client->line);
        buf_put(&c->client->line, in, (size_t)(feed - in));
        wire_eat(c->client->wire, (size_t)(feed - in) + 1);
        client_event(c->client);
    }
}

/* An event of the member, wherever it was read (client->event). */
static void on_event(void *context, yajl_val event)
{
    struct consumer *c = context;
    const char *name_path[] = {"Event", NULL};
    const char *id_path[] = {"Id", NULL};
    const char *name = YAJL_GET_STRING(yajl_tree_get(event, name_path, yajl_t_string));
    const char *id = YAJL_GET_STRING(yajl_tree_get(event, id_path, yajl_t_string));
    if (name == NULL || id == NULL || !c->follow)
        return;
    if (strcmp(name, "assigned") == 0)
        (void)add_reader(c, slice_text(id), READER_FROM_DEFAULT); /* asked for by the loop */
    for (struct reader *r = c->readers; strcmp(name, "revoked") == 0 && r != NULL; r = r->next) {
        if (strcmp(r->id, id) == 0) {
            r->over = true;
            wire_close(&r->wire);
        }
    }
}

/* One turn over all partitions. */
static enum kq_err read_all_once(struct consumer *c)
{
    for (struct reader *r = c->readers; r != NULL; r = r->next) {
        enum kq_err err = r->wire == NULL && !r->over ? ask(c, r) : KQ_OK;
        if (err == KQ_EOF)
            return interrupted != 0 ? KQ_OK : err; /* it stayed away */
        if (err == KQ_OK && !r->over)
            err = reader_try_read(r, &c->client->fault);
        if (err == KQ_UNKNOWN_SUBSCRIPTION && !c->throw_away)
            r->over = true; /* another member has it now */
        else if (err != KQ_OK && err != KQ_AGAIN && !goes_on(c, r, err))
            return err;
    }
    return KQ_OK;
}

/* The readers follow the member's session when that has left a broker: what says nothing
 * to a PING brings no messages either. */
static void stay_together(struct consumer *c)
{
    if (c->at == c->client->brokers.at)
        return;
    c->at = c->client->brokers.at;
    for (struct reader *r = c->readers; r != NULL; r = r->next)
        wire_close(&r->wire);
}

static enum kq_err follow(struct consumer *c)
{
    int64_t commit_us = clock_mono_us() + COMMIT_EVERY_US;
    int64_t ping_every_us = c->client->brokers.count > 1 ? BROKERS_PATIENCE_US : PING_EVERY_US;
    int64_t ping_us = clock_mono_us() + ping_every_us;
    c->at = c->client->brokers.at;
    while (interrupted == 0) {
        enum kq_err err = read_all_once(c);
        if (err != KQ_OK)
            return err;
        if (fflush(stdout) != 0) {
            c->output_failed = true;
            return KQ_IO;
        }
        int64_t now_us = clock_mono_us();
        if (now_us >= commit_us) {
            (void)commit(c); /* what fails now is tried again in a second */
            commit_us = now_us + COMMIT_EVERY_US;
        }
        if (now_us >= ping_us) {
            if (CLIENT_INSIST(c->client, "PING") != KQ_OK)
                wire_close(&c->client->wire);
            ping_us = now_us + ping_every_us;
        }
        stay_together(c);
        err = take_events(c);
        if (err == KQ_OK)
            err = wait_for(c, NULL, true);
        if (err != KQ_OK)
            return err;
    }
    return KQ_OK;
}

static enum kq_err read_once(struct consumer *c)
{
    for (struct reader *r = c->readers; r != NULL && interrupted == 0; r = r->next) {
        enum kq_err err = read_to_end(c, r);
        wire_close(&r->wire);
        if (err == KQ_OK)
            err = commit(c);
        if (err != KQ_OK)
            return err;
    }
    return KQ_OK;
}

/* ---- begin and end --------------------------------------------------------------------------------------- */

static enum kq_err take_options(struct consumer *c, const struct arguments *arguments)
{
    const char *group = options_get(arguments, "group");
    const char *from = options_get(arguments, "from");
    c->throw_away = group == NULL;
    (void)snprintf(c->group, sizeof(c->group), "%s", group == NULL ? "" : group);
    c->follow = options_get(arguments, "follow") != NULL;
    c->commits = !c->throw_away && options_get(arguments, "no-commit") == NULL;
    c->count_most = -1;
    if (group != NULL && strlen(group) >= sizeof(c->group))
        return fault_set(&c->client->fault, KQ_INVALID, "the group's name is longer than 249 bytes");
    if (from == NULL)
        c->from = FROM_DEFAULT;
    else if (strcmp(from, "start") == 0)
        c->from = FROM_START;
    else if (strcmp(from, "end") == 0)
        c->from = FROM_END;
    else if (options_parse_number(from, 0, INT64_MAX, &c->from_off))
        c->from = FROM_OFFSET;
    else
        return fault_set(&c->client->fault, KQ_INVALID, "--from is `start`, `end` or an offset, not `%s`", from);
    return options_number(arguments, "count", 1, INT64_MAX, &c->count_most, &c->client->fault);
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
}

int command_consume(struct client *client, const struct arguments *arguments)
{
    static char stdout_bytes[STDOUT_BYTES];
    struct consumer c = {.client = client, .topic = arguments->positional[0]};
    if (take_options(&c, arguments) != KQ_OK)
        return client_usage(client, "consume");
    catch_signals();
    (void)setvbuf(stdout, stdout_bytes, _IOFBF, sizeof(stdout_bytes));
    client->on_event = on_event;
    client->event_context = &c;
    enum kq_err err = subscribe(&c);
    bool subscribed = err == KQ_OK;
    if (subscribed)
        err = c.follow ? follow(&c) : read_once(&c);
    if (subscribed && (err == KQ_LIMIT || (err == KQ_OK && interrupted != 0)))
        err = commit(&c);
    if (fflush(stdout) != 0 || c.output_failed)
        err = fault_set(&client->fault, KQ_IO, "cannot write the output: %s", strerror(errno));
    unsubscribe(&c);
    client->on_event = NULL;
    client->event_context = NULL;
    while (c.readers != NULL) {
        struct reader *next = c.readers->next;
        reader_free(&c.readers);
        c.readers = next;
    }
    return err == KQ_OK ? CLIENT_DONE : client_fail(client, err);
}
