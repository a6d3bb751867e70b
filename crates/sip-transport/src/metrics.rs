//! The transports' metrics.

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};
use sip_message::Transport;

/// `rollcall_connections{transport}`: connections open or being opened, in both directions.
pub const CONNECTIONS: &str = "rollcall_connections";

/// The gauge of connections, and the counter of what is dropped (`rollcall_dropped_total`, which `sip-service` owns).
#[derive(Clone)]
pub struct Metrics {
    connections: IntGaugeVec,
    service: sip_service::Metrics,
}

impl Metrics {
    /// Registers the gauge; drops are counted by `service`.
    ///
    /// # Errors
    /// If it is registered already.
    pub fn register(registry: &Registry, service: sip_service::Metrics) -> prometheus::Result<Self> {
        let help = "Connections open or being opened, in both directions.";
        let connections = IntGaugeVec::new(Opts::new(CONNECTIONS, help), &["transport"])?;
        registry.register(Box::new(connections.clone()))?;
        Ok(Self { connections, service })
    }

    pub(crate) fn connections(&self, transport: Transport) -> IntGauge {
        self.connections.with_label_values(&[transport.token()])
    }

    pub(crate) fn dropped(&self, reason: &'static str) {
        self.service.dropped(reason);
    }
}
