/*
 * `kafkaesque cluster ...`: how the cluster is, and orders to change it.
 *
 * An order is answered when the cluster has taken it; what it brings about (replicas that
 * are copied, leaders that change) goes on by itself, also when this client is interrupted.
 * The client watches it by asking again and again, and gives up when nothing has changed for
 * the timeout.
 */
#include "base/clock.h"
#include "client/commands.h"
#include "client/placement.h"
#include "client/show.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    POLL_FIRST_MS = 100, /* doubled each time */
    POLL_MOST_MS = 1000,
    CALM_POLLS = 2, /* in a row: a change that is being planned shows as nothing for a moment */
    LINES_MOST = 20,
};

const struct option_row cluster_status_options[] = {
    {"all", 'a', NULL, "list all partitions, not only those that lack something"},
    {NULL, 0, NULL, NULL},
};
const struct option_row cluster_order_options[] = {
    {"no-wait", 0, NULL, "do not wait until it is done"},
    {NULL, 0, NULL, NULL},
};
const struct option_row cluster_move_options[] = {
    {"to", 0, "BROKER,...", "the brokers that are to hold it, the preferred leader first"},
    {"no-wait", 0, NULL, "do not wait until it is done"},
    {NULL, 0, NULL, NULL},
};
const struct option_row cluster_transfer_options[] = {
    {"to", 0, "BROKER", "the broker that is to lead it (default: whichever is fit for it)"},
    {NULL, 0, NULL, NULL},
};

struct watch {
    struct client *client;
    int64_t broker;    /* of add and drain; 0: none */
    char topic[300];   /* of move and transfer-leader */
    int64_t partition; /* the same; -1: none */
    char number[24];   /* the partition as a field */
    bool drains;
    bool shown; /* stderr is a terminal */
    struct placement before;
    int64_t begin_us;
};

/* ---- asking ------------------------------------------------------------------------ */

static enum kq_err ask_status(struct client *client, bool all, struct placement *placement)
{
    *placement = (struct placement){.total = 0};
    enum kq_err err = CLIENT_INSIST(client, "CLUS", "STATUS", all ? "ALL" : NULL);
    if (err != KQ_OK)
        return err;
    yajl_val data = NULL;
    yajl_val root = show_parse(&client->line, &data, &client->fault);
    if (root == NULL)
        return client->fault.err;
    err = placement_read(placement, data, &client->fault);
    yajl_tree_free(root);
    return err;
}

static int print(struct client *client, const struct buf *out)
{
    if (out->bad) {
        (void)fault_set(&client->fault, KQ_NO_MEMORY, "out of memory");
        return client_fail(client, KQ_NO_MEMORY);
    }
    (void)fwrite(out->data, 1, out->len, stdout);
    return CLIENT_DONE;
}

int command_cluster_status(struct client *client, const struct arguments *arguments)
{
    bool all = options_get(arguments, "all") != NULL;
    struct placement placement;
    enum kq_err err = ask_status(client, all, &placement);
    int code;
    if (err != KQ_OK) {
        code = client_fail(client, err);
    } else if (client->json) {
        code = show_reply(client, "nothing");
    } else {
        struct buf out;
        buf_init(&out, 4UL * WIRE_LINE_MAX_BYTES);
        placement_show(&out, &placement);
        code = print(client, &out);
        buf_fini(&out);
    }
    placement_fini(&placement);
    return code;
}

/* ---- watching ------------------------------------------------------------------------ */

/* Whether nothing is left to do, as far as this reply tells. */
static bool is_calm(const struct watch *w, const struct placement *now)
{
    const struct placement_broker *broker = placement_find_broker(now, w->broker);
    if (w->drains && broker != NULL && (broker->replicas > 0 || broker->leaders > 0))
        return false;
    if (w->partition < 0)
        return now->moving == 0;
    const struct placement_partition *partition = placement_find(now, w->topic, w->partition);
    return partition == NULL || !partition->moving;
}

/* The line of the moment, without the terminal's part. */
static void put_progress(struct buf *line, const struct watch *w, const struct placement *now)
{
    const struct placement_broker *broker = placement_find_broker(now, w->broker);
    if (broker != NULL)
        buf_printf(line, "broker %lld: %lld replicas, leads %lld; ", (long long)broker->id, (long long)broker->replicas,
                   (long long)broker->leaders);
    buf_printf(line, "%lld partition%s moving", (long long)now->moving, now->moving == 1 ? "" : "s");
    int64_t lag = placement_lag(now);
    if (lag > 0)
        buf_printf(line, ", %lld entries to copy", (long long)lag);
}

static void show_progress(const struct watch *w, const struct buf *line)
{
    if (w->shown)
        (void)fprintf(stderr, "\r%.*s\033[K", (int)line->len, (const char *)line->data);
}

static enum kq_err say_stuck(struct watch *w, const struct buf *line)
{
    return fault_set(&w->client->fault, KQ_TIMEOUT,
                     "nothing has moved for %lld s (%.*s). The order stands, and goes on when it can; `kafkaesque "
                     "cluster status` shows what is missing",
                     (long long)(w->client->timeout_us / 1000000), (int)line->len, (const char *)line->data);
}

/* Asks until it is done, or nothing changes any more. */
static enum kq_err watch(struct watch *w)
{
    struct buf line;
    struct buf last;
    enum kq_err err = KQ_OK;
    int calm = 0;
    int wait_ms = POLL_FIRST_MS;
    int64_t changed_us = clock_mono_us();
    buf_init(&line, 1024);
    buf_init(&last, 1024);
    for (;;) {
        struct placement now;
        err = ask_status(w->client, false, &now);
        buf_reset(&line);
        if (err == KQ_OK) {
            put_progress(&line, w, &now);
            calm = is_calm(w, &now) ? calm + 1 : 0;
        }
        placement_fini(&now);
        if (err != KQ_OK || calm == CALM_POLLS)
            break;
        show_progress(w, &line);
        if (line.len != last.len || memcmp(line.data, last.data, line.len) != 0)
            changed_us = clock_mono_us();
        if (clock_mono_us() - changed_us > w->client->timeout_us) {
            err = say_stuck(w, &line);
            break;
        }
        buf_reset(&last);
        buf_put(&last, line.data, line.len);
        (void)poll(NULL, 0, wait_ms);
        wait_ms = wait_ms * 2 < POLL_MOST_MS ? wait_ms * 2 : POLL_MOST_MS;
    }
    if (w->shown)
        (void)fprintf(stderr, "\r\033[K");
    buf_fini(&line);
    buf_fini(&last);
    return err;
}

/* ---- orders ---------------------------------------------------------------------------- */

static enum kq_err give_order(struct watch *w, const char *const *fields)
{
    enum kq_err err = client_call(w->client, fields);
    if (err != KQ_EOF && err != KQ_TIMEOUT)
        return err;
    struct fault lost = w->client->fault;
    return fault_set(&w->client->fault, err, "%s; the order may have been taken, and may be given again", lost.text);
}

/* What it came to, when all of it is done. */
static int conclude(struct watch *w, const char *next)
{
    struct placement after;
    struct buf out;
    enum kq_err err = ask_status(w->client, true, &after);
    double seconds = (double)(clock_mono_us() - w->begin_us) / 1e6;
    int code = CLIENT_DONE;
    buf_init(&out, 4UL * WIRE_LINE_MAX_BYTES);
    if (err != KQ_OK) {
        code = client_fail(w->client, err);
    } else {
        struct placement_changes changes =
            placement_compare(w->client->json ? NULL : &out, &w->before, &after, LINES_MOST);
        if (w->client->json)
            buf_printf(&out, "{\"Ok\":true,\"Replicas\":%u,\"Leaders\":%u,\"Seconds\":%.3f}\n", changes.replicas,
                       changes.leaders, seconds);
        else
            buf_printf(&out, "%u replica%s moved, %u leader%s changed, in %.1f s%s\n", changes.replicas,
                       changes.replicas == 1 ? "" : "s", changes.leaders, changes.leaders == 1 ? "" : "s", seconds,
                       next);
        code = print(w->client, &out);
    }
    buf_fini(&out);
    placement_fini(&after);
    return code;
}

static int taken(const struct client *client, const char *what)
{
    (void)printf(client->json ? "{\"Ok\":true}\n" : "%s\n", what);
    return CLIENT_DONE;
}

/* Gives the order and watches it to its end. */
static int run_order(struct watch *w, const struct arguments *arguments, const char *const *fields, const char *next)
{
    w->begin_us = clock_mono_us();
    w->shown = isatty(STDERR_FILENO) == 1;
    bool waits = options_get(arguments, "no-wait") == NULL;
    enum kq_err err = waits ? ask_status(w->client, true, &w->before) : KQ_OK;
    if (err == KQ_OK)
        err = give_order(w, fields);
    int code;
    if (err == KQ_OK && !waits)
        code = taken(w->client, "the cluster has begun; `kafkaesque cluster status` shows how far it is");
    else if (err != KQ_OK || (err = watch(w)) != KQ_OK)
        code = client_fail(w->client, err);
    else
        code = conclude(w, next);
    placement_fini(&w->before);
    return code;
}

int command_cluster_add(struct client *client, const struct arguments *arguments)
{
    struct watch w = {.client = client, .partition = -1};
    if (!options_parse_number(arguments->positional[0], 1, INT32_MAX, &w.broker)) {
        (void)fault_set(&client->fault, KQ_INVALID, "a broker is the number that it was started with as --broker-id");
        return client_usage(client, "cluster add");
    }
    const char *fields[] = {"CLUS", "ADD", arguments->positional[0], NULL};
    return run_order(&w, arguments, fields, "");
}

int command_cluster_drain(struct client *client, const struct arguments *arguments)
{
    struct watch w = {.client = client, .partition = -1, .drains = true};
    if (!options_parse_number(arguments->positional[0], 1, INT32_MAX, &w.broker)) {
        (void)fault_set(&client->fault, KQ_INVALID, "a broker is the number that it was started with as --broker-id");
        return client_usage(client, "cluster drain");
    }
    const char *fields[] = {"CLUS", "DRAIN", arguments->positional[0], NULL};
    return run_order(&w, arguments, fields,
                     "\nit may be stopped now; `kafkaesque cluster remove` lets the cluster forget it, and "
                     "`kafkaesque cluster add` lets it have its share again");
}

int command_cluster_remove(struct client *client, const struct arguments *arguments)
{
    struct watch w = {.client = client};
    const char *fields[] = {"CLUS", "REMOVE", arguments->positional[0], NULL};
    enum kq_err err = give_order(&w, fields);
    return err != KQ_OK ? client_fail(client, err) : taken(client, "the cluster has forgotten it");
}

int command_cluster_rebalance(struct client *client, const struct arguments *arguments)
{
    struct watch w = {.client = client, .partition = -1};
    const char *fields[] = {"CLUS", "REBALANCE", NULL};
    return run_order(&w, arguments, fields, "");
}

/* "orders/3" */
static bool take_partition(struct watch *w, const char *text)
{
    const char *slash = strrchr(text, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - text);
    if (len == 0 || len >= sizeof(w->topic) || !options_parse_number(slash + 1, 0, INT32_MAX, &w->partition)) {
        (void)fault_set(&w->client->fault, KQ_INVALID, "`%s` is no partition; write TOPIC/NUMBER, like orders/0", text);
        return false;
    }
    memcpy(w->topic, text, len);
    w->topic[len] = 0;
    (void)snprintf(w->number, sizeof(w->number), "%lld", (long long)w->partition);
    return true;
}

int command_cluster_move(struct client *client, const struct arguments *arguments)
{
    struct watch w = {.client = client};
    const char *to = options_get(arguments, "to");
    if (!take_partition(&w, arguments->positional[0]))
        return client_usage(client, "cluster move");
    if (to == NULL) {
        (void)fault_set(&client->fault, KQ_INVALID, "--to says which brokers are to hold it, like --to 1,2,4");
        return client_usage(client, "cluster move");
    }
    const char *fields[] = {"CLUS", "MOVE", w.topic, w.number, to, NULL};
    return run_order(&w, arguments, fields, "");
}

int command_cluster_transfer(struct client *client, const struct arguments *arguments)
{
    struct watch w = {.client = client};
    if (!take_partition(&w, arguments->positional[0]))
        return client_usage(client, "cluster transfer-leader");
    /* With no broker, the NULL ends the fields one earlier. */
    const char *fields[] = {"CLUS", "TRANSFER", w.topic, w.number, options_get(arguments, "to"), NULL};
    enum kq_err err = give_order(&w, fields);
    return err != KQ_OK ? client_fail(client, err) : taken(client, "it has another leader now");
}
