//! What a presence document of the campaign says.

use std::collections::BTreeMap;

/// The publications in a document, with the number that each has in its note; none in that of somebody who is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Document(pub(crate) BTreeMap<u64, u64>);

impl Document {
    /// Reads what a server composed of [`pidf`]s.
    pub(crate) fn read(body: &str) -> Self {
        let tuples = body.split("<tuple ").skip(1);
        let between = |text: &str, before: &str, after: char| -> Option<u64> {
            let (_, rest) = text.split_once(before)?;
            rest.split(after).next()?.parse().ok()
        };
        Self(
            tuples
                .filter_map(|tuple| {
                    let note = tuple.split_once("<note").and_then(|(_, rest)| between(rest, ">", '<'))?;
                    Some((between(tuple, "id=\"t", '"')?, note))
                })
                .collect(),
        )
    }
}

/// A document with one tuple, which no other publication has.
pub(crate) fn pidf(user: &str, tuple: u64, number: u64) -> String {
    format!(
        "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:{user}@example.test\">\
         <tuple id=\"t{tuple}\"><status><basic>open</basic></status>\
         <contact>sip:{user}-{tuple}@192.0.2.1</contact><note>{number}</note></tuple></presence>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Document::read(&pidf("alice", 7, 31)).0, BTreeMap::from([(7, 31)]));
        let both = pidf("alice", 7, 31) + &pidf("alice", 12, 4);
        assert_eq!(Document::read(&both).0, BTreeMap::from([(7, 31), (12, 4)]));
        assert!(
            Document::read("<presence><tuple id=\"x\"><status><basic>closed</basic></status></tuple>")
                .0
                .is_empty()
        );
    }
}
