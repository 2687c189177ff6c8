/* What the files of src/raft share. Each function's file says more. */
#ifndef KQ_RAFT_RAFT_INTERNAL_H
#define KQ_RAFT_RAFT_INTERNAL_H

#include "base/require.h"
#include "raft/raft.h"

enum raft_progress { PROGRESS_PROBE, PROGRESS_REPLICATE, PROGRESS_RESET };
enum raft_ballot { BALLOT_NONE, BALLOT_GRANTED, BALLOT_REFUSED };
enum raft_verdict { VERDICT_OPEN, VERDICT_WON, VERDICT_LOST };
enum raft_quorum_of { QUORUM_MATCH, QUORUM_ROUND, QUORUM_HEARD };
enum { OWES_VOTE = 1, OWES_BEAT = 2, OWES_FORGOT = 4 };

/* raft.c */
/* Follower of this term; a newer term forgets the vote, the same one never does. */
void raft_follow(struct raft *raft, uint64_t term, const struct raft_member *leader, struct raft_out *out);
void raft_save_hard_state(struct raft *raft, struct raft_out *out);
bool raft_is_self(const struct raft *raft, const struct raft_member *member);
/* The reply of this step, with its barrier on term and vote. */
struct raft_message *raft_reply(struct raft *raft, struct raft_out *out, enum raft_message_type type,
                                const struct raft_member *to);
uint64_t raft_counted_idx(const struct raft *raft);

/* terms.c */
void raft_runs_init(struct raft *raft, const struct raft_start *start);
void raft_runs_append(struct raft *raft, uint64_t first_idx, uint64_t term);
void raft_runs_cut(struct raft *raft, uint64_t first_idx, uint64_t before_term);
void raft_runs_start(struct raft *raft, uint64_t base_idx, uint64_t base_term);
/* The greatest index <= idx whose term is <= term; *known says whether the runs reach it. */
uint64_t raft_runs_search(const struct raft *raft, uint64_t idx, uint64_t term, bool *known);
/* The last index of the run that holds idx (idx >= raft_runs_from). */
uint64_t raft_runs_end(const struct raft *raft, uint64_t idx);

/* quorum.c */
/* The highest value that a majority of each half has reached. */
uint64_t raft_quorum_value(const struct raft *raft, enum raft_quorum_of what);
enum raft_verdict raft_quorum_votes(const struct raft *raft);

/* config.c */
void raft_config_init(struct raft *raft, const struct raft_start *start);
void raft_config_adopt(struct raft *raft, const struct raft_config *config, uint64_t idx);
void raft_config_roll_back(struct raft *raft);
/* Both the one in force and the one to fall back to; after a reset. */
void raft_config_replace(struct raft *raft, const struct raft_config *config, uint64_t idx);
bool raft_config_valid(const struct raft *raft, const struct raft_config *config);
struct raft_peer *raft_peer_find(struct raft *raft, const struct raft_member *member);
bool raft_is_voter(const struct raft *raft);
bool raft_is_electable(const struct raft *raft);
bool raft_is_sole_voter(const struct raft *raft);
void raft_config_committed(struct raft *raft, struct raft_out *out);

/* election.c */
bool raft_may_campaign(const struct raft *raft);
void raft_draw_timeout(struct raft *raft);
void raft_campaign(struct raft *raft, bool pre, bool forced, struct raft_out *out);
void raft_count_votes(struct raft *raft, struct raft_out *out);
bool raft_lease_holds(const struct raft *raft);
void raft_on_vote_request(struct raft *raft, const struct raft_message *message, struct raft_out *out);
void raft_on_vote_reply(struct raft *raft, const struct raft_message *message, struct raft_out *out);
void raft_on_leader_gone(struct raft *raft);
void raft_on_claim(struct raft *raft, const struct raft_event *event, struct raft_out *out);
void raft_election_tick(struct raft *raft, struct raft_out *out);

/* pardon.c */
void raft_forgot_tick(struct raft *raft, struct raft_out *out);
void raft_make_forgot(const struct raft *raft, const struct raft_peer *peer, struct raft_message *message);
void raft_on_forgot(struct raft *raft, const struct raft_message *message, struct raft_out *out);
void raft_on_forgot_reply(struct raft *raft, const struct raft_message *message, struct raft_out *out);

/* append_follower.c */
void raft_on_append(struct raft *raft, const struct raft_event *event, struct raft_out *out);
void raft_on_beat(struct raft *raft, const struct raft_message *message, struct raft_out *out);
void raft_acknowledge(struct raft *raft, const struct raft_member *to, uint64_t match_idx, struct raft_out *out);

/* replicate_leader.c */
void raft_peer_fresh(const struct raft *raft, struct raft_peer *peer, const struct raft_member *member);
void raft_become_leader(struct raft *raft, struct raft_out *out);
void raft_on_append_reply(struct raft *raft, const struct raft_message *message, struct raft_out *out);
void raft_on_beat_reply(struct raft *raft, const struct raft_message *message, struct raft_out *out);
void raft_on_supply(struct raft *raft, const struct raft_event *event);
void raft_leader_tick(struct raft *raft, struct raft_out *out);
bool raft_peer_append(struct raft *raft, struct raft_peer *peer, struct raft_message *message);

/* commit.c */
void raft_on_appended(struct raft *raft, const struct raft_event *event, struct raft_out *out);
void raft_on_flushed(struct raft *raft, const struct raft_event *event, struct raft_out *out);
void raft_leader_commit(struct raft *raft, struct raft_out *out);
void raft_commit_to(struct raft *raft, uint64_t idx, struct raft_out *out);

/* transfer.c */
void raft_on_transfer(struct raft *raft, const struct raft_event *event, struct raft_out *out);
void raft_transfer_end(struct raft *raft, struct raft_out *out);
void raft_on_timeout_now(struct raft *raft, const struct raft_message *message, struct raft_out *out);
void raft_transfer_to(struct raft *raft, struct raft_member member);
void raft_transfer_late(struct raft *raft, struct raft_out *out);
struct raft_member raft_best_peer(const struct raft *raft);
bool raft_transfer_message(struct raft *raft, struct raft_message *message);

/* read_index.c */
void raft_on_read(struct raft *raft, struct raft_out *out);
void raft_reads_advance(struct raft *raft, struct raft_out *out);

/* reset.c */
void raft_on_log_start(struct raft *raft, const struct raft_event *event);
void raft_on_reset(struct raft *raft, const struct raft_event *event, struct raft_out *out);
void raft_make_reset(struct raft *raft, struct raft_peer *peer, struct raft_message *message);

/* message.c */
void raft_address(const struct raft *raft, struct raft_message *message, enum raft_message_type type,
                  const struct raft_member *to);

#endif
