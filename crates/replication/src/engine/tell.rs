//! The side that tells the engine what changed here, for one virtual shard.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::connection::Connection;
use super::entry::{LogId, Stored};
use super::lane::Lane;
use super::{Again, EngineError, Shared, script};
use crate::backoff::Backoff;
use crate::driver::{unless, until_true};
use crate::outlog::Forgotten;
use crate::{frame, record};

/// Octets of changes that are sent at once, about.
const BATCH_BYTES: usize = 256 << 10;

/// Tells the engine until it is time to close.
pub(super) async fn keep_telling(shared: Arc<Shared>, lane: usize, mut again: mpsc::Receiver<Again>) {
    let mut closing = shared.pace.closing.clone();
    let mut backoff = Backoff::new();
    let mut teller =
        Teller { shared: &shared, lane, sent: 0, missed: 0, unheard: VecDeque::new(), again: None };
    loop {
        let Some(Err(error)) = unless(&mut closing, teller.tell(&mut again)).await else { return };
        shared.replica.outlog.set_acked(lane, None);
        if shared.lanes[lane].progress().is_telling {
            shared.lanes[lane].told(None);
            backoff.reset();
        }
        shared.is_away(lane, &error);
        tokio::select! {
            () = shared.servers.wait(&mut backoff) => {}
            () = until_true(&mut closing) => return,
        }
    }
}

struct Teller<'a> {
    shared: &'a Shared,
    lane: usize,
    /// The last group of which the engine has all that is this shard's.
    sent: u64,
    /// It may lack some of the groups up to this one, until all is compared.
    missed: u64,
    /// What was sent and not read in the log yet, with the group before it: after a failover it may be lost.
    unheard: VecDeque<(LogId, u64)>,
    /// What is being said again.
    again: Option<Again>,
}

/// What a server has to know a change of this node by.
struct Session {
    connection: Connection,
    change: String,
    enter: String,
    epoch: String,
}

impl Teller<'_> {
    /// Connects, and tells until that ends.
    async fn tell(&mut self, again: &mut mpsc::Receiver<Again>) -> Result<Infallible, EngineError> {
        let mut connection = self.shared.servers.connect(self.lane, Duration::ZERO).await?;
        let change = script::load(&mut connection, script::CHANGE).await?;
        let enter = script::load(&mut connection, script::ENTER).await?;
        let mut session = Session { connection, change, enter, epoch: String::new() };
        let mut wakes = self.shared.pace.wakes.clone();
        loop {
            self.enter(&mut session).await?;
            self.go_back();
            self.acknowledge(self.sent);
            let Err(error) = self.go_on(&mut session, again, &mut wakes).await;
            if !error.is_fenced() {
                return Err(error);
            }
            self.shared.replica.metrics.fenced.inc();
            tracing::warn!(shard = self.lane, "others acted for this node: it reads what they did");
        }
    }

    /// Takes a new epoch in the shard, and reads what others did before it.
    async fn enter(&self, session: &mut Session) -> Result<(), EngineError> {
        let Shared { names, replica, .. } = self.shared;
        let mut evaluate = redis::cmd("EVALSHA");
        evaluate.arg(&session.enter).arg(2).arg(names.head(self.lane)).arg(names.fences(self.lane));
        evaluate.arg(Shared::id(replica.node));
        let (epoch, head): (String, String) = evaluate.query_async(&mut session.connection).await?;
        session.epoch = epoch;
        self.place().wait_read(head.parse()?).await
    }

    async fn go_on(
        &mut self,
        session: &mut Session,
        again: &mut mpsc::Receiver<Again>,
        wakes: &mut watch::Receiver<()>,
    ) -> Result<Infallible, EngineError> {
        loop {
            let is_idle = !self.tell_next(session).await?;
            if self.again.is_none() {
                self.again = again.try_recv().ok();
            }
            if self.again.is_some() {
                self.say_again(session).await?;
            } else if is_idle {
                tokio::select! {
                    // Neither ends before this does.
                    _ = wakes.changed() => {}
                    said = again.recv() => self.again = said,
                }
            }
        }
    }

    /// What was sent and is not in the log, as far as it was read, is sent once more.
    fn go_back(&mut self) {
        self.forget_heard();
        if let Some((_, before)) = self.unheard.front() {
            self.sent = *before;
        }
        self.unheard.clear();
    }

    fn forget_heard(&mut self) {
        let read_to = self.place().read_to();
        while self.unheard.front().is_some_and(|(id, _)| Some(*id) <= read_to) {
            self.unheard.pop_front();
        }
    }

    /// Sends the next few groups; `false` if there are none.
    async fn tell_next(&mut self, session: &mut Session) -> Result<bool, EngineError> {
        let outlog = &self.shared.replica.outlog;
        let (mut to, mut changes) = (self.sent, Vec::new());
        while changes.len() < BATCH_BYTES {
            match outlog.after(to) {
                Ok(Some(group)) => {
                    to = group.number;
                    changes.extend_from_slice(group.of_lane(self.lane));
                }
                Ok(None) => break,
                // It was away for too long: all has to be compared.
                Err(Forgotten) => {
                    (self.sent, self.missed) = (outlog.last(), outlog.last());
                    self.acknowledge(self.sent);
                    self.shared.miss(self.lane);
                    return Ok(true);
                }
            }
        }
        if to == self.sent {
            return Ok(false);
        }
        if let Some(id) = self.send(session, &changes).await? {
            self.forget_heard();
            self.unheard.push_back((id, self.sent));
            for gathered_at in outlog.gathered_at(self.sent, to) {
                self.shared.replica.metrics.ack_duration.observe(gathered_at.elapsed().as_secs_f64());
            }
        }
        self.acknowledge(to);
        Ok(true)
    }

    /// Sends what is to be said again; if that fails, it is sent once more over the next connection.
    async fn say_again(&mut self, session: &mut Session) -> Result<(), EngineError> {
        match &self.again {
            Some(Again::Changes(changes)) => drop(self.send(session, changes).await?),
            Some(Again::Done) if !self.place().is_comparison_due() => {
                self.missed = 0;
                self.acknowledge(self.sent);
            }
            Some(Again::Done) | None => {}
        }
        self.again = None;
        Ok(())
    }

    /// Sends changes, and returns the last entry that came of them.
    async fn send(&self, session: &mut Session, changes: &[u8]) -> Result<Option<LogId>, EngineError> {
        let Shared { replica, names, .. } = self.shared;
        let node = Shared::id(replica.node);
        let now_ms = replica.scale(Instant::now());
        let mut pipe = redis::pipe();
        let mut count = 0;
        for change in frame::each(changes) {
            let records = record::read(change)?;
            let stored: Vec<Stored> =
                records.iter().filter_map(|record| Stored::of(names, record, now_ms)).collect();
            let command = pipe.cmd("EVALSHA").arg(&session.change).arg(3 + stored.len());
            command.arg(names.log(self.lane)).arg(names.head(self.lane)).arg(names.fences(self.lane));
            for record in &stored {
                command.arg(&record.name);
            }
            command.arg(&node).arg(&session.epoch).arg(self.shared.log_entries_max);
            command.arg(names.record_prefix_bytes());
            for record in &stored {
                command.arg(record.life_ms).arg(&record.value);
            }
            count += 1;
        }
        if count == 0 {
            return Ok(None);
        }
        let entries: Vec<Option<String>> = pipe.query_async(&mut session.connection).await?;
        let last = entries.iter().flatten().next_back();
        Ok(last.map(|id| id.parse()).transpose()?)
    }

    fn acknowledge(&mut self, sent: u64) {
        self.sent = sent;
        self.place().told(Some(sent));
        self.shared.replica.outlog.set_acked(self.lane, Some((self.missed, sent)));
    }

    fn place(&self) -> &Lane {
        &self.shared.lanes[self.lane]
    }
}
