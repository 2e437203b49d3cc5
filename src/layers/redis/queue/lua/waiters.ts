/** Lua of the queue scripts: who waits for a message, and who is woken. */

/**
 * `w` holds the idle workers, each with the time at which it looks by itself. A script that leaves something to do before that time
 * wakes one: it is taken out of `w` and told on its process's channel. A channel without receivers means that the process is gone,
 * and the next worker is told. So one message wakes one worker and not all of them.
 */
export const waiters = `
-- A worker that has not looked this long after it said it would is gone, or about to look.
local overdue = 2000

-- When time alone makes something claimable; nil: never.
local function nextTime(q)
  local first
  local function earlier(key)
    local found = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
    if found and (not first or tonumber(found) < first) then first = tonumber(found) end
  end
  earlier(q.d)
  earlier(q.c)
  -- The end of a head frees its line.
  if redis.call('ZCARD', q.l) > 0 then earlier(q.x) end
  return first
end

-- Wakes the next one, of another channel than \`but\` if there is such a one among the next hundred. Answers its channel, nil: nobody waits.
local function wakeOne(q, but)
  while true do
    local members = redis.call('ZRANGE', q.w, 0, but and 99 or 0)
    local member = members[1]
    if not member then return nil end
    for i = 1, but and #members or 0 do
      if string.sub(members[i], 1, #but + 1) ~= but .. '\\n' then
        member = members[i]
        break
      end
    end
    redis.call('ZREM', q.w, member)
    local at = string.find(member, '\\n', 1, true)
    local channel = string.sub(member, 1, at - 1)
    local heard = redis.call('PUBLISH', channel, string.sub(member, at + 1))
    -- In a Cluster the count is that of one node only.
    if heard > 0 or q.uncounted then return channel end
  end
end

local function wake(q, count)
  while count > 0 and wakeOne(q) do count = count - 1 end
end

-- The end of every script. \`claimed\`: the caller just took messages, so of many ready ones it wakes one and that one the next.
local function finish(q, now, claimed)
  if q.changed then
    if not q.counted then redis.call('HINCRBY', q.o, 'version', 1) end
    if metaOf(q).watch > now then redis.call('PUBLISH', q.o, '') end
  end
  local first = redis.call('ZRANGE', q.w, 0, 0, 'WITHSCORES')[2]
  if not first then return end
  if tonumber(first) < now - overdue then
    redis.call('ZREMRANGEBYSCORE', q.w, '-inf', now - overdue)
    first = redis.call('ZRANGE', q.w, 0, 0, 'WITHSCORES')[2]
    if not first then return end
  end
  if metaOf(q).paused then return end
  local ready = redis.call('ZCARD', q.r)
  if ready > 0 then
    wake(q, claimed and 1 or math.min(ready, 8))
  else
    local soon = nextTime(q)
    if soon and soon < tonumber(first) then
      -- Two of different processes, so that one that dies does not take the moment with it.
      local channel = wakeOne(q)
      if channel then wakeOne(q, channel) end
    end
  end
end
`
