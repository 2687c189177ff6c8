/* Many threads on one mailbox: nothing is lost, nothing comes twice, each
 * sender's mail stays in order, and one thread at a time holds the token. Run it
 * under the thread sanitizer. */
#include "base/require.h"
#include "partition/mailbox.h"
#include "support/unit.h"

enum { SENDERS = 8, LETTERS = 20000, HELPERS = 2, LODGERS = 4 };

struct letter {
    struct mail mail;
    int sender;
    int number;
};

struct office {
    struct mailbox box;
    _Atomic uint64_t handoffs;
    _Atomic int inside;   /* token holders at this moment */
    int next[SENDERS];    /* token holder: the number expected of each sender */
    int received;         /* token holder */
    int misplaced;        /* token holder */
    _Atomic int finished; /* all were received */
};

struct sender {
    struct office *office;
    int number;
    struct letter *letters;
};

static void take_turn(struct office *office)
{
    struct mail_list control = {0};
    struct mail_list data = {0};
    struct mail *mail;
    CU_ASSERT_EQUAL(atomic_fetch_add(&office->inside, 1), 0);
    mailbox_take(&office->box, &control, &data, true, 4096);
    mail_list_move(&control, &data);
    while ((mail = mail_list_take(&control)) != NULL) {
        struct letter *letter = CONTAINER_OF(mail, struct letter, mail);
        office->received++;
        if (letter->number != office->next[letter->sender]++)
            office->misplaced++;
    }
    if (office->received == SENDERS * LETTERS)
        atomic_store(&office->finished, 1);
    (void)atomic_fetch_sub(&office->inside, 1);
}

/* As a thread that is not the actor's does. */
static void take_lent_turns(struct office *office)
{
    do
        take_turn(office);
    while (mailbox_may_go_on(&office->box));
    mailbox_hand_over(&office->box, true, atomic_load(&office->finished) != 0);
}

/* Senders 0 to HELPERS-1 bring control mail and run the turn when they may, as a
 * flusher does; those up to LODGERS-1 run it when the actor is idle, as who brings a publish. */
static void *send_letters(void *argument)
{
    struct sender *sender = argument;
    struct office *office = sender->office;
    for (int i = 0; i < LETTERS; i++) {
        struct letter *letter = &sender->letters[i];
        *letter = (struct letter){.sender = sender->number, .number = i};
        letter->mail.size_bytes = 16;
        bool claimed = false;
        if (sender->number >= LODGERS)
            (void)mailbox_post(&office->box, MAIL_DATA, &letter->mail);
        else if (sender->number >= HELPERS)
            (void)mailbox_post_or_claim(&office->box, MAIL_DATA, &letter->mail, &claimed);
        else
            claimed = mailbox_post_and_claim(&office->box, &letter->mail);
        if (claimed)
            take_lent_turns(office);
    }
    return NULL;
}

static void *receive_letters(void *argument)
{
    struct office *office = argument;
    while (atomic_load(&office->finished) == 0) {
        mailbox_wait(&office->box);
        do
            take_turn(office);
        while (mailbox_release(&office->box, true));
    }
    return NULL;
}

static void many_senders_lose_nothing_and_keep_their_order(void)
{
    static struct office office;
    static struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    pthread_t receiver;
    mailbox_init(&office.box, 1 << 20, &office.handoffs);
    mailbox_lend(&office.box);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&receiver, NULL, receive_letters, &office), 0);
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){&office, i, calloc(LETTERS, sizeof(struct letter))};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, send_letters, &senders[i]), 0);
    }
    for (int i = 0; i < SENDERS; i++)
        (void)pthread_join(threads[i], NULL);
    (void)pthread_join(receiver, NULL);
    CU_ASSERT_EQUAL(office.received, SENDERS * LETTERS);
    CU_ASSERT_EQUAL(office.misplaced, 0);
    for (int i = 0; i < SENDERS; i++)
        free(senders[i].letters);
    mailbox_fini(&office.box);
}

static void a_full_data_lane_says_crowded_and_a_closed_box_refuses(void)
{
    struct mailbox box;
    _Atomic uint64_t handoffs = 0;
    mailbox_init(&box, 100, &handoffs);
    struct mail a = {.size_bytes = 100}, b = {.size_bytes = 1}, c = {.size_bytes = 500};
    CU_ASSERT_EQUAL(mailbox_post(&box, MAIL_DATA, &a), MAILBOX_POSTED);
    CU_ASSERT_EQUAL(mailbox_post(&box, MAIL_CONTROL, &c), MAILBOX_POSTED);
    CU_ASSERT_EQUAL(mailbox_post(&box, MAIL_DATA, &b), MAILBOX_CROWDED);
    struct mail_list control = {0}, data = {0}, rest = {0};
    mailbox_wait(&box);
    mailbox_take(&box, &control, &data, false, 10);
    CU_ASSERT_EQUAL(control.count, 1);
    CU_ASSERT_EQUAL(data.count, 0);
    mailbox_take(&box, &control, &data, true, 10); /* at least one, however large */
    CU_ASSERT_EQUAL(data.count, 1);
    CU_ASSERT_PTR_EQUAL(data.first, &a);
    mailbox_close(&box, &rest);
    CU_ASSERT_EQUAL(rest.count, 1);
    CU_ASSERT_EQUAL(mailbox_post(&box, MAIL_DATA, &b), MAILBOX_CLOSED);
    mailbox_fini(&box);
}

static void who_brings_mail_runs_the_turn_of_an_idle_actor_that_lends_it(void)
{
    struct mailbox box;
    _Atomic uint64_t handoffs = 0;
    struct mail mail[6] = {{.size_bytes = 1}};
    struct mail_list control = {0}, data = {0};
    bool claimed = true;
    mailbox_init(&box, 100, &handoffs);
    CU_ASSERT_EQUAL(mailbox_post_or_claim(&box, MAIL_DATA, &mail[0], &claimed), MAILBOX_POSTED);
    CU_ASSERT_FALSE(claimed); /* the actor still opens */
    mailbox_lend(&box);
    CU_ASSERT_EQUAL(mailbox_post_or_claim(&box, MAIL_CONTROL, &mail[1], &claimed), MAILBOX_POSTED);
    CU_ASSERT_FALSE(claimed); /* what waits is the actor's own */
    mailbox_wait(&box);
    mailbox_take(&box, &control, &data, true, 10);
    mailbox_hand_over(&box, true, false);
    CU_ASSERT_EQUAL(mailbox_post_or_claim(&box, MAIL_CONTROL, &mail[2], &claimed), MAILBOX_POSTED);
    CU_ASSERT_TRUE(claimed);
    CU_ASSERT_EQUAL(mailbox_post_or_claim(&box, MAIL_CONTROL, &mail[3], &claimed), MAILBOX_POSTED);
    CU_ASSERT_FALSE(claimed); /* somebody is at it */
    CU_ASSERT_TRUE(mailbox_may_go_on(&box));
    mailbox_take(&box, &control, &data, true, 10);
    CU_ASSERT_EQUAL(control.count, 3);
    CU_ASSERT_FALSE(mailbox_may_go_on(&box));
    mailbox_hand_over(&box, false, false);
    CU_ASSERT_EQUAL(mailbox_post_or_claim(&box, MAIL_DATA, &mail[4], &claimed), MAILBOX_POSTED);
    CU_ASSERT_FALSE(claimed); /* the actor has no use for it now */
    mailbox_rouse(&box);
    mailbox_wait(&box);
    mailbox_take(&box, &control, &data, true, 10);
    mailbox_hand_over(&box, true, true);
    CU_ASSERT_EQUAL(mailbox_post_or_claim(&box, MAIL_DATA, &mail[5], &claimed), MAILBOX_POSTED);
    CU_ASSERT_FALSE(claimed); /* the actor's own thread is to look first */
    CU_ASSERT_EQUAL(handoffs, 0);
    mailbox_wait(&box);
    mailbox_close(&box, &data);
    CU_ASSERT_EQUAL(mailbox_post_or_claim(&box, MAIL_DATA, &mail[5], &claimed), MAILBOX_CLOSED);
    mailbox_fini(&box);
}

static const struct unit_case cases[] = {
    {"many senders lose nothing and keep their order", many_senders_lose_nothing_and_keep_their_order},
    {"who brings mail runs the turn of an idle actor that lends it",
     who_brings_mail_runs_the_turn_of_an_idle_actor_that_lends_it},
    {"a full data lane says crowded and a closed box refuses", a_full_data_lane_says_crowded_and_a_closed_box_refuses},
};
UNIT_MAIN("mailbox", cases)
