/*
 * Damage: what a reader, the scrubber or this replica itself could not read of sealed
 * segments is asked of the others, and written again in place (log.h, heal.c). Looked at
 * seldom, as it costs a look at the disk, and by no timer of its own until there is some.
 */
#include "partition/actor_internal.h"

#include "base/logger.h"

enum { LOOK_EVERY_US = 1000 * 1000, ASK_EVERY_US = 5 * 1000 * 1000 };

void actor_look_at_damage(struct actor *actor)
{
    if (actor->options.env.damaged == NULL || actor->now.mono_us < actor->damage_due_us)
        return;
    actor->damage_due_us = actor->now.mono_us + LOOK_EVERY_US;
    struct log_view *view = log_view_take(actor->log);
    bool may_be = view != NULL && log_view_has_damage(view);
    if (view != NULL)
        log_view_drop(&view);
    struct log_damage damage;
    actor->damaged = may_be && (log_next_damage(actor->log, actor->damage_from, &damage) ||
                                (actor->damage_from > 0 && log_next_damage(actor->log, 0, &damage)));
    if (!actor->damaged)
        return;
    actor->damage_from = damage.last_idx + 1;
    actor->damage_due_us = actor->now.mono_us + ASK_EVERY_US;
    if (damage.sealed)
        actor->options.env.damaged(actor->options.env.context, damage.first_idx, damage.last_idx);
    else
        log_force_roll(actor->log); /* the next append seals it */
}

int64_t actor_damage_deadline_us(const struct actor *actor)
{
    return actor->damaged ? actor->damage_due_us : CLOCK_NEVER;
}

void actor_take_mend(struct actor *actor, struct partition_mend *mend)
{
    mend->fault = (struct fault){.err = KQ_OK};
    if (actor->failure.err != KQ_OK)
        mend->fault = actor->failure;
    else
        mend->fault.err = log_repair(actor->log, mend->entries, mend->count, &mend->fault);
    mend->done(mend);
}

void actor_note_mended(struct actor *actor, const struct log_done *done)
{
    if (done->repair_err == KQ_OK)
        SAY_NOTICE("%s: the entries up to %llu that were damaged are whole again, from another broker",
                   actor->options.log.title, (unsigned long long)done->repaired_idx);
    else
        SAY_ERROR("%s: damaged entries up to %llu could not be written again: %s", actor->options.log.title,
                  (unsigned long long)done->repaired_idx, err_text(done->repair_err));
    actor->damage_due_us = actor->now.mono_us; /* there may be more */
}
