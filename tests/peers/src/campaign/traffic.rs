//! All agents, on one thread: each waits for answers, for requests, or for its time to come.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::agent::{Agent, Role};
use super::publisher::Publisher;
use super::registrant::Registrant;
use super::scene::{Nodes, Scene, Truth};
use super::tally::Tally;
use super::watcher::Watcher;

/// How many agents there are.
pub(crate) const REGISTRANTS: usize = 24;
pub(crate) const PUBLISHERS: usize = 15;
pub(crate) const WATCHERS: usize = 30;
/// Every so many agents rest first.
const FIRST_TO_REST: usize = 3;

/// Who begins nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    Nobody,
    /// A third of the registrants and publishers.
    Some,
    All,
}

impl Rest {
    /// Whether the agent of a number is at rest.
    pub(crate) fn includes(self, number: usize) -> bool {
        match self {
            Self::Nobody => false,
            Self::Some => number.is_multiple_of(FIRST_TO_REST),
            Self::All => true,
        }
    }
}

/// The agents, and what they know together.
pub(crate) struct Traffic {
    pub(crate) registrants: Vec<Agent<Registrant>>,
    pub(crate) publishers: Vec<Agent<Publisher>>,
    pub(crate) watchers: Vec<Agent<Watcher>>,
    pub(crate) nodes: Nodes,
    pub(crate) truth: Truth,
    pub(crate) tally: Tally,
    pub(crate) rest: Rest,
    rng: StdRng,
}

impl Traffic {
    /// Agents that are spread over the nodes.
    pub(crate) fn new(sip: Vec<SocketAddr>, seed: u64) -> Result<Self> {
        let now = Instant::now();
        let count = sip.len();
        Ok(Self {
            registrants: (0..REGISTRANTS)
                .map(|number| Agent::new(Registrant::new(number), number % count, now))
                .collect::<Result<_>>()?,
            publishers: (0..PUBLISHERS)
                .map(|number| Agent::new(Publisher::new(number), number % count, now))
                .collect::<Result<_>>()?,
            watchers: (0..WATCHERS)
                .map(|number| Agent::new(Watcher::new(number, number % PUBLISHERS), number % count, now))
                .collect::<Result<_>>()?,
            nodes: Nodes { lives: vec![0; count], sip, deaf: BTreeSet::new() },
            truth: Truth(vec![Default::default(); PUBLISHERS]),
            tally: Tally::default(),
            rest: Rest::Nobody,
            rng: StdRng::seed_from_u64(seed),
        })
    }

    /// Lets the agents act until something is so, for `limit` at most; returns whether it is.
    pub(crate) fn run_until(
        &mut self,
        limit: Duration,
        mut is_so: impl FnMut(&Self) -> bool,
    ) -> Result<bool> {
        let until = Instant::now() + limit;
        while !is_so(self) {
            if Instant::now() >= until {
                return Ok(false);
            }
            self.turn(until, None)?;
        }
        Ok(true)
    }

    /// Lets the agents act for that long.
    pub(crate) fn run_for(&mut self, time: Duration) -> Result<()> {
        self.run_until(time, |_| false).map(drop)
    }

    /// Lets the agents act while something else is done.
    pub(crate) fn during<T: Send>(&mut self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let (here, there) = UnixStream::pair()?;
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                let result = work();
                // Whoever waits hears that it is closed.
                drop(there);
                result
            });
            while !worker.is_finished() {
                self.turn(Instant::now() + Duration::from_secs(1), Some(&here))?;
            }
            worker.join().map_err(|_| anyhow!("a panic"))?
        })
    }

    /// Whether no request is under way.
    pub(crate) fn is_idle(&self) -> bool {
        !self.registrants.iter().any(Agent::is_busy)
            && !self.publishers.iter().any(Agent::is_busy)
            && !self.watchers.iter().any(Agent::is_busy)
    }

    /// Those nodes are hit: from now on it counts how long their agents wait.
    pub(crate) fn hit(&mut self, nodes: &[usize]) {
        let now = Instant::now();
        strike(&mut self.registrants, nodes, now);
        strike(&mut self.publishers, nodes, now);
        strike(&mut self.watchers, nodes, now);
    }

    /// What a node knew of its watchers it may have forgotten.
    pub(crate) fn begin_life(&mut self, node: usize) {
        self.nodes.lives[node] += 1;
    }

    /// Waits once, until something comes, somebody is due, or the bell is closed.
    fn turn(&mut self, until: Instant, bell: Option<&UnixStream>) -> Result<()> {
        let rest = self.rest;
        let due = (self.registrants.iter().enumerate().map(|(at, agent)| agent.due(rest.includes(at))))
            .chain(self.publishers.iter().enumerate().map(|(at, agent)| agent.due(rest.includes(at))))
            .chain(self.watchers.iter().map(|agent| agent.due(rest == Rest::All)));
        let due = due.flatten().min().map_or(until, |due| due.min(until));
        let sockets = (self.registrants.iter().map(|agent| agent.socket.as_fd()))
            .chain(self.publishers.iter().map(|agent| agent.socket.as_fd()))
            .chain(self.watchers.iter().map(|agent| agent.socket.as_fd()))
            .chain(bell.map(AsFd::as_fd));
        let mut waiting: Vec<_> = sockets.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let wait = Timespec::try_from(due.saturating_duration_since(Instant::now()))?;
        poll(&mut waiting, Some(&wait))?;
        let ready: Vec<bool> = waiting.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(waiting);

        let Self { registrants, publishers, watchers, nodes, truth, tally, rng, .. } = self;
        let mut scene = Scene { now: Instant::now(), rng, nodes, truth, tally };
        let (of_registrants, others) = ready.split_at(registrants.len());
        let (of_publishers, of_watchers) = others.split_at(publishers.len());
        // First those who hear of what is written, so that who is told of it can know.
        serve(registrants, of_registrants, &mut scene, |at| rest.includes(at))?;
        serve(publishers, of_publishers, &mut scene, |at| rest.includes(at))?;
        serve(watchers, of_watchers, &mut scene, |_| rest == Rest::All)
    }
}

fn serve<R: Role>(
    agents: &mut [Agent<R>],
    ready: &[bool],
    scene: &mut Scene<'_>,
    is_at_rest: impl Fn(usize) -> bool,
) -> Result<()> {
    for ((at, agent), is_ready) in agents.iter_mut().enumerate().zip(ready) {
        if *is_ready {
            agent.receive(scene)?;
        }
        if agent.due(is_at_rest(at)).is_some_and(|due| due <= scene.now) {
            agent.act(scene, is_at_rest(at))?;
        }
    }
    Ok(())
}

fn strike<R: Role>(agents: &mut [Agent<R>], nodes: &[usize], now: Instant) {
    for agent in agents {
        agent.hit_at = nodes.contains(&agent.node).then_some(now);
    }
}
