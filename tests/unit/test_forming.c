/* Lists of peers, the identity of a broker, and what makes brokers a cluster. */
#include "base/crc32c.h"
#include "cluster/forming.h"
#include "cluster/home.h"
#include "support/folder.h"
#include "support/unit.h"

#include <stdio.h>
#include <sys/stat.h>

static struct fault fault;

/* ---- lists ------------------------------------------------------------------------ */

static void a_list_of_peers_is_read_in_any_order(void)
{
    struct peer_list list;
    CU_ASSERT_EQUAL_FATAL(peers_parse("3@[::1]:7072, 1@127.0.0.1:7070 ,2@kafka-b.example:7071", &list, &fault), KQ_OK);
    CU_ASSERT_EQUAL(list.count, 3);
    CU_ASSERT_EQUAL(list.peers[0].broker_id, 1);
    CU_ASSERT_STRING_EQUAL(list.peers[0].host, "127.0.0.1");
    CU_ASSERT_STRING_EQUAL(list.peers[1].host, "kafka-b.example");
    CU_ASSERT_STRING_EQUAL(list.peers[2].host, "::1");
    CU_ASSERT_EQUAL(list.peers[2].port, 7072);
    CU_ASSERT_EQUAL(peers_parse("", &list, &fault), KQ_OK);
    CU_ASSERT_EQUAL(list.count, 0);
}

static void a_list_with_a_fault_is_refused_with_the_part_that_has_it(void)
{
    static const char *const wrong[] = {"1@a",
                                        "a:7070",
                                        "x@a:7070",
                                        "0@a:7070",
                                        "1@a:0",
                                        "1@a:7070",
                                        "1@a:65536",
                                        "1@:7070",
                                        "1@a b:7070",
                                        "1@::1:7070",
                                        "1@a:7070,",
                                        "1000001@a:7070",
                                        "99999999999@a:7070",
                                        "1@a:7070,1@b:7070"};
    struct peer_list list;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        bool good = strcmp(wrong[i], "1@a:7070") == 0;
        fault.text[0] = '\0';
        CU_ASSERT_EQUAL(peers_parse(wrong[i], &list, &fault), good ? KQ_OK : KQ_INVALID);
        CU_ASSERT_EQUAL(strstr(fault.text, "peers:") != NULL, !good);
    }
    CU_ASSERT_EQUAL(peers_parse("1@a:7070,2@a:7070", &list, &fault), KQ_INVALID);
    CU_ASSERT_EQUAL(peers_check("1@a:7070,2@a:7071", 3, &fault), KQ_INVALID);
    CU_ASSERT_EQUAL(peers_check("1@a:7070,2@a:7071", 2, &fault), KQ_OK);
    CU_ASSERT_EQUAL(peers_check("", 2, &fault), KQ_OK);
    char text[1024] = "";
    for (int i = 1; i <= PEERS_MAX + 1; i++) {
        size_t len = strlen(text);
        (void)snprintf(text + len, sizeof text - len, "%s%d@a:%d", i == 1 ? "" : ",", i, 7000 + i);
        CU_ASSERT_EQUAL(peers_parse(text, &list, &fault), i <= PEERS_MAX ? KQ_OK : KQ_INVALID);
    }
}

/* ---- forming ------------------------------------------------------------------------ */

static const char three[] = "1@a:7070,2@b:7070,3@c:7070";

/* Broker id in its n-th life. */
static struct form_member member(uint32_t id, uint8_t life)
{
    struct form_member m = {.broker_id = id, .incarnation = {{(uint8_t)id, life}}, .port = 8080, .raft_port = 7070};
    (void)snprintf(m.host, sizeof m.host, "%c", (int)('a' + id - 1));
    return m;
}

static struct forming begin(uint32_t id, uint8_t life, const char *peers)
{
    struct forming f;
    struct peer_list list;
    CU_ASSERT_EQUAL_FATAL(peers_parse(peers, &list, &fault), KQ_OK);
    struct form_member self = member(id, life);
    forming_init(&f, &self, &list);
    return f;
}

/* What broker id says when asked at its address. */
static enum kq_err hear(struct forming *f, uint32_t id, const struct forming *other)
{
    struct form said;
    struct form read;
    struct buf body;
    forming_say(other, &said);
    buf_init(&body, 65536);
    form_encode(&said, &body);
    CU_ASSERT_EQUAL(form_decode(body.data, body.len, &read), KQ_OK);
    buf_fini(&body);
    return forming_hear(f, id, &read, &fault);
}

static enum kq_err hear_founded(struct forming *f, uint32_t id, const struct form_member *self,
                                const struct founding *founding)
{
    struct form said = {.self = *self, .founded = true, .founding = *founding};
    struct form read;
    struct buf body;
    buf_init(&body, 65536);
    form_encode(&said, &body);
    CU_ASSERT_EQUAL(form_decode(body.data, body.len, &read), KQ_OK);
    for (size_t len = 0; len < body.len; len++)
        CU_ASSERT_NOT_EQUAL(form_decode(body.data, len, &read), KQ_OK);
    CU_ASSERT_EQUAL(form_decode(body.data, body.len, &read), KQ_OK);
    buf_fini(&body);
    return forming_hear(f, id, &read, &fault);
}

static struct founding found(const struct forming *f, uint8_t number)
{
    struct founding founding;
    forming_found(f, &(struct uuid){{number, 1}}, &(struct uuid){{number, 2}}, &founding);
    return founding;
}

static void the_lowest_founds_when_every_peer_was_reached_and_empty(void)
{
    struct forming one = begin(1, 1, three);
    struct forming two = begin(2, 1, three);
    struct forming three_ = begin(3, 1, three);
    char missing[200];
    forming_begin_round(&one);
    CU_ASSERT_EQUAL(forming_decide(&one), FORMING_WAIT);
    forming_missing(&one, missing, sizeof missing);
    CU_ASSERT_STRING_EQUAL(missing, "2@b:7070, 3@c:7070");
    CU_ASSERT_EQUAL(hear(&one, 2, &two), KQ_OK);
    CU_ASSERT_EQUAL(forming_decide(&one), FORMING_WAIT);
    forming_begin_round(&one); /* once is enough: also in another round, also when it came by itself */
    CU_ASSERT_EQUAL(hear(&one, 0, &three_), KQ_OK);
    CU_ASSERT_EQUAL(forming_decide(&one), FORMING_FOUND);
    CU_ASSERT_EQUAL(hear(&two, 1, &one), KQ_OK);
    CU_ASSERT_EQUAL(hear(&two, 3, &three_), KQ_OK);
    CU_ASSERT_EQUAL(forming_decide(&two), FORMING_WAIT);
    struct founding founding = found(&one, 9);
    CU_ASSERT_EQUAL(founding.count, 3);
    CU_ASSERT_STRING_EQUAL(founding_find(&founding, 3)->host, "c");
}

static void a_founder_adopts_and_a_wiped_one_joins(void)
{
    struct forming one = begin(1, 1, three);
    struct forming two = begin(2, 1, three);
    struct forming three_ = begin(3, 1, three);
    CU_ASSERT_EQUAL(hear(&one, 2, &two), KQ_OK);
    CU_ASSERT_EQUAL(hear(&one, 3, &three_), KQ_OK);
    struct founding founding = found(&one, 9);
    CU_ASSERT_EQUAL(hear_founded(&two, 1, &one.self, &founding), KQ_OK);
    CU_ASSERT_EQUAL(forming_decide(&two), FORMING_ADOPT);
    CU_ASSERT_TRUE(uuid_equal(&two.founding.cluster_id, &founding.cluster_id));
    struct forming wiped = begin(2, 2, three);
    CU_ASSERT_EQUAL(hear_founded(&wiped, 3, &three_.self, &founding), KQ_OK);
    CU_ASSERT_EQUAL(forming_decide(&wiped), FORMING_JOIN);
}

static void a_wiped_lowest_with_another_broker_down_founds_nothing(void)
{
    struct forming one = begin(1, 1, three);
    struct forming two = begin(2, 1, three);
    struct forming three_ = begin(3, 1, three);
    CU_ASSERT_EQUAL(hear(&one, 2, &two), KQ_OK);
    CU_ASSERT_EQUAL(hear(&one, 3, &three_), KQ_OK);
    struct founding founding = found(&one, 9);
    struct forming wiped = begin(1, 2, three);
    forming_begin_round(&wiped); /* 2 is down, 3 was founded */
    CU_ASSERT_EQUAL(hear_founded(&wiped, 3, &three_.self, &founding), KQ_OK);
    CU_ASSERT_EQUAL(forming_decide(&wiped), FORMING_JOIN);
    struct forming alone = begin(1, 2, three); /* both are down */
    forming_begin_round(&alone);
    CU_ASSERT_EQUAL(forming_decide(&alone), FORMING_WAIT);
    CU_ASSERT_EQUAL(hear(&alone, 2, &two), KQ_OK); /* 2 did not hear of it, 3 did and is down */
    CU_ASSERT_EQUAL(forming_decide(&alone), FORMING_WAIT);
}

static void a_peer_that_came_back_empty_counts_as_it_is_now(void)
{
    struct forming one = begin(1, 1, three);
    struct forming two = begin(2, 1, three);
    struct forming again = begin(2, 2, three);
    struct forming three_ = begin(3, 1, three);
    CU_ASSERT_EQUAL(hear(&one, 2, &two), KQ_OK);
    CU_ASSERT_EQUAL(hear(&one, 2, &again), KQ_OK);
    CU_ASSERT_EQUAL(hear(&one, 3, &three_), KQ_OK);
    struct founding founding = found(&one, 9);
    CU_ASSERT_EQUAL(founding_find(&founding, 2)->incarnation.bytes[1], 2);
}

static void peers_that_disagree_are_told_and_wait(void)
{
    struct forming one = begin(1, 1, three);
    struct forming other = begin(2, 1, "1@a:7070,2@b:7070");
    CU_ASSERT_EQUAL(hear(&one, 2, &other), KQ_INVALID);
    CU_ASSERT_EQUAL(forming_decide(&one), FORMING_WAIT);
    struct forming twin = begin(1, 2, three);
    CU_ASSERT_EQUAL(hear(&one, 0, &twin), KQ_EXISTS);
    struct forming three_ = begin(3, 1, three);
    CU_ASSERT_EQUAL(hear(&one, 2, &three_), KQ_INVALID);
    CU_ASSERT_EQUAL(hear(&one, 1, &one), KQ_OK); /* itself */
    struct forming two = begin(2, 1, three);
    CU_ASSERT_EQUAL(hear(&two, 1, &one), KQ_OK);
    CU_ASSERT_EQUAL(hear(&two, 3, &three_), KQ_OK);
    struct forming full = begin(1, 3, three);
    CU_ASSERT_EQUAL(hear(&full, 2, &two), KQ_OK);
    CU_ASSERT_EQUAL(hear(&full, 3, &three_), KQ_OK);
    struct founding first = found(&full, 8);
    struct founding second = found(&full, 9);
    forming_begin_round(&two);
    CU_ASSERT_EQUAL(hear_founded(&two, 1, &one.self, &first), KQ_OK);
    CU_ASSERT_EQUAL(hear_founded(&two, 3, &three_.self, &second), KQ_INVALID);
    CU_ASSERT_EQUAL(forming_decide(&two), FORMING_WAIT);
    forming_begin_round(&two);
    CU_ASSERT_EQUAL(hear_founded(&two, 3, &three_.self, &second), KQ_OK);
    CU_ASSERT_EQUAL(forming_decide(&two), FORMING_ADOPT);
}

/* ---- the identity ---------------------------------------------------------------------- */

static void an_identity_lasts_and_its_boot_grows(void)
{
    char dir[FOLDER_PATH_BYTES];
    folder_make(dir);
    CU_ASSERT_EQUAL_FATAL(mkdir(dir, 0700), 0);
    struct identity first;
    struct identity second;
    CU_ASSERT_EQUAL_FATAL(identity_load(io_posix(), dir, 2, &first, &fault), KQ_OK);
    CU_ASSERT_TRUE(uuid_is_zero(&first.founding.metadata_id));
    first.founding = (struct founding){.cluster_id = {{1}}, .metadata_id = {{2}}, .count = 2};
    first.founding.members[0] = member(1, 1);
    first.founding.members[1] = member(2, 1);
    first.joined = true;
    CU_ASSERT_EQUAL(identity_store(io_posix(), dir, &first, &fault), KQ_OK);
    CU_ASSERT_EQUAL_FATAL(identity_load(io_posix(), dir, 2, &second, &fault), KQ_OK);
    CU_ASSERT_TRUE(second.boot > first.boot);
    second.boot = first.boot;
    CU_ASSERT_EQUAL(second.founding.count, 2);
    CU_ASSERT_STRING_EQUAL(second.founding.members[1].host, "b");
    CU_ASSERT_TRUE(second.joined);
    CU_ASSERT_TRUE(uuid_equal(&first.incarnation, &second.incarnation));
    CU_ASSERT_EQUAL(identity_load(io_posix(), dir, 3, &second, &fault), KQ_INVALID);
    folder_remove(dir);
}

static void an_identity_of_a_cluster_of_one_from_before_is_read(void)
{
    char dir[FOLDER_PATH_BYTES];
    char path[FOLDER_PATH_BYTES + 16];
    folder_make(dir);
    CU_ASSERT_EQUAL_FATAL(mkdir(dir, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/IDENTITY", dir);
    static const char text[] = "identity 1\nbroker 1 0123456789abcdef0123456789abcdef\n"
                               "metadata fedcba9876543210fedcba9876543210\n";
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fprintf(file, "%scrc32c %08x\n", text, crc32c(0, text, strlen(text)));
    (void)fclose(file);
    struct identity identity;
    CU_ASSERT_EQUAL_FATAL(identity_load(io_posix(), dir, 1, &identity, &fault), KQ_OK);
    CU_ASSERT_EQUAL(identity.founding.count, 1);
    CU_ASSERT_EQUAL(identity.founding.metadata_id.bytes[0], 0xfe);
    CU_ASSERT_TRUE(uuid_is_zero(&identity.founding.cluster_id));
    CU_ASSERT_TRUE(uuid_equal(&identity.founding.members[0].incarnation, &identity.incarnation));
    CU_ASSERT_EQUAL(identity_load(io_posix(), dir, 1, &identity, &fault), KQ_OK); /* version 2 now */
    CU_ASSERT_EQUAL(identity.founding.metadata_id.bytes[0], 0xfe);
    folder_remove(dir);
}

static const struct unit_case cases[] = {
    {"a list of peers is read in any order", a_list_of_peers_is_read_in_any_order},
    {"a list with a fault is refused with the part that has it",
     a_list_with_a_fault_is_refused_with_the_part_that_has_it},
    {"the lowest founds when every peer was reached and empty",
     the_lowest_founds_when_every_peer_was_reached_and_empty},
    {"a founder adopts and a wiped one joins", a_founder_adopts_and_a_wiped_one_joins},
    {"a wiped lowest with another broker down founds nothing", a_wiped_lowest_with_another_broker_down_founds_nothing},
    {"a peer that came back empty counts as it is now", a_peer_that_came_back_empty_counts_as_it_is_now},
    {"peers that disagree are told and wait", peers_that_disagree_are_told_and_wait},
    {"an identity lasts and its boot grows", an_identity_lasts_and_its_boot_grows},
    {"an identity of a cluster of one from before is read", an_identity_of_a_cluster_of_one_from_before_is_read},
};

UNIT_MAIN("forming", cases)
