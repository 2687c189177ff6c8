#include "cluster/link_asks.h"

#include "base/require.h"

void link_asks_init(struct link_asks *asks)
{
    *asks = (struct link_asks){.first = NULL};
    asks->last = &asks->first;
}

bool link_asks_add(struct link_asks *asks, struct ask *ask)
{
    if (asks->count >= LINK_ASKS_MAX)
        return false;
    asks->count++;
    ask->state = LINK_ASK_QUEUED;
    ask->next = NULL;
    *asks->last = ask;
    asks->last = &ask->next;
    return true;
}

static struct ask **slot_of(struct link_asks *asks, uint64_t number)
{
    return &asks->slots[number & (LINK_ASKS_SLOTS - 1)];
}

struct ask *link_asks_take(struct link_asks *asks)
{
    struct ask *ask = asks->first;
    if (ask == NULL)
        return NULL;
    asks->first = ask->next;
    if (asks->first == NULL)
        asks->last = &asks->first;
    ask->number = ++asks->number;
    ask->state = LINK_ASK_WRITING;
    struct ask **slot = slot_of(asks, ask->number);
    ask->next = *slot;
    *slot = ask;
    return ask;
}

static void remove_from_slot(struct link_asks *asks, struct ask *ask)
{
    struct ask **at = slot_of(asks, ask->number);
    while (*at != ask) {
        REQUIRE(*at != NULL);
        at = &(*at)->next;
    }
    *at = ask->next;
    ask->next = NULL;
    asks->count--;
}

static void set_failed(struct ask *ask, bool maybe_delivered, enum kq_err err, const char *text)
{
    (void)fault_set(&ask->fault, err, "%s", text);
    ask->maybe_delivered = maybe_delivered;
}

bool link_asks_written(struct link_asks *asks, struct ask *ask, bool ok)
{
    if (ask->state == LINK_ASK_OVER) {
        remove_from_slot(asks, ask);
        return true;
    }
    REQUIRE(ask->state == LINK_ASK_WRITING);
    ask->state = LINK_ASK_SENT;
    if (ok)
        return false;
    set_failed(ask, true, KQ_NO_LEADER, "the connection broke while the question was sent");
    remove_from_slot(asks, ask);
    return true;
}

struct ask *link_asks_find(struct link_asks *asks, uint64_t number)
{
    struct ask *ask = *slot_of(asks, number);
    while (ask != NULL && ask->number != number)
        ask = ask->next;
    return ask == NULL || ask->state == LINK_ASK_OVER ? NULL : ask;
}

/* True: out; false: link_asks_written() is to come. */
static bool over(struct link_asks *asks, struct ask *ask)
{
    bool writing = ask->state == LINK_ASK_WRITING;
    ask->state = LINK_ASK_OVER;
    if (!writing)
        remove_from_slot(asks, ask);
    return !writing;
}

bool link_asks_answered(struct link_asks *asks, struct ask *ask)
{
    return over(asks, ask);
}

/* Takes those out of the table that match. */
static void collect(struct link_asks *asks, int64_t now_us, enum kq_err err, const char *text, struct ask **list)
{
    for (int i = 0; i < LINK_ASKS_SLOTS; i++) {
        struct ask *next;
        for (struct ask *ask = asks->slots[i]; ask != NULL; ask = next) {
            next = ask->next;
            if (ask->state == LINK_ASK_OVER || ask->deadline_us > now_us)
                continue;
            set_failed(ask, true, err, text);
            if (!over(asks, ask))
                continue;
            ask->next = *list;
            *list = ask;
        }
    }
}

static void collect_queued(struct link_asks *asks, int64_t now_us, enum kq_err err, const char *text, struct ask **list)
{
    struct ask **at = &asks->first;
    while (*at != NULL) {
        struct ask *ask = *at;
        if (ask->deadline_us > now_us) {
            at = &ask->next;
            continue;
        }
        *at = ask->next;
        asks->count--;
        ask->state = LINK_ASK_OVER;
        set_failed(ask, false, err, text);
        ask->next = *list;
        *list = ask;
    }
    asks->last = at;
}

struct ask *link_asks_fail(struct link_asks *asks, bool all, enum kq_err err, const char *text)
{
    struct ask *list = NULL;
    collect(asks, INT64_MAX, err, text, &list);
    if (all)
        collect_queued(asks, INT64_MAX, err, text, &list);
    return list;
}

struct ask *link_asks_expire(struct link_asks *asks, int64_t now_us)
{
    static const char text[] = "the other broker did not answer in time";
    struct ask *list = NULL;
    if (asks->count == 0)
        return NULL;
    collect(asks, now_us, KQ_TIMEOUT, text, &list);
    collect_queued(asks, now_us, KQ_TIMEOUT, text, &list);
    return list;
}
