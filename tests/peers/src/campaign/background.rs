//! SIPp, which registers one user after another meanwhile.

use std::collections::BTreeSet;
use std::net::SocketAddr;

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
        let sip = cluster.sip();
        let views = traffic.during(|| {
            sip.iter().map(|node| View::of(*node, users.iter().cloned(), [])).collect::<Result<Vec<_>>>()
        })?;
        let mut lost = BTreeSet::new();
        for (at, view) in views.iter().enumerate() {
            for (user, _) in view.contacts.iter().filter(|(_, contacts)| contacts.is_empty()) {
                traffic
                    .tally
                    .complain(format!("{user} was registered by SIPp, and is not on node {}", NAMES[at]));
                lost.insert(user.clone());
            }
        }
        traffic.tally.lost += lost.len() as u64;
        Ok(())
    }
}
