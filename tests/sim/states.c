/* See states.h. What was seen is kept in one table, by group, entry (idx and term, which name all
 * that stands before it) and kind, as one number. */
#include "sim/states.h"

#include "base/require.h"
#include "log/log_impl.h"
#include "partition/actor_internal.h"
#include "sim/complaints.h"
#include "sim/judge.h"
#include "sim/machine.h"
#include "sim/variant.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NODES_MAX = 64, PRODUCERS_SEEN = 64, MARKS_SEEN = 64, FIRST_ROOM = 1 << 14 };

enum kind {
    KIND_NEXT_OFF = 1, /* offset after the last entry */
    KIND_END_OFF,      /* offset after the last committed entry */
    KIND_CONFIG,
    KIND_BEFORE, /* the configuration that a cut would bring back */
    KIND_MACHINE,
    KIND_PRODUCER,  /* the newest batch of one */
    KIND_COMMITTED, /* whose term the entry is of that is committed at an idx */
};

static const char *const kind_names[] = {
    [KIND_NEXT_OFF] = "the next offset",
    [KIND_END_OFF] = "the end of what is committed",
    [KIND_CONFIG] = "the configuration",
    [KIND_BEFORE] = "the configuration before the newest",
    [KIND_MACHINE] = "the machine's state",
    [KIND_PRODUCER] = "a producer's newest batch",
    [KIND_COMMITTED] = "the term of what is committed",
};

/* key 0: free. */
struct row {
    uint64_t key, value;
    uint32_t node;
};

struct known_producer {
    int64_t id;
    uint64_t window_idx; /* all batches that are remembered of it came after this; the highest seen */
};

/* A log start in the log. */
struct mark {
    uint64_t idx, term;
    int64_t off;
};

/* Where a broker's replica stood at the last look. */
struct stand {
    uint32_t life;
    uint64_t last_idx, last_term, commit_idx, machine_idx, term;
    int64_t start_off;
    struct raft_member vote;
};

struct group {
    struct group *next;
    struct uuid topic_id;
    uint32_t partition;
    uint64_t number;
    struct stand stands[NODES_MAX];
    uint64_t given_idx[NODES_MAX]; /* began anew there, with the configuration that was in force by then */
    struct known_producer producers[PRODUCERS_SEEN];
    unsigned producer_count;
    struct mark marks[MARKS_SEEN]; /* the newest; a ring */
    uint64_t mark_count;
    int64_t start_off; /* the highest that is committed */
};

static struct {
    struct group *groups;
    uint64_t group_count;
    struct row *rows;
    size_t room, used;
    uint64_t compared;
    bool excused; /* some disk was spoilt: what was lost with it may be missing elsewhere, too */
    struct buf bytes;
} books;

/* What is looked at. */
struct look {
    struct actor *actor;
    struct group *group;
    uint32_t node;
};

uint64_t states_compared(void)
{
    return books.compared;
}

/* ---- the table ------------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t mix_bytes(uint64_t hash, const uint8_t *at, size_t bytes)
{
    for (; bytes >= 8; at += 8, bytes -= 8)
        hash = mix(hash, get_le64(at));
    for (; bytes > 0; at++, bytes--)
        hash = mix(hash, *at);
    return hash;
}

static struct row *row_of(uint64_t key)
{
    size_t i = (size_t)key & (books.room - 1);
    while (books.rows[i].key != 0 && books.rows[i].key != key)
        i = (i + 1) & (books.room - 1);
    return &books.rows[i];
}

static void make_room(void)
{
    if (books.used * 2 < books.room)
        return;
    struct row *old = books.rows;
    size_t old_room = books.room;
    books.room = old_room == 0 ? FIRST_ROOM : old_room * 2;
    books.rows = calloc(books.room, sizeof *books.rows);
    REQUIRE(books.rows != NULL);
    for (size_t i = 0; i < old_room; i++)
        if (old[i].key != 0)
            *row_of(old[i].key) = old[i];
    free(old);
}

/* Of a kind, and of `which` of it, at an entry; its key is 0 when nobody was there yet. */
static struct row *find(const struct look *look, enum kind kind, uint64_t which, uint64_t idx, uint64_t term,
                        uint64_t *key)
{
    make_room();
    *key = mix(mix(mix(mix(mix(1, look->group->number), (uint64_t)kind), which), idx), term) | 1;
    return row_of(*key);
}

/* With what was there before, if anybody was. */
static void compare(const struct look *look, enum kind kind, uint64_t which, uint64_t idx, uint64_t term,
                    uint64_t value)
{
    uint64_t key;
    struct row *row = find(look, kind, which, idx, term, &key);
    if (row->key == 0) {
        *row = (struct row){.key = key, .value = value, .node = look->node};
        books.used++;
        return;
    }
    books.compared++;
    if (row->value != value)
        judge_fails("%s: %s at idx %" PRIu64 " of term %" PRIu64 " is not what it was at node %u",
                    look->actor->options.log.dir, kind_names[kind], idx, term, row->node);
}

static struct group *group_of(const struct actor *actor)
{
    const struct log_hard_state *state = log_hard_state(actor->log);
    struct group *g = books.groups;
    while (g != NULL && (g->partition != state->partition || !uuid_equal(&g->topic_id, &state->topic_id)))
        g = g->next;
    if (g != NULL)
        return g;
    if (books.groups == NULL)
        buf_init(&books.bytes, SIZE_MAX / 2);
    g = calloc(1, sizeof *g);
    REQUIRE(g != NULL);
    g->topic_id = state->topic_id;
    g->partition = state->partition;
    g->number = ++books.group_count;
    g->next = books.groups;
    books.groups = g;
    return g;
}

/* ---- producers ------------------------------------------------------------------------- */

static struct known_producer *producer_of(struct group *g, int64_t id)
{
    for (unsigned i = 0; i < g->producer_count; i++)
        if (g->producers[i].id == id)
            return &g->producers[i];
    if (g->producer_count == PRODUCERS_SEEN)
        return NULL;
    g->producers[g->producer_count] = (struct known_producer){.id = id};
    return &g->producers[g->producer_count++];
}

/* One of those in the encoded table (producers.c). */
static void look_at_producer(const struct look *look, struct cursor *in, uint64_t *present)
{
    const struct raft *raft = &look->actor->raft;
    int64_t id = (int64_t)cursor_le64(in);
    uint64_t epoch = cursor_le16(in);
    (void)cursor_le64(in); /* when it wrote last: of the broker's clock */
    uint8_t batches = cursor_u8(in);
    uint64_t first_idx = 0, value = 0, idx = 0;
    for (unsigned i = 0; i < batches; i++) {
        uint64_t sequences = cursor_le64(in);
        uint64_t off = cursor_le64(in);
        idx = cursor_le64(in);
        first_idx = i == 0 ? idx : first_idx;
        value = mix(mix(mix(mix(1, epoch), sequences), off), idx);
    }
    REQUIRE(!in->bad);
    struct known_producer *p = producer_of(look->group, id);
    if (idx > raft->last_idx)
        judge_fails("%s: a producer's batch in entry %" PRIu64 " is remembered, and the log ends at %" PRIu64,
                    look->actor->options.log.dir, idx, raft->last_idx);
    if (p == NULL)
        return;
    *present |= UINT64_C(1) << (p - look->group->producers);
    if (batches == PRODUCERS_BATCHES && first_idx > p->window_idx)
        p->window_idx = first_idx;
    compare(look, KIND_PRODUCER, (uint64_t)id, raft->last_idx, raft->last_term, value);
}

/* Who is not remembered here was not by the others, unless the state that this replica was given
 * had only later batches of it: five that this one does not have yet. */
static void look_at_producers(const struct look *look)
{
    const struct raft *raft = &look->actor->raft;
    struct group *g = look->group;
    uint64_t present = 0, key;
    buf_reset(&books.bytes);
    producers_encode(&look->actor->producers, UINT64_MAX, &books.bytes);
    REQUIRE(!books.bytes.bad);
    struct cursor in = cursor_over(books.bytes.data, books.bytes.len);
    (void)cursor_u8(&in);
    for (uint32_t count = cursor_le32(&in); count > 0; count--)
        look_at_producer(look, &in, &present);
    for (unsigned i = 0; i < g->producer_count; i++) {
        const struct known_producer *p = &g->producers[i];
        if ((present & UINT64_C(1) << i) != 0 || p->window_idx > raft->last_idx)
            continue;
        if (find(look, KIND_PRODUCER, (uint64_t)p->id, raft->last_idx, raft->last_term, &key)->key != 0)
            judge_fails("%s: at idx %" PRIu64 " of term %" PRIu64 " nothing is known of a producer that others knew",
                        look->actor->options.log.dir, raft->last_idx, raft->last_term);
    }
}

/* ---- the rest ---------------------------------------------------------------------------- */

static uint64_t seats_of(const struct raft_config *config)
{
    uint64_t sum = config->count;
    for (uint32_t i = 0; i < config->count; i++)
        sum += mix(
            mix(mix_bytes(1, config->seats[i].member.incarnation.bytes, UUID_BYTES), config->seats[i].member.broker_id),
            config->seats[i].kinds);
    return sum;
}

/* Of what was committed of it: a log start counts from its commit on, and then everywhere. A process that
 * died in the middle of a turn leaves to the next what nobody had looked at. */
static void look_at_start(const struct look *look, bool new_life)
{
    const struct actor *actor = look->actor;
    struct group *g = look->group;
    int64_t start_off = log_start_off(actor->log);
    if (new_life && actor_is_alone(actor) && start_off > g->start_off)
        g->start_off = start_off; /* and it may have died while it wrote the entry */
    uint64_t newest = g->mark_count < MARKS_SEEN ? g->mark_count : MARKS_SEEN;
    for (uint64_t i = 0; i < newest; i++) {
        const struct mark *m = &g->marks[i];
        if (new_life && m->off == start_off && start_off > g->start_off)
            g->start_off = start_off;
        if (m->idx > actor->raft.commit_idx || raft_term_at(&actor->raft, m->idx) != m->term)
            continue;
        if (m->off > g->start_off)
            g->start_off = m->off;
        if (m->off > start_off)
            judge_fails("%s: a log start of %" PRId64 " is committed at idx %" PRIu64
                        ", and the log starts at %" PRId64,
                        actor->options.log.dir, m->off, m->idx, start_off);
    }
    if (start_off > g->start_off)
        judge_fails("%s: the log starts at %" PRId64 ", and what is committed says %" PRId64, actor->options.log.dir,
                    start_off, g->start_off);
}

static void look_at_machine(const struct look *look, struct stand *stand)
{
    const struct actor *actor = look->actor;
    uint64_t idx = actor->machine_idx, term = raft_term_at(&actor->raft, idx);
    if (actor->records_open || actor->state_ahead || idx == stand->machine_idx || term == 0)
        return;
    buf_reset(&books.bytes);
    actor->options.machine.ops->snapshot(actor->options.machine.state, &books.bytes);
    REQUIRE(!books.bytes.bad);
    stand->machine_idx = idx;
    compare(look, KIND_MACHINE, 0, idx, term, mix_bytes(1, books.bytes.data, books.bytes.len));
}

static void look_at_commit(const struct look *look)
{
    const struct actor *actor = look->actor;
    const struct place *place = actor->log->place;
    uint64_t commit_idx = atomic_load(&place->commit_idx);
    uint64_t term = raft_term_at(&actor->raft, commit_idx);
    if (commit_idx > actor->raft.commit_idx)
        judge_fails("%s: readers see idx %" PRIu64 ", and %" PRIu64 " is committed", actor->options.log.dir, commit_idx,
                    actor->raft.commit_idx);
    if (term != 0 && !variant()->flush_interval)
        compare(look, KIND_COMMITTED, 0, commit_idx, 0, term);
    if (term != 0)
        compare(look, KIND_END_OFF, 0, commit_idx, term, (uint64_t)atomic_load(&place->high_watermark));
}

static void look_at_end(const struct look *look)
{
    const struct raft *raft = &look->actor->raft;
    uint64_t idx = raft->last_idx, term = raft->last_term;
    compare(look, KIND_NEXT_OFF, 0, idx, term, (uint64_t)log_next_off(look->actor->log));
    bool founder = log_hard_state(look->actor->log)->voter_count > 0; /* who joined does not know with whom it began */
    uint64_t given_idx = look->group->given_idx[look->node];
    if (raft->config.idx > given_idx || (founder && raft->config.idx == 0))
        compare(look, KIND_CONFIG, 0, idx, term, seats_of(&raft->config));
    if (raft->before.idx < raft->config.idx &&
        (raft->before.idx > given_idx || (founder && raft->before.idx == 0 && given_idx == 0)))
        compare(look, KIND_BEFORE, 0, idx, term, seats_of(&raft->before));
    if (look->actor->options.machine.ops == NULL)
        look_at_producers(look);
}

/* What a process may never take back. */
static void look_back(const struct look *look, struct stand *stand)
{
    const struct raft *raft = &look->actor->raft;
    int64_t start_off = log_start_off(look->actor->log);
    const char *what = NULL;
    if (raft->term < stand->term)
        what = "its term";
    else if (raft->commit_idx < stand->commit_idx)
        what = "what is committed";
    else if (start_off < stand->start_off)
        what = "its log start";
    else if (raft->term == stand->term && stand->vote.broker_id != 0 && !raft_member_equal(&raft->vote, &stand->vote))
        what = "its vote";
    if (what != NULL)
        judge_fails("%s: takes back %s in term %" PRIu64, look->actor->options.log.dir, what, raft->term);
    stand->term = raft->term;
    stand->start_off = start_off;
    stand->vote = raft->vote;
}

static void look_at(struct actor *actor)
{
    struct look look = {.actor = actor, .node = machine_node()->id % NODES_MAX};
    books.excused = books.excused || complaints_are_excused();
    if (actor->failure.err != KQ_OK || books.excused || judge_verdict() != NULL)
        return;
    look.group = group_of(actor);
    struct stand *stand = &look.group->stands[look.node];
    const struct raft *raft = &actor->raft;
    bool new_life = stand->life != machine_node()->life;
    if (new_life)
        *stand = (struct stand){.life = machine_node()->life};
    look_back(&look, stand);
    if (actor->options.machine.ops != NULL)
        look_at_machine(&look, stand);
    bool moved = stand->last_idx != raft->last_idx || stand->last_term != raft->last_term;
    bool shown = stand->commit_idx != raft->commit_idx;
    stand->last_idx = raft->last_idx;
    stand->last_term = raft->last_term;
    stand->commit_idx = raft->commit_idx;
    if (moved)
        look_at_end(&look);
    if (moved || shown) {
        look_at_commit(&look);
        look_at_start(&look, new_life);
    }
}

/* ---- standing in -------------------------------------------------------------------------- */

enum kq_err __real_actor_open(struct actor **actor, const struct actor_options *options, const struct machine_now *now,
                              struct fault *fault);
enum kq_err __wrap_actor_open(struct actor **actor, const struct actor_options *options, const struct machine_now *now,
                              struct fault *fault);
enum kq_err __wrap_actor_open(struct actor **actor, const struct actor_options *options, const struct machine_now *now,
                              struct fault *fault)
{
    struct actor_options mine = *options;
    variant_size(&mine);
    enum kq_err err = __real_actor_open(actor, &mine, now, fault);
    if (err == KQ_OK)
        group_of(*actor)->stands[machine_node()->id % NODES_MAX] = (struct stand){.life = 0};
    return err;
}

void __real_actor_turn(struct actor *actor, struct mail_list *control, struct mail_list *data,
                       const struct machine_now *now);
void __wrap_actor_turn(struct actor *actor, struct mail_list *control, struct mail_list *data,
                       const struct machine_now *now);
void __wrap_actor_turn(struct actor *actor, struct mail_list *control, struct mail_list *data,
                       const struct machine_now *now)
{
    __real_actor_turn(actor, control, data, now);
    look_at(actor);
}

enum kq_err __real_actor_take_state(struct actor *actor, uint64_t idx, const void *state, size_t state_bytes,
                                    struct fault *fault);
enum kq_err __wrap_actor_take_state(struct actor *actor, uint64_t idx, const void *state, size_t state_bytes,
                                    struct fault *fault);
enum kq_err __wrap_actor_take_state(struct actor *actor, uint64_t idx, const void *state, size_t state_bytes,
                                    struct fault *fault)
{
    group_of(actor)->given_idx[machine_node()->id % NODES_MAX] = idx;
    return __real_actor_take_state(actor, idx, state, state_bytes, fault);
}

/* It was just appended. */
static void note_mark(const struct actor *actor, enum log_entry_type type, uint64_t idx, const void *body,
                      uint32_t body_bytes)
{
    if (type != LOG_ENTRY_LOG_START || body_bytes != 8)
        return;
    struct group *g = group_of(actor);
    struct mark m = {.idx = idx, .term = log_last_term(actor->log), .off = (int64_t)get_le64(body)};
    for (uint64_t i = 0; i < g->mark_count && i < MARKS_SEEN; i++)
        if (g->marks[i].idx == m.idx && g->marks[i].term == m.term)
            return;
    g->marks[g->mark_count++ % MARKS_SEEN] = m;
}

void __real_actor_note_entry(struct actor *actor, enum log_entry_type type, uint64_t idx, const void *body,
                             uint32_t body_bytes);
void __wrap_actor_note_entry(struct actor *actor, enum log_entry_type type, uint64_t idx, const void *body,
                             uint32_t body_bytes);
void __wrap_actor_note_entry(struct actor *actor, enum log_entry_type type, uint64_t idx, const void *body,
                             uint32_t body_bytes)
{
    note_mark(actor, type, idx, body, body_bytes);
    __real_actor_note_entry(actor, type, idx, body, body_bytes);
}

void __real_actor_note_append(struct actor *actor, const struct log_entry *entry, const struct raft_config *config);
void __wrap_actor_note_append(struct actor *actor, const struct log_entry *entry, const struct raft_config *config);
void __wrap_actor_note_append(struct actor *actor, const struct log_entry *entry, const struct raft_config *config)
{
    if (entry->body_count == 1)
        note_mark(actor, entry->type, entry->idx, entry->body[0].iov_base, entry->body_bytes);
    __real_actor_note_append(actor, entry, config);
}

/* Those who wait for what is not committed. */
static unsigned count_waits(const struct actor *actor)
{
    int64_t end_off = atomic_load(&actor->log->place->high_watermark);
    unsigned count = 0;
    for (const struct wait_request *w = actor->waits; w != NULL; w = w->next)
        count += w->off >= end_off;
    return count;
}

static void must_wait(const struct actor *actor, unsigned count)
{
    if (count_waits(actor) < count)
        judge_fails("%s: who waits for a message is woken before one is committed", actor->options.log.dir);
}

void __real_actor_wake_waits(struct actor *actor, enum kq_err reason);
void __wrap_actor_wake_waits(struct actor *actor, enum kq_err reason);
void __wrap_actor_wake_waits(struct actor *actor, enum kq_err reason)
{
    unsigned count = count_waits(actor);
    __real_actor_wake_waits(actor, reason);
    if (reason == KQ_OK)
        must_wait(actor, count);
}

void __real_actor_take_wait(struct actor *actor, struct wait_request *wait);
void __wrap_actor_take_wait(struct actor *actor, struct wait_request *wait);
void __wrap_actor_take_wait(struct actor *actor, struct wait_request *wait)
{
    bool serves = actor->failure.err == KQ_OK && !actor->stopping;
    unsigned count = count_waits(actor) + (wait->off >= atomic_load(&actor->log->place->high_watermark));
    __real_actor_take_wait(actor, wait);
    if (serves)
        must_wait(actor, count);
}

enum kq_err __real_log_iter_next(struct log_iter *it, struct log_slice *slice, struct fault *fault);
enum kq_err __wrap_log_iter_next(struct log_iter *it, struct log_slice *slice, struct fault *fault);
enum kq_err __wrap_log_iter_next(struct log_iter *it, struct log_slice *slice, struct fault *fault)
{
    enum kq_err err = __real_log_iter_next(it, slice, fault);
    if (err == KQ_OK && it->end_idx == 0 && slice->idx > atomic_load(&it->view->place->commit_idx))
        judge_fails("%s: a reader is given entry %" PRIu64 ", and %" PRIu64 " is committed", it->view->place->dir,
                    slice->idx, (uint64_t)atomic_load(&it->view->place->commit_idx));
    return err;
}
