//! SIPp, which registers one user after another meanwhile.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::cluster::{Cluster, NAMES};
use super::traffic::Traffic;
use super::view::View;
use crate::ports::free_port;
use crate::sipp::{Scenario, Sipp};

/// Users of one round, at most.
const USERS_MAX: usize = 1_000;
/// Registrations a second.
const RATE: u32 = 40;

/// How long nodes may take to hear of what was acknowledged last.
const LIMIT: Duration = Duration::from_secs(5);

/// SIPp at one node.
pub(crate) struct Background {
    sipp: Sipp,
}

impl Background {
    /// Starts it; users are of this round alone.
    pub(crate) fn start(node: SocketAddr, round: u64) -> Result<Self> {
        let users: Vec<String> = (0..USERS_MAX).map(|user| format!("s{round}-{user}")).collect();
        let sipp = Sipp::background(Scenario::REGISTER_OPEN, free_port()?, node, RATE, &users)?;
        Ok(Self { sipp })
    }

    /// Ends it. Each user whose REGISTER was acknowledged has to be registered on all nodes.
    pub(crate) fn finish(self, cluster: &Cluster, traffic: &mut Traffic) -> Result<()> {
        let received = self.sipp.stop()?.received;
        let acknowledged =
            received.iter().filter(|response| response.start_line().starts_with("SIP/2.0 200"));
        let user = |to: &str| Some(to.split_once("sip:")?.1.split('@').next()?.to_owned());
        let users: BTreeSet<String> =
            acknowledged.filter_map(|response| user(response.header("To"))).collect();
        traffic.tally.acknowledged += users.len() as u64;
        // The last of them may be on their way to one of the nodes yet.
        let until = Instant::now() + LIMIT;
        let sip = cluster.sip();
        let missing = loop {
            let missing = traffic.during(|| missing(&sip, &users))?;
            if missing.is_empty() || Instant::now() > until {
                break missing;
            }
        };
        let lost: BTreeSet<&String> = missing.iter().map(|(user, _)| user).collect();
        for (user, node) in &missing {
            traffic.tally.complain(format!("{user} was registered by SIPp, and is not on node {node}"));
        }
        traffic.tally.lost += lost.len() as u64;
        Ok(())
    }
}

/// Those of some users that are not registered, with the node that does not have them.
fn missing(nodes: &[SocketAddr], users: &BTreeSet<String>) -> Result<Vec<(String, &'static str)>> {
    let mut missing = Vec::new();
    for (node, name) in nodes.iter().zip(NAMES) {
        let contacts = View::of(*node, users.iter().cloned(), [])?.contacts;
        let of_none = contacts.into_iter().filter(|(_, contacts)| contacts.is_empty());
        missing.extend(of_none.map(|(user, _)| (user, name)));
    }
    Ok(missing)
}
