//! One watcher: a dialog with what we know of the other side.

use std::time::{Duration, Instant};

use sip_event::{Dialog, NotifyBody};
use sip_message::{Aor, Request, Uri};
use sip_service::{Flow, Hop, Identity, LocateError, Network};
use sip_transaction::{Branch, ClientId};

use crate::keys::LocalTag;

/// RFC 3261 §17.2.2: as long as a copy of a request that came by another way may be under way (64*T1).
const MERGE_WINDOW: Duration = Duration::from_secs(32);

/// Which version each watcher of a dialog has; `None` where that is not known.
pub(crate) type Versions = Box<[Option<u64>]>;

/// A watcher of one presentity, in one dialog.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) dialog: Dialog,
    pub(crate) presentity: Aor,
    /// Our tag in the dialog.
    pub(crate) tag: LocalTag,
    /// Whether this node notifies; else another does, and this one knows of it in case that it has to.
    pub(crate) is_ours: bool,
    /// Which versions its subscriptions' watchers have, by what another node or an earlier process wrote down; `None` if
    /// that is not known, or not needed any more.
    pub(crate) written: Option<Versions>,
    /// Where NOTIFYs go instead of to the located next hop.
    pub(crate) flow: Option<Flow>,
    /// Who subscribed, if it was a user of ours: nobody else refreshes.
    pub(crate) user: Option<Aor>,
    /// When its SUBSCRIBE came; `None` if that was before this process.
    pub(crate) began: Option<Instant>,
    /// When the timer wheel will come by; earlier than any deadline of the dialog.
    pub(crate) armed: Option<Instant>,
    /// Up to where CSeq numbers are written down as used; 0: it is not written down.
    pub(crate) cseq_reserved: u32,
    /// Whether it is written down what it has.
    pub(crate) is_told_kept: bool,
    /// Another node notified it too, and this one has told it nothing since.
    pub(crate) is_contested: bool,
    /// It is written down that its time is over, which a SUBSCRIBE that another node took may contradict.
    pub(crate) is_end_claimed: bool,
}

impl Watcher {
    /// This node is to tell it what it does not have: by what was written down, if anything was.
    pub(crate) fn recall(&mut self) {
        if let Some(written) = self.written.take()
            && written.len() == self.dialog.len()
        {
            self.dialog.set_told(written.iter().copied());
        }
    }

    /// Whether a SUBSCRIBE without To tag is a copy of the one that began this (RFC 3261 §8.2.2.2).
    pub(crate) fn is_merge(&self, now: Instant, request: &Request) -> bool {
        self.began.is_some_and(|began| now.saturating_duration_since(began) < MERGE_WINDOW)
            && self.dialog.was_begun_by(request)
    }

    /// Whether the sender of a request within the dialog is whoever began it.
    pub(crate) fn is_from_watcher(&self, identity: Option<&Identity>) -> bool {
        match (&self.user, identity) {
            (Some(user), Some(Identity::User(sender))) => user == sender,
            (Some(_), _) => false,
            (None, _) => true,
        }
    }

    /// The next hop of a NOTIFY with a body of that size.
    pub(crate) fn hop(&self, network: &dyn Network, body_bytes: usize) -> Result<Hop, LocateError> {
        if let Some(flow) = self.flow.filter(|flow| network.is_alive(flow)) {
            return Ok(Hop { sent_by: network.sent_by(&flow), flow });
        }
        let uri = Uri::parse(self.dialog.next_hop().as_bytes()).map_err(|_| LocateError::Scheme)?;
        network.locate(&uri, self.dialog.rendered_bytes(body_bytes))
    }

    pub(crate) fn render(
        &self,
        notify: &sip_event::Notify,
        hop: &Hop,
        client: ClientId,
        body: Option<NotifyBody<'_>>,
    ) -> bytes::Bytes {
        let branch = Branch { id: client, loop_hash: 0 };
        let via = format_args!("SIP/2.0/{} {};branch={branch};rport", hop.flow.transport, hop.sent_by);
        self.dialog.render(notify, via, body)
    }
}
