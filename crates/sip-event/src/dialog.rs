//! Dialogs at the notifier (RFC 3261 §12.1.1, §12.2.2; RFC 6665 §4.4.1).

use std::time::Instant;

use sip_message::{ContactList, HeaderName, NameAddr, Request, Uri};
use smallvec::SmallVec;

use crate::Error;
use crate::machine::{InFlight, Subscription};

/// A dialog in which a watcher's subscriptions live, nearly always one.
///
/// Its strings are kept as they will be written. About 700 bytes with typical names.
#[derive(Debug)]
pub struct Dialog {
    pub(crate) call_id: Box<str>,
    /// Our side as From: `<uri>;tag=…`, the To of the SUBSCRIBE with our tag.
    pub(crate) local: Box<str>,
    /// The watcher's side as To: `<uri>;tag=…`, the From of the SUBSCRIBE.
    pub(crate) remote: Box<str>,
    /// Where the tag stands in `remote`; beyond its end if there is none (RFC 2543 peers, §12.1.1).
    pub(crate) remote_tag_start: u32,
    pub(crate) local_cseq: u32,
    pub(crate) remote_cseq: u32,
    pub(crate) remote_target: Box<str>,
    /// Route header field values in the order of the Record-Route (§12.1.1).
    pub(crate) route_set: Box<[Box<str>]>,
    /// Our Contact header field value.
    pub(crate) contact: Box<str>,
    pub(crate) package: &'static str,
    pub(crate) subscriptions: SmallVec<[Subscription; 1]>,
    pub(crate) in_flight: Option<InFlight>,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// No attempt before this time, after a failure.
    pub(crate) hold_until: Option<Instant>,
    /// When a change was last sent, for pacing.
    pub(crate) change_sent: Option<Instant>,
}

impl Dialog {
    /// The dialog that a SUBSCRIBE without a To tag begins; without a subscription yet.
    ///
    /// `local_tag` is ours, to stand in the 200; `contact` is our Contact header field value; `package` the event package.
    ///
    /// # Errors
    /// [`Error::ContactCount`] and [`Error::Header`] (400) if the request cannot begin a dialog.
    pub fn create(
        request: &Request,
        local_tag: &str,
        contact: Box<str>,
        package: &'static str,
    ) -> Result<Self, Error> {
        let remote_target = contact_of(request)?.ok_or(Error::ContactCount { count: 0 })?;
        let route_set = request.values(HeaderName::RecordRoute).map(route_of).collect::<Result<_, _>>()?;
        let (from, to) = (request.from(), request.to());
        let local = format!("<{}>;tag={local_tag}", one_line(to.uri_text, "To")?);
        let from_uri = one_line(from.uri_text, "From")?;
        let remote = match from.tag() {
            Some(tag) => format!("<{from_uri}>;tag={}", one_line(tag, "From")?),
            None => format!("<{from_uri}>"),
        };
        let remote_tag_start = remote.len() - from.tag().map_or(0, str::len);
        Ok(Self {
            call_id: one_line(request.call_id(), "Call-ID")?.into(),
            local: local.into(),
            remote_tag_start: u32::try_from(remote_tag_start).unwrap_or(u32::MAX),
            remote: remote.into(),
            local_cseq: 0,
            remote_cseq: request.cseq().number,
            remote_target,
            route_set,
            contact,
            package,
            subscriptions: SmallVec::new(),
            in_flight: None,
            failures: 0,
            hold_until: None,
            change_sent: None,
        })
    }

    /// Whether a request belongs to this dialog (RFC 3261 §12): Call-ID and From tag; that the To tag is ours is for the
    /// caller to know, who found the dialog by it.
    pub fn is_of(&self, request: &Request) -> bool {
        self.call_id.as_bytes() == request.call_id().as_bytes()
            && self.remote_tag() == request.from().tag().unwrap_or("")
    }

    /// Whether a SUBSCRIBE without To tag is the one that began this dialog, come by another way (RFC 3261 §8.2.2.2).
    pub fn was_begun_by(&self, request: &Request) -> bool {
        self.remote_cseq == request.cseq().number && self.is_of(request)
    }

    /// Takes note of a request within the dialog (RFC 3261 §12.2.2), whatever becomes of it.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`] (500). An equal CSeq is not lower: it is another hop's copy or a careless client's retry.
    pub fn receive(&mut self, request: &Request) -> Result<(), Error> {
        let cseq = request.cseq().number;
        if cseq < self.remote_cseq {
            return Err(Error::OutOfOrder { cseq, last: self.remote_cseq });
        }
        self.remote_cseq = cseq;
        Ok(())
    }

    /// Takes the remote target that a SUBSCRIBE brings, which is about to be accepted (a target refresh, RFC 3261 §12.2.2).
    /// One without Contact leaves it.
    ///
    /// # Errors
    /// [`Error::ContactCount`], [`Error::Header`] (400).
    pub fn retarget(&mut self, request: &Request) -> Result<(), Error> {
        if let Some(target) = contact_of(request)? {
            self.remote_target = target;
        }
        Ok(())
    }

    /// The event package.
    pub fn package(&self) -> &'static str {
        self.package
    }

    /// The Call-ID.
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// Our Contact header field value.
    pub fn contact(&self) -> &str {
        &self.contact
    }

    /// Another Contact header field value of ours: the dialog is at another address now (a NOTIFY refreshes the target,
    /// RFC 6665 §4.4.1).
    pub fn set_contact(&mut self, contact: Box<str>) {
        self.contact = contact;
    }

    /// Leaves out so many CSeq numbers: another may still use them, and is then below us (RFC 3261 §12.2.2).
    pub fn skip_cseq(&mut self, numbers: u32) {
        self.local_cseq = self.local_cseq.saturating_add(numbers);
    }

    /// The watcher's tag; empty if it has none.
    pub fn remote_tag(&self) -> &str {
        self.remote.get(self.remote_tag_start as usize..).unwrap_or("")
    }

    /// The watcher's Contact URI.
    pub fn remote_target(&self) -> &str {
        &self.remote_target
    }

    /// Whether proxies record-routed the dialog; if not, the next hop is the watcher itself.
    pub fn has_routes(&self) -> bool {
        !self.route_set.is_empty()
    }

    /// The URI to find the next hop by: the first route, strict or loose, else the remote target (RFC 3261 §8.1.2).
    pub fn next_hop(&self) -> &str {
        match self.route_set.first() {
            Some(route) => route_uri(route),
            None => &self.remote_target,
        }
    }

    /// Subscriptions in the dialog, those included whose last NOTIFY is under way.
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Whether nothing is left in it: then the dialog has ended (RFC 6665 §4.5.2) and no response is awaited.
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }
}

/// The URI of the one Contact, `None` without the header field.
fn contact_of(request: &Request) -> Result<Option<Box<str>>, Error> {
    let unusable = Error::Header { header: "Contact", expected: "one SIP URI" };
    let contacts = match request.contacts().map_err(|_| unusable)? {
        ContactList::Star => return Err(Error::ContactCount { count: 0 }),
        ContactList::Contacts(contacts) => contacts,
    };
    match contacts.as_slice() {
        [] => Ok(None),
        [contact] => match contact.uri() {
            Ok(uri) if uri.is_sip() => Ok(Some(contact.uri_text.into())),
            _ => Err(unusable),
        },
        more => Err(Error::ContactCount { count: more.len() }),
    }
}

/// A Record-Route value as a Route value.
fn route_of(value: &[u8]) -> Result<Box<str>, Error> {
    let error = Error::Header { header: "Record-Route", expected: "SIP URIs in angle brackets" };
    let route = NameAddr::parse(value, "Record-Route").map_err(|_| error)?;
    if !route.uri().is_ok_and(|uri| uri.is_sip()) {
        return Err(error);
    }
    let text = std::str::from_utf8(value).map_err(|_| error)?;
    // As it came, parameters and all (§12.1.1), but in one line and unmistakably a name-addr.
    if text.ends_with('>') || text.contains(">;") {
        one_line(text, "Record-Route").map(Into::into)
    } else {
        Ok(format!("<{}>", route.uri_text).into())
    }
}

/// The URI of a Route value of ours.
pub(crate) fn route_uri(route: &str) -> &str {
    match (route.find('<'), route.find('>')) {
        (Some(start), Some(end)) if start < end => &route[start + 1..end],
        _ => route,
    }
}

/// Whether a route's proxy is a loose router (RFC 3261 §16.12, §19.1.1).
pub(crate) fn is_loose(route: &str) -> bool {
    Uri::parse(route_uri(route).as_bytes()).is_ok_and(|uri| uri.param("lr").is_some())
}

/// What is copied into requests of our own must not carry a line break (RFC 3261 §7.3.1 would let it fold).
fn one_line<'a>(text: &'a str, header: &'static str) -> Result<&'a str, Error> {
    if text.bytes().any(|b| b == b'\r' || b == b'\n') {
        return Err(Error::Header { header, expected: "a value in one line" });
    }
    Ok(text)
}
