//! One binding, and when two contacts are the same one (RFC 3261 §19.1.4, RFC 5626 §6).

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sip_message::{NameAddr, Scheme, Uri};
use sip_service::Flow;

use crate::Contact;

/// A contact address bound to an AOR. Its texts are its own: none keeps the message alive that it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The contact URI as it came.
    pub uri: Arc<str>,
    /// The display name as it came, quotes included.
    pub display: Option<Arc<str>>,
    /// The Contact's parameters as they came, each with its `;`; without `q`, `expires`, `+sip.instance` and `reg-id`.
    pub params: Option<Arc<str>>,
    /// Preference in thousandths, 0 to 1000 (§20.10); `None` if the Contact had none, which counts for 1000.
    pub q_milli: Option<u16>,
    /// The URN in `+sip.instance`, without `<>` (RFC 5626 §4.1).
    pub instance: Option<Arc<str>>,
    /// `reg-id` (RFC 5626 §4.2), only with an instance: without one it is ignored (§6).
    pub reg_id: Option<NonZeroU32>,
    /// Path values (RFC 3327 §5.3), first hop first; `None` without any.
    pub path: Option<Arc<[Arc<str>]>>,
    /// How the contact is reached, if not by its URI: see `Target::flow` of sip-service.
    pub flow: Option<Box<Flow>>,
    /// Call-ID of the REGISTER that last touched it.
    pub call_id: Arc<str>,
    /// CSeq number of that REGISTER.
    pub cseq: u32,
    /// The lifetime that REGISTER was granted.
    pub lifetime_seconds: u32,
    /// When it ends.
    pub expires_at: Instant,
}

impl Binding {
    /// Whether it has not expired.
    pub fn is_live(&self, now: Instant) -> bool {
        self.expires_at > now
    }

    /// Seconds left, rounded up: never zero while it lives, never more than was granted.
    pub fn expires_seconds(&self, now: Instant) -> u64 {
        let left = self.expires_at.saturating_duration_since(now);
        left.as_secs() + u64::from(left.subsec_nanos() > 0)
    }

    /// When the last REGISTER touched it.
    pub fn updated_at(&self) -> Instant {
        let lifetime = Duration::from_secs(self.lifetime_seconds.into());
        self.expires_at.checked_sub(lifetime).unwrap_or(self.expires_at)
    }

    /// Whether an edge proxy keeps the flow to it (RFC 5626 §5.1: its Path URI has `ob`).
    pub fn is_outbound(&self) -> bool {
        let has_ob = |value: &Arc<str>| {
            let path = NameAddr::parse(value.as_bytes(), "Path");
            path.and_then(|path| path.uri()).is_ok_and(|uri| uri.params().any(|(name, _)| name == "ob"))
        };
        self.reg_id.is_some() && self.path.as_deref().unwrap_or_default().iter().any(has_ob)
    }

    /// As a Contact value of a response at `now` (§10.3 step 8).
    pub fn listed(&self, now: Instant) -> impl fmt::Display + use<'_> {
        Listed { binding: self, now }
    }

    /// Whether a contact names this binding.
    ///
    /// By instance and `reg-id` where both have them: then the URI does not count (RFC 5626 §6). Otherwise by URI, so
    /// that a phone which begins or ceases to use RFC 5626 does not ring twice.
    pub(crate) fn is_named_by(&self, contact: &Contact<'_>) -> bool {
        match (&self.instance, self.reg_id, contact.instance, contact.reg_id) {
            (Some(a), Some(a_id), Some(b), Some(b_id)) => a_id == b_id && is_same_instance(a, b),
            _ => is_same_address(&self.uri, &contact.uri),
        }
    }

    /// Whether a new contact is where this binding's device now is: one instance without RFC 5626 has one contact
    /// (RFC 5627 §4.1), so the older is from before the device moved or restarted.
    pub(crate) fn is_superseded_by(&self, contact: &Contact<'_>) -> bool {
        match (&self.instance, self.reg_id, contact.instance, contact.reg_id) {
            (Some(a), None, Some(b), None) => contact.lifetime_seconds > 0 && is_same_instance(a, b),
            _ => false,
        }
    }
}

/// Whether two instance identifiers are one (RFC 5626 §4.1): by the rules of their URN scheme.
pub(crate) fn is_same_instance(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    // RFC 4122 §3: the hexadecimal digits have no case.
    let is_uuid = |text: &str| text.get(..9).is_some_and(|prefix| prefix.eq_ignore_ascii_case("urn:uuid:"));
    if is_uuid(a) && is_uuid(b) {
        return a.eq_ignore_ascii_case(b);
    }
    match (Uri::parse(a.as_bytes()), Uri::parse(b.as_bytes())) {
        (Ok(a), Ok(b)) => a.scheme() == Scheme::Urn && a.equivalent(&b),
        _ => false,
    }
}

/// Whether two contact URIs are one address. A SIPS contact stands for both schemes, and a later SIP contact replaces it
/// and is replaced by it (RFC 5630 §5.1.1.1), although §19.1.4 alone holds the two apart.
fn is_same_address(stored: &str, contact: &Uri<'_>) -> bool {
    if stored == contact.as_str() {
        return true;
    }
    let Ok(uri) = Uri::parse(stored.as_bytes()) else { return false };
    match (uri.scheme(), contact.scheme()) {
        (Scheme::Sips, Scheme::Sip) => without_tls(&uri, |uri| uri.equivalent(contact)),
        (Scheme::Sip, Scheme::Sips) => without_tls(contact, |contact| uri.equivalent(contact)),
        _ => uri.equivalent(contact),
    }
}

/// Looks at the SIP URI that a SIPS URI becomes without its `s`.
fn without_tls(sips: &Uri<'_>, look: impl Fn(&Uri<'_>) -> bool) -> bool {
    let text = sips.as_str().split_once(':').map_or_else(String::new, |(_, rest)| format!("sip:{rest}"));
    Uri::parse(text.as_bytes()).is_ok_and(|uri| look(&uri))
}

struct Listed<'a> {
    binding: &'a Binding,
    now: Instant,
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Binding { uri, display, params, q_milli, instance, reg_id, .. } = self.binding;
        if let Some(display) = display {
            f.write_str(display)?;
            f.write_str(" ")?;
        }
        f.write_str("<")?;
        f.write_str(uri)?;
        f.write_str(">")?;
        if let Some(q_milli) = q_milli {
            write_q(f, *q_milli)?;
        }
        if let Some(instance) = instance {
            f.write_str(";+sip.instance=\"<")?;
            f.write_str(instance)?;
            f.write_str(">\"")?;
        }
        if let Some(reg_id) = reg_id {
            write!(f, ";reg-id={reg_id}")?;
        }
        if let Some(params) = params {
            f.write_str(params)?;
        }
        write!(f, ";expires={}", self.binding.expires_seconds(self.now))
    }
}

/// Without zeros at the end: `1`, `0`, `0.5`, `0.125`.
fn write_q(f: &mut fmt::Formatter<'_>, q_milli: u16) -> fmt::Result {
    match (q_milli / 1000, q_milli % 1000) {
        (units, 0) => write!(f, ";q={units}"),
        (units, rest) if rest % 100 == 0 => write!(f, ";q={units}.{}", rest / 100),
        (units, rest) if rest % 10 == 0 => write!(f, ";q={units}.{:02}", rest / 10),
        (units, rest) => write!(f, ";q={units}.{rest:03}"),
    }
}
