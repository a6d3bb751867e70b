//! Which contact is which (§6.4, match rule; CIR:72-96).

use crate::ContactInfo;

/// What tells the contacts of one AOR apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContactKey<'a> {
    /// The URI of the Contact, without a display name and the parameters of the header field.
    pub uri: &'a str,
    /// `+sip.instance` with its angle brackets; empty if there is none.
    pub instance: &'a str,
    /// `reg-id`; 0 if there is none.
    pub reg_id: u32,
}

impl<'a> ContactKey<'a> {
    /// The key of a contact that came.
    pub fn of(contact: &'a ContactInfo) -> Self {
        let ContactInfo { contact_uri, instance, reg_id, .. } = contact;
        Self { uri: addr_spec(contact_uri), instance, reg_id: *reg_id }
    }

    /// Whether both are the same contact: of the same instance, and of the same flow of it if either has a `reg-id`; by
    /// their URIs if neither has an instance. When two URIs are the same (RFC 3261 §19.1.4) is for the caller to say.
    ///
    /// It is to be asked of *every* contact that is held, removed ones included. repro leaves those out, finds no match, and
    /// stores a stale copy as if it were new (§6.8, §7, 21).
    pub fn matches(&self, other: &Self, is_same_uri: impl FnOnce(&str, &str) -> bool) -> bool {
        if self.instance.is_empty() && other.instance.is_empty() {
            return is_same_uri(self.uri, other.uri);
        }
        // A `reg-id` that both lack is equal, too.
        self.instance == other.instance && self.reg_id == other.reg_id
    }
}

/// The URI in a name-addr or addr-spec (RFC 3261 §25.1).
pub fn addr_spec(name_addr: &str) -> &str {
    let mut is_quoted = false;
    let mut is_escaped = false;
    let bracket = name_addr.find(|c| {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '<' if !is_quoted => return true,
            _ => {}
        }
        false
    });
    match bracket.and_then(|at| name_addr.get(at + 1..)) {
        Some(inside) => inside.split_once('>').map_or(inside, |(uri, _)| uri).trim(),
        // Without brackets all parameters are the header field's (RFC 3261 §20.10).
        None => name_addr.split_once(';').map_or(name_addr, |(uri, _)| uri).trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_of_contacts() {
        for (text, expected) in [
            ("<sip:carol@127.0.0.1:45677>;q=0.5;reg-id=1", "sip:carol@127.0.0.1:45677"),
            ("\"a <b> \\\" c\" <sip:x;lr>;q=1", "sip:x;lr"),
            ("Carol <sip:x>", "sip:x"),
            ("sip:x;expires=1", "sip:x"),
            (" sip:x ", "sip:x"),
            ("<sip:x", "sip:x"),
            ("\"<", "\"<"),
            ("", ""),
        ] {
            assert_eq!(addr_spec(text), expected, "{text}");
        }
    }

    #[test]
    fn the_match_rule() {
        let key = |uri, instance, reg_id| ContactKey { uri, instance, reg_id };
        for (a, b, expected) in [
            // Either side has a reg-id and an instance: both are equal.
            (key("a", "<i>", 1), key("b", "<i>", 1), true),
            (key("a", "<i>", 1), key("a", "<i>", 2), false),
            (key("a", "<i>", 1), key("a", "<i>", 0), false),
            (key("a", "<i>", 1), key("a", "<j>", 1), false),
            (key("a", "<i>", 1), key("a", "", 1), false),
            // Both have an instance: it is equal.
            (key("a", "<i>", 0), key("b", "<i>", 0), true),
            (key("a", "<i>", 0), key("a", "<j>", 0), false),
            (key("a", "<i>", 0), key("a", "", 0), false),
            // Neither has: the URI is equal; a reg-id alone says nothing.
            (key("a", "", 0), key("a", "", 0), true),
            (key("a", "", 1), key("a", "", 2), true),
            (key("a", "", 0), key("b", "", 0), false),
        ] {
            assert_eq!(a.matches(&b, |a, b| a == b), expected, "{a:?} {b:?}");
            assert_eq!(b.matches(&a, |a, b| a == b), expected, "{b:?} {a:?}");
        }
        assert!(key("sip:a@X", "", 0).matches(&key("sip:a@x", "", 0), str::eq_ignore_ascii_case));
    }
}
