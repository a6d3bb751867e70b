//! Build information, and gauges that are read when scraped.

use std::sync::Arc;

use prometheus::{IntGaugeVec, Opts, Registry};

use crate::state::State;

/// `rollcall_build_info{version,node}`: always 1.
const BUILD_INFO: &str = "rollcall_build_info";
/// `rollcall_transactions{kind}`: live server and client transactions.
const TRANSACTIONS: &str = "rollcall_transactions";

pub(crate) fn register_build_info(registry: &Registry, node: &str) -> prometheus::Result<()> {
    let info = IntGaugeVec::new(Opts::new(BUILD_INFO, "Always 1: version and node."), &["version", "node"])?;
    info.with_label_values(&[env!("CARGO_PKG_VERSION"), node]).set(1);
    registry.register(Box::new(info))
}

pub(crate) fn probes(registry: &Registry, state: &Arc<State>) -> prometheus::Result<Vec<admin::Probe>> {
    let transactions = IntGaugeVec::new(Opts::new(TRANSACTIONS, "Live transactions."), &["kind"])?;
    registry.register(Box::new(transactions.clone()))?;
    let state = Arc::clone(state);
    let probe = move || {
        let (servers, clients) = state.endpoint.transactions();
        transactions.with_label_values(&["server"]).set(servers as i64);
        transactions.with_label_values(&["client"]).set(clients as i64);
    };
    Ok(vec![Box::new(probe)])
}
