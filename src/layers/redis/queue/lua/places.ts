/** Lua of the queue scripts: where a message stands, the lines of groups, and what time alone brings about. */

/**
 * A message stands in `d` (not due), in `r` (may be claimed), in `l` and `b` (due, behind the head of its group's line) or in `c`
 * (claimed); its place in `r` and `l` is due time and sequence. Every function is O(log n); `tend` moves at most 2,000 messages a call.
 */
export const places = `
-- The length keeps groups apart of which one begins with the other; what follows are digits, all below ':'.
local function lineKey(group) return #group .. ':' .. group end

local function joinLine(q, group, due, seq, rank)
  local place = pad(due) .. seq
  local head = redis.call('HGET', q.h, group)
  if not head then
    redis.call('HSET', q.h, group, '0' .. place)
    redis.call('ZADD', q.r, rank, place)
    return
  end
  local first = string.sub(head, 2)
  if string.sub(head, 1, 1) == '1' or place > first then
    redis.call('ZADD', q.l, 0, lineKey(group) .. place)
    redis.call('ZADD', q.b, text(due), seq)
    return
  end
  -- Nobody has seen the head yet, and this one was due before it.
  redis.call('ZREM', q.r, first)
  redis.call('ZADD', q.l, 0, lineKey(group) .. first)
  redis.call('ZADD', q.b, string.sub(first, 1, 16), string.sub(first, 17))
  redis.call('HSET', q.h, group, '0' .. place)
  redis.call('ZADD', q.r, rank, place)
end

-- A message that is gone, or waits outside, leaves its line; the next one becomes the head.
local function leaveLine(q, group, due, seq)
  local head = redis.call('HGET', q.h, group)
  if not head then return end
  local line = lineKey(group)
  if string.sub(head, 18) ~= seq then
    redis.call('ZREM', q.l, line .. pad(due) .. seq)
    redis.call('ZREM', q.b, seq)
    return
  end
  local following = redis.call('ZRANGEBYLEX', q.l, '[' .. line, '(' .. line .. ':', 'LIMIT', 0, 1)[1]
  if not following then
    redis.call('HDEL', q.h, group)
    return
  end
  redis.call('ZREM', q.l, following)
  local place = string.sub(following, #line + 1)
  local after = string.sub(place, 17)
  redis.call('ZREM', q.b, after)
  redis.call('HSET', q.h, group, '0' .. place)
  redis.call('ZADD', q.r, stateOf(q, after).rank, place)
end

-- The end of a message that stands nowhere any more; it may hold its line.
local function finishMessage(q, seq, s)
  q.changed = true
  if s.grouped == '1' then leaveLine(q, groupOf(q, seq), s.due, seq) end
  forget(q, seq)
end

local function expire(q, seq, s)
  q.expired = q.expired + 1
  finishMessage(q, seq, s)
end

-- A due message stands in line; one that holds its line never left it.
local function stand(q, seq, s)
  if s.grouped == '0' or s.held == '1' then
    redis.call('ZADD', q.r, s.rank, pad(s.due) .. seq)
  else
    joinLine(q, groupOf(q, seq), s.due, seq, s.rank)
  end
end

-- Puts a message that nobody holds where it waits.
local function enter(q, seq, s, now)
  q.changed = true
  if s.expires ~= '' then
    if tonumber(s.expires) <= now then return expire(q, seq, s) end
    redis.call('ZADD', q.x, s.expires, seq)
  end
  if s.due > now then
    redis.call('ZADD', q.d, text(s.due), seq .. s.grouped .. s.rank)
  else
    stand(q, seq, s)
  end
end

-- Takes a waiting message out of the orders it stands in. One that holds its line goes on holding it.
local function takeOut(q, seq, s)
  q.changed = true
  if s.expires ~= '' then redis.call('ZREM', q.x, seq) end
  if redis.call('ZREM', q.d, seq .. s.grouped .. s.rank) == 1 then return end
  redis.call('ZREM', q.r, pad(s.due) .. seq)
  if s.grouped == '1' and s.held == '0' then leaveLine(q, groupOf(q, seq), s.due, seq) end
end

local step = 500

local function loseClaims(q, now)
  local lost = redis.call('ZRANGEBYSCORE', q.c, '-inf', now, 'LIMIT', 0, step)
  if #lost == 0 then return false end
  redis.call('ZREM', q.c, unpack(lost))
  for i = 1, #lost do
    local seq = lost[i]
    local s = stateOf(q, seq)
    if s then
      if s.started == '1' then s.lostStarted = s.lostStarted + 1 else s.lostUnstarted = s.lostUnstarted + 1 end
      s.claim = ''
      s.started = '0'
      save(q, seq, s)
      enter(q, seq, s, now)
    end
  end
  return #lost == step
end

local function becomeDue(q, now)
  local due = redis.call('ZRANGEBYSCORE', q.d, '-inf', now, 'WITHSCORES', 'LIMIT', 0, step)
  if #due == 0 then return false end
  q.changed = true
  redis.call('ZREMRANGEBYRANK', q.d, 0, #due / 2 - 1)
  local ready = {}
  for i = 1, #due, 2 do
    local member = due[i]
    local seq = string.sub(member, 1, 16)
    if string.sub(member, 17, 17) == '0' then
      ready[#ready + 1] = string.sub(member, 18)
      ready[#ready + 1] = pad(tonumber(due[i + 1])) .. seq
    else
      local s = stateOf(q, seq)
      if s then stand(q, seq, s) end
    end
  end
  many('ZADD', q.r, ready)
  return #due == 2 * step
end

local function dropExpired(q, now)
  local over = redis.call('ZRANGEBYSCORE', q.x, '-inf', now, 'LIMIT', 0, step)
  for i = 1, #over do
    local s = stateOf(q, over[i])
    if s then
      takeOut(q, over[i], s)
      expire(q, over[i], s)
    else
      redis.call('ZREM', q.x, over[i])
    end
  end
  return #over == step
end

-- Lets happen what is due by now; true: there is more. The order matters: a lost claim and a due message may be expired.
local function tend(q, now)
  for _ = 1, 4 do
    local lost = loseClaims(q, now)
    local due = becomeDue(q, now)
    local over = dropExpired(q, now)
    q.behind = lost
    if not (lost or due or over) then return false end
  end
  return true
end
`
