/* See ledger.h. Groups, terms and votes are few, and kept in lists; entries are kept
 * by idx, in the versions that were ever sent. */
#include "sim/ledger.h"

#include "base/require.h"
#include "log/hard_state.h"
#include "log/log.h"
#include "log/tool.h"
#include "proto/peer/frame.h"
#include "proto/peer/raft_frame.h"
#include "sim/brokers.h"
#include "sim/chance.h"
#include "sim/complaints.h"
#include "sim/disk.h"
#include "sim/durable.h"
#include "sim/flips.h"
#include "sim/judge.h"
#include "sim/places.h"
#include "sim/trace.h"
#include "sim/variant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIR_BYTES = 160, TOPIC_BYTES = 64, LOOK_IN = 24, TYPE_OFF = 8 };

struct version {
    struct version *next;
    uint64_t term;
    uint64_t sent_in_term; /* the newest leader's that had it */
    int64_t first_off;
    uint32_t body_crc;
    bool committed;
    const struct places *places; /* of its messages */
};

struct vote {
    struct vote *next;
    struct raft_member voter, candidate;
    uint64_t term;
};

struct reign {
    struct reign *next;
    uint64_t term;
    struct raft_member leader;
    uint64_t commit_idx; /* as it said last */
    bool durable;        /* its vote for itself was seen on its disk */
};

struct group {
    struct group *next;
    struct uuid topic_id;
    uint32_t partition;
    struct reign *reigns; /* the newest seen first */
    struct vote *votes;
    struct version **entries; /* by idx */
    size_t room;
    char dirs[BROKERS_MAX][DIR_BYTES]; /* where each broker has it; "": not known */
};

static struct {
    struct group *groups;
    struct chance chance;
    uint64_t messages, promises, resets;
    bool disks_stay;
    uint64_t look_in;
    bool forgiven;
} ledger;

void ledger_start(uint64_t seed, bool disks_stay)
{
    ledger.disks_stay = disks_stay;
    ledger.look_in = LOOK_IN;
    ledger.chance = chance_of(seed, 70);
}

void ledger_forgive(void)
{
    ledger.forgiven = true;
}

uint64_t ledger_messages(void)
{
    return ledger.messages;
}

uint64_t ledger_resets(void)
{
    return ledger.resets;
}

uint64_t ledger_promises(void)
{
    return ledger.promises;
}

unsigned ledger_some_leader(uint64_t number)
{
    uint64_t count = 0;
    for (const struct group *g = ledger.groups; g != NULL; g = g->next)
        count++;
    if (count == 0)
        return 0;
    const struct group *g = ledger.groups;
    for (uint64_t i = number % count; i > 0; i--)
        g = g->next;
    const struct reign *newest = g->reigns;
    for (const struct reign *r = g->reigns; r != NULL; r = r->next)
        if (r->term > newest->term)
            newest = r;
    return newest == NULL ? 0 : newest->leader.broker_id;
}

/* Known by the folder in which some broker has it. */
static bool is_of(const struct group *g, const char *topic)
{
    char name[TOPIC_BYTES];
    (void)snprintf(name, sizeof name, "/%s-", topic);
    for (unsigned i = 0; i < BROKERS_MAX; i++)
        if (strstr(g->dirs[i], name) != NULL)
            return true;
    return false;
}

static struct group *group_of(const struct raft_frame *f);

bool ledger_is_of(const struct raft_frame *frame, const char *topic)
{
    return is_of(group_of(frame), topic);
}

unsigned ledger_leader(const char *topic)
{
    const struct reign *newest = NULL;
    for (const struct group *g = ledger.groups; g != NULL; g = g->next)
        for (const struct reign *r = g->reigns; r != NULL && g->partition == 0 && is_of(g, topic); r = r->next)
            newest = newest == NULL || r->term > newest->term ? r : newest;
    return newest == NULL ? 0 : newest->leader.broker_id;
}

void ledger_look_in(uint64_t in)
{
    ledger.look_in = in;
}

uint64_t ledger_reigns(const char *topic)
{
    uint64_t count = 0;
    for (const struct group *g = ledger.groups; g != NULL; g = g->next)
        for (const struct reign *r = g->reigns; r != NULL && (topic == NULL || is_of(g, topic)); r = r->next)
            count++;
    return count;
}

static bool same_member(const struct raft_member *a, const struct raft_member *b)
{
    return a->broker_id == b->broker_id && uuid_equal(&a->incarnation, &b->incarnation);
}

static struct group *group_of(const struct raft_frame *f)
{
    struct group *g = ledger.groups;
    while (g != NULL && (g->partition != f->partition || !uuid_equal(&g->topic_id, &f->topic_id)))
        g = g->next;
    if (g != NULL)
        return g;
    g = calloc(1, sizeof *g);
    REQUIRE(g != NULL);
    g->topic_id = f->topic_id;
    g->partition = f->partition;
    g->next = ledger.groups;
    ledger.groups = g;
    return g;
}

/* ---- what is on a broker's disk -------------------------------------------------------- */

struct search {
    struct group *group;
    unsigned broker;
    struct durable *disk;
};

static bool load(struct durable *disk, const char *dir, struct log_hard_state *state)
{
    struct log_mark mark;
    struct fault fault;
    bool one_bad;
    return hard_state_load(&disk->io, dir, state, &mark, &one_bad, &fault) == KQ_OK;
}

static bool holds(struct durable *disk, const char *dir, const struct group *g, struct log_hard_state *state)
{
    return load(disk, dir, state) && uuid_equal(&state->topic_id, &g->topic_id) && state->partition == g->partition;
}

static void look_at_path(void *context, const char *path)
{
    struct search *s = context;
    struct log_hard_state state;
    const char *file = strrchr(path, '/');
    char *dir = s->group->dirs[s->broker - 1];
    if (strstr(path, ".deleted-") != NULL || strstr(path, ".stray-") != NULL)
        return; /* put aside: what comes back has a folder of its own */
    if (dir[0] != '\0' || file == NULL || strcmp(file + 1, HARD_STATE_NAME) != 0 || file - path >= DIR_BYTES)
        return;
    memcpy(dir, path, (size_t)(file - path));
    dir[file - path] = '\0';
    if (!holds(s->disk, dir, s->group, &state))
        dir[0] = '\0';
}

/* The hard state of the group on the broker's disk. False: there is none. */
static bool disk_state(struct group *g, unsigned broker, struct durable *disk, struct log_hard_state *state)
{
    char *dir = g->dirs[broker - 1];
    durable_init(disk, disk_mem(broker_node(brokers_at(broker))->disk));
    if (dir[0] != '\0' && holds(disk, dir, g, state))
        return true;
    dir[0] = '\0';
    struct search search = {g, broker, disk};
    io_mem_each_durable(disk->mem, look_at_path, &search);
    return dir[0] != '\0' && holds(disk, dir, g, state);
}

struct ends {
    uint64_t last_idx, last_term;
    uint64_t at_idx, at_term; /* asked for: the term of this one; 0: it is not there */
    uint64_t snapshot_idx;
    char line[120]; /* the last that the log tool said */
};

static void see_entry(void *context, const struct tool_entry *entry)
{
    struct ends *e = context;
    if (entry->idx == e->at_idx)
        e->at_term = entry->term;
    if (entry->idx > e->last_idx) {
        e->last_idx = entry->idx;
        e->last_term = entry->term;
    }
}

static void see_line(void *context, const char *line)
{
    struct ends *e = context;
    static const char snapshot[] = "snapshot of entry ";
    if (strncmp(line, snapshot, sizeof snapshot - 1) == 0)
        e->snapshot_idx = strtoull(line + sizeof snapshot - 1, NULL, 10);
    (void)snprintf(e->line, sizeof e->line, "%s", line);
}

/* Where the log on the broker's disk ends; disk_state was asked before. */
static bool disk_ends(struct group *g, unsigned broker, struct durable *disk, struct ends *ends)
{
    const struct tool_out out = {.line = see_line, .context = ends, .entry = see_entry};
    struct tool_counts counts = {0};
    struct fault fault;
    *ends = (struct ends){.at_idx = ends->at_idx};
    if (flips_done_to(brokers_at(broker)) || /* a log is read up to the first damage */
        tool_dump(&disk->io, g->dirs[broker - 1], -1, false, 0, &out, &counts, &fault) != KQ_OK)
        return false;
    if (ends->last_idx == 0) /* it began anew, and nothing came yet */
        ends->last_idx = ends->snapshot_idx;
    return true;
}

/* ---- entries ----------------------------------------------------------------------------- */

static struct version **entries_at(struct group *g, uint64_t idx)
{
    REQUIRE(idx < 10000000);
    if (idx >= g->room) {
        size_t room = (size_t)idx * 2 + 64;
        g->entries = realloc(g->entries, room * sizeof(struct version *));
        REQUIRE(g->entries != NULL);
        memset(g->entries + g->room, 0, (room - g->room) * sizeof(struct version *));
        g->room = room;
    }
    return &g->entries[idx];
}

/* A leader of this term has this entry. */
static void note_entry(struct group *g, const struct raft_frame_entry *e, const uint8_t *body,
                       const struct raft_message *m)
{
    struct version **all = entries_at(g, e->idx), *v = *all;
    for (const struct version *c = *all; c != NULL; c = c->next)
        if (!ledger.forgiven && c->committed && c->term != e->term && m->term > c->sent_in_term)
            judge_fails("broker %u, leader in term %" PRIu64 ", has at idx %" PRIu64 " an entry of term %" PRIu64
                        "; one of term %" PRIu64 " was committed there",
                        m->from.broker_id, m->term, e->idx, e->term, c->term);
    while (v != NULL && v->term != e->term)
        v = v->next;
    if (v == NULL) {
        v = calloc(1, sizeof *v);
        REQUIRE(v != NULL);
        *v = (struct version){.next = *all, .term = e->term, .first_off = e->first_off, .body_crc = e->body_crc};
        if (e->type == LOG_ENTRY_RECORDS)
            v->places = places_of(body, e->body_bytes);
        *all = v;
    }
    if (v->body_crc != e->body_crc || v->first_off != e->first_off)
        judge_fails("two entries of idx %" PRIu64 " and term %" PRIu64 " differ (said by broker %u)", e->idx, e->term,
                    m->from.broker_id);
    if (m->term > v->sent_in_term)
        v->sent_in_term = m->term;
}

/* A majority has it on disk: of three or more replicas that is two at least. */
static void promise_commit(struct group *g, const struct raft_message *m)
{
    unsigned have = 0, unknown = 0;
    for (unsigned broker = 1; broker <= brokers_count(); broker++) {
        struct durable disk;
        struct log_hard_state state;
        struct ends ends = {.at_idx = 0};
        if (!disk_state(g, broker, &disk, &state))
            continue;
        if (!disk_ends(g, broker, &disk, &ends))
            unknown++;
        else
            have += ends.last_idx >= m->commit_idx;
    }
    ledger.promises++;
    if (have + unknown < 2)
        judge_fails("broker %u says that idx %" PRIu64 " is committed in term %" PRIu64 ", and %u disk has it (%s)",
                    m->from.broker_id, m->commit_idx, m->term, have, g->dirs[m->from.broker_id - 1]);
}

/* The leader says that all up to commit_idx is committed: of those that it sent in
 * this term it is known which they are. */
static void note_commit(struct group *g, struct reign *r, const struct raft_message *m)
{
    for (uint64_t idx = r->commit_idx + 1; idx <= m->commit_idx && idx < g->room; idx++)
        for (struct version *v = g->entries[idx]; v != NULL; v = v->next) {
            if (v->sent_in_term != m->term)
                continue;
            for (const struct version *other = g->entries[idx]; other != NULL; other = other->next)
                if (!ledger.forgiven && other != v && other->committed)
                    judge_fails("idx %" PRIu64 " was committed twice: terms %" PRIu64 " and %" PRIu64, idx, v->term,
                                other->term);
            if (!v->committed)
                places_committed(v->places, g->partition);
            v->committed = true;
        }
    if (m->commit_idx <= r->commit_idx)
        return;
    r->commit_idx = m->commit_idx;
    if (ledger.disks_stay && !variant()->flush_interval && brokers_count() >= 3 &&
        chance_once_in(&ledger.chance, ledger.look_in))
        promise_commit(g, m);
}

/* ---- who leads, who voted ------------------------------------------------------------------- */

static struct reign *note_leader(struct group *g, const struct raft_message *m)
{
    struct reign *r = g->reigns;
    while (r != NULL && r->term != m->term)
        r = r->next;
    if (r == NULL) {
        r = calloc(1, sizeof *r);
        REQUIRE(r != NULL);
        *r = (struct reign){.next = g->reigns, .term = m->term, .leader = m->from};
        g->reigns = r;
    }
    if (!same_member(&r->leader, &m->from))
        judge_fails("two leaders in term %" PRIu64 ": brokers %u and %u", m->term, r->leader.broker_id,
                    m->from.broker_id);
    return r;
}

static void note_vote(struct group *g, const struct raft_message *m)
{
    struct vote *v = g->votes;
    while (v != NULL && (v->term != m->term || !same_member(&v->voter, &m->from)))
        v = v->next;
    if (v == NULL) {
        v = calloc(1, sizeof *v);
        REQUIRE(v != NULL);
        *v = (struct vote){.next = g->votes, .voter = m->from, .candidate = m->to, .term = m->term};
        g->votes = v;
    }
    if (!same_member(&v->candidate, &m->to))
        judge_fails("broker %u voted twice in term %" PRIu64 ": for brokers %u and %u", m->from.broker_id, m->term,
                    v->candidate.broker_id, m->to.broker_id);
}

/* ---- promises ----------------------------------------------------------------------------------- */

static void promise_term(struct group *g, const struct raft_message *m, const char *what,
                         const struct raft_member *vote)
{
    struct durable disk;
    struct log_hard_state state;
    ledger.promises++;
    if (!disk_state(g, m->from.broker_id, &disk, &state)) {
        judge_fails("broker %u sends %s in term %" PRIu64 " and has no hard state of that group on its disk",
                    m->from.broker_id, what, m->term);
        return;
    }
    struct ends ends = {.at_idx = 0};
    /* An entry of that term is a record of the term as well: who has it never falls
     * behind it. A vote must be written down. */
    if (state.term < m->term && vote == NULL &&
        (flips_done_to(brokers_at(m->from.broker_id)) ||
         (disk_ends(g, m->from.broker_id, &disk, &ends) && ends.last_term >= m->term)))
        return;
    if (state.term < m->term)
        judge_fails("broker %u sends %s in term %" PRIu64 ", and on its disk is term %" PRIu64, m->from.broker_id, what,
                    m->term, state.term);
    else if (vote != NULL && state.term == m->term &&
             (state.vote_broker_id != vote->broker_id || !uuid_equal(&state.vote_incarnation, &vote->incarnation)))
        judge_fails("broker %u sends %s in term %" PRIu64 ", and on its disk is a vote for broker %u",
                    m->from.broker_id, what, m->term, state.vote_broker_id);
}

/* The entry that the leader of this term has there, as far as it was sent. */
static uint64_t sent_term(const struct group *g, uint64_t idx, uint64_t leader_term)
{
    for (const struct version *v = idx < g->room ? g->entries[idx] : NULL; v != NULL; v = v->next)
        if (v->sent_in_term == leader_term)
            return v->term;
    return 0;
}

/* Who has a disk that failed calls is looked at each time. */
static bool is_to_be_looked_at(unsigned broker)
{
    return complaints_has_bad_disk(broker_node(brokers_at(broker))) || chance_once_in(&ledger.chance, ledger.look_in);
}

static void promise_match(struct group *g, const struct raft_message *m)
{
    struct durable disk;
    struct log_hard_state state;
    struct ends ends = {.at_idx = m->match_idx};
    uint64_t term = sent_term(g, m->match_idx, m->term);
    ledger.promises++;
    if (!disk_state(g, m->from.broker_id, &disk, &state) || !disk_ends(g, m->from.broker_id, &disk, &ends))
        return; /* told by other checks, or under repair */
    if (ends.last_idx < m->match_idx)
        judge_fails("broker %u acknowledges up to idx %" PRIu64 " in term %" PRIu64
                    ", and %s on its disk ends at %" PRIu64 " (%s)",
                    m->from.broker_id, m->match_idx, m->term, g->dirs[m->from.broker_id - 1], ends.last_idx, ends.line);
    else if (term != 0 && ends.at_term != 0 && ends.at_term != term)
        judge_fails("broker %u acknowledges idx %" PRIu64 " in term %" PRIu64 ", of term %" PRIu64
                    ", and %s on its disk has one of term %" PRIu64 " there",
                    m->from.broker_id, m->match_idx, m->term, term, g->dirs[m->from.broker_id - 1], ends.at_term);
}

static void say_message(const struct group *g, const struct raft_message *m)
{
    static const char *const names[] = {"?",           "prevote",      "prevote-reply", "vote",       "vote-reply",
                                        "append",      "append-reply", "beat",          "beat-reply", "reset",
                                        "timeout-now", "forgot",       "forgot-reply"};
    const char *dir = g->dirs[m->from.broker_id - 1];
    trace_say(TRACE_RAFT,
              "%u to %u: %s, group %02x%02x/%u %s, term %" PRIu64 ", prev %" PRIu64 "/%" PRIu64 ", last %" PRIu64
              ", commit %" PRIu64 ", match %" PRIu64 "%s%s",
              m->from.broker_id, m->to.broker_id, names[m->type], g->topic_id.bytes[0], g->topic_id.bytes[1],
              g->partition, dir, m->term, m->prev_idx, m->prev_term, m->last_idx, m->commit_idx, m->match_idx,
              m->granted ? ", granted" : "", m->refused ? ", refused" : "");
}

static void note_entries(struct group *g, const struct raft_frame *f)
{
    const uint8_t *body = f->bodies;
    for (uint32_t i = 0; i < f->entry_count; i++) {
        struct raft_frame_entry entry;
        raft_frame_entry(f, i, &entry);
        note_entry(g, &entry, body, &f->message);
        body += entry.body_bytes;
    }
}

static void take_message(struct group *g, const struct raft_frame *f)
{
    const struct raft_message *m = &f->message;
    struct reign *reign;
    say_message(g, m);
    switch (m->type) {
    case RAFT_MSG_APPEND:
    case RAFT_MSG_BEAT:
    case RAFT_MSG_RESET:
    case RAFT_MSG_TIMEOUT_NOW:
        reign = note_leader(g, m);
        if (!reign->durable)
            promise_term(g, m, "as the leader", &m->from);
        reign->durable = true;
        ledger.resets += m->type == RAFT_MSG_RESET;
        note_entries(g, f);
        if (m->type == RAFT_MSG_APPEND || m->type == RAFT_MSG_BEAT)
            note_commit(g, reign, m);
        break;
    case RAFT_MSG_VOTE_REPLY:
        if (m->granted) {
            note_vote(g, m);
            promise_term(g, m, "a vote", &m->to);
        }
        break;
    case RAFT_MSG_APPEND_REPLY:
        promise_term(g, m, "an acknowledgement", NULL);
        if (!m->refused && m->match_idx > 0 && !variant()->flush_interval && is_to_be_looked_at(m->from.broker_id))
            promise_match(g, m);
        break;
    case RAFT_MSG_PREVOTE:
    case RAFT_MSG_PREVOTE_REPLY:
    case RAFT_MSG_VOTE:
    case RAFT_MSG_BEAT_REPLY:
    case RAFT_MSG_FORGOT:
    case RAFT_MSG_FORGOT_REPLY:
        break;
    }
}

void ledger_frame(unsigned broker, const uint8_t *frame, size_t bytes)
{
    struct raft_frame f;
    if (bytes < PEER_FRAME_HEAD_BYTES || frame[TYPE_OFF] != PEER_RAFT)
        return;
    if (raft_frame_decode(frame + PEER_FRAME_HEAD_BYTES, bytes - PEER_FRAME_HEAD_BYTES, &f) != KQ_OK) {
        judge_fails("broker %u sends a Raft message that cannot be decoded", broker);
        return;
    }
    ledger.messages++;
    if (f.message.from.broker_id != broker)
        judge_fails("broker %u sends a Raft message as broker %u", broker, f.message.from.broker_id);
    else
        take_message(group_of(&f), &f);
}
