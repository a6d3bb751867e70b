//! The domains and addresses that are ours.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use sip_message::Uri;

/// A domain that we are responsible for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Its name in lower case.
    pub name: Arc<str>,
    /// Whether presence is served; if not, SUBSCRIBE and PUBLISH are proxied.
    pub presence: bool,
    /// Its place in the configuration: features keep their per-domain settings under it.
    pub index: usize,
}

/// All that is ours. Built once per configuration, shared by every layer of a stack.
#[derive(Clone, Debug, Default)]
pub struct Domains {
    domains: Vec<Domain>,
    by_name: HashMap<Box<str>, usize>,
    listeners: HashSet<(Box<str>, u16)>,
}

impl Domains {
    /// `domains` in the order of the configuration (name, presence); `listeners` as (host, port): every address that
    /// listens or is advertised.
    pub fn new<'a>(
        domains: impl IntoIterator<Item = (&'a str, bool)>,
        listeners: impl IntoIterator<Item = (String, u16)>,
    ) -> Self {
        let domains: Vec<Domain> = domains
            .into_iter()
            .enumerate()
            .map(|(index, (name, presence))| Domain {
                name: name.to_ascii_lowercase().into(),
                presence,
                index,
            })
            .collect();
        let by_name = domains.iter().map(|d| (Box::from(&*d.name), d.index)).collect();
        let listeners = listeners
            .into_iter()
            .map(|(host, port)| (canonical_host(&host).into_boxed_str(), port))
            .collect();
        Self { domains, by_name, listeners }
    }

    /// The domains in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Domain> {
        self.domains.iter()
    }

    /// A domain by name; case and a trailing dot do not matter.
    pub fn find(&self, host: &str) -> Option<&Domain> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let index = match self.by_name.get(host) {
            Some(index) => *index,
            None if host.bytes().any(|b| b.is_ascii_uppercase()) => {
                *self.by_name.get(&*host.to_ascii_lowercase())?
            }
            None => return None,
        };
        self.domains.get(index)
    }

    /// The domain of a SIP URI (any port: a port does not make another domain).
    pub fn of(&self, uri: &Uri<'_>) -> Option<&Domain> {
        self.find(uri.host())
    }

    /// Whether a URI's host and port are an address of ours: one that listens or is advertised.
    pub fn is_listener(&self, uri: &Uri<'_>) -> bool {
        self.is_address(uri.host(), uri.port())
    }

    /// Whether a host and port are an address of ours, as a URI or the sent-by of a Via has them.
    pub fn is_address(&self, host: &str, port: Option<u16>) -> bool {
        self.listeners.contains(&(canonical_host(host).into_boxed_str(), port.unwrap_or(5060)))
    }

    /// Whether a URI names us: a domain of ours, or an address of ours (RFC 3261 §16.4, §16.5).
    pub fn is_ours(&self, uri: &Uri<'_>) -> bool {
        self.of(uri).is_some() || self.is_listener(uri)
    }
}

/// An IP address in its one spelling (RFC 5952), a name in lower case.
fn canonical_host(host: &str) -> String {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(ip) => ip.to_string(),
        Err(_) => host.to_ascii_lowercase(),
    }
}
