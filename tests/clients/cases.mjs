// For clients in JavaScript: cases, waits, and what tests/clients/run.sh gives, as functions.
// `caseOf` runs a case and prints its line; `casesEnd` ends the program with their exit code.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'

const run = promisify(execFile)
let failed = false

export const bootstrap = process.env.BOOTSTRAP.split(',')
export const brokers = Number(process.env.BROKERS)

export const fault = (...words) => run(process.env.KQ_FAULT, words)
export const codecs = async (topic, partition = 0) =>
    (await run(process.env.KQ_CODECS, [topic, String(partition)])).stdout.trim()
export const text = async (...lines) => (await run(process.env.KQ_TEXT, lines)).stdout.trim().split('\n')

// What telnet is given of a topic's first partition, a message a line.
export async function consume(topic) {
    const [id] = JSON.parse((await text(`SUBS ${topic} telnet`))[0].match(/\[".*"\]/)[0])
    return text(`CONS ${topic} ${id} 0`)
}

export async function within(seconds, what, promise) {
    let timer
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`${what}: not within ${seconds} s`)), seconds * 1000)
    })
    try {
        return await Promise.race([promise, late])
    } finally {
        clearTimeout(timer)
    }
}

// Asks again until `check` returns something true, and gives that back.
export async function until(seconds, what, check) {
    const end = Date.now() + seconds * 1000
    for (;;) {
        const got = await check()
        if (got) return got
        if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s`)
        await new Promise((resolve) => setTimeout(resolve, 50))
    }
}

export async function caseOf(name, body, seconds = 60) {
    const from = Date.now()
    try {
        await within(seconds, 'the whole case', body())
        console.log(`ok      ${name} (${((Date.now() - from) / 1000).toFixed(1)} s)`)
    } catch (e) {
        failed = true
        const said = e.cause ? `${e.stack}\n  cause: ${e.cause.stack}` : e.stack
        console.log(`FAILED  ${name}: ${said ?? e}`)
        for (const at of e.errors ?? []) console.log(`    ${at.message} ${at.apiCode ?? at.apiId ?? ''}`)
    }
}

// Sends numbers, `send(from, to)`, while the leader of that topic's one partition is killed, and
// some more. With three brokers another leads on, a single one starts again. How many were sent.
export async function acrossFault(topic, send) {
    let n = 0
    let over = false
    const more = async (count) => {
        for (const end = n + count; n < end; n += 20) await send(n, n + 20)
    }
    await more(100)
    const happens = (async () => {
        await fault('kill-leader', topic, '0')
        if (brokers === 1) await fault('restart')
        over = true
    })()
    while (!over) await more(20)
    await happens
    await more(100)
    return n
}

// Not at once: a client whose case failed may hold the event loop for ever.
export const casesEnd = () => process.exit(failed ? 1 : 0)

// A member of a group in a process of its own, which is this program once more with the words
// `member ...`. It prints JSON, a line an event: {"assigned": [partition...]} or {"got":
// [partition, offset, value]}. `assigned` is the newest assignment, `got` all that was read.
export class Member {
    constructor(...words) {
        this.assigned = null
        this.got = []
        this.child = spawn(process.execPath, [process.argv[1], 'member', ...words], {
            stdio: ['pipe', 'pipe', 'inherit'],
        })
        this.ended = new Promise((resolve) => this.child.once('exit', resolve))
        createInterface(this.child.stdout).on('line', (line) => {
            const event = JSON.parse(line)
            if (event.assigned) this.assigned = event.assigned
            if (event.got) this.got.push(event.got)
        })
    }
    // Told nicely: it commits, leaves the group and ends.
    async leave() {
        this.child.stdin.end()
        assert.equal(await within(20, 'a member that leaves', this.ended), 0)
    }
    async die() {
        this.child.kill('SIGKILL')
        await this.ended
    }
}
export const say = (event) => process.stdout.write(JSON.stringify(event) + '\n')

// True once these members share so many partitions evenly, each held by exactly one.
export function shared(members, partitions) {
    if (members.some((m) => m.assigned === null)) return false
    const held = members.flatMap((m) => m.assigned).sort((a, b) => a - b)
    const most = Math.ceil(partitions / members.length)
    return (
        held.length === partitions &&
        held.every((partition, i) => partition === i) &&
        members.every((m) => m.assigned.length <= most)
    )
}

// Who read which of a range of values, once all were read: each partition by exactly one member
// of these, and each value once; with `again` a member may be given what it read, but did not
// commit, once more.
export async function readByOne(members, from, to, again = false) {
    const wanted = (m) => m.got.filter(([, , value]) => value >= from && value < to)
    await until(30, `values ${from} to ${to - 1}`, () =>
        new Set(members.flatMap(wanted).map(([, , value]) => value)).size === to - from)
    const readers = new Map()
    const seen = new Map()
    members.forEach((m, i) => {
        for (const [partition, offset, value] of wanted(m)) {
            assert.equal(readers.get(partition) ?? i, i, `partition ${partition} was read by two members`)
            readers.set(partition, i)
            assert(!seen.has(value) || (again && seen.get(value) === offset), `${value} was read twice, at offsets ${seen.get(value)} and ${offset}`)
            seen.set(value, offset)
        }
    })
    assert.equal(seen.size, to - from)
}
