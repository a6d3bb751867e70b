//! Two people with baresip, a client that knows nothing of us.

use std::time::Duration;

use anyhow::Result;
use peers::{Account, Baresip, Rollcall};

/// baresip waits a second here and there before it does something.
const LIMIT: Duration = Duration::from_secs(15);

const CONFIG: &str = r#"
[auth]
enabled = true
algorithms = ["MD5"]
[[domain]]
name = "example.test"
[[user]]
aor = "sip:alice@example.test"
password = "wonderland"
[[user]]
aor = "sip:bob@example.test"
password = "builder"
"#;

const ALICE: Account<'_> = Account {
    user: "alice",
    domain: "example.test",
    password: "wonderland",
    answers: false,
    publishes: false,
    watches: None,
};
const BOB: Account<'_> = Account {
    user: "bob",
    domain: "example.test",
    password: "builder",
    answers: true,
    publishes: false,
    watches: None,
};

fn start(server: &Rollcall, account: &Account<'_>) -> Result<Baresip> {
    let mut baresip = Baresip::start(server.sip(), account)?;
    baresip.wait_for("200 OK () [1 binding]", LIMIT)?;
    Ok(baresip)
}

/// Both register with digest (RFC 3261 §10.2, §22.2). One calls and the other answers (RFC 3261 §13.2, §13.3); who called
/// hangs up (RFC 3261 §15.1).
#[test]
fn two_people_register_and_call() -> Result<()> {
    let mut server = Rollcall::start(CONFIG)?;
    let (mut alice, mut bob) = (start(&server, &ALICE)?, start(&server, &BOB)?);
    assert_eq!(server.metric("rollcall_registrar_bindings{domain=\"example.test\"}")?, 2.0);

    alice.command("dial", "sip:bob@example.test")?;
    bob.wait_for("Call established: sip:alice@example.test", LIMIT)?;
    alice.wait_for("Call established: sip:bob@example.test", LIMIT)?;
    for side in [&mut alice, &mut bob] {
        let calls = side.command("listcalls", "")?;
        assert!(calls.contains("ESTABLISHED"), "{calls}");
    }

    alice.command("hangup", "")?;
    alice.wait_for("CALL_CLOSED", LIMIT)?;
    bob.wait_for("sip:alice@example.test: session closed", LIMIT)?;
    server.wait_for_metric("rollcall_responses_total{code=\"200\",method=\"BYE\"}", 1.0)?;
    for side in [&mut alice, &mut bob] {
        let calls = side.command("listcalls", "")?;
        assert!(!calls.contains("ESTABLISHED"), "{calls}");
    }
    Ok(())
}

/// Alice publishes what she says of herself (RFC 3903 §4.1), and Bob's contact list follows (RFC 3856 §5, RFC 6665
/// §4.2.2).
#[test]
fn one_publishes_and_the_other_sees_the_change() -> Result<()> {
    let server = Rollcall::start(CONFIG)?;
    let mut alice = start(&server, &Account { publishes: true, ..ALICE })?;
    alice.wait_for("SIP-ETag:", LIMIT)?;
    let mut bob = start(&server, &Account { watches: Some("alice@example.test"), ..BOB })?;
    bob.wait_for("NOTIFY sip:bob", LIMIT)?;
    bob.wait_for("<basic>open</basic>", LIMIT)?;

    alice.command("presence_offline", "")?;
    bob.wait_for("<sip:alice@example.test> changed status from Online to Offline", LIMIT)?;
    alice.command("presence_online", "")?;
    bob.wait_for("<sip:alice@example.test> changed status from Offline to Online", LIMIT)?;
    let contacts = bob.command("contacts", "")?;
    assert!(contacts.contains("Online"), "{contacts}");

    let metrics = server.metrics()?;
    // baresip may publish twice when it starts, each time as if it were the first; the later one is the one that it
    // modifies afterwards, and the one that counts (RFC 3903 §4.1).
    let publications = metrics.sum("rollcall_presence_publications{domain=\"example.test\"}")?;
    assert!((1.0..=2.0).contains(&publications), "{publications}");
    assert_eq!(metrics.sum("rollcall_subscriptions{domain=\"example.test\",event=\"presence\"}")?, 1.0);
    Ok(())
}
