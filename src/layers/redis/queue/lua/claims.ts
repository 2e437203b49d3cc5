/** Lua of the queue scripts: claiming, settling, heartbeats. */

/**
 * Nothing is handed out without a claim in `c`, whose score is the end of its lease. A claim is held while the message's state names
 * it: a settle with another name is answered with `0` and changes nothing.
 */
export const claims = `
-- Of a body: expiry, rank, lengths of id and group, and where the id begins.
local plainPattern = '^%d+|%d+|(%d*)|%d*|([^|]*)|(%d+)|(%d*)|%d+|%d+|%d+|()'

-- The state of the first claim of a message without group and time to live, which most are; nil for others.
local function firstState(body, due, name, starts)
  local expires, rank, il, gl, at = string.match(body, plainPattern)
  if expires ~= '' or gl ~= '' then return nil end
  return name .. '|0|' .. starts .. '|1|0|0|0|' .. due .. '|0||' .. rank .. '|' .. string.sub(body, at, at + il - 1)
end

-- Hands out what may be claimed, in order; two texts each, body and state. O(log n) per message.
local function claim(q, now, name, lease, max, start)
  local out = {}
  if max == 0 or metaOf(q).paused then return out end
  local started = 0
  local till = text(now + lease)
  while max > 0 do
    local places = redis.call('ZRANGE', q.r, 0, math.min(max, 1000) - 1)
    if #places == 0 then break end
    redis.call('ZREMRANGEBYRANK', q.r, 0, #places - 1)
    local seqs = {}
    for i = 1, #places do seqs[i] = string.sub(places[i], 17) end
    local bodies, states = manyGet(q.m, seqs), manyGet(q.t, seqs)
    local leases, kept = {}, {}
    for i = 1, #places do
      local seq, body = seqs[i], bodies[i]
      local state = body and not states[i] and firstState(body, string.sub(places[i], 1, 16), name, started < start and '1' or '0')
      if state then
        started = started + 1
      elseif body then
        local record = readBody(body)
        local s = states[i] and readState(states[i]) or freshState(record)
        s.due = tonumber(string.sub(places[i], 1, 16))
        if s.expires ~= '' then redis.call('ZREM', q.x, seq) end
        if s.expires ~= '' and tonumber(s.expires) <= now then
          expire(q, seq, s)
        else
          if record.group then
            s.held = '1'
            redis.call('HSET', q.h, record.group, '1' .. places[i])
          end
          s.claim = name
          s.deliveries = s.deliveries + 1
          s.started = '0'
          if s.lostStarted < SOLO and started < start then
            s.started = '1'
            started = started + 1
          end
          state = writeState(s)
        end
      end
      if state then
        leases[#leases + 1] = till
        leases[#leases + 1] = seq
        kept[#kept + 1] = seq
        kept[#kept + 1] = state
        out[#out + 1] = seq
        out[#out + 1] = body
        out[#out + 1] = state
      end
    end
    many('ZADD', q.c, leases)
    many('HSET', q.t, kept)
    max = max - #leases / 2
  end
  if #out > 0 then q.changed = true end
  return out
end

-- The state of a claim that is held, else nil.
local function holding(q, now, seq, name, id)
  local state = redis.call('HGET', q.t, seq)
  if not state then return nil end
  local s = readState(state)
  if s.claim ~= name or (id and s.id ~= id) then return nil end
  local till = redis.call('ZSCORE', q.c, seq)
  if not till or tonumber(till) <= now then return nil end
  return s
end

local function bury(q, now, seq, s, reason, lastError)
  local n = pad(redis.call('HINCRBY', q.o, 'dead', 1))
  lastError = lastError or redis.call('HGET', q.e, seq) or nil
  local record = table.concat({
    1 + s.retries + s.lostStarted, s.deliveries, text(now), #reason, lastError and #lastError or '', ''
  }, '|') .. reason .. (lastError or '') .. redis.call('HGET', q.m, seq)
  redis.call('HSET', q.db, n, record)
  redis.call('ZADD', q.D, n, n .. '|' .. text(now) .. '|' .. s.id)
  redis.call('ZADD', q.di, 0, #s.id .. ':' .. s.id .. n)
end

-- The end of a claim that is held.
local function settleOne(q, now, seq, s, kind, value, failure, done)
  q.changed = true
  if kind == 'a' or kind == 'x' or kind == 'd' then
    if kind == 'd' then bury(q, now, seq, s, value, failure ~= '' and string.sub(failure, 2) or nil) end
    if s.grouped == '1' then leaveLine(q, groupOf(q, seq), s.due, seq) end
    done[#done + 1] = seq
    return
  end
  redis.call('ZREM', q.c, seq)
  s.claim = ''
  s.started = '0'
  if kind == 'r' then
    s.retries = s.retries + 1
    s.due = math.min(now + tonumber(value), largest)
    if failure ~= '' then redis.call('HSET', q.e, seq, string.sub(failure, 2)) end
  elseif tonumber(value) > 0 then
    s.due = math.min(now + tonumber(value), largest)
  end
  save(q, seq, s)
  enter(q, seq, s, now)
end

-- Settles \`count\` claims from ARGV[at]: a letter (a ack, x discard, r retry, l release, d dead letter) with the sequence and the claim
-- behind it, and the id; for r, l and d also delay or reason, and the error with an \`e\` before it or \`""\`. One text each: 1 settled, 0
-- lost; and where the arguments go on. O(log n) per claim.
local function settle(q, now, at, count)
  local results, done, ended = {}, {}, {}
  if count == 0 then return results, at end
  local batch, seqs = {}, {}
  for i = 1, count do
    local what = ARGV[at]
    local one = { kind = string.sub(what, 1, 1), seq = string.sub(what, 2, 17), claim = string.sub(what, 19), id = ARGV[at + 1] }
    at = at + 2
    if one.kind == 'r' or one.kind == 'l' or one.kind == 'd' then
      one.value, one.failure = ARGV[at], ARGV[at + 1]
      at = at + 2
    end
    batch[i] = one
    seqs[i] = one.seq
  end
  local states = manyGet(q.t, seqs)
  for i = 1, count do
    local one = batch[i]
    local state = states[i]
    local claim = #one.claim + 1
    local held = state and claim > 1 and not ended[one.seq] and string.sub(state, 1, claim) == one.claim .. '|'
      and string.sub(state, -#one.id - 1) == '|' .. one.id
    -- What ran out by now was taken back before, as far as one step goes; more may be left.
    if held and q.behind then
      local till = redis.call('ZSCORE', q.c, one.seq)
      held = till and tonumber(till) > now
    end
    results[i] = held and '1' or '0'
    if held then
      -- So that a second settle of it in this batch finds it gone.
      ended[one.seq] = true
      if (one.kind == 'a' or one.kind == 'x') and string.sub(state, claim + 1, claim + 1) == '0' then
        q.changed = true
        done[#done + 1] = one.seq
      else
        settleOne(q, now, one.seq, readState(state), one.kind, one.value, one.failure, done)
      end
    end
  end
  if #done > 0 then
    many('ZREM', q.c, done)
    many('HDEL', q.t, done)
    many('HDEL', q.m, done)
    if redis.call('EXISTS', q.e) == 1 then many('HDEL', q.e, done) end
  end
  return results, at
end

-- Gives claims their full lease again, or (lease nil) marks them as started; two arguments each from ARGV[at]: sequence and claim.
local function touch(q, now, at, count, lease)
  local results = {}
  for i = 1, count do
    local seq, name = ARGV[at + (i - 1) * 2], ARGV[at + (i - 1) * 2 + 1]
    local s = holding(q, now, seq, name)
    results[i] = s and '1' or '0'
    if s and lease then
      redis.call('ZADD', q.c, text(now + lease), seq)
    elseif s then
      s.started = '1'
      save(q, seq, s)
    end
  end
  return results
end
`
