//! The side that reads what others changed, from the log of one virtual shard.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::entry::{EngineClock, Entry, LogId};
use super::{EngineError, Shared};
use crate::backoff::Backoff;
use crate::driver::{unless, until_true};

/// Entries that are read at once.
const ENTRIES: usize = 256;
/// How long the engine holds back an answer while there is nothing new, at most; a quarter of the timeout if that is less.
const BLOCK: Duration = Duration::from_secs(1);

/// `(id, fields)` of each entry of each log.
type Read = Option<Vec<(String, Vec<(String, Vec<Vec<u8>>)>)>>;

/// Reads until it is time to close.
pub(super) async fn keep_listening(shared: Arc<Shared>, lane: usize) {
    let mut closing = shared.pace.closing.clone();
    let mut backoff = Backoff::new();
    loop {
        let began = Instant::now();
        let Some(Err(error)) = unless(&mut closing, listen(&shared, lane)).await else { return };
        // One that was read from was a good one.
        if shared.lanes[lane].progress().heard_at >= Some(began) {
            backoff.reset();
        }
        shared.is_away(lane, &error);
        tokio::select! {
            () = shared.servers.wait(&mut backoff) => {}
            () = until_true(&mut closing) => return,
        }
    }
}

async fn listen(shared: &Shared, lane: usize) -> Result<Infallible, EngineError> {
    let block = BLOCK.min(shared.replica.options.peer_timeout / 4);
    let mut connection = shared.servers.connect(lane, block).await?;
    let time = redis::cmd("TIME").query_async(&mut connection).await?;
    let clock = EngineClock::of(time, Instant::now());
    let mut read_to = begin(shared, lane, &mut connection).await?;
    let mut read = redis::cmd("XREAD");
    read.arg("COUNT")
        .arg(ENTRIES)
        .arg("BLOCK")
        .arg(block.as_millis())
        .arg("STREAMS")
        .arg(shared.names.log(lane));
    loop {
        let asked = shared.replica.clock.now(Instant::now());
        let found: Read = read.clone().arg(read_to.to_string()).query_async(&mut connection).await?;
        let entries = found.into_iter().flatten().flat_map(|(_, entries)| entries);
        let mut count = 0;
        for (id, fields) in entries {
            let id: LogId = id.parse()?;
            take(shared, lane, read_to, &fields, clock)?;
            (read_to, count) = (id, count + 1);
        }
        // One by one, what they are read for could not go on before the last.
        shared.lanes[lane].set_read_to(read_to);
        shared.is_back(lane);
        shared.lanes[lane].heard(Instant::now(), Some(asked).filter(|_| count < ENTRIES));
        shared.note();
    }
}

/// Where reading goes on: after the last entry that was read, if the log still has it.
async fn begin(shared: &Shared, lane: usize, connection: &mut Connection) -> Result<LogId, EngineError> {
    let head: Option<String> = redis::cmd("GET").arg(shared.names.head(lane)).query_async(connection).await?;
    let head = head.map(|id| id.parse()).transpose()?.unwrap_or_default();
    match shared.lanes[lane].read_to() {
        Some(read_to) if read_to <= head => Ok(read_to),
        // Nothing was read yet; or the engine has lost what was.
        _ => {
            shared.lanes[lane].set_read_to(head);
            shared.miss(lane);
            Ok(head)
        }
    }
}

/// Takes a change. If it does not follow the last one, some were forgotten before they were read, or were lost and others are
/// in their place.
fn take(
    shared: &Shared,
    lane: usize,
    read_to: LogId,
    fields: &[Vec<u8>],
    clock: EngineClock,
) -> Result<(), EngineError> {
    let (now, unix_ms) = (Instant::now(), (shared.pace.unix_ms)());
    let entry = Entry::read(fields)?;
    if entry.after != read_to {
        shared.miss(lane);
    }
    let records = entry.records(clock.ms(now), unix_ms)?;
    for place in records.iter().filter_map(|record| record.place) {
        shared.replica.clock.observe(now, place.version.stamp);
    }
    shared.replica.give(now, unix_ms, &records);
    Ok(())
}
