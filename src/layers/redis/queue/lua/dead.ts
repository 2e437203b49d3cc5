/** Lua of the queue scripts: dead letters. */

/**
 * `D` orders them by the number of their death, each member with its time and id; `db` has the records, `di` finds them by id. A record
 * is attempt|deliveries|died|lengths of reason and error|, these two and the body.
 */
export const deadLetters = `
local deadPattern = '^(%d+)|(%d+)|(%d+)|(%d+)|(%d*)|()'

-- The numbers of all letters of an id, oldest first.
local function lettersOf(q, id)
  local prefix = #id .. ':' .. id
  local found = redis.call('ZRANGEBYLEX', q.di, '[' .. prefix, '(' .. prefix .. ':')
  local numbers = {}
  for i = 1, #found do
    -- Digits alone may follow: an id that goes on behind this one has another length in front.
    numbers[i] = string.sub(found[i], #prefix + 1)
  end
  return numbers
end

-- Takes one letter away by its number; answers its record.
local function takeLetter(q, n)
  local member = redis.call('ZRANGEBYSCORE', q.D, n, n)[1]
  local record = redis.call('HGET', q.db, n)
  if not member or not record then return nil end
  local id = string.match(member, '^%d+|%d+|(.*)$')
  redis.call('ZREM', q.D, member)
  redis.call('HDEL', q.db, n)
  redis.call('ZREM', q.di, #id .. ':' .. id .. n)
  q.changed = true
  return record
end

-- Back into the queue, due now, without its old time to live, at the tail of its group.
local function revive(q, now, record)
  local _, deliveries, _, rl, el, at = string.match(record, deadPattern)
  local body = string.sub(record, at + rl + (el == '' and 0 or el))
  local was = readBody(body)
  local seq = pad(redis.call('HINCRBY', q.o, 'seq', 1))
  redis.call('HSET', q.m, seq, table.concat({
    was.enqueued, text(now), '', '', was.rank, was.il, was.gl, was.nl, was.dl, was.hl, ''
  }, '|') .. string.sub(body, was.at))
  local s = freshState({ due = now, grouped = was.grouped, expires = '', rank = was.rank, id = was.id })
  s.deliveries = tonumber(deliveries)
  save(q, seq, s)
  enter(q, seq, s, now)
end

-- Keeps the letters within a number and an age (0: no limit), at most 100 a call; true: there is more to drop.
local function trimLetters(q, now, most, age)
  local dropped = 0
  while dropped < 100 do
    local oldest = redis.call('ZRANGE', q.D, 0, 0)[1]
    if not oldest then return false end
    local n, died = string.match(oldest, '^(%d+)|(%d+)|')
    local over = (most > 0 and redis.call('ZCARD', q.D) > most) or (age > 0 and tonumber(died) + age <= now)
    if not over then return false end
    takeLetter(q, n)
    dropped = dropped + 1
  end
  return true
end
`
