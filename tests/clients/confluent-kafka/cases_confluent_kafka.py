"""What confluent-kafka can do: 1.7.0 (Debian's), and newer ones."""
from confluent_kafka import (OFFSET_BEGINNING, OFFSET_END, OFFSET_INVALID, Consumer, KafkaError, KafkaException, Producer,
                             TopicPartition)
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

from cases import (BOOTSTRAP, BROKERS, HOUR_AGO, PATIENCE, Member, case, codecs, equal, fault, main, raises, read_by_one, share,
                   tell, text, told_to_end, wait_until)

COMMON = {"bootstrap.servers": BOOTSTRAP, "log_level": 0, "retry.backoff.ms": 50, "reconnect.backoff.max.ms": 500}
_admins = []


def admin():
    """Kept for all cases: one that is let go takes its requests with it."""
    if not _admins:
        _admins.append(AdminClient(COMMON))
    return _admins[0]


def consumer(**options):
    conf = {"group.id": "ck-none", "enable.auto.commit": False, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 50}
    conf.update(COMMON)
    conf.update({k.replace("_", "."): v for k, v in options.items()})
    return Consumer(conf)


def producer(**options):
    conf = {k.replace("_", "."): v for k, v in options.items()}
    conf.update(COMMON)
    return Producer(conf)


def done(futures):
    """What the one future of an administrator's request gives."""
    equal(1, len(futures))
    return list(futures.values())[0].result(PATIENCE)


def refused(futures):
    """The error code of that one."""
    return raises(KafkaException, done, futures).args[0].code()


def topic(name, partitions=1, **configs):
    done(admin().create_topics([NewTopic("ck-" + name, partitions, BROKERS, config=configs)]))
    return "ck-" + name


def send_all(name, values, **options):
    errors = []
    p = producer(**options)
    for v in values:
        p.produce(name, v, callback=lambda e, m: errors.append(e) if e is not None else None)
        p.poll(0)
    equal(0, p.flush(PATIENCE), "left to send")
    equal([], errors)


def next_message(c):
    m = wait_until(lambda: [m for m in [c.poll(0.2)] if m is not None], "a message")[0]  # an empty one is false
    if m.error():
        raise KafkaException(m.error())
    return m


def watermarks(c, name):
    """Asked again where the leader has just changed, which librdkafka does not do itself."""
    def ask():
        try:
            return c.get_watermark_offsets(TopicPartition(name, 0), PATIENCE)
        except KafkaException as e:
            if e.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION:
                raise
    return wait_until(ask, "watermarks")


def read_all(name, count):
    c = consumer()
    c.assign([TopicPartition(name, 0, OFFSET_BEGINNING)])
    messages = [next_message(c) for _ in range(count)]
    equal((0, count), watermarks(c, name))
    c.close()
    return messages


def numbers(start, end):
    return [b"%064d" % n for n in range(start, end)]  # so long that one alone is compressed


# ---- records -------------------------------------------------------------------------------


@case("every codec lies in the log")
def every_codec():
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        name = topic("codec-" + codec)
        send_all(name, numbers(0, 500), compression_type=codec)
        equal(numbers(0, 500), [m.value() for m in read_all(name, 500)], codec)
        equal(codec, codecs(name))


@case("keys, nulls, empty values, headers and times")
def nulls_and_headers():
    name = topic("null")
    p = producer()
    sent = [(b"k", b"v"), (None, b"v"), (b"k", None), (b"k", b""), (b"", b"v")]
    headers = [("a", b"1"), ("b", b""), ("a", None), ("\u00fc", b"\x00\xff")]
    for n, (key, value) in enumerate(sent):
        p.produce(name, value, key, timestamp=HOUR_AGO + n, headers=headers)
    p.flush()
    got = read_all(name, 5)
    equal(sent, [(m.key(), m.value()) for m in got])
    equal([headers] * 5, [m.headers() for m in got])
    equal([HOUR_AGO + n for n in range(5)], [m.timestamp()[1] for m in got])


@case("values of 900 KiB")
def large():
    name = topic("large")
    values = [bytes([n]) * 921600 for n in (1, 2)]
    send_all(name, values, compression_type="lz4")
    equal(values, [m.value() for m in read_all(name, 2)])


# ---- offsets and times --------------------------------------------------------------------------


@case("seeks, positions, watermarks, pause")
def offsets():
    name = topic("offsets")
    send_all(name, numbers(0, 100), batch_num_messages=9)
    c = consumer()
    c.assign([TopicPartition(name, 0, 37)])
    equal(37, next_message(c).offset())
    equal(38, c.position([TopicPartition(name, 0)])[0].offset)
    for to, wanted in ((90, 90), (3, 3), (OFFSET_BEGINNING, 0)):
        c.seek(TopicPartition(name, 0, to))
        equal(wanted, next_message(c).offset())
    equal((0, 100), watermarks(c, name))
    c.pause([TopicPartition(name, 0)])
    equal(None, c.poll(0.3))
    c.resume([TopicPartition(name, 0)])
    equal(1, next_message(c).offset())
    c.seek(TopicPartition(name, 0, OFFSET_END))
    equal(None, c.poll(0.3))
    send_all(name, numbers(100, 101))
    equal(100, next_message(c).offset())
    c.close()


@case("offsets for times")
def times():
    name = topic("times", 2)
    p = producer(linger_ms=50, compression_type="zstd")
    for n in range(10):
        p.produce(name, b"x", partition=0, timestamp=HOUR_AGO + 1000 * n)
    p.flush()
    c = consumer()

    def at(partition, ms):
        return c.offsets_for_times([TopicPartition(name, partition, ms)], PATIENCE)[0].offset
    equal([0, 3, 4, OFFSET_END, OFFSET_END], [at(0, 1), at(0, HOUR_AGO + 3000), at(0, HOUR_AGO + 3001), at(0, HOUR_AGO + 10000), at(1, 1)])
    c.close()


# ---- groups ---------------------------------------------------------------------------------------


def member(name, group, strategy, instance=""):
    """Reads and commits each message, until told to end."""
    ended = told_to_end()
    options = {"group_instance_id": instance, "session_timeout_ms": 10000} if instance else {"session_timeout_ms": 1500}
    c = consumer(group_id=group, heartbeat_interval_ms=300,
                 partition_assignment_strategy=strategy, topic_metadata_refresh_interval_ms=1000, **options)
    had = set()

    def given(_, places):
        had.update(p.partition for p in places)
        tell("has", sorted(had))

    def taken(_, places):
        had.difference_update(p.partition for p in places)
        tell("has", sorted(had))
    c.subscribe([name], on_assign=given, on_revoke=taken)
    while not ended.is_set():
        m = c.poll(0.1)
        if m is not None and not m.error():
            tell("read", [m.partition(), m.offset(), m.value().decode()])
            c.commit(m, asynchronous=False)
    c.close()


@case("a group of three: members join, leave and die")
def group_of_three():
    strategy = {1: "range", 3: "cooperative-sticky"}[BROKERS]
    name, group = topic("group", 6), "ck-three"
    members = [Member(name, group, strategy) for _ in range(3)]
    share(members, 6)
    send_all(name, [b"a%d" % n for n in range(60)], batch_num_messages=2)
    read_by_one(members, ["a%d" % n for n in range(60)])
    members[0].kill()
    share(members[1:], 6)
    send_all(name, [b"b%d" % n for n in range(60)], batch_num_messages=2)
    read_by_one(members, ["b%d" % n for n in range(60)])
    members[1].leave()
    share(members[2:], 6)
    late = Member(name, group, strategy)
    share([members[2], late], 6)
    send_all(name, [b"c%d" % n for n in range(60)], batch_num_messages=2)
    read_by_one(members + [late], ["c%d" % n for n in range(60)])
    members[2].leave()
    late.leave()


@case("static members come back to what they had")
def static_members():
    name, group = topic("static", 4), "ck-static"
    members = [Member(name, group, "range", who) for who in "ab"]
    share(members, 4)
    had, seen = set(members[0].has), list(members[1].seen)
    members[0].leave()  # which a static member's close does not tell the group
    members[0] = Member(name, group, "range", "a")
    share(members, 4)
    equal((had, seen), (members[0].has, members[1].seen))
    for m in members:
        m.leave()


@case("commits outlive all brokers' death")
def commits():
    name = topic("commit")
    send_all(name, numbers(0, 50))
    place = TopicPartition(name, 0)
    c = consumer(group_id="ck-commit")
    equal(OFFSET_INVALID, c.committed([place], PATIENCE)[0].offset)
    c.commit(offsets=[TopicPartition(name, 0, 20)], asynchronous=False)
    c.close()
    fault("kill-all")
    fault("restart")
    c = consumer(group_id="ck-commit")
    equal(20, c.committed([place], PATIENCE)[0].offset)
    c.subscribe([name])
    equal(20, next_message(c).offset())
    c.close()


@case("an idempotent producer outlives its leader")
def once():
    name = topic("once")
    failed = []
    p = producer(enable_idempotence=True, message_timeout_ms=60000, batch_num_messages=20)
    for n in range(2000):
        p.produce(name, b"%064d" % n, callback=lambda e, m: failed.append(e) if e is not None else None)
        p.poll(0.001 if n % 5 == 0 else 0)
        if n == 300:
            equal(0, p.flush(PATIENCE))
            fault("kill-leader", name, 0)
    if BROKERS == 1:
        fault("restart")
    equal(0, p.flush(60), "left to send")
    equal([], failed)
    equal(numbers(0, 2000), [m.value() for m in read_all(name, 2000)])
    if BROKERS == 3:
        fault("restart")


# ---- administration -----------------------------------------------------------------------------------


@case("topics: made, grown, listed, configured, deleted")
def admin_topics():
    a = admin()
    name = topic("admin", 2, **{"retention.ms": "3600000"})
    equal(KafkaError.TOPIC_ALREADY_EXISTS, refused(a.create_topics([NewTopic(name, 1, 1)])))
    done(a.create_partitions([NewPartitions(name, 5)]))
    def grown():  # any broker may be asked, and learns of a change a moment after the one that took it
        seen = a.list_topics(timeout=PATIENCE)
        return seen if name in seen.topics and len(seen.topics[name].partitions) == 5 else None
    listed = wait_until(grown, "five partitions")
    equal(BROKERS, len(listed.brokers))
    assert listed.cluster_id and listed.controller_id in listed.brokers
    resource = ConfigResource("topic", name)
    equal("3600000", done(a.describe_configs([resource]))["retention.ms"].value)
    resource.set_config("retention.ms", "7200000")
    done(a.alter_configs([resource]))
    equal("7200000", done(a.describe_configs([ConfigResource("topic", name)]))["retention.ms"].value)
    assert "message.max.bytes" in done(a.describe_configs([ConfigResource("broker", "1")]))
    done(a.delete_topics([name]))
    wait_until(lambda: name not in a.list_topics(timeout=PATIENCE).topics, "the topic is gone")
    equal(KafkaError.UNKNOWN_TOPIC_OR_PART, refused(a.delete_topics([name])))


@case("groups are listed")
def admin_groups():
    name, group = topic("groups", 2), "ck-groups"
    m = Member(name, group, "range")
    share([m], 2)
    found = admin().list_groups(group, timeout=PATIENCE)
    equal([(group, "Stable", 1)], [(g.id, g.state, len(g.members)) for g in found])
    m.leave()


@case("what is refused")
def errors():
    a = admin()
    for configs in ({"no.such.key": "1"}, {"retention.ms": "soon"}):
        equal(KafkaError.INVALID_CONFIG, refused(a.create_topics([NewTopic("ck-no", 1, 1, config=configs)])))
    equal(KafkaError.INVALID_REPLICATION_FACTOR, refused(a.create_topics([NewTopic("ck-no", 1, 9)])))
    equal(KafkaError.TOPIC_EXCEPTION, refused(a.create_topics([NewTopic("ck no", 1, 1)])))
    name = topic("small", **{"max.message.bytes": "2000"})
    fates = []
    p = producer()
    for size in (3000, 1000):
        p.produce(name, b"x" * size, callback=lambda e, m: fates.append(e and e.code()))
        p.flush(PATIENCE)
    equal([KafkaError.MSG_SIZE_TOO_LARGE, None], fates)


@case("an unknown topic, with auto-creation off", brokers=3)
def unknown_topic():
    c = consumer()
    c.subscribe(["ck-absent"])
    e = raises(KafkaException, next_message, c)
    equal(KafkaError.UNKNOWN_TOPIC_OR_PART, e.args[0].code())
    c.close()


@case("telnet writes and it reads, and the other way round")
def telnet():
    name = topic("telnet")
    text('PUBS %s {"Key":"k1","Header":"h1","Body":"from telnet"}' % name)
    p = producer(compression_type="zstd")
    p.produce(name, b"from confluent", b"k2", headers=[("Header", b"h2")])
    p.flush()
    equal([(b"k1", b"from telnet", [("Header", b"h1")]), (b"k2", b"from confluent", [("Header", b"h2")])],
          [(m.key(), m.value(), m.headers()) for m in read_all(name, 2)])
    subscription = text("SUBS %s telnet" % name)[0].split('"')[5]
    assert '"Header":"h2","Body":"from confluent","Key":"k2","Offset":1' in text("CONS %s %s 0" % (name, subscription))[0]


if __name__ == "__main__":
    main(member)
