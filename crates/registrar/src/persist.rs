//! Bindings as records of the journal.
//!
//! The key is the AOR, a zero, and what makes the contact one (RFC 3261 §19.1.4, RFC 5626 §6): its URI as it came, or its
//! instance and reg-id. A refresh under another spelling removes the record of the old one. A removal notes what the key does
//! not say of a contact with an instance, for registrars that know contacts by other rules.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use replication::{Change, Kind, Malformed, Reader, Record, instant_of, put_optional, put_text, unix_ms_of};
use sip_message::Aor;
use sip_service::Flow;

use crate::{Binding, foreign};

/// The kind of its records.
pub const BINDING: Kind = Kind(1);

/// The form of the values that are written.
const VERSION: u8 = 1;

/// Writes down that an AOR has a binding.
pub(crate) fn put(change: &mut Change<'_>, aor: &Aor, binding: &Binding, now: Instant, unix_ms: i64) {
    let expires = unix_ms_of(binding.expires_at, now, unix_ms);
    change.put(BINDING, expires, |key| write_key(key, aor, binding), |value| write_value(value, binding));
}

/// Writes down that an AOR has it no more.
pub(crate) fn remove(change: &mut Change<'_>, aor: &Aor, binding: &Binding) {
    change.remove_noting(
        BINDING,
        |key| write_key(key, aor, binding),
        |note| foreign::write_note(note, binding),
    );
}

/// Reads a record that was found at `unix_ms`, which is `now`.
pub(crate) fn read(record: &Record<'_>, now: Instant, unix_ms: i64) -> Result<(Aor, Binding), Malformed> {
    let aor = aor_of(record.key)?;
    let mut value = Reader::new(record.value);
    if value.u8()? != VERSION {
        return Err(Malformed);
    }
    let shared = |text: Option<&str>| text.map(Arc::from);
    let uri = Arc::from(value.text()?);
    let display = shared(value.optional()?);
    let params = shared(value.optional()?);
    let q_milli = Some(value.u16()?).filter(|q| *q != Q_ABSENT);
    let instance = shared(value.optional()?);
    let reg_id = NonZeroU32::new(value.u32()?);
    let mut path: Vec<Arc<str>> = Vec::new();
    for _ in 0..value.u8()? {
        path.push(value.text()?.into());
    }
    let flow = Flow::read(&mut value)?.map(Box::new);
    let call_id = Arc::from(value.text()?);
    let cseq = value.u32()?;
    let lifetime_seconds = value.u32()?;
    value.finish()?;
    let granted = Duration::from_secs(lifetime_seconds.into());
    let binding = Binding {
        uri,
        display,
        params,
        q_milli,
        instance,
        reg_id,
        path: (!path.is_empty()).then(|| path.into()),
        flow,
        call_id,
        cseq,
        lifetime_seconds,
        expires_at: instant_of(record.expires_unix_ms, now, unix_ms, granted),
    };
    Ok((aor, binding))
}

/// The AOR that the key of a record of a binding names.
///
/// # Errors
/// It names none.
pub fn aor_of(key: &[u8]) -> Result<Aor, Malformed> {
    let aor = key.split(|&b| b == 0).next().unwrap_or_default();
    std::str::from_utf8(aor).ok().and_then(Aor::parse).ok_or(Malformed)
}

/// Whether a binding of the AOR that a key names is the one that it names.
pub(crate) fn is_key_of(key: &[u8], aor: &Aor, binding: &Binding) -> bool {
    let mut own = Vec::with_capacity(key.len());
    write_key(&mut own, aor, binding);
    own == key
}

const Q_ABSENT: u16 = u16::MAX;

pub(crate) fn write_key(key: &mut Vec<u8>, aor: &Aor, binding: &Binding) {
    key.extend_from_slice(aor.as_str().as_bytes());
    key.push(0);
    match (&binding.instance, binding.reg_id) {
        (Some(instance), Some(reg_id)) => {
            key.extend_from_slice(&reg_id.get().to_le_bytes());
            key.extend_from_slice(instance.as_bytes());
        }
        _ => key.extend_from_slice(binding.uri.as_bytes()),
    }
}

pub(crate) fn write_value(value: &mut Vec<u8>, binding: &Binding) {
    value.push(VERSION);
    put_text(value, &binding.uri);
    put_optional(value, binding.display.as_deref());
    put_optional(value, binding.params.as_deref());
    value.extend_from_slice(&binding.q_milli.unwrap_or(Q_ABSENT).to_le_bytes());
    put_optional(value, binding.instance.as_deref());
    value.extend_from_slice(&binding.reg_id.map_or(0, NonZeroU32::get).to_le_bytes());
    let path = binding.path.as_deref().unwrap_or_default();
    // `path_values_max` is at most 255.
    value.push(u8::try_from(path.len()).unwrap_or(u8::MAX));
    path.iter().take(usize::from(u8::MAX)).for_each(|route| put_text(value, route));
    Flow::write(binding.flow.as_deref(), value);
    put_text(value, &binding.call_id);
    value.extend_from_slice(&binding.cseq.to_le_bytes());
    value.extend_from_slice(&binding.lifetime_seconds.to_le_bytes());
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // virtual time begins somewhere
mod tests {
    use sip_message::Transport;
    use sip_service::Connection;

    use super::*;

    fn full(now: Instant) -> Binding {
        let (local, remote) = ("[2001:db8::1]:5060", "[2001:db8::2]:4711");
        let (local, remote) = (local.parse().expect("an address"), remote.parse().expect("an address"));
        Binding {
            uri: "sip:alice@192.0.2.1;ob".into(),
            display: Some("\"A. Lice\"".into()),
            params: Some(";methods=\"INVITE,BYE\"".into()),
            q_milli: Some(500),
            instance: Some("urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF".into()),
            reg_id: NonZeroU32::new(2),
            path: Some(["<sip:p1;lr>".into(), "<sip:p2;lr>".into()].into()),
            flow: Some(Box::new(Flow {
                transport: Transport::Tcp,
                local,
                remote,
                connection: Connection(7),
            })),
            call_id: "a@b".into(),
            cseq: 9,
            lifetime_seconds: 600,
            expires_at: now + Duration::from_secs(500),
        }
    }

    fn written(aor: &Aor, binding: &Binding) -> (Vec<u8>, Vec<u8>) {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        write_key(&mut key, aor, binding);
        write_value(&mut value, binding);
        (key, value)
    }

    #[test]
    fn a_binding_is_read_as_it_was_written() {
        let (now, aor) = (Instant::now(), Aor::parse("alice@example.test").expect("an AOR"));
        let mut plain = full(now);
        (plain.display, plain.params, plain.q_milli, plain.path, plain.flow) = (None, None, None, None, None);
        (plain.instance, plain.reg_id) = (None, None);
        for binding in [full(now), plain] {
            let (key, value) = written(&aor, &binding);
            let record = Record::present(BINDING, &key, &value, 1_500_000);
            let (found, mut read) = read(&record, now, 1_000_000).expect("a binding");
            assert_eq!(found, aor);
            if let Some(flow) = &mut read.flow {
                // The connection is gone with its process, and no other is taken for it.
                assert_eq!(std::mem::replace(&mut flow.connection, Connection(7)), Connection::GONE);
            }
            assert_eq!(read, binding);
        }
    }

    #[test]
    fn a_clock_that_was_put_back_lengthens_no_life() {
        let (now, aor) = (Instant::now(), Aor::parse("alice@example.test").expect("an AOR"));
        let (key, value) = written(&aor, &full(now));
        let record = Record::present(BINDING, &key, &value, 1_500_000);
        let (_, binding) = read(&record, now, 0).expect("a binding");
        assert_eq!(binding.expires_at, now + Duration::from_secs(600));
    }

    #[test]
    fn what_is_no_binding_is_refused() {
        let (now, aor) = (Instant::now(), Aor::parse("alice@example.test").expect("an AOR"));
        let (key, value) = written(&aor, &full(now));
        for length in 0..value.len() {
            let record = Record::present(BINDING, &key, &value[..length], 1);
            assert_eq!(read(&record, now, 0), Err(Malformed), "{length}");
        }
        let record = Record::present(BINDING, b"nobody", &value, 1);
        assert_eq!(read(&record, now, 0), Err(Malformed));
    }

    // RFC 5626 §6: the instance and reg-id name a binding, whatever its URI; RFC 3261 §10.3: else the URI does.
    #[test]
    fn the_key_is_what_makes_a_contact_one() {
        let (now, aor) = (Instant::now(), Aor::parse("alice@example.test").expect("an AOR"));
        let (old, mut new) = (full(now), full(now));
        new.uri = "sip:alice@192.0.2.99".into();
        assert_eq!(written(&aor, &old).0, written(&aor, &new).0);
        new.reg_id = None;
        assert_ne!(written(&aor, &old).0, written(&aor, &new).0);
    }
}
