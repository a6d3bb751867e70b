//! What a node has, as it answers who asks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use super::document::Document;
use super::registrant::contacts_in;
use crate::client::UserAgent;

/// Bindings and documents of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) contacts: BTreeMap<String, BTreeSet<String>>,
    pub(crate) documents: BTreeMap<usize, Document>,
}

impl View {
    /// Asks a node for the bindings of users (a REGISTER without Contact, RFC 3261 §10.2.3), and for what publishers show
    /// (a SUBSCRIBE with Expires 0, RFC 6665 §4.4.3).
    pub(crate) fn of(
        node: SocketAddr,
        users: impl IntoIterator<Item = String>,
        publishers: impl IntoIterator<Item = usize>,
    ) -> Result<Self> {
        // A socket may get the port of an earlier one.
        static VIEWS: AtomicU64 = AtomicU64::new(1);
        let number = VIEWS.fetch_add(1, Ordering::Relaxed);
        // What is sent once has to come: over a stream.
        let mut agent = UserAgent::tcp(node)?;
        let mut view = Self::default();
        for user in users {
            agent.request(&format!(
                "REGISTER sip:example.test SIP/2.0
                 From: <sip:{user}@example.test>;tag=v
                 To: <sip:{user}@example.test>
                 Call-ID: view-{number}-{user}
                 CSeq: 1 REGISTER"
            ))?;
            view.contacts.insert(user, contacts_in(&agent.receive("SIP/2.0 200")?));
        }
        for publisher in publishers {
            agent.request(&format!(
                "SUBSCRIBE sip:p{publisher}@example.test SIP/2.0
                 From: <sip:viewer@example.test>;tag=v
                 To: <sip:p{publisher}@example.test>
                 Call-ID: view-{number}-{publisher}
                 CSeq: 1 SUBSCRIBE
                 Contact: <sip:viewer@{{here}};transport=tcp>
                 Event: presence
                 Expires: 0"
            ))?;
            agent.receive("SIP/2.0 200")?;
            let notify = agent.receive("NOTIFY ")?;
            agent.answer(&notify, "200 OK", "", "")?;
            view.documents.insert(publisher, Document::read(notify.body()));
        }
        Ok(view)
    }
}
