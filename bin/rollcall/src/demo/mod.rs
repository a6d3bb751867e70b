//! `rollcall demo`: the round trip of presence on the terminal, through real sockets, then a server to try things on.

mod agent;
mod document;
mod story;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use presence::DomainConfig;
use provisioning::UserConfig;
use server::config::{Config, DomainConfig as Domain};
use server::{Server, StartError};
use sip_message::Transport;

const DOMAIN: &str = "localhost";
const USERS: [&str; 2] = ["alice", "bob"];
const PASSWORD: &str = "demo";

/// Runs the story and leaves the server running until SIGTERM or SIGINT.
pub(crate) fn demo() -> Result<()> {
    let data = tempfile::tempdir().context("no temporary directory could be had")?;
    let mut config = config();
    config.server.data_dir = data.path().into();
    let quiet = server::config::LogConfig { filter: Some("warn".into()), ..Default::default() };
    crate::logging::start(&quiet)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = start(config).await?;
        let sip = address_of(&server, Transport::Udp)?;
        story::tell(sip).await?;
        invite(&server, sip);
        // There is no file that could be read again.
        crate::run::until_stopped(|| tracing::warn!("the demo has nothing to reload")).await?;
        server.drain().await;
        Ok(())
    })
}

/// The built-in defaults with two users, where registration speaks for those who do not publish.
fn config() -> Config {
    let user = |name: &str| UserConfig {
        aor: format!("{name}@{DOMAIN}"),
        password: Some(PASSWORD.into()),
        ha1: None,
        algorithms: None,
    };
    let presence = DomainConfig {
        uses_registration_state: true,
        unregistered_is_closed: false,
        ..DomainConfig::default()
    };
    Config {
        user: USERS.map(user).into(),
        domain: vec![Domain { name: DOMAIN.into(), algorithms: None, presence }],
        ..Config::default()
    }
}

/// On the usual ports, or on free ones where those are taken.
async fn start(config: Config) -> Result<Server> {
    match Server::start(config.clone()).await {
        Err(StartError::Transport(_) | StartError::Admin { .. }) => {
            let mut config = config;
            config.listen.iter_mut().for_each(|listen| listen.address.set_port(0));
            config.admin.address.set_port(0);
            Ok(Server::start(config).await?)
        }
        started => Ok(started?),
    }
}

fn address_of(server: &Server, transport: Transport) -> Result<SocketAddr> {
    let found = server.addresses().into_iter().find(|(t, _)| *t == transport);
    Ok(found.with_context(|| format!("no {transport} listener"))?.1)
}

/// What one can do now.
fn invite(server: &Server, sip: SocketAddr) {
    println!("The server goes on. Register {} (password {PASSWORD}) with a telephone at", USERS.join(" or "));
    for (transport, address) in server.addresses() {
        println!("    sip:{DOMAIN}, by way of {address} over {transport}");
    }
    println!("and see what it counts at\n    http://{}/metrics", server.admin_address());
    println!("With SIPp or sipsak: sipsak -vv -s sip:{DOMAIN}:{} asks whether it lives.", sip.port());
    println!("Ctrl-C stops it.");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The README's first command, up to the point where it would wait.
    #[tokio::test]
    async fn the_story_comes_true() {
        let data = tempfile::tempdir().expect("a directory");
        let mut config = config();
        config.server.data_dir = data.path().into();
        config.listen.iter_mut().for_each(|listen| listen.address.set_port(0));
        config.admin.address.set_port(0);
        let server = Server::start(config).await.expect("a server");
        let sip = address_of(&server, Transport::Udp).expect("UDP");
        story::tell(sip).await.expect("the story");
        server.drain().await;
    }
}
