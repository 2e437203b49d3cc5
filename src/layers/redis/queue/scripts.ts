/**
 * The scripts of the queue. KEYS are the keys of one queue in the order of `queueKeys` (of several queues for `publish`); each is one
 * atomic step, and none looks at more messages than it was given, claims, or finds due.
 */
import type { Script } from "../script.ts"
import { script } from "../script.ts"
import { soloAfter } from "../../../queue/driver.ts"
import { claims } from "./lua/claims.ts"
import { deadLetters } from "./lua/dead.ts"
import { places } from "./lua/places.ts"
import { publishing } from "./lua/publish.ts"
import { records } from "./lua/records.ts"
import { waiters } from "./lua/waiters.ts"

/** What every script of the queue begins with; a joint commit of Kv and queue uses it too. */
export const queueLua: string = [records, places, waiters, publishing, claims, deadLetters]
  .join("")
  .replaceAll("SOLO", String(soloAfter))

const queueScript = (name: string, main: string): Script => script(name, queueLua + main)

/**
 * Accepts messages of one or several queues. ARGV: 1 if PUBLISH counts one node only, number of queues, then for each queue the number
 * of its messages and the messages (`lua/publish.ts`). Answers for each queue how many expired at once and the answers.
 */
export const publishScript: Script = queueScript(
  "publish",
  `
local now = clock()
local at = 3
local answers = {}
for i = 1, tonumber(ARGV[2]) do
  local q = queueAt((i - 1) * 19 + 1)
  q.uncounted = ARGV[1] == '1'
  local count = tonumber(ARGV[at])
  local accepted = publish(q, now, at + 1, count)
  at = at + 1 + count * 3
  finish(q, now, false)
  answers[i] = { q.expired, accepted }
end
return answers
`
)

/**
 * Settles, then claims. ARGV: 1 uncounted, 2 letters to keep at most, 3 their age, 4 name of the new claims, 5 lease, 6 how many to
 * claim, 7 how many of them start, 8 the worker's entry in `w`, 9 how long it waits at most, 10 number of settlements, then these.
 * Answers: expired, milliseconds until time makes something claimable (`""`: never), results, claims (sequence, body, state each). Nothing is
 * claimed, and nothing waited for, while more is due than one step moves.
 */
export const stepScript: Script = queueScript(
  "step",
  `
local q = queueAt(1)
q.uncounted = ARGV[1] == '1'
spare(q)
local now = clock()
local more = tend(q, now)
local buried = redis.call('ZCARD', q.D)
local results = settle(q, now, 11, tonumber(ARGV[10]))
if redis.call('ZCARD', q.D) > buried then trimLetters(q, now, tonumber(ARGV[2]), tonumber(ARGV[3])) end
-- What is due and not in its place yet may come before all that is.
local claimed = more and {} or claim(q, now, ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]))
local wait = ''
if tonumber(ARGV[6]) > 0 then
  if #claimed > 0 then
    redis.call('ZREM', q.w, ARGV[8])
  else
    local till = now + tonumber(ARGV[9])
    local soon = more and now or nextTime(q)
    if soon then wait = text(math.max(0, soon - now)) end
    if metaOf(q).paused then wait = '' end
    redis.call('ZADD', q.w, text(math.min(soon or till, till)), ARGV[8])
  end
end
finish(q, now, #claimed > 0)
return { q.expired, wait, results, claimed }
`
)

/** ARGV: lease or `""` to mark as started, number of claims, then sequence and claim of each. Answers 1 held, 0 lost. */
export const touchScript: Script = queueScript(
  "touch",
  `
local q = queueAt(1)
spare(q)
return touch(q, clock(), 3, tonumber(ARGV[2]), ARGV[1] ~= '' and tonumber(ARGV[1]) or nil)
`
)

/** A worker waits no more: what it was woken for goes to another. ARGV: 1 uncounted, 2 its entry. */
export const leaveScript: Script = queueScript(
  "leave",
  `
local q = queueAt(1)
q.uncounted = ARGV[1] == '1'
redis.call('ZREM', q.w, ARGV[2])
finish(q, clock(), false)
return 1
`
)

/** ARGV: 1 uncounted, 2 `1` to pause and `0` to go on. */
export const pauseScript: Script = queueScript(
  "pause",
  `
local q = queueAt(1)
q.uncounted = ARGV[1] == '1'
spare(q)
local now = clock()
if (redis.call('HGET', q.o, 'paused') or '0') ~= ARGV[2] then
  redis.call('HSET', q.o, 'paused', ARGV[2])
  q.meta = nil
  q.changed = true
end
finish(q, now, false)
return 1
`
)

/** Removes up to 500 waiting messages, blocked ones first: a head that goes would only make the next one ready. */
export const purgeScript: Script = queueScript(
  "purge",
  `
local q = queueAt(1)
local now = clock()
tend(q, now)
local removed = 0
local function remove(seq)
  local s = stateOf(q, seq)
  if not s then return end
  takeOut(q, seq, s)
  finishMessage(q, seq, s)
  removed = removed + 1
end
local blocked = redis.call('ZRANGE', q.b, 0, 499)
for i = 1, #blocked do remove(blocked[i]) end
if removed == 0 then
  local ready = redis.call('ZRANGE', q.r, 0, 499)
  for i = 1, #ready do remove(string.sub(ready[i], 17)) end
end
if removed == 0 then
  local delayed = redis.call('ZRANGE', q.d, 0, 499)
  for i = 1, #delayed do remove(string.sub(delayed[i], 1, 16)) end
end
finish(q, now, false)
return { q.expired, removed }
`
)

/**
 * ARGV: 1 milliseconds for which changes are announced on the queue's channel (0: not asked for). Answers: more is due, expired,
 * ready, delayed, claimed, dead, age of the oldest, paused, version, milliseconds until time changes a count.
 * O(log n) for each priority among the ready ones.
 */
export const lookScript: Script = queueScript(
  "look",
  `
local q = queueAt(1)
local now = clock()
local more = tend(q, now)
finish(q, now, false)
if ARGV[1] ~= '0' then
  spare(q)
  redis.call('HSET', q.o, 'watch', text(now + tonumber(ARGV[1])))
end
local oldest
local function older(due) if not oldest or due < oldest then oldest = due end end
local found = redis.call('ZRANGE', q.r, 0, 0, 'WITHSCORES')
while found[1] do
  older(tonumber(string.sub(found[1], 1, 16)))
  found = redis.call('ZRANGEBYSCORE', q.r, '(' .. found[2], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
end
local blocked = redis.call('ZRANGE', q.b, 0, 0, 'WITHSCORES')
if blocked[2] then older(tonumber(blocked[2])) end
local change
for _, key in ipairs({ q.d, q.c, q.x }) do
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  if first and (not change or tonumber(first) < change) then change = tonumber(first) end
end
return {
  more and 1 or 0, q.expired, redis.call('ZCARD', q.r) + redis.call('ZCARD', q.b), redis.call('ZCARD', q.d),
  redis.call('ZCARD', q.c), redis.call('ZCARD', q.D), oldest and math.max(0, now - oldest) or 0,
  metaOf(q).paused and 1 or 0,
  text((redis.call('HGET', q.o, 'version') or 0) + (redis.call('HGET', q.o, 'seq') or 0)),
  change and text(math.max(0, change - now)) or ''
}
`
)

/** ARGV: 1 behind which number, 2 how many. Answers number and record of each letter, oldest first. */
export const listDeadScript: Script = queueScript(
  "listDead",
  `
local q = queueAt(1)
local members = redis.call('ZRANGEBYSCORE', q.D, '(' .. ARGV[1], '+inf', 'LIMIT', 0, tonumber(ARGV[2]))
local out = {}
for i = 1, #members do
  local n = string.sub(members[i], 1, 16)
  out[#out + 1] = n
  out[#out + 1] = redis.call('HGET', q.db, n)
end
return out
`
)

/** The latest letter of an id. ARGV: 1 the id. Answers its record, or nothing. */
export const getDeadScript: Script = queueScript(
  "getDead",
  `
local q = queueAt(1)
local numbers = lettersOf(q, ARGV[1])
if #numbers == 0 then return false end
return redis.call('HGET', q.db, numbers[#numbers])
`
)

/**
 * Takes letters away, in the order in which they died. ARGV: 1 uncounted, 2 `requeue` or `purge`, 3 `upto` with 4 the last number and 5 how
 * many at most, or `ids` followed by the ids. Answers how many expired and how many were taken.
 */
export const takeDeadScript: Script = queueScript(
  "takeDead",
  `
local q = queueAt(1)
q.uncounted = ARGV[1] == '1'
local now = clock()
local numbers = {}
if ARGV[3] == 'upto' then
  local members = redis.call('ZRANGEBYSCORE', q.D, '-inf', ARGV[4], 'LIMIT', 0, tonumber(ARGV[5]))
  for i = 1, #members do numbers[i] = string.sub(members[i], 1, 16) end
else
  for i = 4, #ARGV do
    local some = lettersOf(q, ARGV[i])
    for j = 1, #some do numbers[#numbers + 1] = some[j] end
  end
  table.sort(numbers)
end
local taken = 0
for i = 1, #numbers do
  local record = takeLetter(q, numbers[i])
  if record then
    taken = taken + 1
    if ARGV[2] == 'requeue' then revive(q, now, record) end
  end
end
finish(q, now, false)
return { q.expired, taken }
`
)

/** Keeps house on an idle queue. ARGV: 1 letters to keep at most, 2 their age. Answers: more is to do, expired. */
export const tendScript: Script = queueScript(
  "tend",
  `
local q = queueAt(1)
local now = clock()
local more = tend(q, now)
if trimLetters(q, now, tonumber(ARGV[1]), tonumber(ARGV[2])) then more = true end
forgetKeys(q, now, 500)
finish(q, now, false)
return { more and 1 or 0, q.expired }
`
)
