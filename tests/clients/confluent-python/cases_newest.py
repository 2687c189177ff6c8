"""The cases of confluent-kafka as Debian has it, and what only newer ones ask of a broker."""
import warnings

from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, ElectionType, TopicCollection, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, OffsetSpec

from cases import BROKERS, PATIENCE, case, equal, main, share, wait_until
from cases_confluent_kafka import Member, admin, done, member, send_all, topic

warnings.simplefilter("ignore", DeprecationWarning)  # what the older one has no other word for


@case("topics by their ids, settings one by one, offsets, records deleted, leaders elected")
def newer_topics():
    name = topic("newer", 2, **{"retention.ms": "3600000"})
    described = done(admin().describe_topics(TopicCollection([name])))
    equal((2, BROKERS), (len(described.partitions), len(described.partitions[0].replicas)))
    assert str(described.topic_id) != "AAAAAAAAAAAAAAAAAAAAAA"
    equal(BROKERS, len(admin().describe_cluster().result(PATIENCE).nodes))
    change = ConfigEntry("max.message.bytes", "2000000", incremental_operation=AlterConfigOpType.SET)
    done(admin().incremental_alter_configs([ConfigResource("topic", name, incremental_configs=[change])]))
    settings = done(admin().describe_configs([ConfigResource("topic", name)]))
    equal(("2000000", "3600000"), (settings["max.message.bytes"].value, settings["retention.ms"].value))
    send_all(name, [b"%d" % i for i in range(10)])
    ends = [admin().list_offsets({TopicPartition(name, p): OffsetSpec.latest()}) for p in (0, 1)]
    ends = [done(e).offset for e in ends]
    equal(10, sum(ends))
    deleted = done(admin().delete_records([TopicPartition(name, 0, ends[0])]))
    equal(ends[0], deleted.low_watermark)
    equal(ends[0], done(admin().list_offsets({TopicPartition(name, 0): OffsetSpec.earliest()})).offset)
    admin().elect_leaders(ElectionType.PREFERRED, [TopicPartition(name, 0)]).result(PATIENCE)


@case("groups: described, their offsets read, set, and they are deleted")
def newer_groups():
    name, group = topic("newer-groups", 2), "ck-newer-groups"
    m = Member(name, group, "cooperative-sticky")
    share([m], 2)
    described = done(admin().describe_consumer_groups([group]))
    equal((ConsumerGroupState.STABLE, "cooperative-sticky", 1),
          (described.state, described.partition_assignor, len(described.members)))
    equal([0, 1], sorted(p.partition for p in described.members[0].assignment.topic_partitions))
    valid = admin().list_consumer_groups(states={ConsumerGroupState.STABLE}).result(PATIENCE).valid
    assert group in [g.group_id for g in valid]
    m.leave()
    wait_until(lambda: not done(admin().describe_consumer_groups([group])).members, "it has left")
    wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(name, 0, 7)])
    done(admin().alter_consumer_group_offsets([wanted]))
    got = done(admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
    assert 7 in [p.offset for p in got.topic_partitions if p.partition == 0]
    done(admin().delete_consumer_groups([group]))
    assert group not in [g.group_id for g in admin().list_consumer_groups().result(PATIENCE).valid]


main(member)
