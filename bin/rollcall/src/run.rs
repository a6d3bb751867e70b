//! `rollcall run`: the server, its signals, its end.

use anyhow::Context;
use server::{Server, Sources};
use tokio::signal::unix::{SignalKind, signal};

/// Serves until SIGTERM or SIGINT.
pub(crate) fn run(sources: &Sources) -> anyhow::Result<()> {
    let config = server::config::load(sources)?;
    crate::logging::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime could be had")?;
    runtime.block_on(async {
        let server = Server::start(config).await?;
        for (transport, address) in server.addresses() {
            tracing::info!(transport = transport.token(), %address, "listening");
        }
        tracing::info!(address = %server.admin_address(), "admin");
        notify_service_manager(&[sd_notify::NotifyState::Ready]);
        until_stopped(|| reload(&server, sources)).await?;
        notify_service_manager(&[sd_notify::NotifyState::Stopping]);
        server.drain().await;
        tracing::info!("stopped");
        Ok(())
    })
}

/// Returns on SIGTERM and SIGINT; SIGHUP calls `on_hang_up`.
pub(crate) async fn until_stopped(on_hang_up: impl Fn()) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hang_up.recv() => on_hang_up(),
        }
    }
}

/// All or nothing: a configuration that cannot be used changes nothing.
fn reload(server: &Server, sources: &Sources) {
    match server::config::load(sources).and_then(|config| server.reload(config)) {
        Ok(()) => tracing::info!("reloaded"),
        Err(error) => tracing::error!(%error, "not reloaded: the configuration in force stays"),
    }
}

/// Tells systemd, if it is there.
fn notify_service_manager(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
