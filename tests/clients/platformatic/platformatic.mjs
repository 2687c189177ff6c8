// @platformatic/kafka: the cases. `platformatic.mjs member GROUP TOPIC ASSIGNOR INSTANCE` is one
// member of a group (INSTANCE empty: none).
import assert from 'node:assert/strict'
import {
    Admin, ConfigResourceTypes, Consumer, IncrementalAlterConfigOperationTypes, ListOffsetTimestamps, Producer,
    stringDeserializers, stringSerializers,
} from '@platformatic/kafka'
import {
    Member, acrossFault, bootstrap, brokers, caseOf, casesEnd, codecs, consume, fault, readByOne, say, shared, text, until,
} from './cases.mjs'

const base = { clientId: 'platformatic', bootstrapBrokers: bootstrap, retries: 40, retryDelay: 250, timeout: 5000, metadataMaxAge: 1000 }
const FETCH_MS = 100

if (process.argv[2] === 'member') await member(...process.argv.slice(3))

async function member(groupId, topic, assignor, groupInstanceId) {
    const consumer = new Consumer({
        ...base, groupId, sessionTimeout: groupInstanceId ? 10000 : 3000, heartbeatInterval: 300, rebalanceTimeout: 10000, maxWaitTime: FETCH_MS,
        protocols: [{ name: assignor, version: 1 }], deserializers: stringDeserializers,
        ...(groupInstanceId ? { groupInstanceId } : {}),
    })
    // What a fetch brings that was under way is still given out, after the partitions it asked for went
    // to others: the assignment is told once there is none.
    consumer.on('consumer:group:join', ({ assignments }) => setTimeout(() =>
        say({ assigned: (assignments ?? []).filter((a) => a.topic === topic).flatMap((a) => a.partitions) }), 3 * FETCH_MS))
    const stream = await consumer.consume({ topics: [topic], mode: 'committed', fallbackMode: 'earliest', autocommit: 100 })
    stream.on('data', (m) => say({ got: [m.partition, Number(m.offset), Number(m.value)] }))
    for await (const _ of process.stdin);
    await consumer.close(true)
    process.exit(0)
}

// ---- small words for the cases -----------------------------------------------------------

const admin = new Admin(base)
const producer = new Producer({ ...base, serializers: stringSerializers, autocreateTopics: brokers === 1 })
const raw = new Producer(base)
const once = new Producer({ ...base, serializers: stringSerializers, idempotent: true })

const yesterday = BigInt(Date.now() - 86400000)
const numbers = (from, to) => Array.from({ length: to - from }, (_, i) => from + i)
const create = (topic, partitions = 1, configs = []) =>
    admin.createTopics({ topics: [topic], partitions, replicas: brokers, configs })
const publish = (topic, from, to, partitions = 1, options = {}, by = producer) =>
    by.send({ messages: numbers(from, to).map((n) => ({ topic, value: String(n), partition: n % partitions })), ...options })
const settled = (topic) => until(20, `leaders of ${topic}`, async () => {
    const { topics } = await admin.metadata({ topics: [topic], forceUpdate: true })
    return topics.get(topic)?.partitions.every((p) => p.leader === p.replicas[0])
})

// The names of the protocol's errors below an error, however deep.
function errorsIn(e) {
    return [...(e.apiId ? [e.apiId] : []), ...(e.errors ?? []).flatMap(errorsIn), ...(e.cause ? errorsIn(e.cause) : [])]
}
const errorOf = (promise) => promise.then(() => 'no error', (e) => errorsIn(e)[0] ?? e.message)

let readers = 0
async function read(topic, count, options = {}, deserializers = stringDeserializers) {
    const consumer = new Consumer({ ...base, groupId: `plt-reader-${readers++}`, maxWaitTime: 100, deserializers })
    const got = []
    try {
        const stream = await consumer.consume({ topics: [topic], mode: 'earliest', autocommit: false, ...options })
        stream.on('data', (m) => got.push(m))
        await until(30, `${count} messages of ${topic}, there were ${got.length}`, () => got.length >= count)
    } finally {
        await consumer.close(true)
    }
    return got
}
const values = (messages) => messages.map((m) => m.value)
const offsetAt = async (topic, partition, timestamp) => {
    const [{ partitions }] = await admin.listOffsets({ topics: [{ name: topic, partitions: [{ partitionIndex: partition, timestamp }] }] })
    return Number(partitions[0].offset)
}

// ---- the cases -----------------------------------------------------------------------------

async function groupOfThree(assignor) {
    const topic = `plt-${assignor}`
    const group = `plt-${assignor}-readers`
    await create(topic, 6)
    await settled(topic)
    const committed = async (end) => {
        const [{ topics }] = await admin.listConsumerGroupOffsets({ groups: [{ groupId: group, topics: [{ name: topic, partitionIndexes: numbers(0, 6) }] }] })
        return topics.flatMap((t) => t.partitions).reduce((sum, p) => sum + Math.max(Number(p.committedOffset), 0), 0) === end
    }
    const stage = async (members, from, to) => {
        await until(30, `${members.length} members share`, () => shared(members, 6))
        await publish(topic, from, to, 6, {}, once)
        await readByOne(members, from, to)
        await until(10, `${to} committed`, () => committed(to))
    }
    const [a, b, c] = [1, 2, 3].map(() => new Member(group, topic, assignor, ''))
    await stage([a, b, c], 0, 120)
    const described = (await admin.describeGroups({ groups: [group] })).get(group)
    assert.deepEqual([described.state, described.protocol, described.members.size], ['Stable', assignor, 3])
    assert((await admin.listGroups()).has(group))
    await a.leave()
    await stage([b, c], 120, 240)
    await b.die()
    await stage([c], 240, 360)
    assert.equal(await errorOf(admin.deleteGroups({ groups: [group] })), 'NON_EMPTY_GROUP')
    await c.leave()
    await admin.alterConsumerGroupOffsets({ groupId: group, topics: [{ name: topic, partitionOffsets: numbers(0, 6).map((partition) => ({ partition, offset: 1n })) }] })
    assert(await committed(6), 'set')
    await admin.deleteConsumerGroupOffsets({ groupId: group, topics: [{ name: topic, partitionIndexes: [0] }] })
    assert(await committed(5), 'one of them forgotten')
    await admin.deleteGroups({ groups: [group] })
    assert(!(await admin.listGroups()).has(group))
}

// Mostly waits: beside all others.
const groups = [
    caseOf('three members join, one leaves, one dies', () => groupOfThree('roundrobin'), 120),
    caseOf('the same, and each keeps what it can', () => groupOfThree('cooperative-sticky'), 120),
    caseOf('a member that is known by name comes back to what it had', async () => {
        const topic = 'plt-static'
        await create(topic, 4)
        await settled(topic)
        const named = (name) => new Member('plt-static', topic, 'roundrobin', name)
        const [a, b] = [named('a'), named('b')]
        await until(30, 'two members share', () => shared([a, b], 4))
        const had = a.assigned
        b.assigned = 'no rebalance'
        await a.die()
        const again = named('a')
        await until(30, 'it is back', () => again.assigned !== null)
        assert.deepEqual(again.assigned, had)
        await publish(topic, 0, 40, 4)
        await readByOne([again, b], 0, 40)
        assert.equal(b.assigned, 'no rebalance')
        await Promise.all([again.leave(), b.leave()])
    }),
]

await caseOf('lists brokers, topics and their partitions', async () => {
    const [made] = await create('plt-list', 3)
    assert.deepEqual([made.name, made.partitions, made.replicas], ['plt-list', 3, brokers])
    assert((await admin.listTopics()).includes('plt-list'))
    const metadata = await admin.metadata({ topics: ['plt-list'] })
    assert.equal(metadata.brokers.size, brokers)
    assert(metadata.brokers.has(metadata.controllerId))
    const topic = metadata.topics.get('plt-list')
    assert.equal(topic.partitionsCount, 3)
    assert.match(topic.id, /[1-9a-f]/)
    for (const p of topic.partitions) assert.equal(p.replicas.length, brokers)
})

await caseOf('every codec lies in the log, and telnet reads it', async () => {
    for (const compression of ['none', 'gzip', 'snappy', 'lz4', 'zstd']) {
        const topic = `plt-${compression}`
        await create(topic)
        await publish(topic, 0, 1000, 1, { compression })
        assert.deepEqual(values(await read(topic, 1000)), numbers(0, 1000).map(String), compression)
        assert.equal(await codecs(topic), compression)
        assert.match((await consume(topic))[0], /"Body":"0"/, compression)
    }
})

await caseOf('keys, nulls, headers and times', async () => {
    await create('plt-null')
    const b = Buffer.from
    const messages = [
        { key: b('k'), value: b('v'), headers: new Map([[b('a'), b('1')], [b('b'), b('')]]), timestamp: yesterday },
        { value: b('v') },
        { key: b('k') },
        { key: b(''), value: b('') },
        { key: b([0, 255]), value: b([195, 40]) },
    ]
    const { offsets } = await raw.send({ messages: messages.map((m) => ({ topic: 'plt-null', partition: 0, ...m })) })
    assert.equal(offsets[0].offset, 0n)
    const got = await read('plt-null', messages.length, {}, {})
    const text = (x) => (x === undefined || x === null ? null : b(x).toString('hex'))
    assert.deepEqual(got.map((m) => [text(m.key), text(m.value)]), messages.map((m) => [text(m.key), text(m.value)]))
    assert.deepEqual(got[0].headerEntries.map(([k, v]) => [String(k), String(v)]), [['a', '1'], ['b', '']])
    assert.equal(got[0].timestamp, yesterday)
    assert.deepEqual(got.map((m) => Number(m.offset)), numbers(0, messages.length))
})

await caseOf('offsets, times and deleted records', async () => {
    await create('plt-times', 2)
    await producer.send({
        messages: numbers(0, 10).map((n) => ({ topic: 'plt-times', partition: 1, value: String(n), timestamp: yesterday + BigInt(n) * 1000n })),
        acks: 1,
    })
    assert.equal(await offsetAt('plt-times', 1, ListOffsetTimestamps.LATEST), 10)
    assert.equal(await offsetAt('plt-times', 1, ListOffsetTimestamps.MAX), 9)
    assert.equal(await offsetAt('plt-times', 1, yesterday + 3500n), 4)
    const from7 = await read('plt-times', 3, { mode: 'manual', offsets: [{ topic: 'plt-times', partition: 0, offset: 0n }, { topic: 'plt-times', partition: 1, offset: 7n }] })
    assert.deepEqual(values(from7), ['7', '8', '9'])
    await admin.deleteRecords({ topics: [{ name: 'plt-times', partitions: [{ partition: 1, offset: 6n }] }] })
    assert.equal(await offsetAt('plt-times', 1, ListOffsetTimestamps.EARLIEST), 6)
    assert.deepEqual(values(await read('plt-times', 4)), ['6', '7', '8', '9'])
})

await caseOf('telnet writes and platformatic reads, and the other way round', async () => {
    await create('plt-telnet')
    await text('PUBS plt-telnet {"Key":"k1","Header":"h1","Body":"from telnet"}')
    await producer.send({ messages: [{ topic: 'plt-telnet', key: 'k2', value: 'from platformatic', headers: { Header: 'h2' } }] })
    const [first, second] = await read('plt-telnet', 2)
    assert.deepEqual([first.key, first.headers.get('Header'), first.value], ['k1', 'h1', 'from telnet'])
    assert.deepEqual([second.key, second.headers.get('Header'), second.value], ['k2', 'h2', 'from platformatic'])
    assert((await consume('plt-telnet')).some((line) => line.includes('"Header":"h2","Body":"from platformatic","Key":"k2","Offset":1')))
})

await caseOf('topics made, grown, set and deleted', async () => {
    await create('plt-admin', 2, [{ name: 'retention.ms', value: '12345678' }])
    await admin.createPartitions({ topics: [{ name: 'plt-admin', count: 4, assignments: null }] })
    await until(10, 'four partitions', async () =>
        (await admin.metadata({ topics: ['plt-admin'], forceUpdate: true })).topics.get('plt-admin').partitionsCount === 4)
    const resource = { resourceType: ConfigResourceTypes.TOPIC, resourceName: 'plt-admin' }
    const setting = async (key) => {
        const [{ configs }] = await admin.describeConfigs({ resources: [{ ...resource, configurationKeys: [key] }], includeSynonyms: true, includeDocumentation: true })
        return configs.find((c) => c.name === key).value
    }
    assert.equal(await setting('retention.ms'), '12345678')
    const set = (name, value) => admin.incrementalAlterConfigs({
        resources: [{ ...resource, configs: [{ name, value, configOperation: IncrementalAlterConfigOperationTypes.SET }] }],
    })
    await set('max.message.bytes', '2000000')
    await until(10, 'the setting', async () => (await setting('max.message.bytes')) === '2000000')
    assert.equal(await setting('retention.ms'), '12345678')
    assert.equal(await errorOf(set('no.such.setting', '1')), 'INVALID_CONFIG')
    const dirs = await admin.describeLogDirs({ topics: [{ name: 'plt-admin', partitions: [0, 1, 2, 3] }] })
    assert.equal(dirs.length, brokers)
    await admin.deleteTopics({ topics: ['plt-admin'] })
    await until(10, 'it is gone', async () => !(await admin.listTopics()).includes('plt-admin'))
})

await caseOf('errors', async () => {
    await create('plt-twice')
    assert.equal(await errorOf(create('plt-twice')), 'TOPIC_ALREADY_EXISTS')
    assert.equal(await errorOf(create('no/such/name')), 'INVALID_TOPIC_EXCEPTION')
    assert.equal(await errorOf(admin.createTopics({ topics: ['plt-wide'], replicas: brokers + 1 })), 'INVALID_REPLICATION_FACTOR')
    const hasty = new Admin({ ...base, retries: 0 })
    assert.equal(await errorOf(hasty.deleteTopics({ topics: ['plt-absent'] })), 'UNKNOWN_TOPIC_OR_PARTITION')
    await hasty.close()
    await create('plt-narrow', 1, [{ name: 'max.message.bytes', value: '2000' }])
    assert.equal(await errorOf(publish('plt-narrow', 0, 1, 1, { messages: [{ topic: 'plt-narrow', value: 'x'.repeat(4000) }] })), 'MESSAGE_TOO_LARGE')
    const strict = new Producer({ ...base, retries: 0, serializers: stringSerializers, autocreateTopics: false })
    assert.match(await errorOf(publish('plt-absent', 0, 1, 1, {}, strict)), /Unknown topic|UNKNOWN_TOPIC/)
    await strict.close()
    if (brokers === 1) {
        await publish('plt-made', 0, 1)
        assert.deepEqual(values(await read('plt-made', 1)), ['0'])
    }
})

await caseOf('commits by hand', async () => {
    await create('plt-commit')
    await publish('plt-commit', 0, 10)
    const options = { ...base, groupId: 'plt-commit', maxWaitTime: 100, deserializers: stringDeserializers }
    const consume = async (count) => {
        const consumer = new Consumer(options)
        const got = []
        const stream = await consumer.consume({ topics: ['plt-commit'], mode: 'committed', fallbackMode: 'earliest', autocommit: false })
        stream.on('data', (m) => got.push(m))
        await until(20, `${count} messages`, () => got.length === count)
        await got.find((m) => m.value === '3')?.commit()
        await consumer.close(true)
        return values(got)
    }
    await consume(10)
    assert.deepEqual(await consume(6), numbers(4, 10).map(String))
})

await Promise.all(groups)

await caseOf('an idempotent producer outlives its leader', async () => {
    await create('plt-once')
    await settled('plt-once')
    const sent = await acrossFault('plt-once', (from, to) => publish('plt-once', from, to, 1, {}, once))
    assert.deepEqual(values(await read('plt-once', sent)), numbers(0, sent).map(String))
    if (brokers === 3) await fault('restart')
    assert.equal(await offsetAt('plt-once', 0, ListOffsetTimestamps.LATEST), sent)
}, 90)

casesEnd()
