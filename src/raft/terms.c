/*
 * The terms of the newest part of the log, as runs. The table drops its oldest run
 * when it is full, so what it says is always true and may be less than all: below
 * raft_runs_from() a term is 0, not known, and never equal to anything.
 */
#include "raft/raft_internal.h"

uint64_t raft_runs_from(const struct raft *raft)
{
    return raft->run_count > 0 ? raft->runs[0].first_idx : raft->last_idx + 1;
}

uint64_t raft_term_at(const struct raft *raft, uint64_t idx)
{
    if (idx == raft->base_idx)
        return raft->base_term;
    if (idx > raft->last_idx)
        return 0;
    for (uint32_t i = raft->run_count; i > 0; i--)
        if (raft->runs[i - 1].first_idx <= idx)
            return raft->runs[i - 1].term;
    return 0;
}

static void push(struct raft *raft, struct raft_run run)
{
    if (raft->run_count == raft->runs_max) {
        for (uint32_t i = 1; i < raft->run_count; i++)
            raft->runs[i - 1] = raft->runs[i];
        raft->run_count--;
    }
    raft->runs[raft->run_count++] = run;
}

void raft_runs_init(struct raft *raft, const struct raft_start *start)
{
    raft->runs_max = start->runs_max == 0 ? RAFT_RUNS_MAX : start->runs_max;
    REQUIRE(raft->runs_max >= 1 && raft->runs_max <= RAFT_RUNS_MAX);
    raft->run_count = 0;
    if (raft->last_idx == raft->base_idx)
        return;
    if (start->runs == NULL) {
        push(raft, (struct raft_run){.term = start->last_term, .first_idx = start->last_idx});
        return;
    }
    for (uint32_t i = 0; i < start->run_count; i++)
        push(raft, start->runs[i]);
    REQUIRE(raft->run_count > 0);
    REQUIRE(raft->runs[raft->run_count - 1].term == start->last_term);
}

void raft_runs_append(struct raft *raft, uint64_t first_idx, uint64_t term)
{
    if (raft->run_count > 0 && raft->runs[raft->run_count - 1].term == term)
        return;
    push(raft, (struct raft_run){.term = term, .first_idx = first_idx});
}

void raft_runs_cut(struct raft *raft, uint64_t first_idx, uint64_t before_term)
{
    while (raft->run_count > 0 && raft->runs[raft->run_count - 1].first_idx >= first_idx)
        raft->run_count--;
    if (raft->run_count == 0 && first_idx - 1 > raft->base_idx)
        push(raft, (struct raft_run){.term = before_term, .first_idx = first_idx - 1});
}

void raft_runs_start(struct raft *raft, uint64_t base_idx, uint64_t base_term)
{
    uint32_t gone = 0;
    while (gone < raft->run_count &&
           (gone + 1 < raft->run_count ? raft->runs[gone + 1].first_idx - 1 : raft->last_idx) <= base_idx)
        gone++;
    for (uint32_t i = gone; i < raft->run_count; i++)
        raft->runs[i - gone] = raft->runs[i];
    raft->run_count -= gone;
    if (raft->run_count > 0 && raft->runs[0].first_idx <= base_idx)
        raft->runs[0].first_idx = base_idx + 1;
    raft->base_idx = base_idx;
    raft->base_term = base_term;
}

uint64_t raft_runs_search(const struct raft *raft, uint64_t idx, uint64_t term, bool *known)
{
    *known = true;
    if (idx > raft->last_idx)
        idx = raft->last_idx;
    for (uint32_t i = raft->run_count; i > 0; i--) {
        const struct raft_run *run = &raft->runs[i - 1];
        if (run->first_idx > idx)
            continue;
        if (run->term <= term)
            return idx;
        idx = run->first_idx - 1;
    }
    *known = idx == raft->base_idx && raft->base_term <= term;
    return idx;
}

uint64_t raft_runs_end(const struct raft *raft, uint64_t idx)
{
    for (uint32_t i = raft->run_count; i > 0; i--)
        if (raft->runs[i - 1].first_idx <= idx)
            return i == raft->run_count ? raft->last_idx : raft->runs[i].first_idx - 1;
    return idx;
}
