// sarama: the cases, each with the protocol's version that it takes unconfigured and with the newest
// it knows. `sarama member GROUP TOPIC STRATEGY VERSION` is one member of a group, which prints a
// line once it has partitions and reads until it is killed.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	. "kafkaesque/tests/clients"

	"github.com/IBM/sarama"
)

// Sarama of one version of the protocol, and what its cases share.
type world struct {
	name     string // its topics and groups have it in theirs
	version  sarama.KafkaVersion
	client   sarama.Client
	admin    sarama.ClusterAdmin
	consumer sarama.Consumer
}

func newWorld(version sarama.KafkaVersion) *world {
	w := &world{name: "sarama-" + version.String(), version: version}
	w.client = Must(sarama.NewClient(Bootstrap, w.config()))
	w.admin = Must(sarama.NewClusterAdminFromClient(w.client))
	w.consumer = Must(sarama.NewConsumerFromClient(w.client))
	return w
}

// As it comes, but for waits that would only take time.
func (w *world) config() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = w.version
	c.Producer.Return.Successes = true
	c.Producer.Partitioner = sarama.NewManualPartitioner
	c.Consumer.MaxWaitTime = 100 * time.Millisecond
	c.Consumer.Retry.Backoff = 100 * time.Millisecond
	c.Consumer.Return.Errors = false
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Interval = 100 * time.Millisecond
	c.Consumer.Group.Session.Timeout = 3 * time.Second
	c.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	c.Consumer.Group.Rebalance.Retry.Backoff = 100 * time.Millisecond
	return c
}

// What the cases use, with how many partitions.
var topics = map[string]int32{"none": 1, "gzip": 1, "snappy": 1, "lz4": 1, "zstd": 1, "null": 1, "large": 1, "async": 3, "times": 2,
	"telnet": 1, "narrow": 1, "range": 6, "roundrobin": 6, "sticky": 6, "cooperative-sticky": 6, "static": 4, "committed": 2, "once": 1}

func (w *world) topic(name string) string { return w.name + "-" + name }

// Leaders of new topics may move once, to where they are to be, and sarama's DeleteRecords asks only whom
// it took for the leader before. So all of them are made before all else.
func (w *world) createTopics() {
	for name, partitions := range topics {
		Well(w.admin.CreateTopic(w.topic(name), &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: int16(Brokers)}, false))
	}
	for name, partitions := range topics {
		Until("leaders of "+name, func() bool {
			_ = w.client.RefreshMetadata(w.topic(name))
			for p := range partitions {
				leader, err := w.client.Leader(w.topic(name), p)
				replicas, _ := w.client.Replicas(w.topic(name), p)
				if err != nil || len(replicas) == 0 || leader.ID() != replicas[0] {
					return false
				}
			}
			return true
		})
	}
}

func refused(wanted, err error) {
	if !errors.Is(err, wanted) {
		Fail("wanted %v, got %v", wanted, err)
	}
}

func numbers(topic string, from, to, partitions int) []*sarama.ProducerMessage {
	var messages []*sarama.ProducerMessage
	for n := from; n < to; n++ {
		messages = append(messages, &sarama.ProducerMessage{Topic: topic, Partition: int32(n % partitions), Value: sarama.StringEncoder(strconv.Itoa(n))})
	}
	return messages
}

func (w *world) publish(config *sarama.Config, messages ...*sarama.ProducerMessage) {
	producer := Must(sarama.NewSyncProducer(Bootstrap, config))
	defer producer.Close()
	if err := producer.SendMessages(messages); err != nil {
		var each sarama.ProducerErrors
		if errors.As(err, &each) {
			Fail("%d of %d: %v", len(each), len(messages), each[0].Err)
		}
		Fail("%v", err)
	}
}

func (w *world) read(topic string, partition int32, from int64, count int) []*sarama.ConsumerMessage {
	reader := Must(w.consumer.ConsumePartition(topic, partition, from))
	defer reader.Close()
	return take(reader, count)
}

func take(reader sarama.PartitionConsumer, count int) []*sarama.ConsumerMessage {
	var got []*sarama.ConsumerMessage
	for late := time.After(40 * time.Second); len(got) < count; {
		select {
		case m := <-reader.Messages():
			got = append(got, m)
		case <-late:
			Fail("%d of %d messages within 40 s", len(got), count)
		}
	}
	return got
}

func areNumbers(got []*sarama.ConsumerMessage, from, to int) {
	Is(to-from, len(got))
	for i, m := range got {
		if string(m.Value) != strconv.Itoa(from+i) {
			Fail("%s in place of %d, at offset %d", m.Value, from+i, m.Offset)
		}
	}
}

// ---- produce and fetch ----------------------------------------------------------------------------

func (w *world) codecs() {
	for name, codec := range map[string]sarama.CompressionCodec{"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
		"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD} {
		topic := w.topic(name)
		config := w.config()
		config.Producer.Compression = codec
		w.publish(config, numbers(topic, 0, 2000, 1)...)
		areNumbers(w.read(topic, 0, sarama.OffsetOldest, 2000), 0, 2000)
		Is(name, Run("KQ_CODECS", topic, "0"))
		Is(true, strings.Contains(Telnet(topic), `"Body":"0"`))
	}
}

func (w *world) keysNullsHeadersTimes() {
	topic := w.topic("null")
	yesterday := time.Now().Add(-24 * time.Hour).Truncate(time.Millisecond)
	headers := []sarama.RecordHeader{{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("b")}, {Key: []byte("a"), Value: []byte("2")}}
	sent := []*sarama.ProducerMessage{
		{Key: sarama.StringEncoder("k"), Value: sarama.StringEncoder("v"), Headers: headers, Timestamp: yesterday},
		{Value: sarama.StringEncoder("v")}, {Key: sarama.StringEncoder("k")}, {}, {Key: sarama.StringEncoder(""), Value: sarama.StringEncoder("")}}
	for _, m := range sent {
		m.Topic = topic
	}
	w.publish(w.config(), sent...)
	got := w.read(topic, 0, 0, len(sent))
	for i, wanted := range []string{`"k" "v"`, `null "v"`, `"k" null`, `null null`, `"" ""`} {
		Is(wanted, quoted(got[i].Key)+" "+quoted(got[i].Value))
		Is(int64(i), got[i].Offset)
	}
	Is(3, len(got[0].Headers))
	for i, h := range got[0].Headers {
		Is(string(headers[i].Key)+string(headers[i].Value), string(h.Key)+string(h.Value))
	}
	Is(yesterday.UnixMilli(), got[0].Timestamp.UnixMilli())
}

func quoted(bytes []byte) string {
	if bytes == nil {
		return "null"
	}
	return strconv.Quote(string(bytes))
}

func (w *world) largeValues() {
	topic := w.topic("large")
	messages := numbers(topic, 0, 4, 1)
	for _, m := range messages {
		m.Value = sarama.StringEncoder(strings.Repeat("x", 900*1024))
	}
	w.publish(w.config(), messages...)
	for _, m := range w.read(topic, 0, 0, 4) {
		Is(900*1024, len(m.Value))
	}
}

// Waits until so many messages are taken.
func outcome(producer sarama.AsyncProducer, count int) {
	taken := 0
	for late := time.After(40 * time.Second); taken < count; taken++ {
		select {
		case <-producer.Successes():
		case err := <-producer.Errors():
			Fail("after %d: %v", taken, err)
		case <-late:
			Fail("%d of %d were answered within 40 s", taken, count)
		}
	}
}

// Keys decide the partition, as with other clients; acks 0, 1 and all.
func (w *world) asynchronous() {
	topic := w.topic("async")
	for i, acks := range []sarama.RequiredAcks{sarama.NoResponse, sarama.WaitForLocal, sarama.WaitForAll} {
		config := w.config()
		config.Producer.RequiredAcks = acks
		config.Producer.Partitioner = sarama.NewHashPartitioner
		producer := Must(sarama.NewAsyncProducer(Bootstrap, config))
		go func() {
			for n := range 300 {
				producer.Input() <- &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(strconv.Itoa(n % 30)),
					Value: sarama.StringEncoder(strconv.Itoa(i*300 + n))}
			}
		}()
		outcome(producer, 300)
		Well(producer.Close())
	}
	var count int64
	Until("all of them", func() bool { // acks 0: nobody said when
		count = 0
		for p := range int32(3) {
			count += Must(w.client.GetOffset(topic, p, sarama.OffsetNewest))
		}
		return count == 900
	})
	where, last := map[string]int32{}, map[string]int{}
	for p := range int32(3) {
		for _, m := range w.read(topic, p, sarama.OffsetOldest, int(Must(w.client.GetOffset(topic, p, sarama.OffsetNewest)))) {
			key := string(m.Key)
			before, known := where[key]
			Is(true, !known || before == p)
			n := Must(strconv.Atoi(string(m.Value)))
			Is(true, !known || n > last[key])
			where[key], last[key] = p, n
		}
	}
	Is(30, len(where))
}

func (w *world) offsetsAndTimes() {
	topic := w.topic("times")
	yesterday := time.Now().Add(-24 * time.Hour)
	messages := numbers(topic, 0, 10, 1)
	for i, m := range messages {
		m.Partition, m.Timestamp = 1, yesterday.Add(time.Duration(i)*time.Second)
	}
	w.publish(w.config(), messages...)
	Is(int64(9), messages[9].Offset)
	middle := yesterday.Add(3500 * time.Millisecond).UnixMilli()
	for time, wanted := range map[int64]int64{sarama.OffsetNewest: 10, sarama.OffsetOldest: 0, middle: 4} {
		Is(wanted, Must(w.client.GetOffset(topic, 1, time)))
		listed := Must(w.admin.ListOffsets(map[string]map[int32]int64{topic: {1: time}}, nil))[topic][1]
		Is(sarama.ErrNoError, listed.Err)
		Is(wanted, listed.Offset)
	}
	areNumbers(w.read(topic, 1, 7, 3), 7, 10)
	Well(w.admin.DeleteRecords(topic, map[int32]int64{1: 6}))
	Is(int64(6), Must(w.client.GetOffset(topic, 1, sarama.OffsetOldest)))
	areNumbers(w.read(topic, 1, sarama.OffsetOldest, 4), 6, 10)
	for _, outside := range []int64{5, 11} {
		_, err := w.consumer.ConsumePartition(topic, 1, outside)
		refused(sarama.ErrOffsetOutOfRange, err)
	}
}

func (w *world) telnetBothWays() {
	topic := w.topic("telnet")
	Run("KQ_TEXT", `PUBS `+topic+` {"Key":"k1","Header":"h1","Body":"from telnet"}`)
	w.publish(w.config(), &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder("k2"), Value: sarama.StringEncoder("from Go"),
		Headers: []sarama.RecordHeader{{Key: []byte("Header"), Value: []byte("h2")}}})
	got := w.read(topic, 0, sarama.OffsetOldest, 2)
	Is("k1 h1 from telnet", fmt.Sprintf("%s %s %s", got[0].Key, got[0].Headers[0].Value, got[0].Value))
	Is(true, strings.Contains(Telnet(topic), `"Header":"h2","Body":"from Go","Key":"k2","Offset":1`))
}

// ---- administrators ----------------------------------------------------------------------------------

func (w *world) administrators() {
	brokers, controller, err := w.admin.DescribeCluster()
	Well(err)
	Is(Brokers, len(brokers))
	Is(true, controller > 0)
	topic, long, size := w.name+"-admin", "12345678", "2000"
	detail := &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: int16(Brokers), ConfigEntries: map[string]*string{"retention.ms": &long}}
	Well(w.admin.CreateTopic(topic, detail, true)) // validates only
	Well(w.admin.CreateTopic(topic, detail, false))
	refused(sarama.ErrTopicAlreadyExists, w.admin.CreateTopic(topic, detail, false))
	Well(w.admin.CreatePartitions(topic, 4, nil, false))
	Until("four partitions", func() bool { return Must(w.admin.ListTopics())[topic].NumPartitions == 4 })
	setting := func(key string) string {
		for _, c := range Must(w.admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})) {
			if c.Name == key {
				return c.Value
			}
		}
		return "nothing"
	}
	Well(w.admin.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
		"max.message.bytes": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &size}}, false))
	Until("the setting", func() bool { return setting("max.message.bytes") == size })
	Is(long, setting("retention.ms"))
	producer := Must(sarama.NewSyncProducer(Bootstrap, w.config()))
	defer producer.Close()
	_, _, err = producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(strings.Repeat("x", 4000))})
	refused(sarama.ErrMessageSizeTooLarge, err)
	Well(w.admin.AlterConfig(sarama.TopicResource, topic, map[string]*string{"max.message.bytes": &long}, false))
	Until("all settings", func() bool { return setting("max.message.bytes") == long && setting("retention.ms") == "604800000" })
	Is(true, len(Must(w.admin.DescribeConfig(sarama.ConfigResource{Type: sarama.BrokerResource, Name: "1"}))) > 0)
	described := Must(w.admin.DescribeTopics([]string{topic}))
	Is(Brokers, len(described[0].Partitions[0].Replicas))
	ids := []int32{}
	for _, b := range brokers {
		ids = append(ids, b.ID())
	}
	for _, dirs := range Must(w.admin.DescribeLogDirs(ids)) {
		Is(1, len(dirs))
	}
	elected := Must(w.admin.ElectLeaders(sarama.PreferredElection, map[string][]int32{topic: {0, 1}}))
	Is(2, len(elected[topic]))
	Well(w.admin.DeleteTopic(topic))
	Until("it is gone", func() bool { _, there := Must(w.admin.ListTopics())[topic]; return !there })
}

func (w *world) errors() {
	one, replicas := "1", int16(Brokers)
	create := func(name string, detail sarama.TopicDetail) error { return w.admin.CreateTopic(name, &detail, false) }
	refused(sarama.ErrInvalidReplicationFactor, create(w.name+"-wide", sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: replicas + 1}))
	refused(sarama.ErrInvalidConfig, create(w.name+"-wrong", sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: replicas,
		ConfigEntries: map[string]*string{"no.such.setting": &one}}))
	refused(sarama.ErrInvalidTopic, create("no/such/name", sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: replicas}))
	refused(sarama.ErrUnknownTopicOrPartition, w.admin.DeleteTopic(w.name+"-absent"))
	narrow := w.topic("narrow")
	refused(sarama.ErrInvalidPartitions, w.admin.CreatePartitions(narrow, 1, nil, false))
	producer := Must(sarama.NewSyncProducer(Bootstrap, w.config()))
	defer producer.Close()
	_, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: w.name + "-made", Value: sarama.StringEncoder("x")})
	if Brokers == 1 { // which makes it
		Well(err)
		Is("x", string(w.read(w.name+"-made", 0, sarama.OffsetOldest, 1)[0].Value))
	} else {
		refused(sarama.ErrUnknownTopicOrPartition, err)
	}
}

// ---- groups -----------------------------------------------------------------------------------------------

// A consumer that commits each message it was given.
type member struct {
	sync.Mutex
	topic      string
	group      sarama.ConsumerGroup
	assigned   map[int32]bool
	got        []*sarama.ConsumerMessage
	rebalances int
	told       func()
	over       chan struct{}
}

var strategies = map[string]func() sarama.BalanceStrategy{"range": sarama.NewBalanceStrategyRange,
	"roundrobin": sarama.NewBalanceStrategyRoundRobin, "sticky": sarama.NewBalanceStrategySticky,
	"cooperative-sticky": sarama.NewBalanceStrategyCooperativeSticky}

func join(config *sarama.Config, group, topic, strategy string, told func()) *member {
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategies[strategy]()}
	config.Consumer.Offsets.AutoCommit.Enable = false
	m := &member{topic: topic, assigned: map[int32]bool{}, told: told, over: make(chan struct{})}
	m.group = Must(sarama.NewConsumerGroup(Bootstrap, group, config))
	go func() {
		defer close(m.over)
		for {
			if err := m.group.Consume(context.Background(), []string{topic}, m); errors.Is(err, sarama.ErrClosedConsumerGroup) {
				return
			}
		}
	}()
	return m
}

func (m *member) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	m.has(claim.Partition(), true)
	defer m.has(claim.Partition(), false)
	for {
		select {
		case message, going := <-claim.Messages():
			if !going {
				return nil
			}
			m.Lock()
			m.got = append(m.got, message)
			m.Unlock()
			session.MarkMessage(message, "")
			session.Commit()
		case <-session.Context().Done():
			return nil
		}
	}
}

func (m *member) has(partition int32, here bool) {
	m.Lock()
	defer m.Unlock()
	m.rebalances++
	if m.assigned[partition] = true; !here {
		delete(m.assigned, partition)
	} else if m.told != nil {
		m.told()
	}
}

func (m *member) leave() {
	Well(m.group.Close())
	<-m.over
}

func (m *member) partitions() map[int32]bool {
	m.Lock()
	defer m.Unlock()
	own := map[int32]bool{}
	for p := range m.assigned {
		own[p] = true
	}
	return own
}

// Numbers that these members read: each once, each partition by one of them.
func (w *world) stage(topic string, from, to, partitions int, members ...*member) {
	Until(fmt.Sprint(len(members), " members share"), func() bool {
		seen, even, count := map[int32]bool{}, true, 0
		for _, m := range members {
			own := m.partitions()
			even = even && len(own) <= (partitions+len(members)-1)/len(members)
			for p := range own {
				seen[p] = true
				count++
			}
		}
		return even && count == partitions && len(seen) == partitions
	})
	w.publish(w.config(), numbers(topic, from, to, partitions)...)
	var values, readers map[int]int
	Until("all are read", func() bool {
		values, readers = map[int]int{}, map[int]int{}
		for i, m := range members {
			m.Lock()
			got := m.got
			m.Unlock()
			for _, r := range got {
				if n, _ := strconv.Atoi(string(r.Value)); n >= from {
					values[n]++
					if before, known := readers[int(r.Partition)]; known && before != i {
						Fail("partition %d was read by two", r.Partition)
					}
					readers[int(r.Partition)] = i
				}
			}
		}
		return len(values) == to-from
	})
	for n, times := range values {
		if times != 1 {
			Fail("%d was read %d times", n, times)
		}
	}
}

func (w *world) lag(group, topic string, partitions int32) int64 {
	var list []int32
	for p := range partitions {
		list = append(list, p)
	}
	offsets := Must(w.admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: list}))
	var lag int64
	for _, p := range list {
		lag += Must(w.client.GetOffset(topic, p, sarama.OffsetNewest)) - max(offsets.GetBlock(topic, p).Offset, 0)
	}
	return lag
}

func (w *world) groupOfThree(strategy string) {
	topic := w.topic(strategy)
	group := topic
	dying := exec.Command(os.Args[0], "member", group, topic, strategy, w.version.String())
	dying.Stderr = os.Stderr
	said := Must(dying.StdoutPipe())
	Well(dying.Start())
	a, b := join(w.config(), group, topic, strategy, nil), join(w.config(), group, topic, strategy, nil)
	Is("it has partitions\n", Must(bufio.NewReader(said).ReadString('\n')))
	Until("two each", func() bool { return len(a.partitions()) == 2 && len(b.partitions()) == 2 })
	Until("the group is stable", func() bool { // the last round may still go on where members are not asked to give up all
		described := Must(w.admin.DescribeConsumerGroups([]string{group}))[0]
		return "Stable "+strategy+" 3" == fmt.Sprint(described.State, " ", described.Protocol, " ", len(described.Members))
	})
	Well(dying.Process.Kill())
	_ = dying.Wait()
	w.stage(topic, 0, 120, 6, a, b)
	c := join(w.config(), group, topic, strategy, nil)
	w.stage(topic, 120, 240, 6, a, b, c)
	c.leave()
	w.stage(topic, 240, 360, 6, a, b)
	Until("all is committed", func() bool { return w.lag(group, topic, 6) == 0 })
	refused(sarama.ErrNonEmptyGroup, w.admin.DeleteConsumerGroup(group))
	a.leave()
	b.leave()
	_, there := Must(w.admin.ListConsumerGroups())[group]
	Is(true, there)
	Well(w.admin.DeleteConsumerGroup(group))
	_, there = Must(w.admin.ListConsumerGroups())[group]
	Is(false, there)
}

func beMember(group, topic, strategy, version string) {
	w := &world{version: Must(sarama.ParseKafkaVersion(version))}
	<-join(w.config(), group, topic, strategy, func() { fmt.Println("it has partitions") }).over
}

func (w *world) staticMembers() {
	topic := w.topic("static")
	named := func(name string) *member {
		config := w.config()
		config.Consumer.Group.InstanceId = name
		config.Consumer.Group.Session.Timeout = 10 * time.Second
		return join(config, topic, topic, "range", nil)
	}
	a, b := named("a"), named("b")
	w.stage(topic, 0, 40, 4, a, b)
	had, rebalances := a.partitions(), b.rebalances
	a.leave() // a static member does not say so
	again := named("a")
	w.stage(topic, 40, 80, 4, again, b)
	Is(had, again.partitions())
	Is(rebalances, b.rebalances)
	again.leave()
	left := Must(w.admin.RemoveMemberFromConsumerGroup(topic, []string{"a"}))
	Is([]sarama.KError{sarama.ErrNoError, sarama.ErrNoError}, []sarama.KError{left.Err, left.Members[0].Err})
	w.stage(topic, 80, 120, 4, b)
	b.leave()
}

// Offsets as sarama's own manager of them keeps them, and as administrators read and set them.
func (w *world) committed(topic string) {
	manage := func(body func(sarama.PartitionOffsetManager)) {
		manager := Must(sarama.NewOffsetManagerFromClient(topic, w.client))
		one := Must(manager.ManagePartition(topic, 0))
		body(one)
		manager.Commit()
		Well(one.Close())
		Well(manager.Close())
	}
	is := func(wanted string) {
		manage(func(one sarama.PartitionOffsetManager) {
			offset, metadata := one.NextOffset()
			Is(wanted, fmt.Sprint(offset, " ", metadata))
		})
	}
	manage(func(one sarama.PartitionOffsetManager) { one.MarkOffset(7, "seven") })
	is("7 seven")
	answer := Must(w.admin.AlterConsumerGroupOffsets(topic, map[string]map[int32]sarama.OffsetAndMetadata{
		topic: {0: {Offset: 4, Metadata: "four", LeaderEpoch: -1}, 1: {Offset: 2, LeaderEpoch: -1}}}, nil))
	Is(sarama.ErrNoError, answer.Errors[topic][0])
	is("4 four")
	Well(w.admin.DeleteConsumerGroupOffset(topic, topic, 1))
	blocks := Must(w.admin.ListConsumerGroupOffsets(topic, map[string][]int32{topic: {0, 1}})).Blocks[topic]
	Is("4 -1", fmt.Sprint(blocks[0].Offset, " ", blocks[1].Offset))
}

// ---- brokers that die ---------------------------------------------------------------------------------------

// An idempotent producer and, from the beginning on, its reader.
func (w *world) idempotence() {
	topic := w.topic("once")
	config := w.config()
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Retry.Max = 100
	config.Net.MaxOpenRequests = 1  // it asks for that
	config.Metadata.Retry.Max = 100 // it gives up on a message if nobody leads after so many looks, 250 ms apart
	producer := Must(sarama.NewAsyncProducer(Bootstrap, config))
	consumer := Must(sarama.NewConsumer(Bootstrap, config)) // the other may have connections to brokers that died
	defer consumer.Close()
	reader := Must(consumer.ConsumePartition(topic, 0, sarama.OffsetOldest))
	defer reader.Close()
	var taken atomic.Int64
	go func() {
		for range producer.Successes() {
			taken.Add(1)
		}
	}()
	var lost atomic.Pointer[sarama.ProducerError]
	go func() {
		for err := range producer.Errors() {
			lost.Store(err)
		}
	}()
	sent := 0
	send := func(count int) {
		for _, m := range numbers(topic, sent, sent+count, 1) {
			producer.Input() <- m
		}
		sent += count
	}
	send(100)
	over := make(chan any)
	go func() {
		defer func() { over <- recover() }()
		Run("KQ_FAULT", "kill-leader", topic, "0")
		if Brokers == 1 {
			Run("KQ_FAULT", "restart")
		}
	}()
	for going := true; going; {
		select {
		case failed := <-over:
			Is(nil, failed)
			going = false
		case <-time.After(100 * time.Microsecond): // not a million numbers
			send(1)
		}
	}
	send(100)
	Until("all are taken", func() bool { // what is just sent again AsyncClose would drop
		if err := lost.Load(); err != nil {
			Fail("%v: %v", Must(err.Msg.Value.Encode()), err)
		}
		return int(taken.Load()) == sent
	})
	producer.AsyncClose()
	areNumbers(take(reader, sent), 0, sent)
	Is(int64(sent), reader.HighWaterMarkOffset())
	if Brokers == 3 {
		Run("KQ_FAULT", "restart")
	}
}

func (w *world) quickCases() {
	for _, c := range []struct {
		name string
		body func()
	}{{"every codec lies in the log, and telnet reads it", w.codecs},
		{"keys, nulls, headers and times", w.keysNullsHeadersTimes},
		{"values of 900 KiB", w.largeValues},
		{"an asynchronous producer: keys, and acks 0, 1, all", w.asynchronous},
		{"offsets, times and deleted records", w.offsetsAndTimes},
		{"telnet writes and sarama reads, and the other way round", w.telnetBothWays},
		{"what administrators ask", w.administrators},
		{"errors", w.errors},
		{"offsets committed by hand, set and deleted", func() { w.committed(w.topic("committed")) }}} {
		Of(w.version.String()+": "+c.name, c.body)
	}
}

func main() {
	if len(os.Args) == 6 {
		beMember(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	}
	unconfigured, newest := newWorld(sarama.NewConfig().Version), newWorld(sarama.MaxVersion)
	worlds := []*world{unconfigured, newest}
	var beside sync.WaitGroup // they mostly wait
	for _, w := range worlds {
		beside.Go(func() { Of(w.version.String()+": topics are made, and their leaders settle", w.createTopics) })
	}
	beside.Wait()
	for _, group := range []struct {
		w        *world
		strategy string
	}{{unconfigured, "range"}, {unconfigured, "sticky"}, {newest, "roundrobin"}, {newest, "cooperative-sticky"}} {
		beside.Go(func() {
			Of(group.w.version.String()+": three members join, one dies, one leaves: "+group.strategy, func() { group.w.groupOfThree(group.strategy) })
		})
	}
	for _, w := range worlds {
		beside.Go(func() {
			Of(w.version.String()+": a member that is known by name comes back to what it had", w.staticMembers)
		})
	}
	for _, w := range worlds {
		beside.Go(w.quickCases)
	}
	beside.Wait()
	for _, w := range worlds {
		Of(w.version.String()+": an idempotent producer and its reader outlive their leader", w.idempotence)
	}
	Of("what was committed is there after all brokers were killed", func() {
		Run("KQ_FAULT", "kill-all")
		Run("KQ_FAULT", "restart")
		for _, w := range worlds {
			topic := w.topic("committed")
			Until("offset 4", func() bool {
				answer, err := w.admin.ListConsumerGroupOffsets(topic, map[string][]int32{topic: {0}})
				return err == nil && answer.GetBlock(topic, 0) != nil && answer.GetBlock(topic, 0).Offset == 4
			})
		}
	})
	End()
}
