#include "raft/raft.h"
#include "support/unit.h"

static _Alignas(16) uint8_t memory[RAFT_MEMORY_BYTES(1)];

static struct raft_start start_at(uint64_t term, uint64_t last_idx, bool created)
{
    struct raft_start start = {.self = {.broker_id = 1, .incarnation = uuid_random()},
                               .memory = memory,
                               .memory_bytes = sizeof memory,
                               .term = term,
                               .last_idx = last_idx,
                               .last_term = last_idx > 0 ? term : 0,
                               .created = created};
    start.vote = start.self;
    return start;
}

static struct raft_out feed(struct raft *raft, struct raft_event event)
{
    struct raft_out out;
    raft_step(raft, &event, &out);
    return out;
}

static void lead(struct raft *raft, uint64_t version)
{
    struct raft_out out = feed(raft, (struct raft_event){.type = RAFT_EV_WANT_LEAD});
    CU_ASSERT_TRUE(out.save_hard_state);
    raft_saving(raft, version);
    out = feed(raft, (struct raft_event){.type = RAFT_EV_HARD_STATE, .version = version});
    CU_ASSERT_TRUE(out.append_noop);
}

static void the_sole_voter_serves_what_is_durable_before_it_leads(void)
{
    struct raft raft;
    struct raft_start start = start_at(3, 10, false);
    raft_init(&raft, &start);
    CU_ASSERT_EQUAL(raft.commit_idx, 10);
    CU_ASSERT_EQUAL(raft.role, RAFT_FOLLOWER);
    CU_ASSERT_FALSE(raft_may_propose(&raft));
}

static void it_leads_only_once_its_vote_is_durable(void)
{
    struct raft raft;
    struct raft_start start = start_at(3, 10, false);
    raft_init(&raft, &start);
    struct raft_out out = feed(&raft, (struct raft_event){.type = RAFT_EV_WANT_LEAD});
    CU_ASSERT_TRUE(out.save_hard_state);
    CU_ASSERT_FALSE(out.append_noop);
    CU_ASSERT_EQUAL(raft.term, 4);
    raft_saving(&raft, 8);
    out = feed(&raft, (struct raft_event){.type = RAFT_EV_HARD_STATE, .version = 7});
    CU_ASSERT_EQUAL(raft.role, RAFT_CANDIDATE);
    out = feed(&raft, (struct raft_event){.type = RAFT_EV_HARD_STATE, .version = 8});
    CU_ASSERT_TRUE(out.append_noop);
    CU_ASSERT_EQUAL(raft.role, RAFT_LEADER);
}

static void the_term_of_the_groups_creation_is_led_without_another_write(void)
{
    struct raft raft;
    struct raft_start start = start_at(1, 0, true);
    raft_init(&raft, &start);
    struct raft_out out = feed(&raft, (struct raft_event){.type = RAFT_EV_WANT_LEAD});
    CU_ASSERT_FALSE(out.save_hard_state);
    CU_ASSERT_TRUE(out.append_noop);
    CU_ASSERT_EQUAL(raft.term, 1);
}

static void a_term_is_never_led_twice(void)
{
    struct raft raft;
    struct raft_start start = start_at(1, 0, false); /* restarted, nothing appended */
    raft_init(&raft, &start);
    lead(&raft, 2);
    CU_ASSERT_EQUAL(raft.term, 2);
}

static void nothing_is_proposed_before_the_no_op_is_appended(void)
{
    struct raft raft;
    struct raft_start start = start_at(3, 10, false);
    raft_init(&raft, &start);
    lead(&raft, 5);
    CU_ASSERT_FALSE(raft_may_propose(&raft));
    (void)feed(&raft, (struct raft_event){.type = RAFT_EV_APPENDED, .term = 4, .idx = 11});
    CU_ASSERT_TRUE(raft_may_propose(&raft)); /* a sole voter waits for nobody */
    CU_ASSERT_FALSE(raft_may_change(&raft)); /* except to change the members */
    struct raft_out out = feed(&raft, (struct raft_event){.type = RAFT_EV_FLUSHED, .term = 4, .idx = 11});
    CU_ASSERT_TRUE(out.committed);
    CU_ASSERT_TRUE(raft_may_propose(&raft));
}

static void an_entry_commits_when_its_own_disk_has_it(void)
{
    struct raft raft;
    struct raft_start start = start_at(1, 0, true);
    raft_init(&raft, &start);
    (void)feed(&raft, (struct raft_event){.type = RAFT_EV_WANT_LEAD});
    (void)feed(&raft, (struct raft_event){.type = RAFT_EV_APPENDED, .term = 1, .idx = 1});
    (void)feed(&raft, (struct raft_event){.type = RAFT_EV_FLUSHED, .term = 1, .idx = 1});
    (void)feed(&raft, (struct raft_event){.type = RAFT_EV_APPENDED, .term = 1, .idx = 2});
    (void)feed(&raft, (struct raft_event){.type = RAFT_EV_APPENDED, .term = 1, .idx = 3});
    CU_ASSERT_EQUAL(raft.commit_idx, 1);
    (void)feed(&raft, (struct raft_event){.type = RAFT_EV_FLUSHED, .term = 1, .idx = 2});
    CU_ASSERT_EQUAL(raft.commit_idx, 2);
    /* A completion from beyond the log, or an old one, says nothing. */
    (void)feed(&raft, (struct raft_event){.type = RAFT_EV_FLUSHED, .term = 1, .idx = 9});
    (void)feed(&raft, (struct raft_event){.type = RAFT_EV_FLUSHED, .term = 1, .idx = 1});
    CU_ASSERT_EQUAL(raft.commit_idx, 2);
}

static void with_interval_flushing_memory_counts(void)
{
    struct raft raft;
    struct raft_start start = start_at(1, 0, true);
    start.commits_unflushed = true;
    raft_init(&raft, &start);
    (void)feed(&raft, (struct raft_event){.type = RAFT_EV_WANT_LEAD});
    struct raft_out out = feed(&raft, (struct raft_event){.type = RAFT_EV_APPENDED, .term = 1, .idx = 1});
    CU_ASSERT_TRUE(out.committed);
    CU_ASSERT_EQUAL(raft.commit_idx, 1);
}

static void after_a_failed_disk_it_neither_leads_nor_commits(void)
{
    struct raft raft;
    struct raft_start start = start_at(1, 0, true);
    raft_init(&raft, &start);
    (void)feed(&raft, (struct raft_event){.type = RAFT_EV_WANT_LEAD});
    (void)feed(&raft, (struct raft_event){.type = RAFT_EV_APPENDED, .term = 1, .idx = 1});
    (void)feed(&raft, (struct raft_event){.type = RAFT_EV_DISK_FAILED});
    (void)feed(&raft, (struct raft_event){.type = RAFT_EV_FLUSHED, .term = 1, .idx = 1});
    struct raft_out out = feed(&raft, (struct raft_event){.type = RAFT_EV_WANT_LEAD});
    CU_ASSERT_FALSE(out.save_hard_state);
    CU_ASSERT_EQUAL(raft.commit_idx, 0);
    CU_ASSERT_FALSE(raft_may_propose(&raft));
}

static const struct unit_case cases[] = {
    {"the sole voter serves what is durable before it leads", the_sole_voter_serves_what_is_durable_before_it_leads},
    {"it leads only once its vote is durable", it_leads_only_once_its_vote_is_durable},
    {"the term of the group's creation is led without another write",
     the_term_of_the_groups_creation_is_led_without_another_write},
    {"a term is never led twice", a_term_is_never_led_twice},
    {"nothing is proposed before the no-op is appended", nothing_is_proposed_before_the_no_op_is_appended},
    {"an entry commits when its own disk has it", an_entry_commits_when_its_own_disk_has_it},
    {"with interval flushing memory counts", with_interval_flushing_memory_counts},
    {"after a failed disk it neither leads nor commits", after_a_failed_disk_it_neither_leads_nor_commits},
};
UNIT_MAIN("raft", cases)
