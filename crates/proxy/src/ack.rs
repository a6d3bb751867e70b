//! ACKs that have no transaction of ours (RFC 3261 §16.11, §13.2.2.4): those for a 2xx.

use std::convert::Infallible;
use std::future::Ready;

use sip_message::{Aor, Request};
use sip_service::{Flow, TargetSet};
use sip_transaction::Branch;
use tower_service::Service;

use crate::Error;
use crate::forward::Copy;
use crate::incoming::Incoming;
use crate::service::Shared;
use crate::targets::targets;

/// Forwards an ACK as a request of its own, without a transaction. Nobody was asked for credentials, so it goes nowhere but
/// along a dialog that we let through, or to a user of ours; to one target, as it belongs to one dialog.
pub(crate) fn forward<L>(
    shared: &Shared,
    locations: &mut L,
    ack: &Request,
    source: &Flow,
) -> Result<(), Error>
where
    L: Service<Aor, Response = TargetSet, Error = Infallible, Future = Ready<Result<TargetSet, Infallible>>>,
{
    let Shared { endpoint, config, domains, secret, metrics } = shared;
    let incoming = Incoming::read(ack, config, domains, secret)?;
    let found = targets(&incoming, false, domains, locations)?;
    let target = found.first().ok_or(Error::Unavailable)?;
    let copy = Copy {
        request: ack,
        incoming: &incoming,
        source,
        via_source: ack.via().received_for(source.remote),
        domains,
        secret,
        network: &**endpoint.network(),
        record_route: false,
    };
    let hop = copy.locate(target).map_err(|_| Error::Unavailable)?;
    let branch = Branch { id: endpoint.new_client(), loop_hash: incoming.loop_hash };
    let bytes = copy.write(target, &hop, branch, incoming.max_breadth);
    endpoint.send(&hop.flow, bytes, None);
    metrics.forwarded(ack.method());
    Ok(())
}
