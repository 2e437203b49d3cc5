/** Lua of the queue scripts: accepting messages. */

/**
 * `publish(q, now, at, count)` reads `count` messages from ARGV, three arguments each:
 *
 * 1. the body from its rank on, 2. id, 3. `""` for a message without options, else due, expiry, rank, `1` for one with a group, each
 * behind a bar, and `R` for a dead letter that comes back or the dedupe key as `k` (keep) or `r` (replace), window, `|`, key. Due is `""` for
 * now, `+ms` after acceptance or `@ms` at a time; so is expiry.
 *
 * It answers one text each: `""` for accepted, else the id that is there already. O(log n) per message.
 */
export const publishing = `
local idWindow = 300000

-- Which of the two id tables is written; the other one is dropped when the window has passed.
local function idTables(q, now)
  local which, since = metaOf(q).which, metaOf(q).since
  if now - since >= idWindow or now < since - day then
    which = which == 'a' and 'b' or 'a'
    redis.call('UNLINK', which == 'a' and q.ia or q.ib)
    redis.call('HSET', q.o, 'table', which, 'since', text(now))
  end
  if which == 'a' then return q.ia, q.ib end
  return q.ib, q.ia
end

local function momentOf(spec, now)
  local kind = string.sub(spec, 1, 1)
  if kind == '+' then return now + tonumber(string.sub(spec, 2)) end
  if kind == '@' then return tonumber(string.sub(spec, 2)) end
  return nil
end

local largest = 9007199254740991

local function timesOf(dueSpec, expirySpec, now)
  local notBefore = momentOf(dueSpec, now)
  local expires = momentOf(expirySpec, now)
  if notBefore then notBefore = math.min(notBefore, largest) end
  return {
    -- A time in the past counts as now: nobody gets in front of those who wait already.
    due = notBefore and math.max(now, notBefore) or now,
    notBefore = notBefore and text(notBefore) or '',
    expires = expires and text(math.min(expires, largest)) or ''
  }
end

local function bodyOf(now, times, rest)
  return table.concat({ text(now), text(times.due), times.expires, times.notBefore, rest }, '|')
end

-- Gives the waiting message of a dedupe key another content and due time; its id, group, key and counts stay.
local function replace(q, now, seq, id, times, rest)
  local old = redis.call('HGET', q.m, seq)
  if not old then return end
  local was = readBody(old)
  local s = stateOf(q, seq)
  if was.id ~= id or s.claim ~= '' then return end
  takeOut(q, seq, s)
  local new = readBody(bodyOf(now, times, rest))
  local whole = bodyOf(now, times, rest)
  local newName = new.at + new.il + (new.gl == '' and 0 or new.gl)
  local oldName = was.at + was.il + (was.gl == '' and 0 or was.gl)
  local lengths = table.concat({
    was.enqueued, text(times.due), times.expires, times.notBefore, new.rank, was.il, was.gl, new.nl, was.dl, new.hl, ''
  }, '|')
  redis.call('HSET', q.m, seq, lengths
    .. string.sub(old, was.at, oldName - 1)
    .. string.sub(whole, newName, newName + new.nl - 1)
    .. string.sub(old, oldName + was.nl, oldName + was.nl + was.dl - 1)
    .. string.sub(whole, newName + new.nl + new.dl))
  s.rank = new.rank
  s.due = times.due
  s.expires = times.expires
  if redis.call('HEXISTS', q.t, seq) == 1 then save(q, seq, s) end
  enter(q, seq, s, now)
end

-- The message a dedupe key belongs to; nil: the key is free.
local function marked(q, now, key)
  local mark = redis.call('HGET', q.k, key)
  if not mark then return nil end
  local till, seq, at = string.match(mark, '^(%d+)|(%d+)|()')
  if tonumber(till) <= now then return nil end
  return seq, string.sub(mark, at)
end

local function forgetKeys(q, now, limit)
  local over = redis.call('ZRANGEBYSCORE', q.kx, '-inf', now, 'LIMIT', 0, limit)
  if #over == 0 then return end
  many('HDEL', q.k, over)
  many('ZREM', q.kx, over)
end

local function publish(q, now, at, count)
  local ids = {}
  for i = 1, count do ids[i] = ARGV[at + (i - 1) * 3 + 1] end
  local written, former = idTables(q, now)
  local known, earlier = manyGet(written, ids), manyGet(former, ids)
  local seq = redis.call('HINCRBY', q.o, 'seq', count) - count
  -- The version of the counts is both together.
  q.counted = true
  local answers, seen, marks, bodies, ready, delayed = {}, {}, {}, {}, {}, {}
  local function remembered(mark) return mark and tonumber(mark) + idWindow > now end
  local plain = timesOf('', '', now)
  local nowText, forgotten = text(now), false
  for i = 1, count do
    local first = at + (i - 1) * 3
    local rest, id, options = ARGV[first], ARGV[first + 1], ARGV[first + 2]
    local times, rank, grouped, dedupe = plain, '0', '0', ''
    if options ~= '' then
      local due, expiry, dedupeAt
      due, expiry, rank, grouped, dedupeAt = string.match(options, '^([^|]*)|([^|]*)|([^|]*)|([01])|()')
      dedupe = string.sub(options, dedupeAt)
      times = timesOf(due, expiry, now)
    end
    answers[i] = ''
    local requeued = dedupe == 'R'
    local fresh = requeued or not (seen[id] or remembered(known[i]) or remembered(earlier[i]))
    if not fresh then answers[i] = id end
    local number = pad(seq + i)
    if fresh and not requeued and dedupe ~= '' then
      if not forgotten then forgetKeys(q, now, count * 2 + 8) end
      forgotten = true
      local mode, window, key = string.match(dedupe, '^(.)(%d+)|()')
      key = string.sub(dedupe, key)
      -- An earlier message of this batch may hold the key.
      many('HSET', q.m, bodies); many('ZADD', q.r, ready); many('ZADD', q.d, delayed)
      bodies, ready, delayed = {}, {}, {}
      local held, first = marked(q, now, key)
      if held then
        fresh = false
        answers[i] = first
        if mode == 'r' then replace(q, now, held, first, times, rest) end
      else
        local till = math.min(now + tonumber(window), largest)
        redis.call('HSET', q.k, key, text(till) .. '|' .. number .. '|' .. id)
        redis.call('ZADD', q.kx, text(till), key)
      end
    end
    if fresh then
      q.changed = true
      if not requeued then
        seen[id] = true
        marks[#marks + 1] = id
        marks[#marks + 1] = nowText
      end
      local body = bodyOf(now, times, rest)
      if grouped == '1' or times.expires ~= '' then
        redis.call('HSET', q.m, number, body)
        enter(q, number, freshState(readBody(body)), now)
      else
        bodies[#bodies + 1] = number
        bodies[#bodies + 1] = body
        if times.due > now then
          delayed[#delayed + 1] = text(times.due)
          delayed[#delayed + 1] = number .. '0' .. rank
        else
          ready[#ready + 1] = rank
          ready[#ready + 1] = pad(times.due) .. number
        end
      end
    end
  end
  many('HSET', q.m, bodies); many('ZADD', q.r, ready); many('ZADD', q.d, delayed); many('HSET', written, marks)
  return answers
end
`
