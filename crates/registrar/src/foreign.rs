//! Bindings for somebody who speaks with a registrar of another kind, and knows neither the form of records nor that of keys.

use std::num::NonZeroU32;

use replication::{Malformed, Reader, put_optional, put_text};
use sip_message::Aor;

use crate::{Binding, persist};

/// What is remembered of a binding that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Its contact URI.
    pub uri: String,
    /// The URN in `+sip.instance`.
    pub instance: Option<String>,
    /// `reg-id`.
    pub reg_id: Option<NonZeroU32>,
    /// See [`Binding::is_outbound`].
    pub is_outbound: bool,
}

/// The key of the record of a binding.
pub fn binding_key(aor: &Aor, binding: &Binding) -> Vec<u8> {
    let mut key = Vec::new();
    persist::write_key(&mut key, aor, binding);
    key
}

/// The value of the record of a binding.
pub fn binding_value(binding: &Binding) -> Vec<u8> {
    let mut value = Vec::new();
    persist::write_value(&mut value, binding);
    value
}

/// What the key and the note of a removal say.
///
/// # Errors
/// They are not of a binding.
pub fn read_gone(key: &[u8], note: &[u8]) -> Result<(Aor, Gone), Malformed> {
    let aor = persist::aor_of(key)?;
    if note.is_empty() {
        let at = key.iter().position(|&b| b == 0).ok_or(Malformed)?;
        let uri = key.get(at + 1..).and_then(|uri| std::str::from_utf8(uri).ok()).ok_or(Malformed)?;
        return Ok((aor, Gone { uri: uri.into(), instance: None, reg_id: None, is_outbound: false }));
    }
    let mut note = Reader::new(note);
    let uri = note.text()?.into();
    let instance = note.optional()?.map(str::to_owned);
    let reg_id = NonZeroU32::new(note.u32()?);
    let is_outbound = note.u8()? != 0;
    note.finish()?;
    Ok((aor, Gone { uri, instance, reg_id, is_outbound }))
}

/// Nothing, where the key says all.
pub(crate) fn write_note(note: &mut Vec<u8>, binding: &Binding) {
    if binding.instance.is_none() {
        return;
    }
    put_text(note, &binding.uri);
    put_optional(note, binding.instance.as_deref());
    note.extend_from_slice(&binding.reg_id.map_or(0, NonZeroU32::get).to_le_bytes());
    note.push(u8::from(binding.is_outbound()));
}

/// The note of a removal of a binding.
pub fn gone_note(binding: &Binding) -> Vec<u8> {
    let mut note = Vec::new();
    write_note(&mut note, binding);
    note
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // virtual time begins somewhere
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_was_removed_is_known_by_key_and_note() {
        let aor = Aor::parse("alice@example.test").expect("an AOR");
        let plain = Binding {
            uri: "sip:alice@192.0.2.1".into(),
            display: None,
            params: None,
            q_milli: None,
            instance: None,
            reg_id: None,
            path: None,
            flow: None,
            call_id: "".into(),
            cseq: 0,
            lifetime_seconds: 60,
            expires_at: Instant::now(),
        };
        let instance = Binding { instance: Some("urn:uuid:1".into()), ..plain.clone() };
        let edge = || Some(["<sip:edge.example.test;lr;ob>".into()].into());
        let outbound = Binding { reg_id: NonZeroU32::new(2), path: edge(), ..instance.clone() };
        for (binding, is_outbound) in [(&plain, false), (&instance, false), (&outbound, true)] {
            let gone = Gone {
                uri: binding.uri.to_string(),
                instance: binding.instance.as_deref().map(str::to_owned),
                reg_id: binding.reg_id,
                is_outbound,
            };
            let (key, note) = (binding_key(&aor, binding), gone_note(binding));
            assert_eq!(read_gone(&key, &note), Ok((aor.clone(), gone)));
        }
        assert!(gone_note(&plain).is_empty());
        assert_eq!(read_gone(b"nobody", b""), Err(Malformed));
        assert_eq!(read_gone(b"alice@example.test\0x", b"x"), Err(Malformed));
    }
}
