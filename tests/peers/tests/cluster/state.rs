//! What one node is told, the others have: what the battery does not say for every way to keep state.

use anyhow::Result;
use peers::{UserAgent, contacts, pidf, publish, register};

use crate::nodes::{BINDINGS, PUBLICATIONS, Plan, pair};

#[test]
fn three_nodes_have_the_same() -> Result<()> {
    let plan = Plan::new(&["a", "b", "c"], "")?;
    let mut nodes = plan.start()?;
    for (at, node) in nodes.iter().enumerate() {
        let mut agent = UserAgent::udp(node.sip())?;
        register(&mut agent, &format!("user-{at}"), 1, "Contact: <sip:u@192.0.2.1>")?;
    }
    for node in &mut nodes {
        node.wait_for_metric(BINDINGS, 3.0)?;
        assert_eq!(node.metric("rollcall_replication_unreadable_total")?, 0.0);
    }
    for user in 0..3 {
        assert_eq!(contacts(&nodes[(user + 1) % 3], &format!("user-{user}"))?, ["<sip:u@192.0.2.1"]);
    }
    Ok(())
}

/// Publications stay where they were made if the configuration says so; bindings do not.
#[test]
fn publications_can_be_left_out() -> Result<()> {
    let (_plan, a, mut b) = pair("publications = false")?;
    let mut alice = UserAgent::udp(a.sip())?;
    publish(&mut alice, "", &pidf("desk", "open"))?;
    register(&mut alice, "alice", 1, "Contact: <sip:alice@{here}>")?;
    b.wait_for_metric(BINDINGS, 1.0)?;
    assert_eq!(a.metric(PUBLICATIONS)?, 1.0);
    assert_eq!(b.metric(PUBLICATIONS)?, 0.0);
    Ok(())
}
