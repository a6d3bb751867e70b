//! What has to be so when a fault is over.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::cluster::{Cluster, NAMES};
use super::traffic::{PUBLISHERS, REGISTRANTS, Rest, Traffic};
use super::view::View;

/// How long nodes may take to have the same, and watchers to be told.
const LIMIT: Duration = Duration::from_secs(15);

/// How long watchers may take until it is asked again what they should have been told.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// Asks all nodes, while the agents act: what those agents write that are at rest.
fn views(cluster: &Cluster, traffic: &mut Traffic, rest: Rest) -> Result<Vec<View>> {
    let users: Vec<String> =
        (0..REGISTRANTS).filter(|at| rest.includes(*at)).map(|at| format!("r{at}")).collect();
    let publishers: Vec<usize> = (0..PUBLISHERS).filter(|at| rest.includes(*at)).collect();
    let sip = cluster.sip();
    traffic.during(|| {
        let view = |(at, node): (usize, &std::net::SocketAddr)| {
            View::of(*node, users.iter().cloned(), publishers.iter().copied())
                .with_context(|| format!("node {}", NAMES[at]))
        };
        sip.iter().enumerate().map(view).collect()
    })
}

fn are_same(views: &[View]) -> bool {
    views.windows(2).all(|pair| pair[0] == pair[1])
}

/// Waits until all nodes have the same of those agents that are at rest.
pub(crate) fn wait_until_agreed(cluster: &Cluster, traffic: &mut Traffic, since: Instant) -> Result<()> {
    let until = Instant::now() + LIMIT;
    loop {
        let seen = views(cluster, traffic, traffic.rest)?;
        if are_same(&seen) {
            traffic.tally.agreed.push(since.elapsed());
            return Ok(());
        }
        if Instant::now() > until {
            traffic.tally.complain(format!("the nodes do not agree: {}", differences(&seen)));
            return Ok(());
        }
    }
}

/// Waits until all nodes hear each other: who is at rest may agree before by way of a third node.
pub(crate) fn wait_until_connected(cluster: &mut Cluster, traffic: &mut Traffic) -> Result<()> {
    let until = Instant::now() + LIMIT;
    while !traffic.during(|| cluster.is_connected())? {
        if Instant::now() > until {
            traffic.tally.complain("the nodes do not hear each other again".into());
            break;
        }
    }
    Ok(())
}

/// With all agents at rest: what was acknowledged is on all nodes, and every watcher was told.
pub(crate) fn final_state(cluster: &Cluster, traffic: &mut Traffic) -> Result<()> {
    traffic.run_until(LIMIT, Traffic::is_idle)?;
    let until = Instant::now() + LIMIT;
    let seen = loop {
        let seen = views(cluster, traffic, Rest::All)?;
        if (are_same(&seen) && wrong_on(traffic, &seen[0]).is_empty()) || Instant::now() > until {
            break seen;
        }
    };
    if !are_same(&seen) {
        traffic.tally.complain(format!("the nodes do not agree in the end: {}", differences(&seen)));
    }
    let wrong: BTreeSet<Wrong> = seen.iter().flat_map(|view| wrong_on(traffic, view)).collect();
    for Wrong { what, is_lost } in wrong {
        if is_lost {
            traffic.tally.lost += 1;
        } else {
            traffic.tally.came_back += 1;
        }
        traffic.tally.complain(what);
    }
    let until = Instant::now() + LIMIT;
    let mut shown = seen;
    loop {
        let has_last = |traffic: &Traffic| untold(traffic, &shown[0]).is_empty();
        if traffic.run_until(TOLD_WITHIN, has_last)? {
            return Ok(());
        }
        if Instant::now() > until {
            break;
        }
        // A publication may have expired meanwhile.
        shown = views(cluster, traffic, Rest::All)?;
    }
    for what in untold(traffic, &shown[0]) {
        traffic.tally.untold += 1;
        traffic.tally.complain(what);
    }
    Ok(())
}

/// Something that is not as it was acknowledged.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Wrong {
    what: String,
    /// It is missing, or older; else it was removed.
    is_lost: bool,
}

fn wrong_on(traffic: &Traffic, view: &View) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for agent in &traffic.registrants {
        let user = &agent.role.user;
        let there = view.contacts.get(user);
        for (contact, expected) in agent.role.expected() {
            let is_there = there.is_some_and(|there| there.contains(&contact));
            if let Some(is_lost) = expected.filter(|expected| *expected != is_there) {
                let what = format!("{contact} is acknowledged as {is_lost}, and is {is_there}");
                wrong.push(Wrong { what, is_lost });
            }
        }
    }
    let now = Instant::now();
    for (publisher, made) in traffic.truth.0.iter().enumerate() {
        let document = view.documents.get(&publisher);
        for (tuple, made) in made {
            let there = document.and_then(|document| document.0.get(tuple)).copied();
            if let Some(expected) = made.certain(now).filter(|expected| *expected != there) {
                let what =
                    format!("p{publisher}'s {tuple} is acknowledged as {expected:?}, and is {there:?}");
                wrong.push(Wrong { what, is_lost: expected.is_some() });
            }
        }
    }
    wrong
}

/// Watchers whose last document is not what the nodes show.
fn untold(traffic: &Traffic, view: &View) -> Vec<String> {
    let watchers = traffic.watchers.iter().map(|agent| &agent.role);
    watchers
        .filter_map(|watcher| {
            let told = watcher.told()?;
            let shown = view.documents.get(&watcher.of);
            (told != shown).then(|| format!("{} was told {told:?}, not {shown:?}", watcher.name()))
        })
        .collect()
}

fn differences(views: &[View]) -> String {
    let mut text = String::new();
    for (at, view) in views.iter().enumerate() {
        for (user, contacts) in &view.contacts {
            if views.iter().any(|other| other.contacts.get(user) != Some(contacts)) {
                text += &format!("\n  node {} has {user} at {contacts:?}", NAMES[at]);
            }
        }
        for (publisher, document) in &view.documents {
            if views.iter().any(|other| other.documents.get(publisher) != Some(document)) {
                text += &format!("\n  node {} shows p{publisher} as {document:?}", NAMES[at]);
            }
        }
    }
    text
}
