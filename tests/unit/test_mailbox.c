/* Many threads on one mailbox: nothing is lost, nothing comes twice, each
 * sender's mail stays in order, and one thread at a time holds the token. Run it
 * under the thread sanitizer. */
#include "base/require.h"
#include "partition/mailbox.h"
#include "support/unit.h"

#include <sched.h>
#include <semaphore.h>

enum { SENDERS = 8, LETTERS = 20000, HELPERS = 2, LODGERS = 4 };

struct letter {
    struct mail mail;
    int sender;
    int number;
};

struct office {
    struct mailbox box; /* first */
    _Atomic uint64_t handoffs;
    _Atomic int inside;   /* token holders at this moment */
    int next[SENDERS];    /* token holder: the number expected of each sender */
    int received;         /* token holder */
    int misplaced;        /* token holder */
    _Atomic int finished; /* all were received */
    _Atomic int over;     /* the deputy may go */
    struct letter errand; /* the actor's own, brought when it comes back */
    sem_t deputy_called;
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
        if (letter == &office->errand)
            continue;
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

static void call_deputy(struct mailbox *box)
{
    (void)sem_post(&((struct office *)(void *)box)->deputy_called);
}

/* Until it is called though there is nothing left. */
static void *take_deputy_turns(void *argument)
{
    struct office *office = argument;
    for (;;) {
        (void)sem_wait(&office->deputy_called);
        if (atomic_load(&office->over) != 0)
            return NULL;
        do
            take_turn(office);
        while (mailbox_deputy_goes_on(&office->box, true));
        (void)mailbox_deputy_ends(&office->box, true, atomic_load(&office->finished) != 0);
    }
}

/* When nothing waits it goes out for a moment. */
static bool go_out(struct office *office)
{
    bool alone;
    if (!mailbox_go_out(&office->box, true))
        return true;
    for (int i = 0; i < 10; i++)
        (void)sched_yield();
    return mailbox_come_back(&office->box, &office->errand.mail, &alone);
}

/* In the end it holds the token; whoever finds that all was received rouses it. */
static void *receive_letters(void *argument)
{
    struct office *office = argument;
    struct mail_list rest = {0};
    for (bool holds = false; !holds || atomic_load(&office->finished) == 0;) {
        if (!holds)
            mailbox_wait(&office->box);
        take_turn(office);
        holds = atomic_load(&office->finished) != 0 || go_out(office);
    }
    mailbox_close(&office->box, &rest);
    return NULL;
}

static void many_senders_lose_nothing_and_keep_their_order(void)
{
    static struct office office;
    static struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    pthread_t receiver, deputy;
    mailbox_init(&office.box, 1 << 20, &office.handoffs);
    office.box.call_deputy = call_deputy;
    CU_ASSERT_EQUAL_FATAL(sem_init(&office.deputy_called, 0, 0), 0);
    mailbox_lend(&office.box);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&receiver, NULL, receive_letters, &office), 0);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&deputy, NULL, take_deputy_turns, &office), 0);
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){&office, i, calloc(LETTERS, sizeof(struct letter))};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, send_letters, &senders[i]), 0);
    }
    for (int i = 0; i < SENDERS; i++)
        (void)pthread_join(threads[i], NULL);
    (void)pthread_join(receiver, NULL);
    atomic_store(&office.over, 1);
    (void)sem_post(&office.deputy_called);
    (void)pthread_join(deputy, NULL);
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

struct deputised {
    struct mailbox box; /* first */
    int calls;
};

static void count_call(struct mailbox *box)
{
    ((struct deputised *)(void *)box)->calls++;
}

static void an_actor_whose_thread_is_away_has_a_deputy(void)
{
    struct deputised office = {.calls = 0};
    _Atomic uint64_t handoffs = 0;
    struct mail mail[5] = {{.size_bytes = 1}};
    struct mail_list control = {0}, data = {0};
    bool alone = false;
    mailbox_init(&office.box, 100, &handoffs);
    office.box.call_deputy = count_call;
    (void)mailbox_post(&office.box, MAIL_CONTROL, &mail[0]);
    mailbox_wait(&office.box);
    CU_ASSERT_FALSE(mailbox_go_out(&office.box, true)); /* there is work */
    mailbox_take(&office.box, &control, &data, true, 10);
    CU_ASSERT_TRUE(mailbox_go_out(&office.box, false));
    (void)mailbox_post(&office.box, MAIL_DATA, &mail[1]);
    CU_ASSERT_EQUAL(office.calls, 0); /* nobody could use it */
    (void)mailbox_post(&office.box, MAIL_CONTROL, &mail[2]);
    CU_ASSERT_EQUAL(office.calls, 1);
    (void)mailbox_post(&office.box, MAIL_CONTROL, &mail[3]);
    CU_ASSERT_EQUAL(office.calls, 1); /* one is at it */
    mailbox_take(&office.box, &control, &data, true, 10);
    CU_ASSERT_FALSE(mailbox_deputy_goes_on(&office.box, true));
    CU_ASSERT_FALSE(mailbox_come_back(&office.box, &mail[4], &alone)); /* the deputy has the token */
    CU_ASSERT_FALSE(alone);
    CU_ASSERT_FALSE(mailbox_deputy_goes_on(&office.box, true)); /* what is left is the actor's own */
    CU_ASSERT_TRUE(mailbox_deputy_ends(&office.box, true, false));
    mailbox_wait(&office.box);
    mailbox_take(&office.box, &control, &data, true, 10);
    CU_ASSERT_EQUAL(control.count, 4);
    CU_ASSERT_EQUAL(data.count, 1);
    CU_ASSERT_TRUE(mailbox_go_out(&office.box, true));
    CU_ASSERT_TRUE(mailbox_come_back(&office.box, &mail[0], &alone));
    CU_ASSERT_TRUE(alone);
    CU_ASSERT_EQUAL(handoffs, 0);
    CU_ASSERT_EQUAL(office.calls, 1);
    mailbox_close(&office.box, &data);
    mailbox_fini(&office.box);
}

static const struct unit_case cases[] = {
    {"many senders lose nothing and keep their order", many_senders_lose_nothing_and_keep_their_order},
    {"an actor whose thread is away has a deputy", an_actor_whose_thread_is_away_has_a_deputy},
    {"who brings mail runs the turn of an idle actor that lends it",
     who_brings_mail_runs_the_turn_of_an_idle_actor_that_lends_it},
    {"a full data lane says crowded and a closed box refuses", a_full_data_lane_says_crowded_and_a_closed_box_refuses},
};
UNIT_MAIN("mailbox", cases)
