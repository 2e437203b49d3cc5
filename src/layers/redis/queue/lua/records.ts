/** Lua of the queue scripts: the keys of a queue, and how a message's body and state are written. See `../README.md`. */

/**
 * `q` names the keys of one queue by the letters of the README; `first` is the index of the first of them in KEYS. `expired` counts
 * what was dropped at its time to live, `changed` says that a count changed.
 */
export const records = `
local day = 86400000

local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function queueAt(first)
  local q = { expired = 0, changed = false, waking = 0 }
  local names = { 'o', 'r', 'd', 'c', 'x', 'm', 't', 'l', 'b', 'h', 'ia', 'ib', 'k', 'kx', 'e', 'D', 'db', 'di', 'w' }
  for i = 1, #names do q[names[i]] = KEYS[first + i - 1] end
  return q
end

-- A variadic command over a long list, in calls that fit Lua's stack. The list has pairs or single members.
local function many(command, key, list)
  for i = 1, #list, 1000 do
    redis.call(command, key, unpack(list, i, math.min(i + 999, #list)))
  end
end

local function manyGet(key, fields)
  if #fields <= 1000 then return redis.call('HMGET', key, unpack(fields)) end
  local all = {}
  for i = 1, #fields, 1000 do
    local some = redis.call('HMGET', key, unpack(fields, i, math.min(i + 999, #fields)))
    for j = 1, #some do all[#all + 1] = some[j] end
  end
  return all
end

-- Whole numbers with leading zeros, so that they sort as text.
local function pad(n) return string.format('%016.0f', n) end
local function text(n) return string.format('%.0f', n) end

-- Body: enqueued|due|expires|notBefore|rank|lengths of id, group, name, dedupe and head|, then those five and the payload.
local bodyPattern = '^(%d+)|(%d+)|(%d*)|(%d*)|([^|]*)|(%d+)|(%d*)|(%d+)|(%d+)|(%d+)|()'

local function readBody(body)
  local enqueued, due, expires, notBefore, rank, il, gl, nl, dl, hl, at = string.match(body, bodyPattern)
  local id = string.sub(body, at, at + il - 1)
  local group
  if gl ~= '' then group = string.sub(body, at + il, at + il + gl - 1) end
  return {
    enqueued = enqueued, due = tonumber(due), expires = expires, notBefore = notBefore, rank = rank, id = id, group = group,
    grouped = group and '1' or '0', il = il, gl = gl, nl = nl, dl = dl, hl = hl, at = at
  }
end

-- State: claim|started|deliveries|retries|lostStarted|lostUnstarted|due|held|grouped|expires|rank|id. A message that was never
-- claimed has none: all its counts are 0, and the rest stands in its body.
local statePattern = '^([^|]*)|(%d)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d)|(%d)|(%d*)|([^|]*)|()'

local function readState(state)
  local claim, started, deliveries, retries, lostStarted, lostUnstarted, due, held, grouped, expires, rank, at =
    string.match(state, statePattern)
  return {
    claim = claim, started = started, deliveries = tonumber(deliveries), retries = tonumber(retries),
    lostStarted = tonumber(lostStarted), lostUnstarted = tonumber(lostUnstarted), due = tonumber(due), held = held,
    grouped = grouped, expires = expires, rank = rank, id = string.sub(state, at)
  }
end

local function freshState(body)
  return {
    claim = '', started = '0', deliveries = 0, retries = 0, lostStarted = 0, lostUnstarted = 0, due = body.due, held = '0',
    grouped = body.grouped, expires = body.expires, rank = body.rank, id = body.id
  }
end

local function writeState(s)
  return table.concat({
    s.claim, s.started, s.deliveries, s.retries, s.lostStarted, s.lostUnstarted, text(s.due), s.held, s.grouped, s.expires,
    s.rank, s.id
  }, '|')
end

local function save(q, seq, s) redis.call('HSET', q.t, seq, writeState(s)) end

-- What is known of a message, from its state or else its body; nil when it is gone.
local function stateOf(q, seq)
  local state = redis.call('HGET', q.t, seq)
  if state then return readState(state) end
  local body = redis.call('HGET', q.m, seq)
  return body and freshState(readBody(body))
end

local function groupOf(q, seq) return readBody(redis.call('HGET', q.m, seq)).group end

local function forget(q, seq)
  redis.call('HDEL', q.m, seq)
  redis.call('HDEL', q.t, seq)
  redis.call('HDEL', q.e, seq)
end
`
