/* The reading witnesses, and the reading of everything at the end. */
#include "e2e/witness_impl.h"

#include "e2e/e2e.h"

#include <inttypes.h>

enum { BODY_BYTES = 2048, TAIL_SILENCE_US = 2000 * 1000, LOOK_MS = 100 };

uint64_t witness_value(const char *body)
{
    char *end = NULL;
    if (strncmp(body, "w-", 2) != 0)
        return 0;
    uint64_t value = strtoull(body + 2, &end, 10);
    return end == body + 2 ? 0 : value;
}

/* ---- subscriptions -------------------------------------------------------------------- */

/* The partition that an id names: "coordinator-partition-secret". */
static int partition_of(const char *id)
{
    const char *dash = strchr(id, '-');
    return dash == NULL ? -1 : (int)strtol(dash + 1, NULL, 10);
}

bool witness_subscribe(const struct witness *w, struct client *c, const char *group, char ids[][ID_BYTES], char *why,
                       size_t size)
{
    char name[128];
    static _Atomic int fresh;
    (void)snprintf(name, sizeof(name), "%s-%d", group, atomic_fetch_add(&fresh, 1)); /* what an attempt got stays its */
    const char *reply = client_ask(c, "SUBS %s %s %d", w->spec.topic, name, w->spec.partitions);
    struct json j = json_open(reply);
    int64_t count = json_count(&j, "Data");
    int found = 0;
    (void)snprintf(why, size, "%s", reply);
    for (int64_t i = 0; i < count; i++) {
        char path[32];
        (void)snprintf(path, sizeof(path), "Data.%d", (int)i);
        const char *id = json_text(&j, path);
        int p = partition_of(id);
        if (p < 0 || p >= w->spec.partitions)
            continue;
        (void)snprintf(ids[p], ID_BYTES, "%s", id);
        found++;
    }
    json_close(&j);
    return found == w->spec.partitions;
}

/* ---- tails ---------------------------------------------------------------------------------- */

/* A message of TAIL: recorded, and what follows it is next. */
static void take_message(struct lane *l, const char *line, int64_t *next_off, int64_t asked_us)
{
    char body[BODY_BYTES];
    int64_t offset = -1;
    const char *at = line;
    if (!next_message(&at, body, sizeof(body), &offset)) {
        lane_heard(l, line, true);
        return;
    }
    uint32_t op = history_begin(l->history, PROCESS_TAIL + (uint32_t)l->number, asked_us);
    history_read(l->history, op, (uint32_t)l->number, offset, witness_value(body));
    history_end(l->history, op, HISTORY_OK, now_us());
    *next_off = offset + 1;
    atomic_fetch_add(&l->shown, 1);
}

/* Follows over one connection until that is of no use. */
static void follow(struct lane *l, int64_t *next_off)
{
    char ask[ID_BYTES + 400];
    int64_t asked_us = now_us();
    int64_t heard_us = asked_us;
    (void)snprintf(ask, sizeof(ask), "TAIL %s %s %" PRId64 "\n", l->w->spec.topic, l->id, *next_off);
    if (!client_send_text(l->client, ask))
        return;
    while (!atomic_load(&l->w->stop)) {
        const char *line = client_line(l->client, LOOK_MS);
        if (line == NULL && (client_closed(l->client) || now_us() - heard_us > TAIL_SILENCE_US))
            return;
        if (line == NULL)
            continue;
        heard_us = now_us();
        if (strncmp(line, "Error, ", 7) == 0) {
            /* A subscription of minutes does not expire in a test of seconds. */
            lane_heard(l, line, strstr(line, "unknown, expired") != NULL || strstr(line, "is outside the log") != NULL);
            lane_pause(l, WITNESS_PAUSE_MS);
            return;
        }
        if (strncmp(line, "{\"Event\":", 9) != 0)
            take_message(l, line, next_off, asked_us);
    }
}

void *witness_tail(void *lane)
{
    struct lane *l = lane;
    int64_t next_off = 0;
    while (!atomic_load(&l->w->stop)) {
        if (!lane_connect(l)) {
            lane_pause(l, WITNESS_PAUSE_MS);
            continue;
        }
        follow(l, &next_off);
        lane_leave(l);
    }
    client_close(&l->client);
    return NULL;
}

/* ---- all of it, at the end --------------------------------------------------------------------- */

static bool read_partition(const struct witness *w, struct client *c, const char *id, int p, struct history *h,
                           uint32_t process, char *why, size_t size)
{
    char body[BODY_BYTES];
    int64_t offset = -1;
    uint32_t op = history_begin(h, process, now_us());
    const char *reply = client_ask(c, "CONS %s %s 0", w->spec.topic, id);
    bool whole = strncmp(reply, "{\"Ok\":true,\"Data\":[", 19) == 0 && strstr(reply, "],\"Error\":") == NULL;
    if (!whole) {
        (void)snprintf(why, size, "%s", reply);
        history_end(h, op, HISTORY_INFO, now_us());
        return false;
    }
    for (const char *at = reply; next_message(&at, body, sizeof(body), &offset);)
        history_read(h, op, (uint32_t)p, offset, witness_value(body));
    history_range(h, op, (uint32_t)p, 0, offset + 1);
    history_end(h, op, HISTORY_OK, now_us());
    return true;
}

bool witness_read_all(const struct witness *w, int broker, struct history *h, uint32_t process, char *why, size_t size)
{
    char ids[WITNESS_PARTITIONS_MAX][ID_BYTES];
    struct client *c = fleet_try_client(w->spec.fleet, broker);
    if (c == NULL) {
        (void)snprintf(why, size, "it cannot be connected to");
        return false;
    }
    bool done = witness_subscribe(w, c, "final", ids, why, size);
    for (int p = 0; p < w->spec.partitions && done; p++)
        done = read_partition(w, c, ids[p], p, h, process, why, size);
    client_close(&c);
    return done;
}
