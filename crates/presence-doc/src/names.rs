//! The namespaces that the compositor knows, and what it knows of their elements.

/// RFC 3863.
pub(crate) const PIDF: &str = "urn:ietf:params:xml:ns:pidf";
/// RFC 4479.
pub(crate) const DATA_MODEL: &str = "urn:ietf:params:xml:ns:pidf:data-model";
/// RFC 4480.
pub(crate) const RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
/// RFC 4481.
pub(crate) const TIMED_STATUS: &str = "urn:ietf:params:xml:ns:pidf:timed-status";
/// Bound to the prefix `xml` without declaration.
pub(crate) const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// Hints about where schemas are; see XML Schema part 1 §2.6.
pub(crate) const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// The prefix that the compositor writes a namespace with; `None` for those that it leaves as they are.
pub(crate) fn canonical_prefix(namespace: &str) -> Option<&'static str> {
    match namespace {
        PIDF => Some(""),
        DATA_MODEL => Some(DATA_MODEL_PREFIX),
        _ => None,
    }
}

/// Always bound to [`DATA_MODEL`] where a composed document binds it at its root.
pub(crate) const DATA_MODEL_PREFIX: &str = "dm";

/// Whether the element takes `from` and `until` (RFC 4480 Table 1, RFC 4481 §3).
pub(crate) fn takes_range(namespace: &str, local: &str) -> bool {
    match namespace {
        RPID => matches!(
            local,
            "activities"
                | "mood"
                | "place-is"
                | "place-type"
                | "privacy"
                | "sphere"
                | "status-icon"
                | "time-offset"
        ),
        TIMED_STATUS => local == "timed-status",
        _ => false,
    }
}

/// Whether an attribute `id` without namespace is an `xs:ID` on elements of this namespace.
pub(crate) fn has_ids(namespace: &str) -> bool {
    matches!(namespace, PIDF | DATA_MODEL | RPID)
}

/// Whether the text is an `NCName` (Namespaces in XML §3), what an `xs:ID` must be.
pub(crate) fn is_ncname(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(is_name_start) && chars.all(|c| is_name_start(c) || is_name_rest(c))
}

/// Whether the text is a `QName` (Namespaces in XML §4).
pub(crate) fn is_qname(text: &str) -> bool {
    match text.split_once(':') {
        Some((prefix, local)) => is_ncname(prefix) && is_ncname(local),
        None => is_ncname(text),
    }
}

fn is_name_start(c: char) -> bool {
    matches!(c,
        'A'..='Z' | '_' | 'a'..='z'
        | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}' | '\u{370}'..='\u{37D}'
        | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}'
        | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}'
        | '\u{FDF0}'..='\u{FFFD}' | '\u{10000}'..='\u{EFFFF}')
}

fn is_name_rest(c: char) -> bool {
    matches!(c, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

/// White space of XML 1.0 §2.3.
pub(crate) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Characters of XML 1.0 §2.2.
pub(crate) fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_printed_examples_use() {
        for good in ["bs35r9", "_1", "a.b-c", "ĳ", "pres-7"] {
            assert!(is_ncname(good), "{good}");
        }
        for bad in ["", "432sd", "alice@example.test", "-a", "a:b", "a b"] {
            assert!(!is_ncname(bad), "{bad}");
        }
    }
}
