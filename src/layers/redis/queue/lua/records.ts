/** Lua of the queue scripts: the keys of a queue, and how a message's body and state are written. See `../README.md`. */

/**
 * `q` names the keys of one queue by the letters of the README; `first` is the index of the first of them in KEYS. `expired` counts
 * what was dropped at its time to live, `changed` says that a count changed, `counted` that the sequence shows it already.
 */
export const records = `
local day = 86400000

local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- A server whose memory is full lets a script write on that has written what takes none. What settles, extends and looks goes on so.
local function spare(q) redis.call('HDEL', q.o, '') end

local function queueAt(first)
  local K = KEYS
  return {
    expired = 0, changed = false, counted = false, o = K[first], r = K[first + 1], d = K[first + 2], c = K[first + 3],
    x = K[first + 4], m = K[first + 5], t = K[first + 6], l = K[first + 7], b = K[first + 8], h = K[first + 9],
    ia = K[first + 10], ib = K[first + 11], k = K[first + 12], kx = K[first + 13], e = K[first + 14], D = K[first + 15],
    db = K[first + 16], di = K[first + 17], w = K[first + 18]
  }
end

-- What the queue is told of itself, read once a call.
local function metaOf(q)
  if not q.meta then
    local found = redis.call('HMGET', q.o, 'paused', 'watch', 'table', 'since')
    q.meta = { paused = found[1] == '1', watch = tonumber(found[2] or '0'), which = found[3] or 'a', since = tonumber(found[4] or '0') }
  end
  return q.meta
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

-- State: claim|grouped|started|deliveries|retries|lostStarted|lostUnstarted|due|held|expires|rank|id. A message that was never
-- claimed has none: all its counts are 0, and the rest stands in its body.
local statePattern = '^([^|]*)|(%d)|(%d)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d)|(%d*)|([^|]*)|()'

local function readState(state)
  local claim, grouped, started, deliveries, retries, lostStarted, lostUnstarted, due, held, expires, rank, at =
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
    s.claim, s.grouped, s.started, s.deliveries, s.retries, s.lostStarted, s.lostUnstarted, text(s.due), s.held, s.expires,
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
