//! What is said of a presentity of whom only the registration state is known (RFC 3856 §6.7).

use crate::ids::Fnv;
use crate::instant;
use crate::write::Writer;

/// A document of one tuple that says `open` or `closed` and nothing more.
///
/// `entity` is the canonical URI of the presentity; an open tuple names it as contact, too. The id of the tuple is the
/// same for all documents of an entity. The timestamp is `now_unix_ms` in whole seconds.
pub fn synthetic(entity: &str, open: bool, now_unix_ms: i64) -> Vec<u8> {
    let mut hash = Fnv::new();
    hash.part(entity);
    let mut writer = Writer::default();
    writer.raw("<tuple");
    writer.attribute("id", &format!("t-{:016x}", hash.0));
    writer.raw(if open {
        "><status><basic>open</basic></status>"
    } else {
        "><status><basic>closed</basic></status>"
    });
    if open {
        writer.raw("<contact>");
        writer.text(entity);
        writer.raw("</contact>");
    }
    writer.raw("<timestamp>");
    writer.raw(&instant::format(now_unix_ms));
    writer.raw("</timestamp></tuple>\n");
    writer.finish(entity, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_watcher_gets_it() {
        let open =
            String::from_utf8(synthetic("sip:alice@example.test", true, 1_767_607_200_000)).expect("UTF-8");
        assert_eq!(
            open,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:alice@example.test\">\n\
             <tuple id=\"t-8200fe83a23bacc8\"><status><basic>open</basic></status>\
             <contact>sip:alice@example.test</contact><timestamp>2026-01-05T10:00:00Z</timestamp></tuple>\n\
             </presence>\n"
        );
        let closed = String::from_utf8(synthetic("sip:alice@example.test", false, 0)).expect("UTF-8");
        assert!(
            closed.contains("<basic>closed</basic></status><timestamp>1970-01-01T00:00:00Z<"),
            "{closed}"
        );
    }
}
