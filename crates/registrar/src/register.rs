//! A REGISTER as the registrar reads it (RFC 3261 §10.3 steps 6 and 7, RFC 3327 §5.3): read whole before anything changes.

use std::borrow::Cow;

use sip_message::{Aor, ContactList, HeaderName, NameAddr, Request, Scheme};
use sip_service::Flow;
use smallvec::SmallVec;

use crate::config::ONE_HOUR_SECONDS;
use crate::contact::single_line;
use crate::reach::Reach;
use crate::{Config, Contact, Error};

/// What a REGISTER asks for.
#[derive(Clone, Debug)]
pub struct Register<'a> {
    /// Call-ID.
    pub call_id: &'a str,
    /// CSeq number.
    pub cseq: u32,
    /// What to do.
    pub contacts: Contacts<'a>,
    /// Path values, first hop first.
    pub path: SmallVec<[Cow<'a, str>; 2]>,
}

/// The Contact header field of a REGISTER.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // it is looked at once, never stored
pub enum Contacts<'a> {
    /// None: only lists the bindings (§10.2.3).
    None,
    /// `*` with `Expires: 0`: removes all (§10.2.2).
    All,
    /// Adds, refreshes and removes, in this order.
    Listed(SmallVec<[Contact<'a>; 1]>),
}

impl<'a> Register<'a> {
    /// Reads a request for the bindings of `aor` that came by `source`.
    ///
    /// # Errors
    /// [`Error::BadRequest`], [`Error::IntervalTooBrief`], [`Error::ForbiddenContact`], [`Error::LimitExceeded`]: the first
    /// fault found, by which the whole request fails.
    pub fn read(message: &'a Request, source: &Flow, aor: &Aor, config: &Config) -> Result<Self, Error> {
        let call_id = message.call_id();
        if call_id.len() > config.call_id_bytes_max {
            return Err(Error::LimitExceeded { limit: "call_id_bytes_max", max: config.call_id_bytes_max });
        }
        let path = read_path(message, config)?;
        // A malformed Expires counts for what a malformed `expires` does (§10.2).
        let expires = message.number(HeaderName::Expires).map(|seconds| seconds.unwrap_or(ONE_HOUR_SECONDS));
        let contacts = match message.contacts().map_err(Error::unreadable("Contact"))? {
            // §10.2.2, §10.3 step 6.
            ContactList::Star if expires == Some(0) => Contacts::All,
            ContactList::Star => {
                return Err(Error::BadRequest { header: "Contact", expected: "`Expires: 0` with `*`" });
            }
            ContactList::Contacts(values) if values.is_empty() => Contacts::None,
            ContactList::Contacts(values) => {
                if values.len() > config.contacts_per_request_max {
                    let max = config.contacts_per_request_max;
                    return Err(Error::LimitExceeded { limit: "contacts_per_request_max", max });
                }
                let mut contacts = SmallVec::new();
                for value in &values {
                    contacts.push(Contact::read(value, expires, config)?);
                }
                Contacts::Listed(contacts)
            }
        };
        let mut register = Self { call_id, cseq: message.cseq().number, contacts, path };
        register.check_contacts(message, aor)?;
        register.set_flows(message, source);
        Ok(register)
    }

    fn check_contacts(&self, message: &Request, aor: &Aor) -> Result<(), Error> {
        let Contacts::Listed(contacts) = &self.contacts else { return Ok(()) };
        let added = || contacts.iter().filter(|contact| contact.lifetime_seconds > 0);
        // RFC 5626 §6: such a request registers one flow.
        if added().nth(1).is_some() && added().any(|contact| contact.reg_id.is_some()) {
            return Err(Error::BadRequest {
                header: "Contact",
                expected: "no other contact beside one with reg-id",
            });
        }
        // RFC 5627 §5.1 refuses this of instances, as it makes a loop; it does so with every other contact too.
        if added().any(|contact| leads_back(contact, aor)) {
            return Err(Error::ForbiddenContact { expected: "another URI than the address-of-record" });
        }
        // RFC 5630 §5.2: a SIPS contact is bound only where the whole way to it is SIPS.
        if added().any(Contact::is_sips) {
            let path_is_sips = |value: &Cow<'_, str>| {
                NameAddr::parse(value.as_bytes(), "Path")
                    .and_then(|path| path.uri())
                    .is_ok_and(|uri| uri.scheme() == Scheme::Sips)
            };
            if message.uri().scheme() != Scheme::Sips || !self.path.iter().all(path_is_sips) {
                let expected = "no SIPS contact but with a SIPS Request-URI and Path";
                return Err(Error::BadRequest { header: "Contact", expected });
            }
        }
        Ok(())
    }

    fn set_flows(&mut self, message: &Request, source: &Flow) {
        let Contacts::Listed(contacts) = &mut self.contacts else { return };
        // What came along a Path goes back along it (RFC 3327 §5.4).
        if !self.path.is_empty() {
            return;
        }
        if let Some(reach) = Reach::of(message, source) {
            for contact in contacts {
                contact.flow = reach.flow(&contact.uri).copied();
            }
        }
    }
}

/// RFC 3327 §5.3. A Path from who does not say `Supported: path` is kept too, as the section allows: edge proxies add it
/// for phones that know nothing of it, and refusing it with 420 would shut those out.
fn read_path<'a>(message: &'a Request, config: &Config) -> Result<SmallVec<[Cow<'a, str>; 2]>, Error> {
    let mut path = SmallVec::new();
    let mut octets = 0usize;
    for value in message.values(HeaderName::Path) {
        octets = octets.saturating_add(value.len());
        if path.len() >= config.path_values_max {
            return Err(Error::LimitExceeded { limit: "path_values_max", max: config.path_values_max });
        }
        if octets > config.path_bytes_max {
            return Err(Error::LimitExceeded { limit: "path_bytes_max", max: config.path_bytes_max });
        }
        let uri =
            NameAddr::parse(value, "Path").and_then(|path| path.uri()).map_err(Error::unreadable("Path"))?;
        let text = std::str::from_utf8(value).ok().filter(|_| uri.is_sip());
        let text = text.ok_or(Error::BadRequest { header: "Path", expected: "SIP or SIPS URIs" })?;
        path.push(single_line(text));
    }
    Ok(path)
}

/// Whether a contact names the AOR itself, in whatever transport. One with a port is a host of the user's own that has
/// the domain's name; one with headers asks for more than to be called (RFC 4475 §3.3.14).
fn leads_back(contact: &Contact<'_>, aor: &Aor) -> bool {
    let uri = &contact.uri;
    uri.is_sip()
        && uri.port().is_none()
        && uri.headers().is_none()
        && uri.param("maddr").is_none()
        && uri.host().eq_ignore_ascii_case(aor.domain())
        && Aor::of(uri).as_ref() == Some(aor)
}
