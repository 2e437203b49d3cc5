/** The scripts of the Kv: one atomic step each. */
import type { Script } from "../script.ts"
import { script } from "../script.ts"
import { queueLua } from "../queue/scripts.ts"
import { checkedSize } from "./stamps.ts"

/**
 * A commit. KEYS: 1 counter, 2 log, 3 index, 4 expiries, 5 swept, 6 scratch, 7 outcome of this commit, then value and stamp of each key.
 *
 * ARGV: 1 id, 2 length of the log, 3 channel, 4 milliseconds the outcome is remembered, 5 bytes before the packed key in KEYS, 6 number
 * of checks, 7 number of mutations; for each check the index of the key's stamp in KEYS and its first bytes; for each mutation a
 * letter (s set, d delete, + sum, < min, > max), the index of the key's value in KEYS, kind or `""`, value or operand, milliseconds until
 * it expires or `""`.
 *
 * Answers `{"C", number}`, `{"F", failed checks...}`, `{"N", mutation, kind}` not a counter, `{"O", mutation, counter}` overflow,
 * `{"L", mutation}` claim lost, or what is remembered of this id `{"R", number or "fenced"}`. Nothing is written before all is checked.
 * Operands stay text: `INCRBY` computes in the scratch key, min and max compare length, then text. O(log n) per mutation.
 *
 * `stage` and `apply` are where a joint commit puts the steps of queues.
 */
const commitLua = (stage: string, apply: string): string =>
  `
local id = ARGV[1]
local remembered = redis.call('GET', KEYS[7])
if remembered then return { 'R', remembered } end

local at = 8
local failed = { 'F' }
for c = 0, ARGV[6] - 1 do
  -- The first bytes only: number and id.
  if redis.call('GETRANGE', KEYS[tonumber(ARGV[at])], 0, CHECKED - 1) ~= ARGV[at + 1] then failed[#failed + 1] = c end
  at = at + 2
end
if #failed > 1 then return failed end

local staged, order = {}, {}
-- What a key holds at this point of the commit. Natively expired keys read as missing.
local function load(index)
  local key = staged[index]
  if key then return key end
  local stamp = redis.call('GET', KEYS[index + 1])
  key = { existed = stamp ~= false, present = stamp ~= false, member = string.sub(KEYS[index], ARGV[5] + 1), expired = '' }
  if stamp then
    key.kind = string.sub(stamp, CHECKED + 1, CHECKED + 1)
    key.deadline = string.sub(stamp, CHECKED + 2)
    key.expired = key.deadline
  end
  staged[index] = key
  order[#order + 1] = index
  return key
end

local now
local function deadline(millis)
  if millis == '' then return '' end
  if not now then
    local t = redis.call('TIME')
    now = t[1] * 1000 + math.floor(t[2] / 1000)
  end
  return string.format('%.0f', math.min(now + tonumber(millis), 9007199254740991))
end

local function less(a, b) return #a < #b or (#a == #b and a < b) end

-- Stages one mutation; answers why it cannot be.
local function mutate(m, op, index, kind, value, expireIn)
  local key = load(index)
  if op == 's' then
    key.present, key.kind, key.value, key.deadline = true, kind, value, deadline(expireIn)
    return nil
  end
  if op == 'd' then
    key.present, key.value = false, nil
    return nil
  end
  if not key.present then
    key.present, key.kind, key.value, key.deadline = true, 'n', value, deadline(expireIn)
    return nil
  end
  if key.kind ~= 'n' then return { 'N', m, key.kind } end
  local held = key.value or redis.call('GET', KEYS[index])
  if op == '<' then
    key.value = less(value, held) and value or held
  elseif op == '>' then
    key.value = less(held, value) and value or held
  else
    redis.call('SET', KEYS[6], held)
    local sum = redis.pcall('INCRBY', KEYS[6], value)
    if type(sum) == 'table' and sum.err then
      redis.call('DEL', KEYS[6])
      if not string.find(sum.err, 'overflow', 1, true) then return redis.error_reply(sum.err) end
      return { 'O', m, held }
    end
    key.value = redis.call('GET', KEYS[6])
    redis.call('DEL', KEYS[6])
  end
  return nil
end

local frees = true
for m = 0, ARGV[7] - 1 do
  local op, index, kind, value, expireIn = unpack(ARGV, at, at + 4)
  at = at + 5
  frees = frees and op == 'd'
  local refused
  ${stage}
  if refused then return refused end
end

-- A server whose memory is full lets a script write on that has written what takes none: so deletes make room.
if frees then redis.call('DEL', KEYS[6]) end
redis.call('INCR', KEYS[1])
local number = redis.call('GET', KEYS[1])
local stamp = number .. string.rep('\\0', 16 - #number) .. id
local entry = { id }
for i = 1, #order do
  local index = order[i]
  local key = staged[index]
  local op
  if key.present then
    op = 'p'
    redis.call('SET', KEYS[index], key.value)
    redis.call('SET', KEYS[index + 1], stamp .. key.kind .. key.deadline)
    if not key.existed then redis.call('ZADD', KEYS[3], 0, key.member) end
    if key.deadline ~= '' then
      -- A native key is alive at its deadline and ours is not: one millisecond less.
      local native = string.format('%.0f', key.deadline - 1)
      redis.call('PEXPIREAT', KEYS[index], native)
      redis.call('PEXPIREAT', KEYS[index + 1], native)
      redis.call('ZADD', KEYS[4], key.deadline, key.member)
    elseif not key.existed or key.expired ~= '' then
      redis.call('ZREM', KEYS[4], key.member)
    end
  elseif key.existed then
    op = 'd'
    redis.call('DEL', KEYS[index], KEYS[index + 1])
    redis.call('ZREM', KEYS[3], key.member)
    if key.expired ~= '' then redis.call('ZREM', KEYS[4], key.member) end
  elseif redis.call('ZREM', KEYS[4], key.member) == 1 then
    -- An expiry that nobody swept yet becomes part of this commit, so that watchers hear of it once and by its name.
    op = 'e'
    redis.call('ZREM', KEYS[3], key.member)
    redis.call('INCR', KEYS[5])
  end
  if op then entry[#entry + 1] = op .. string.format('%04x', #key.member) .. key.member end
end
redis.call('RPUSH', KEYS[2], table.concat(entry))
if string.sub(number, -2) == '00' then redis.call('LTRIM', KEYS[2], -ARGV[2], -1) end
redis.call('SET', KEYS[7], number, 'PX', ARGV[4])
local expired = {}
${apply}
redis.call('PUBLISH', ARGV[3], '')
return { 'C', number, expired }
`.replaceAll("CHECKED", String(checkedSize))

const keyStep = "refused = mutate(m, op, tonumber(index), kind, value, expireIn)"

export const commitScript: Script = script("commit", commitLua(keyStep, ""))

/**
 * A commit with steps of queues. The keys of the queues follow those of the Kv; the second argument of such a step (`enq`, `ack`) is the
 * index of the queue's first key, and behind its five arguments come those of a message or a settlement (`queue/lua`). The last argument
 * of all is 1 when PUBLISH counts one node only. `{"C"}` also tells how many messages expired, for each step.
 */
export const joinedCommitScript: Script = script(
  "joinedCommit",
  `${queueLua}
local steps, acked = {}, {}
${commitLua(
  `
  if op == 'enq' or op == 'ack' then
    steps[#steps + 1] = { op = op, first = tonumber(index), at = at }
    if op == 'ack' then
      local q = queueAt(tonumber(index))
      local t = clock()
      local seq, name = string.sub(ARGV[at], 2, 17), string.sub(ARGV[at], 19)
      local claim = index .. ':' .. seq .. ':' .. name
      -- A second ack of one claim in this commit finds nothing to hold.
      if acked[claim] or not holding(q, t, seq, name, ARGV[at + 1]) then return { 'L', m } end
      acked[claim] = true
    end
    at = at + (op == 'enq' and 3 or 2)
  else
    ${keyStep}
  end`,
  `
for i = 1, #steps do
  local step = steps[i]
  local q = queueAt(step.first)
  q.uncounted = ARGV[#ARGV] == '1'
  local t = clock()
  q.behind = true
  if step.op == 'enq' then publish(q, t, step.at, 1) else settle(q, t, step.at, 1) end
  finish(q, t, false)
  expired[i] = q.expired
end`
)}`
)

/**
 * Removes leftovers of expired keys as one commit with one `e` for each. KEYS: 1 counter, 2 log, 3 index, 4 expiries, 5 swept, then value
 * and stamp of each key; ARGV: 1 id, 2 length of the log, 3 channel, 4 bytes before the packed key. Answers how many were removed.
 */
export const sweepScript: Script = script(
  "sweep",
  `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local entry = { ARGV[1] }
for index = 6, #KEYS, 2 do
  local member = string.sub(KEYS[index], ARGV[4] + 1)
  local deadline = redis.call('ZSCORE', KEYS[4], member)
  if deadline and tonumber(deadline) <= now then
    redis.call('DEL', KEYS[index], KEYS[index + 1])
    redis.call('ZREM', KEYS[3], member)
    redis.call('ZREM', KEYS[4], member)
    entry[#entry + 1] = 'e' .. string.format('%04x', #member) .. member
  end
end
if #entry == 1 then return 0 end
redis.call('INCR', KEYS[1])
redis.call('INCR', KEYS[5])
redis.call('RPUSH', KEYS[2], table.concat(entry))
redis.call('LTRIM', KEYS[2], -ARGV[2], -1)
redis.call('PUBLISH', ARGV[3], '')
return #entry - 1
`
)
