/** Lua of the queue scripts: claiming, settling, heartbeats. */

/**
 * Nothing is handed out without a claim in `c`, whose score is the end of its lease. A claim is held while the message's state names
 * it: a settle with another name is answered with `0` and changes nothing.
 */
export const claims = `
-- Hands out what may be claimed, in order; two texts each, body and state. O(log n) per message.
local function claim(q, now, name, lease, max, start)
  local out = {}
  if max == 0 or redis.call('HGET', q.o, 'paused') == '1' then return out end
  local started = 0
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
      if body then
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
          local state = writeState(s)
          leases[#leases + 1] = text(now + lease)
          leases[#leases + 1] = seq
          kept[#kept + 1] = seq
          kept[#kept + 1] = state
          out[#out + 1] = seq
          out[#out + 1] = body
          out[#out + 1] = state
        end
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

-- Settles \`count\` claims, six arguments each from ARGV[at]: sequence, claim, id, kind (a ack, x discard, r retry, l release, d dead
-- letter), delay or reason, and the error with an \`e\` before it or \`""\`. One text each: 1 settled, 0 lost. O(log n) per claim.
local function settle(q, now, at, count)
  local results, done = {}, {}
  for i = 1, count do
    local seq, name, id, kind, value, failure = unpack(ARGV, at + (i - 1) * 6, at + (i - 1) * 6 + 5)
    local s = holding(q, now, seq, name, id)
    if not s then
      results[i] = '0'
    else
      results[i] = '1'
      q.changed = true
      redis.call('ZREM', q.c, seq)
      if kind == 'a' or kind == 'x' or kind == 'd' then
        if kind == 'd' then bury(q, now, seq, s, value, failure ~= '' and string.sub(failure, 2) or nil) end
        if s.grouped == '1' then leaveLine(q, groupOf(q, seq), s.due, seq) end
        -- At once, so that a second settle of it in this batch finds it gone.
        redis.call('HDEL', q.t, seq)
        done[#done + 1] = seq
      else
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
    end
  end
  many('HDEL', q.m, done)
  if #done > 0 and redis.call('EXISTS', q.e) == 1 then many('HDEL', q.e, done) end
  return results
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
