// The Java client: the cases. `Cases member GROUP TOPIC` is one member of a group, which prints a
// line once it has partitions and reads until it is killed.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

public class Cases {
    static final String BOOTSTRAP = System.getenv("BOOTSTRAP");
    static final int BROKERS = Integer.parseInt(System.getenv("BROKERS"));
    static final Set<Integer> SIX = IntStream.range(0, 6).boxed().collect(Collectors.toSet());
    static boolean failed;
    static Admin admin;

    // ---- small words for the cases -----------------------------------------------------------

    interface Body {
        void run() throws Exception;
    }
    interface Check {
        boolean holds() throws Exception;
    }

    static void caseOf(String name, Body body) {
        long from = System.nanoTime();
        try {
            body.run();
            System.out.printf("ok      %s (%.1f s)%n", name, (System.nanoTime() - from) / 1e9);
        } catch (Throwable t) {
            failed = true;
            StackTraceElement at = Arrays.stream(t.getStackTrace()).filter(e -> e.getClassName().startsWith("Cases")).skip(
                t instanceof AssertionError ? 1 : 0).findFirst().orElse(null);
            System.out.printf("FAILED  %s: %s, at %s%n", name, t, at);
        }
    }

    static void is(Object wanted, Object got) {
        if (!Objects.deepEquals(wanted, got))
            throw new AssertionError("wanted " + wanted + ", got " + got);
    }

    static void until(String what, Check check) throws Exception {
        long end = System.nanoTime() + 40_000_000_000L;
        while (!check.holds()) {
            if (System.nanoTime() > end)
                throw new AssertionError(what + ": not within 40 s");
            Thread.sleep(50);
        }
    }

    static String run(String... command) throws Exception {
        Process p = new ProcessBuilder(command).redirectErrorStream(true).start();
        String said = new String(p.getInputStream().readAllBytes(), StandardCharsets.UTF_8).trim();
        is(0, p.waitFor());
        return said;
    }
    static String codecs(String topic) throws Exception {
        return run(System.getenv("KQ_CODECS"), topic, "0");
    }
    static String text(String... lines) throws Exception {
        return run(Stream.concat(Stream.of(System.getenv("KQ_TEXT")), Arrays.stream(lines)).toArray(String[]::new));
    }

    static Map<String, Object> config(Object... pairs) {
        Map<String, Object> map = new HashMap<>(Map.of("bootstrap.servers", BOOTSTRAP));
        for (int i = 0; i < pairs.length; i += 2)
            map.put((String) pairs[i], pairs[i + 1]);
        return map;
    }
    static Producer<String, String> producer(Object... pairs) {
        return new KafkaProducer<>(config(pairs), new StringSerializer(), new StringSerializer());
    }
    static Consumer<String, String> consumer(Object... pairs) {
        Map<String, Object> map = config("auto.offset.reset", "earliest", "fetch.max.wait.ms", 100,
            "session.timeout.ms", 3000, "heartbeat.interval.ms", 300, "enable.auto.commit", false);
        map.putAll(config(pairs));
        return new KafkaConsumer<>(map, new StringDeserializer(), new StringDeserializer());
    }

    static void create(String topic, int partitions, String... settings) throws Exception {
        NewTopic made = new NewTopic(topic, partitions, (short) BROKERS);
        if (settings.length > 0)
            made.configs(Map.of(settings[0], settings[1]));
        admin.createTopics(List.of(made)).all().get();
    }

    // Numbers, each in the partition that its remainder names; waits until all are stored.
    static void publish(Producer<String, String> p, String topic, int from, int to, int partitions) throws Exception {
        List<java.util.concurrent.Future<RecordMetadata>> sent = new ArrayList<>();
        for (int n = from; n < to; n++)
            sent.add(p.send(new ProducerRecord<>(topic, n % partitions, null, String.valueOf(n))));
        for (var s : sent)
            s.get();
    }

    static List<ConsumerRecord<String, String>> read(String topic, int partition, long from, int count) throws Exception {
        List<ConsumerRecord<String, String>> got = new ArrayList<>();
        TopicPartition at = new TopicPartition(topic, partition);
        try (Consumer<String, String> c = consumer()) {
            c.assign(List.of(at));
            if (from >= 0)
                c.seek(at, from);
            until(count + " messages", () -> {
                c.poll(Duration.ofMillis(100)).forEach(got::add);
                return got.size() >= count;
            });
        }
        return got;
    }
    static List<String> numbers(int from, int to) {
        return IntStream.range(from, to).mapToObj(String::valueOf).toList();
    }
    static List<String> values(List<ConsumerRecord<String, String>> records) {
        return records.stream().map(ConsumerRecord::value).toList();
    }
    static String errorOf(Body body) throws Exception {
        try {
            body.run();
            return "no error";
        } catch (ExecutionException e) {
            return e.getCause().getClass().getSimpleName();
        } catch (KafkaException e) {
            return e.getClass().getSimpleName();
        }
    }

    // ---- produce and fetch ---------------------------------------------------------------------

    static void codecsLieInTheLog() throws Exception {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String topic = "java-" + codec;
            create(topic, 1);
            try (Producer<String, String> p = producer("compression.type", codec, "linger.ms", 50, "batch.size", 100000)) {
                publish(p, topic, 0, 2000, 1);
            }
            is(numbers(0, 2000), values(read(topic, 0, -1, 2000)));
            is(codec, codecs(topic));
            String id = text("SUBS " + topic + " telnet").replaceAll("(?s).*\\[\"(.*?)\"\\].*", "$1");
            is(true, text("CONS " + topic + " " + id + " 0").contains("\"Body\":\"0\""));
        }
    }

    static void keysNullsHeadersTimes() throws Exception {
        create("java-null", 1);
        long yesterday = System.currentTimeMillis() - 86400000;
        byte[] two = {'2'};
        List<Header> headers = List.of(new RecordHeader("a", new byte[] {'1'}), new RecordHeader("b", null),
            new RecordHeader("a", two), new RecordHeader("c", new byte[0]));
        try (Producer<String, String> p = producer()) {
            p.send(new ProducerRecord<>("java-null", 0, yesterday, "k", "v", headers));
            p.send(new ProducerRecord<>("java-null", 0, null, "v"));
            p.send(new ProducerRecord<>("java-null", 0, "k", null));
            p.send(new ProducerRecord<>("java-null", 0, null, null));
            is(4L, p.send(new ProducerRecord<>("java-null", 0, "", "")).get().offset());
        }
        var got = read("java-null", 0, 0, 5);
        is(Arrays.asList("k", null, "k", null, ""), got.stream().map(ConsumerRecord::key).toList());
        is(Arrays.asList("v", "v", null, null, ""), values(got));
        is(List.of(headers.toArray()), List.of(got.get(0).headers().toArray()));
        is(yesterday, got.get(0).timestamp());
        is(List.of(0L, 1L, 2L, 3L, 4L), got.stream().map(ConsumerRecord::offset).toList());
    }

    static void offsetsAndTimes() throws Exception {
        create("java-times", 2);
        TopicPartition at = new TopicPartition("java-times", 1);
        long yesterday = System.currentTimeMillis() - 86400000;
        try (Producer<String, String> p = producer()) {
            for (int n = 0; n < 10; n++)
                p.send(new ProducerRecord<>("java-times", 1, yesterday + n * 1000L, null, String.valueOf(n)));
        }
        try (Consumer<String, String> c = consumer()) {
            is(10L, c.endOffsets(List.of(at)).get(at));
            is(4L, c.offsetsForTimes(Map.of(at, yesterday + 3500)).get(at).offset());
            is(null, c.offsetsForTimes(Map.of(at, yesterday + 10000)).get(at));
            is(9L, admin.listOffsets(Map.of(at, OffsetSpec.maxTimestamp())).partitionResult(at).get().offset());
            is(List.of("7", "8", "9"), values(read("java-times", 1, 7, 3)));
            is(6L, admin.deleteRecords(Map.of(at, RecordsToDelete.beforeOffset(6))).lowWatermarks().get(at).get().lowWatermark());
            is(6L, c.beginningOffsets(List.of(at)).get(at));
            is(numbers(6, 10), values(read("java-times", 1, -1, 4)));
        }
    }

    static void telnetBothWays() throws Exception {
        create("java-telnet", 1);
        text("PUBS java-telnet {\"Key\":\"k1\",\"Header\":\"h1\",\"Body\":\"from telnet\"}");
        try (Producer<String, String> p = producer("compression.type", "zstd")) {
            p.send(new ProducerRecord<>("java-telnet", 0, null, "k2", "from Java",
                List.of(new RecordHeader("Header", "h2".getBytes(StandardCharsets.UTF_8)))));
        }
        var got = read("java-telnet", 0, 0, 2);
        is("k1 from telnet h1", got.get(0).key() + " " + got.get(0).value() + " "
            + new String(got.get(0).headers().lastHeader("Header").value(), StandardCharsets.UTF_8));
        String id = text("SUBS java-telnet telnet").replaceAll("(?s).*\\[\"(.*?)\"\\].*", "$1");
        is(true, text("CONS java-telnet " + id + " 0").contains("\"Header\":\"h2\",\"Body\":\"from Java\",\"Key\":\"k2\",\"Offset\":1"));
    }

    // ---- administrators -------------------------------------------------------------------------

    static void administrators() throws Exception {
        is(BROKERS, admin.describeCluster().nodes().get().size());
        create("java-admin", 2, "retention.ms", "12345678");
        is("UnknownTopicOrPartitionException", errorOf(() -> admin.deleteTopics(List.of("java-absent")).all().get()));
        is("TopicExistsException", errorOf(() -> create("java-admin", 2)));
        is("InvalidConfigurationException", errorOf(() -> create("java-wrong", 1, "no.such.setting", "1")));
        is("InvalidReplicationFactorException",
            errorOf(() -> admin.createTopics(List.of(new NewTopic("java-wide", 1, (short) (BROKERS + 1)))).all().get()));
        admin.createPartitions(Map.of("java-admin", NewPartitions.increaseTo(4))).all().get();
        until("four partitions", () -> describe("java-admin").partitions().size() == 4);
        is(BROKERS, describe("java-admin").partitions().get(3).replicas().size());
        is(false, describe("java-admin").topicId().equals(Uuid.ZERO_UUID));
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, "java-admin");
        AlterConfigOp set = new AlterConfigOp(new ConfigEntry("max.message.bytes", "2000"), AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(topic, List.of(set))).all().get();
        until("the setting", () -> "2000".equals(setting(topic, "max.message.bytes")));
        is("12345678", setting(topic, "retention.ms"));
        try (Producer<String, String> p = producer("acks", "1", "enable.idempotence", false, "max.block.ms", 3000)) {
            is("RecordTooLargeException", errorOf(() -> p.send(new ProducerRecord<>("java-admin", "x".repeat(4000))).get()));
            if (BROKERS == 3)
                is("TimeoutException", errorOf(() -> p.send(new ProducerRecord<>("java-absent", "x")).get()));
            else
                is(0L, p.send(new ProducerRecord<>("java-made", "x")).get().offset());
        }
        try (Producer<String, String> p = producer()) {
            publish(p, "java-admin", 0, 4, 4);
        }
        TopicPartition first = new TopicPartition("java-admin", 0);
        is(1, admin.describeProducers(List.of(first)).partitionResult(first).get().activeProducers().size());
        Node node = admin.describeCluster().controller().get();
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, node.idString());
        is(false, admin.describeConfigs(List.of(broker)).all().get().get(broker).entries().isEmpty());
        is(1, admin.describeLogDirs(List.of(node.id())).allDescriptions().get().get(node.id()).size());
        is(BROKERS, admin.describeMetadataQuorum().quorumInfo().get().voters().size());
        admin.electLeaders(ElectionType.PREFERRED, Set.of(first)).partitions().get();
        admin.deleteTopics(List.of("java-admin")).all().get();
        until("it is gone", () -> !admin.listTopics().names().get().contains("java-admin"));
    }
    static TopicDescription describe(String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
    }
    static String setting(ConfigResource topic, String key) throws Exception {
        return admin.describeConfigs(List.of(topic)).all().get().get(topic).get(key).value();
    }

    // ---- groups -----------------------------------------------------------------------------------

    // A consumer on a thread of its own, which commits what it was given before it asks for more.
    static class Member implements AutoCloseable {
        final List<ConsumerRecord<String, String>> got = Collections.synchronizedList(new ArrayList<>());
        volatile Set<Integer> assigned = Set.of();
        volatile int rebalances;
        private final AtomicBoolean over = new AtomicBoolean();
        private final Thread thread;

        Member(String group, String topic, Object... pairs) {
            Map<String, Object> map = config(pairs);
            map.put("group.id", group);
            Object[] all = map.entrySet().stream().flatMap(e -> Stream.of(e.getKey(), e.getValue())).toArray();
            thread = new Thread(() -> {
                try (Consumer<String, String> c = consumer(all)) {
                    c.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                        public void onPartitionsAssigned(Collection<TopicPartition> added) {
                            rebalances++;
                        }
                        public void onPartitionsRevoked(Collection<TopicPartition> gone) {}
                    });
                    while (!over.get()) {
                        c.poll(Duration.ofMillis(100)).forEach(got::add);
                        assigned = c.assignment().stream().map(TopicPartition::partition).collect(Collectors.toSet());
                        try {
                            c.commitSync();
                        } catch (CommitFailedException | org.apache.kafka.common.errors.RebalanceInProgressException e) {
                            continue; /* it has partitions anew after the next poll */
                        }
                    }
                }
            });
            thread.start();
        }
        public void close() throws InterruptedException {
            over.set(true);
            thread.join();
        }
    }

    static boolean shared(Set<Integer> all, List<Member> members) {
        List<Integer> held = members.stream().flatMap(m -> m.assigned.stream()).sorted().toList();
        int most = (all.size() + members.size() - 1) / members.size();
        return held.equals(all.stream().sorted().toList()) && members.stream().allMatch(m -> m.assigned.size() <= most);
    }

    // Numbers that these members read: each once, each partition by one of them.
    static void stage(Producer<String, String> p, String topic, int from, int to, int partitions, List<Member> members)
        throws Exception {
        Set<Integer> all = IntStream.range(0, partitions).boxed().collect(Collectors.toSet());
        until(members.size() + " members share", () -> shared(all, members));
        publish(p, topic, from, to, partitions);
        List<List<ConsumerRecord<String, String>>> got = new ArrayList<>();
        until("all are read", () -> {
            got.clear();
            for (Member m : members)
                synchronized (m.got) {
                    got.add(m.got.stream().filter(r -> Integer.parseInt(r.value()) >= from).toList());
                }
            return got.stream().mapToInt(List::size).sum() >= to - from;
        });
        is(numbers(from, to), got.stream().flatMap(List::stream).map(r -> Integer.parseInt(r.value())).sorted().map(String::valueOf).toList());
        is(partitions, got.stream().mapToInt(l -> (int) l.stream().map(ConsumerRecord::partition).distinct().count()).sum());
    }

    static final String COOPERATIVE = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";

    static void groupOfThree() throws Exception {
        String topic = "java-group", group = "java-readers";
        create(topic, 6);
        Process dying = new ProcessBuilder(ProcessHandle.current().info().command().get(), "-XX:TieredStopAtLevel=1", "-cp",
            System.getProperty("java.class.path"), "Cases", "member", group, topic).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        String[] with = {"partition.assignment.strategy", COOPERATIVE};
        try (Producer<String, String> p = producer(); Member a = new Member(group, topic, (Object[]) with);
             Member b = new Member(group, topic, (Object[]) with)) {
            is("it has partitions", new BufferedReader(new InputStreamReader(dying.getInputStream())).readLine());
            until("two each", () -> a.assigned.size() == 2 && b.assigned.size() == 2);
            var described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
            is("Stable cooperative-sticky 3", described.groupState() + " " + described.partitionAssignor() + " " + described.members().size());
            dying.destroyForcibly().waitFor();
            stage(p, topic, 0, 120, 6, List.of(a, b));
            Member c = new Member(group, topic, (Object[]) with);
            stage(p, topic, 120, 240, 6, List.of(a, b, c));
            c.close();
            stage(p, topic, 240, 360, 6, List.of(a, b));
            is("GroupNotEmptyException", errorOf(() -> admin.deleteConsumerGroups(List.of(group)).all().get()));
        }
        TopicPartition at = new TopicPartition(topic, 0);
        is(60L, admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(at).offset());
        admin.alterConsumerGroupOffsets(group, Map.of(at, new OffsetAndMetadata(7, "seven"))).all().get();
        is("seven", admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(at).metadata());
        admin.deleteConsumerGroupOffsets(group, Set.of(at)).all().get();
        is(null, admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(at));
        admin.deleteConsumerGroups(List.of(group)).all().get();
        is(false, admin.listGroups(ListGroupsOptions.forConsumerGroups()).all().get().stream().anyMatch(g -> g.groupId().equals(group)));
    }

    static void member(String group, String topic) {
        try (Consumer<String, String> c = consumer("group.id", group, "partition.assignment.strategy", COOPERATIVE)) {
            c.subscribe(List.of(topic));
            for (boolean told = false;;) {
                c.poll(Duration.ofMillis(100));
                if (!told && !c.assignment().isEmpty())
                    System.out.println("it has partitions");
                told = told || !c.assignment().isEmpty();
            }
        }
    }

    static void staticMembers() throws Exception {
        String topic = "java-static", group = "java-static";
        create(topic, 4);
        try (Producer<String, String> p = producer(); Member b = new Member(group, topic, "session.timeout.ms", 10000, "group.instance.id", "b")) {
            Member a = new Member(group, topic, "session.timeout.ms", 10000, "group.instance.id", "a");
            stage(p, topic, 0, 40, 4, List.of(a, b));
            Set<Integer> had = a.assigned;
            int rebalances = b.rebalances;
            a.close(); // a static member does not leave
            try (Member again = new Member(group, topic, "session.timeout.ms", 10000, "group.instance.id", "a")) {
                stage(p, topic, 40, 80, 4, List.of(again, b));
                is(had, again.assigned);
            }
            is(rebalances, b.rebalances);
            admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("a")))).all().get();
            stage(p, topic, 80, 120, 4, List.of(b));
        }
    }

    // ---- a leader that dies -----------------------------------------------------------------------

    static void idempotence() throws Exception {
        create("java-once", 1);
        int sent = 0;
        try (Producer<String, String> p = producer("delivery.timeout.ms", 60000, "request.timeout.ms", 5000, "batch.size", 200)) {
            publish(p, "java-once", 0, 100, 1);
            AtomicBoolean over = new AtomicBoolean();
            Thread fault = new Thread(() -> {
                try {
                    run(System.getenv("KQ_FAULT"), "kill-leader", "java-once", "0");
                    if (BROKERS == 1)
                        run(System.getenv("KQ_FAULT"), "restart");
                } catch (Exception e) {
                    throw new AssertionError(e);
                } finally {
                    over.set(true);
                }
            });
            fault.start();
            for (sent = 100; !over.get(); sent++) {
                p.send(new ProducerRecord<>("java-once", String.valueOf(sent)));
                if (sent % 20 == 0)
                    Thread.sleep(1); // many batches in flight, yet not a million numbers
            }
            publish(p, "java-once", sent, sent + 100, 1);
            p.flush();
        }
        is(numbers(0, sent + 100), values(read("java-once", 0, 0, sent + 100)));
        if (BROKERS == 3)
            run(System.getenv("KQ_FAULT"), "restart");
    }

    public static void main(String[] args) throws Exception {
        if (args.length == 3) {
            member(args[1], args[2]);
            return;
        }
        admin = Admin.create(config());
        Thread groups = new Thread(() -> caseOf("three members join, one dies, one leaves; each keeps what it can", Cases::groupOfThree));
        Thread statics = new Thread(() -> caseOf("a member that is known by name comes back to what it had", Cases::staticMembers));
        groups.start(); // they mostly wait: beside the others
        statics.start();
        caseOf("every codec lies in the log, and telnet reads it", Cases::codecsLieInTheLog);
        caseOf("keys, nulls, headers and times", Cases::keysNullsHeadersTimes);
        caseOf("offsets, times and deleted records", Cases::offsetsAndTimes);
        caseOf("telnet writes and Java reads, and the other way round", Cases::telnetBothWays);
        caseOf("what administrators ask; errors", Cases::administrators);
        groups.join();
        statics.join();
        caseOf("a producer outlives its leader", Cases::idempotence);
        System.exit(failed ? 1 : 0);
    }
}
