/*
 * Entries that many packets share, and the packets' end of life. An entry is made
 * once, when it is appended, and is never changed after that.
 */
#include "partition/packet.h"

#include "base/crc32c.h"
#include "base/require.h"

#include <stdlib.h>
#include <string.h>

struct shared_entry *shared_entry_new(const struct log_entry *entry)
{
    struct shared_entry *shared = malloc(sizeof *shared + entry->body_bytes);
    if (shared == NULL)
        return NULL;
    *shared = (struct shared_entry){
        .type = entry->type,
        .term = entry->term,
        .idx = entry->idx,
        .first_off = entry->first_off,
        .record_count = entry->record_count,
        .max_time_ms = entry->max_time_ms,
        .body_bytes = entry->body_bytes,
    };
    atomic_init(&shared->references, 1);
    size_t at = 0;
    for (int i = 0; i < entry->body_count; i++) {
        REQUIRE(entry->body[i].iov_len <= entry->body_bytes - at);
        memcpy(shared->body + at, entry->body[i].iov_base, entry->body[i].iov_len);
        at += entry->body[i].iov_len;
    }
    REQUIRE(at == entry->body_bytes);
    shared->body_crc = entry->has_body_crc ? entry->body_crc : crc32c(0, shared->body, shared->body_bytes);
    return shared;
}

struct shared_entry *shared_entry_hold(struct shared_entry *entry)
{
    (void)atomic_fetch_add_explicit(&entry->references, 1, memory_order_relaxed);
    return entry;
}

void shared_entry_drop(struct shared_entry **entry)
{
    struct shared_entry *e = *entry;
    *entry = NULL;
    if (e != NULL && atomic_fetch_sub_explicit(&e->references, 1, memory_order_acq_rel) == 1)
        free(e);
}

void packet_free(struct packet **packet)
{
    struct packet *p = *packet;
    *packet = NULL;
    if (p == NULL)
        return;
    for (uint32_t i = 0; i < p->entry_count; i++)
        shared_entry_drop(&p->entries[i]);
    if (p->view != NULL)
        log_view_drop(&p->view);
    free(p->state);
    free(p);
}
