//! What the engine runs whole: one script for each thing that must not be done in halves.

use super::EngineError;
use super::connection::Connection;

/// A change, of one AOR mostly: those of its records that are news are held from now on, and are in the log.
///
/// `KEYS`: log, head, fences, then the records. `ARGV`: node, its epoch, entries that the log keeps, octets of a record's name
/// before its kind, then of each record its life in milliseconds and what it holds. Returns the entry, or nothing if none
/// was news.
pub(super) const CHANGE: &str = r"
local epoch = redis.call('HGET', KEYS[3], ARGV[1])
if epoch ~= ARGV[2] then return redis.error_reply('FENCED by ' .. (epoch or 'nobody')) end
local function is_newer(a, b)
  local a1, a2, a3 = struct.unpack('>I4I4I4', a, 3)
  local b1, b2, b3 = struct.unpack('>I4I4I4', b, 3)
  if a1 ~= b1 then return a1 > b1 end
  if a2 ~= b2 then return a2 > b2 end
  return a3 > b3
end
local skip, news = tonumber(ARGV[4]) + 1, {}
for i = 4, #KEYS do
  local life, value = ARGV[2 * i - 3], ARGV[2 * i - 2]
  local held = redis.call('GETRANGE', KEYS[i], 0, 13)
  if #held < 14 or is_newer(value, held) then
    redis.call('SET', KEYS[i], value, 'PX', life)
    news[#news + 1] = string.sub(KEYS[i], skip)
    news[#news + 1] = value
  end
end
if #news == 0 then return false end
local head = redis.call('GET', KEYS[2]) or '0-0'
local time = redis.call('TIME')
local at = string.format('%d%03d', time[1], math.floor(time[2] / 1000))
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'after', head, 'at', at, unpack(news))
redis.call('SET', KEYS[2], id)
return id
";

/// A node begins to make changes in a shard, or does again: whatever it sent before and is still on its way is refused, and
/// nobody acts for it.
///
/// `KEYS`: head, fences. `ARGV`: node. Returns its epoch, and the last entry of the log.
pub(super) const ENTER: &str = r"
local before = string.match(redis.call('HGET', KEYS[2], ARGV[1]) or '0', '^%d+')
local epoch = string.format('%d', tonumber(before) + 1)
redis.call('HSET', KEYS[2], ARGV[1], epoch)
return {epoch, redis.call('GET', KEYS[1]) or '0-0'}
";

/// A node is gone, and another acts for it in a shard, if nothing has changed there since it looked.
///
/// `KEYS`: head, fences. `ARGV`: who is gone, what its fence was, who acts for it. Returns the last entry of the log, or
/// nothing if somebody else was first.
pub(super) const INHERIT: &str = r"
local seen = redis.call('HGET', KEYS[2], ARGV[1]) or ''
if seen ~= ARGV[2] then return false end
local epoch = tonumber(string.match(seen, '^%d+') or '0') + 1
redis.call('HSET', KEYS[2], ARGV[1], string.format('%d ', epoch) .. ARGV[3])
return redis.call('GET', KEYS[1]) or '0-0'
";

/// A node says that it is there. Who has not for a week is forgotten.
///
/// `KEYS`: nodes. `ARGV`: node, a sign of life that is another each time. Returns its sign before this, and all nodes with
/// theirs.
pub(super) const BEAT: &str = r"
local seconds = redis.call('TIME')[1]
local before = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. seconds)
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if seconds - tonumber(string.match(all[i + 1], '%d+$') or '0') > 604800 then redis.call('HDEL', KEYS[1], all[i]) end
end
return {before or '', all}
";

/// Has a server learn a script. Returns what it is called by from then on, there.
pub(super) async fn load(connection: &mut Connection, script: &str) -> Result<String, EngineError> {
    Ok(redis::cmd("SCRIPT").arg("LOAD").arg(script).query_async(connection).await?)
}
