/*
 * Refusals that are true only if this replica still leads: a sequence gap, an unknown
 * subscription. A leader that slept does not know what others took meanwhile, and would
 * refuse what follows it. So such an answer waits until a majority has confirmed the lead
 * (read index, thesis 6.4); when the lead is lost it becomes KQ_NOT_LEADER, and whoever
 * asked tries the new leader. A success needs none of this: it waits for its commit.
 */
#include "partition/actor_internal.h"

static uint64_t *ticket_of(struct mail *mail)
{
    if (mail->kind == MAIL_PUBLISH)
        return &CONTAINER_OF(mail, struct publish_request, mail)->wait_idx;
    return &CONTAINER_OF(mail, struct machine_call, mail)->wait_idx;
}

static struct fault *fault_of(struct mail *mail)
{
    if (mail->kind == MAIL_PUBLISH)
        return &CONTAINER_OF(mail, struct publish_request, mail)->fault;
    return &CONTAINER_OF(mail, struct machine_call, mail)->fault;
}

void actor_doubt(struct actor *actor, struct mail *mail)
{
    if (actor_is_alone(actor)) {
        mail_list_append(&actor->finished, mail);
        return;
    }
    struct raft_event event = {.type = RAFT_EV_READ, .now_us = actor->now.mono_us};
    struct raft_out out;
    raft_step(&actor->raft, &event, &out);
    if (out.reads_good > actor->reads_good)
        actor->reads_good = out.reads_good;
    *ticket_of(mail) = out.read_ticket;
    if (out.read_ticket == 0)
        *fault_of(mail) = (struct fault){.err = KQ_NOT_LEADER};
    mail_list_append(out.read_ticket == 0 ? &actor->finished : &actor->doubted, mail);
}

/* Tickets grow, so the first that is not confirmed ends the walk. */
void actor_look_at_doubts(struct actor *actor)
{
    while (actor->doubted.first != NULL && *ticket_of(actor->doubted.first) <= actor->reads_good)
        mail_list_append(&actor->finished, mail_list_take(&actor->doubted));
}

void actor_drop_doubts(struct actor *actor, enum kq_err err)
{
    struct mail *mail;
    while ((mail = mail_list_take(&actor->doubted)) != NULL) {
        *fault_of(mail) = (struct fault){.err = err};
        mail_list_append(&actor->finished, mail);
    }
}
