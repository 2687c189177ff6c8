// franz-go (kgo, kadm): the cases. `franz-go member GROUP TOPIC` is one member of a group, which
// prints a line once it has partitions and reads until it is killed.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	. "kafkaesque/tests/clients"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	ctx   = context.Background()
	admin *kadm.Client
)

// ---- small words for the cases ---------------------------------------------------------------

func client(opts ...kgo.Opt) *kgo.Client {
	base := []kgo.Opt{kgo.SeedBrokers(Bootstrap...), kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(100 * time.Millisecond), kgo.MetadataMaxAge(2 * time.Second)}
	return Must(kgo.NewClient(append(base, opts...)...))
}

func create(topic string, partitions int32) {
	Must(admin.CreateTopic(ctx, partitions, int16(Brokers), nil, topic))
}

func numbers(topic string, from, to, partitions int) []*kgo.Record {
	var records []*kgo.Record
	for n := from; n < to; n++ {
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(n % partitions), Value: []byte(strconv.Itoa(n))})
	}
	return records
}

func publish(cl *kgo.Client, topic string, from, to, partitions int) {
	Well(cl.ProduceSync(ctx, numbers(topic, from, to, partitions)...).FirstErr())
}

func read(topic string, partition int32, from kgo.Offset, count int) []*kgo.Record {
	cl := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: from}}))
	defer cl.Close()
	var got []*kgo.Record
	Until(fmt.Sprint(count, " messages"), func() bool {
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		got = append(got, cl.PollFetches(short).Records()...)
		return len(got) >= count
	})
	return got
}

func areNumbers(got []*kgo.Record, from, to int) {
	Is(to-from, len(got))
	for i, r := range got {
		if string(r.Value) != strconv.Itoa(from+i) {
			Fail("%s in place of %d, at offset %d", r.Value, from+i, r.Offset)
		}
	}
}

// ---- produce and fetch ----------------------------------------------------------------------------

func codecs() {
	for name, codec := range map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()} {
		topic := "franz-" + name
		create(topic, 1)
		cl := client(kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(50*time.Millisecond))
		publish(cl, topic, 0, 2000, 1)
		cl.Close()
		areNumbers(read(topic, 0, kgo.NewOffset().AtStart(), 2000), 0, 2000)
		Is(name, Run("KQ_CODECS", topic, "0"))
		Is(true, strings.Contains(Telnet(topic), `"Body":"0"`))
	}
}

func keysNullsHeadersTimes() {
	create("franz-null", 1)
	yesterday := time.Now().Add(-24 * time.Hour).Truncate(time.Millisecond)
	headers := []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b"}, {Key: "a", Value: []byte("2")}, {Key: "c", Value: []byte{}}}
	sent := []*kgo.Record{{Key: []byte("k"), Value: []byte("v"), Headers: headers, Timestamp: yesterday}, {Value: []byte("v")},
		{Key: []byte("k")}, {}, {Key: []byte{}, Value: []byte{}}}
	for _, r := range sent {
		r.Topic = "franz-null"
	}
	cl := client()
	defer cl.Close()
	Well(cl.ProduceSync(ctx, sent...).FirstErr())
	got := read("franz-null", 0, kgo.NewOffset().At(0), len(sent))
	for i, r := range got {
		Is(sent[i].Key, r.Key)
		Is(sent[i].Value, r.Value)
		Is(int64(i), r.Offset)
	}
	Is(headers, got[0].Headers)
	Is(yesterday.UnixMilli(), got[0].Timestamp.UnixMilli())
}

func offsetsAndTimes() {
	create("franz-times", 2)
	yesterday := time.Now().Add(-24 * time.Hour)
	records := numbers("franz-times", 0, 10, 1)
	for i, r := range records {
		r.Partition = 1
		r.Timestamp = yesterday.Add(time.Duration(i) * time.Second)
	}
	cl := client(kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	defer cl.Close()
	Well(cl.ProduceSync(ctx, records...).FirstErr())
	at := func(list kadm.ListedOffsets, err error) int64 {
		Well(err)
		o, _ := list.Lookup("franz-times", 1)
		Well(o.Err)
		return o.Offset
	}
	Is(int64(10), at(admin.ListEndOffsets(ctx, "franz-times")))
	Is(int64(10), at(admin.ListCommittedOffsets(ctx, "franz-times")))
	Is(int64(4), at(admin.ListOffsetsAfterMilli(ctx, yesterday.Add(3500*time.Millisecond).UnixMilli(), "franz-times")))
	Is(int64(9), at(admin.ListMaxTimestampOffsets(ctx, "franz-times")))
	areNumbers(read("franz-times", 1, kgo.NewOffset().At(7), 3), 7, 10)
	areNumbers(read("franz-times", 1, kgo.NewOffset().AfterMilli(yesterday.Add(3500*time.Millisecond).UnixMilli()), 6), 4, 10)
	areNumbers(read("franz-times", 1, kgo.NewOffset().AtEnd().Relative(-2), 2), 8, 10)
	where := kadm.Offsets{}
	where.AddOffset("franz-times", 1, 6, -1)
	deleted := Must(admin.DeleteRecords(ctx, where))
	Well(deleted.Error())
	Is(int64(6), at(admin.ListStartOffsets(ctx, "franz-times")))
	areNumbers(read("franz-times", 1, kgo.NewOffset().AtStart(), 4), 6, 10)
}

func telnetBothWays() {
	create("franz-telnet", 1)
	Run("KQ_TEXT", `PUBS franz-telnet {"Key":"k1","Header":"h1","Body":"from telnet"}`)
	cl := client()
	defer cl.Close()
	Well(cl.ProduceSync(ctx, &kgo.Record{Topic: "franz-telnet", Key: []byte("k2"), Value: []byte("from Go"),
		Headers: []kgo.RecordHeader{{Key: "Header", Value: []byte("h2")}}}).FirstErr())
	got := read("franz-telnet", 0, kgo.NewOffset().AtStart(), 2)
	Is("k1 h1 from telnet", fmt.Sprintf("%s %s %s", got[0].Key, got[0].Headers[0].Value, got[0].Value))
	Is(true, strings.Contains(Telnet("franz-telnet"), `"Header":"h2","Body":"from Go","Key":"k2","Offset":1`))
}

// ---- administrators ----------------------------------------------------------------------------------

func administrators() {
	Is(Brokers, len(Must(admin.ListBrokers(ctx))))
	_, err := admin.CreateTopic(ctx, 2, int16(Brokers), map[string]*string{"retention.ms": kadm.StringPtr("12345678")}, "franz-admin")
	Well(err)
	refused := func(wanted error, err error) {
		if !errors.Is(err, wanted) {
			Fail("wanted %v, got %v", wanted, err)
		}
	}
	_, err = admin.CreateTopic(ctx, 2, int16(Brokers), nil, "franz-admin")
	refused(kerr.TopicAlreadyExists, err)
	_, err = admin.CreateTopic(ctx, 1, int16(Brokers+1), nil, "franz-wide")
	refused(kerr.InvalidReplicationFactor, err)
	_, err = admin.CreateTopic(ctx, 1, 1, map[string]*string{"no.such.setting": kadm.StringPtr("1")}, "franz-wrong")
	refused(kerr.InvalidConfig, err)
	_, err = admin.DeleteTopic(ctx, "franz-absent")
	refused(kerr.UnknownTopicOrPartition, err)
	Well(Must(admin.UpdatePartitions(ctx, 4, "franz-admin")).Error())
	Until("four partitions", func() bool { return len(Must(admin.ListTopics(ctx, "franz-admin"))["franz-admin"].Partitions) == 4 })
	altered := Must(admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: kadm.StringPtr("2000")}}, "franz-admin"))
	Well(altered[0].Err)
	setting := func(key string) string {
		described := Must(admin.DescribeTopicConfigs(ctx, "franz-admin"))
		for _, c := range Must(described.On("franz-admin", nil)).Configs {
			if c.Key == key {
				return *c.Value
			}
		}
		return "nothing"
	}
	Until("the setting", func() bool { return setting("max.message.bytes") == "2000" })
	Is("12345678", setting("retention.ms"))
	cl := client(kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer cl.Close()
	refused(kerr.MessageTooLarge, cl.ProduceSync(ctx, &kgo.Record{Topic: "franz-admin", Value: []byte(strings.Repeat("x", 4000))}).FirstErr())
	publish(cl, "franz-admin", 0, 4, 4)
	all := Must(admin.ListTopics(ctx, "franz-admin")).TopicsSet()
	producers := Must(admin.DescribeProducers(ctx, all))
	Is(1, len(producers["franz-admin"].Partitions[0].ActiveProducers))
	Is(Brokers, len(Must(admin.DescribeAllLogDirs(ctx, all))))
	elected := Must(admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, all))
	Is(4, len(elected["franz-admin"]))
	_, err = admin.DeleteTopic(ctx, "franz-admin")
	Well(err)
	Until("it is gone", func() bool { return !Must(admin.ListTopics(ctx)).Has("franz-admin") })
}

// ---- groups -----------------------------------------------------------------------------------------------

// A consumer that commits what it was given before it asks for more.
type member struct {
	sync.Mutex
	cl         *kgo.Client
	assigned   map[int32]bool
	got        []*kgo.Record
	rebalances int
	over       chan struct{}
}

func groupOpts(group, topic string) []kgo.Opt {
	return []kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(3 * time.Second), kgo.HeartbeatInterval(300 * time.Millisecond), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll()}
}

func join(group, topic string, opts ...kgo.Opt) *member {
	m := &member{assigned: map[int32]bool{}, over: make(chan struct{})}
	change := func(here bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, what map[string][]int32) {
			m.Lock()
			defer m.Unlock()
			m.rebalances++
			for _, p := range what[topic] {
				if m.assigned[p] = true; !here {
					delete(m.assigned, p)
				}
			}
		}
	}
	m.cl = client(append(append(groupOpts(group, topic), kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)),
		kgo.OnPartitionsLost(change(false))), opts...)...)
	go func() {
		for {
			fetches := m.cl.PollFetches(ctx)
			if fetches.IsClientClosed() {
				close(m.over)
				return
			}
			m.Lock()
			m.got = append(m.got, fetches.Records()...)
			m.Unlock()
			_ = m.cl.CommitUncommittedOffsets(ctx)
			m.cl.AllowRebalance()
		}
	}()
	return m
}

func (m *member) leave() {
	m.cl.AllowRebalance()
	m.cl.CloseAllowingRebalance()
	<-m.over
}

func (m *member) partitions() []int {
	m.Lock()
	defer m.Unlock()
	var list []int
	for p := range m.assigned {
		list = append(list, int(p))
	}
	sort.Ints(list)
	return list
}

// Numbers that these members read: each once, each partition by one of them.
func stage(cl *kgo.Client, topic string, from, to, partitions int, members ...*member) {
	Until(fmt.Sprint(len(members), " members share"), func() bool {
		seen, even := map[int]bool{}, true
		count := 0
		for _, m := range members {
			own := m.partitions()
			even = even && len(own) <= (partitions+len(members)-1)/len(members)
			for _, p := range own {
				seen[p] = true
				count++
			}
		}
		return even && count == partitions && len(seen) == partitions
	})
	publish(cl, topic, from, to, partitions)
	var values, readers map[int]int
	Until("all are read", func() bool {
		values, readers = map[int]int{}, map[int]int{}
		for i, m := range members {
			m.Lock()
			for _, r := range m.got {
				if n, _ := strconv.Atoi(string(r.Value)); n >= from {
					values[n]++
					if before, known := readers[int(r.Partition)]; known && before != i {
						m.Unlock()
						Fail("partition %d was read by two", r.Partition)
					}
					readers[int(r.Partition)] = i
				}
			}
			m.Unlock()
		}
		return len(values) == to-from
	})
	for n, times := range values {
		if times != 1 {
			Fail("%d was read %d times", n, times)
		}
	}
}

func groupOfThree() {
	const topic, group = "franz-group", "franz-readers"
	create(topic, 6)
	dying := exec.Command(os.Args[0], "member", group, topic)
	dying.Stderr = os.Stderr
	said := Must(dying.StdoutPipe())
	Well(dying.Start())
	cl := client()
	defer cl.Close()
	a, b := join(group, topic), join(group, topic)
	Is("it has partitions\n", Must(bufio.NewReader(said).ReadString('\n')))
	Until("two each", func() bool { return len(a.partitions()) == 2 && len(b.partitions()) == 2 })
	described := Must(admin.DescribeGroups(ctx, group))[group]
	Is("Stable cooperative-sticky 3", fmt.Sprint(described.State, " ", described.Protocol, " ", len(described.Members)))
	Well(dying.Process.Kill())
	_ = dying.Wait()
	stage(cl, topic, 0, 120, 6, a, b)
	c := join(group, topic)
	stage(cl, topic, 120, 240, 6, a, b, c)
	c.leave()
	stage(cl, topic, 240, 360, 6, a, b)
	Until("all is committed", func() bool { return Must(admin.Lag(ctx, group))[group].Lag.Total() == 0 })
	_, err := admin.DeleteGroup(ctx, group)
	Is(true, errors.Is(err, kerr.NonEmptyGroup))
	a.leave()
	b.leave()
	seven := kadm.Offsets{}
	seven.Add(kadm.Offset{Topic: topic, Partition: 0, At: 7, LeaderEpoch: -1, Metadata: "seven"})
	Well(admin.CommitAllOffsets(ctx, group, seven))
	o, _ := Must(admin.FetchOffsets(ctx, group)).Lookup(topic, 0)
	Is("7 seven", fmt.Sprint(o.At, " ", o.Metadata))
	one := kadm.TopicsSet{}
	one.Add(topic, 0)
	Well(Must(admin.DeleteOffsets(ctx, group, one)).Error())
	_, there := Must(admin.FetchOffsets(ctx, group)).Lookup(topic, 0)
	Is(false, there)
	_, err = admin.DeleteGroup(ctx, group)
	Well(err)
	Is(false, Must(admin.ListGroups(ctx))[group].Group == group)
}

func beMember(group, topic string) {
	told := func(_ context.Context, _ *kgo.Client, what map[string][]int32) {
		if len(what) > 0 {
			fmt.Println("it has partitions")
		}
	}
	cl := client(append(groupOpts(group, topic), kgo.OnPartitionsAssigned(told))...)
	for {
		cl.PollFetches(ctx)
		cl.AllowRebalance()
	}
}

func staticMembers() {
	const topic, group = "franz-static", "franz-static"
	create(topic, 4)
	cl := client()
	defer cl.Close()
	named := func(name string) *member {
		return join(group, topic, kgo.InstanceID(name), kgo.Balancers(kgo.RangeBalancer()), kgo.SessionTimeout(10*time.Second))
	}
	a, b := named("a"), named("b")
	stage(cl, topic, 0, 40, 4, a, b)
	had, rebalances := a.partitions(), b.rebalances
	a.leave() // a static member does not say so
	again := named("a")
	stage(cl, topic, 40, 80, 4, again, b)
	Is(had, again.partitions())
	Is(rebalances, b.rebalances)
	again.leave()
	Must(admin.LeaveGroup(ctx, kadm.LeaveGroup(group).InstanceIDs("a")))
	stage(cl, topic, 80, 120, 4, b)
	b.leave()
}

// ---- a leader that dies ---------------------------------------------------------------------------------------

func idempotence() {
	create("franz-once", 1)
	cl := client(kgo.ProducerBatchMaxBytes(512), kgo.ProducerLinger(time.Millisecond))
	publish(cl, "franz-once", 0, 100, 1)
	over := make(chan struct{})
	go func() {
		defer close(over)
		Run("KQ_FAULT", "kill-leader", "franz-once", "0")
		if Brokers == 1 {
			Run("KQ_FAULT", "restart")
		}
	}()
	var lost error
	sent := 100
	for going := true; going; sent++ {
		select {
		case <-over:
			going = false
		case <-time.After(100 * time.Microsecond): // not a million numbers
		}
		cl.Produce(ctx, numbers("franz-once", sent, sent+1, 1)[0], func(_ *kgo.Record, err error) {
			if err != nil {
				lost = err
			}
		})
	}
	publish(cl, "franz-once", sent, sent+100, 1)
	Well(cl.Flush(ctx))
	cl.Close()
	Well(lost)
	areNumbers(read("franz-once", 0, kgo.NewOffset().AtStart(), sent+100), 0, sent+100)
	if Brokers == 3 {
		Run("KQ_FAULT", "restart")
	}
}

func main() {
	if len(os.Args) == 4 {
		beMember(os.Args[2], os.Args[3])
	}
	admin = kadm.NewClient(client())
	var groups sync.WaitGroup // they mostly wait: beside the others
	for name, body := range map[string]func(){
		"three members join, one dies, one leaves; each keeps what it can": groupOfThree,
		"a member that is known by name comes back to what it had":         staticMembers,
	} {
		groups.Go(func() { Of(name, body) })
	}
	Of("every codec lies in the log, and telnet reads it", codecs)
	Of("keys, nulls, headers and times", keysNullsHeadersTimes)
	Of("offsets, times and deleted records", offsetsAndTimes)
	Of("telnet writes and franz-go reads, and the other way round", telnetBothWays)
	Of("what administrators ask; errors", administrators)
	groups.Wait()
	Of("a producer outlives its leader", idempotence)
	End()
}
