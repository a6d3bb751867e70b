//! What happens: alice registers and publishes from two devices, bob watches.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use rsip::Method;
use sip_message::{HeaderName, Response};

use super::agent::{Agent, Ask};
use super::document::{Published, explain};

const ENTITY: &str = "sip:alice@localhost";

const PHONE: Published = Published {
    device: "phone",
    contact: "sip:alice@192.0.2.7",
    activity: "on-the-phone",
    note: "Back at three.",
};
const LAPTOP: Published =
    Published { device: "laptop", contact: "im:alice@localhost", activity: "meeting", note: "Chat is fine." };
const LAPTOP_LATER: Published =
    Published { device: "laptop", contact: "im:alice@localhost", activity: "travel", note: "On the train." };

/// Tells it, and fails if anything turns out otherwise.
pub(crate) async fn tell(server: SocketAddr) -> Result<()> {
    let mut phone = Agent::new("alice", server).await?;
    let mut laptop = Agent::new("alice", server).await?;
    let mut bob = Agent::new("bob", server).await?;

    step("alice's phone registers");
    accepted(&phone.ask(&register(&[("Expires", "3600")])).await?)?;
    step("alice's phone publishes");
    let phone_tag = publish(&mut phone, &PHONE).await?;
    step("alice's laptop publishes, too");
    let laptop_tag = publish(&mut laptop, &LAPTOP).await?;

    step("bob subscribes, and is told at once: one document, composed of both");
    let subscribe = Ask {
        method: Method::Subscribe,
        of: Some("alice"),
        to: "alice",
        headers: &[("Event", "presence"), ("Expires", "3600"), ("Accept", "application/pidf+xml")],
        body: "",
    };
    accepted(&bob.ask(&subscribe).await?)?;
    told(&mut bob, &[&PHONE, &LAPTOP], "Back at three.").await?;

    step("alice's laptop publishes something new, and bob is told");
    let laptop_tag = modify(&mut laptop, &LAPTOP_LATER, &laptop_tag).await?;
    told(&mut bob, &[&PHONE, &LAPTOP_LATER], "On the train.").await?;

    step("alice's laptop ends its publication: the phone's is left");
    remove(&mut laptop, &laptop_tag).await?;
    told(&mut bob, &[&PHONE], "Back at three.").await?;

    step("alice's phone ends its publication: she is registered, so she is shown as open");
    remove(&mut phone, &phone_tag).await?;
    told(&mut bob, &[], "<basic>open</basic>").await?;

    step("alice's phone unregisters: she is shown as closed");
    accepted(&phone.ask(&register(&[("Expires", "0")])).await?)?;
    told(&mut bob, &[], "<basic>closed</basic>").await?;
    println!();
    Ok(())
}

fn register<'a>(expires: &'a [(&'a str, &'a str)]) -> Ask<'a> {
    Ask { method: Method::Register, of: None, to: "alice", headers: expires, body: "" }
}

async fn publish(agent: &mut Agent, published: &Published) -> Result<String> {
    let document = published.document();
    show("published", &document);
    let headers = [("Event", "presence"), ("Expires", "3600"), ("Content-Type", "application/pidf+xml")];
    entity_tag(&agent.ask(&about_alice(&headers, &document)).await?)
}

async fn modify(agent: &mut Agent, published: &Published, tag: &str) -> Result<String> {
    let document = published.document();
    show("published", &document);
    let headers = [
        ("Event", "presence"),
        ("Expires", "3600"),
        ("SIP-If-Match", tag),
        ("Content-Type", "application/pidf+xml"),
    ];
    entity_tag(&agent.ask(&about_alice(&headers, &document)).await?)
}

async fn remove(agent: &mut Agent, tag: &str) -> Result<()> {
    let headers = [("Event", "presence"), ("Expires", "0"), ("SIP-If-Match", tag)];
    accepted(&agent.ask(&about_alice(&headers, "")).await?)
}

fn about_alice<'a>(headers: &'a [(&'a str, &'a str)], body: &'a str) -> Ask<'a> {
    Ask { method: Method::Publish, of: Some("alice"), to: "alice", headers, body }
}

/// What bob is told; it has to say `expected`.
async fn told(bob: &mut Agent, published: &[&Published], expected: &str) -> Result<()> {
    let document = bob.notified().await?;
    show("bob was told", &document);
    ensure!(document.contains(expected), "bob was not told {expected}");
    if !published.is_empty() {
        println!("    where it came from:");
        explain(ENTITY, published, &document)?.iter().for_each(|line| println!("    | {line}"));
    }
    Ok(())
}

fn accepted(response: &Response) -> Result<()> {
    let reason = String::from_utf8_lossy(response.reason());
    println!("    {} {reason}", response.status());
    ensure!(response.status().is_success(), "refused: {} {reason}", response.status());
    Ok(())
}

fn entity_tag(response: &Response) -> Result<String> {
    accepted(response)?;
    let tag = response.text(HeaderName::SipEtag).context("a 200 without SIP-ETag")?;
    println!("    entity-tag {tag}");
    Ok(tag.to_owned())
}

fn step(text: &str) {
    println!("\n* {text}");
}

fn show(title: &str, document: &str) {
    println!("    {title}:");
    for line in document.lines().filter(|line| !line.trim().is_empty()) {
        println!("    | {line}");
    }
}
