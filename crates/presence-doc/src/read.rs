//! From an XML tree to a [`Document`]: what each child of `presence` is, and what it says (RFC 3863 §4, RFC 4479 §3).

use roxmltree::{Node, ParsingOptions};

use crate::contact::{is_priority, key, urn_key};
use crate::document::{Attribute, Contact, Document, Kind, Occurrence, Owner, Rule, Slot, Timestamp};
use crate::fragment::{Fragments, Role};
use crate::names::{DATA_MODEL, PIDF, RPID, XML, XSI, is_space, takes_range};
use crate::{DocumentLimits, Error, instant, scan};

/// Reads a text that [`scan::check`] let pass.
pub(crate) fn document(text: &str, limits: &DocumentLimits) -> Result<Document, Error> {
    let options =
        ParsingOptions { allow_dtd: false, nodes_limit: limits.nodes_max, ..ParsingOptions::default() };
    let tree = roxmltree::Document::parse_with_options(text, options).map_err(|e| refusal(&e, limits))?;
    let root = tree.root_element();
    let (namespace, name) = name(root);
    if (namespace, name) != (PIDF, "presence") {
        return Err(Error::WrongRoot { namespace: namespace.to_owned(), name: name.to_owned() });
    }
    let entity = plain(root, "entity").unwrap_or_default().trim_matches(is_space);
    if entity.is_empty() {
        return Err(Error::NoEntity);
    }

    let mut reader = Reader { fragments: Fragments::new(text) };
    let lang = root.attribute((XML, "lang"));
    let mut attributes = Vec::new();
    reader.attributes(root, Owner::Itself, "entity", &mut attributes);
    let (mut tuples, mut persons, mut devices) = (Vec::new(), Vec::new(), Vec::new());
    let (mut notes, mut extensions) = (Vec::new(), Vec::new());
    for node in elements(root) {
        match self::name(node) {
            (PIDF, "tuple") => tuples.push(reader.occurrence(Kind::Tuple, node, lang)?),
            (DATA_MODEL, "person") => persons.push(reader.occurrence(Kind::Person, node, lang)?),
            (DATA_MODEL, "device") => devices.push(reader.occurrence(Kind::Device, node, lang)?),
            (PIDF, "note") => notes.push(reader.fragments.child(node, Role::note(node, lang))?),
            _ => {
                let role = Role { rule: Rule::Union, lang, ..Role::of(Slot::Any) };
                extensions.push(reader.fragments.child(node, role)?);
            }
        }
    }
    let Fragments { namespaces, needs, ids, .. } = reader.fragments;
    Ok(Document {
        text: text.into(),
        entity: entity.into(),
        namespaces: namespaces.into_iter().map(Box::from).collect(),
        needs,
        ids,
        attributes,
        tuples,
        persons,
        devices,
        notes,
        extensions,
    })
}

struct Reader<'a> {
    fragments: Fragments<'a>,
}

impl<'a> Reader<'a> {
    fn occurrence(
        &mut self,
        kind: Kind,
        node: Node<'a, 'a>,
        lang: Option<&'a str>,
    ) -> Result<Occurrence, Error> {
        let lang = node.attribute((XML, "lang")).or(lang);
        let mut one = Occurrence {
            kind,
            id: plain(node, "id").unwrap_or_default().trim_matches(is_space).into(),
            key: (kind == Kind::Person).then(Box::default),
            variant: Box::default(),
            contact: None,
            timestamp: None,
            attributes: Vec::new(),
            children: Vec::new(),
        };
        self.attributes(node, Owner::Itself, "id", &mut one.attributes);
        let (mut class, mut relationship) = (String::new(), None);
        for child in elements(node) {
            let role = match (kind, name(child)) {
                (Kind::Tuple, (PIDF, "status")) => {
                    self.status(child, lang, &mut one)?;
                    continue;
                }
                (Kind::Tuple, (PIDF, "contact")) => {
                    self.contact(child, &mut one);
                    continue;
                }
                (Kind::Tuple, (PIDF, "timestamp"))
                | (Kind::Person | Kind::Device, (DATA_MODEL, "timestamp")) => {
                    let stated = Timestamp::parse(text(child).trim_matches(is_space));
                    one.timestamp = one.timestamp.or(stated);
                    continue;
                }
                (Kind::Tuple, (PIDF, "note")) | (Kind::Person | Kind::Device, (DATA_MODEL, "note")) => {
                    Role::note(child, lang)
                }
                (Kind::Device, (DATA_MODEL, "deviceID")) => {
                    let urn = text(child);
                    let urn = urn.trim_matches(is_space);
                    if one.key.is_none() && !urn.is_empty() {
                        one.key = Some(urn_key(urn));
                    }
                    Role::of(Slot::DeviceId)
                }
                // A reference to a device, of which there may be several (RFC 4479 §3.3, RFC 4480 §3.4).
                (Kind::Tuple, (DATA_MODEL, "deviceID")) => {
                    let discriminator = urn_key(text(child).trim_matches(is_space));
                    Role { rule: Rule::Union, discriminator, ..Role::of(Slot::Any) }
                }
                (_, (RPID, "class")) => {
                    class = text(child).trim_matches(is_space).to_owned();
                    Role::of(Slot::Any)
                }
                (Kind::Tuple, (RPID, "relationship")) => {
                    relationship = Some(relation(child));
                    Role { weak: is_unknown(child), lang, ..Role::of(Slot::Any) }
                }
                (_, (namespace, local)) => {
                    let rule = range(namespace, local, child).unwrap_or(Rule::Newest);
                    Role { rule, weak: is_unknown(child), lang, ..Role::of(Slot::Any) }
                }
            };
            one.children.push(self.fragments.child(child, role)?);
        }
        // RFC 4480 §3.9: the default of a relationship is "self".
        let relationship = relationship.filter(|relation| relation != SELF).unwrap_or_default();
        one.variant =
            if relationship.is_empty() { class.into() } else { format!("{class}\n{relationship}").into() };
        one.children.sort_by_key(|child| child.slot);
        Ok(one)
    }

    /// RFC 3863 §4.1.4.
    fn status(
        &mut self,
        node: Node<'a, 'a>,
        lang: Option<&'a str>,
        one: &mut Occurrence,
    ) -> Result<(), Error> {
        let lang = node.attribute((XML, "lang")).or(lang);
        self.attributes(node, Owner::Status, "", &mut one.attributes);
        for child in elements(node) {
            let role = match name(child) {
                (PIDF, "basic") => {
                    let value = text(child);
                    let is_known = matches!(value.trim_matches(is_space), "open" | "closed");
                    Role { weak: !is_known, ..Role::of(Slot::Basic) }
                }
                (namespace, local) => {
                    let rule = range(namespace, local, child).unwrap_or(Rule::Newest);
                    Role { rule, weak: is_unknown(child), lang, ..Role::of(Slot::Status) }
                }
            };
            one.children.push(self.fragments.child(child, role)?);
        }
        Ok(())
    }

    /// RFC 3863 §4.1.5. The first contact counts; an empty one is none.
    fn contact(&mut self, node: Node<'a, 'a>, one: &mut Occurrence) {
        let uri = text(node);
        let uri = uri.trim_matches(is_space);
        if one.contact.is_some() || uri.is_empty() {
            return;
        }
        let priority = plain(node, "priority").map(|text| text.trim_matches(is_space));
        one.key = Some(key(uri));
        one.contact =
            Some(Contact { uri: uri.into(), priority: priority.filter(|p| is_priority(p)).map(Box::from) });
        self.attributes(node, Owner::Contact, "priority", &mut one.attributes);
    }

    /// Takes the attributes that are an extension's; `known` is the one that the schema has.
    fn attributes(&mut self, node: Node<'a, 'a>, owner: Owner, known: &str, to: &mut Vec<Attribute>) {
        for attribute in node.attributes() {
            let namespace = attribute.namespace().unwrap_or_default();
            // The language goes down to what is copied. Where the schemas of a publisher lie says nothing of the
            // presentity and need not be true of a composed document.
            match (namespace, attribute.name()) {
                ("", name) if name == known => continue,
                (XML, "lang") | (XSI, "schemaLocation" | "noNamespaceSchemaLocation") => continue,
                _ => {}
            }
            let prefix = match self.fragments.text[attribute.range()].split_once(':') {
                Some((prefix, _)) if !namespace.is_empty() => prefix,
                _ => "",
            };
            to.push(Attribute {
                owner,
                namespace: self.fragments.intern(namespace),
                prefix: prefix.into(),
                local: attribute.name().into(),
                value: attribute.value().into(),
            });
        }
    }
}

/// Namespace (empty for none) and local name.
pub(crate) fn name<'a>(node: Node<'a, 'a>) -> (&'a str, &'a str) {
    (node.tag_name().namespace().unwrap_or_default(), node.tag_name().name())
}

/// An attribute without namespace. roxmltree's `attribute("a")` would take `x:a`, too.
fn plain<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.attributes().find(|a| a.namespace().is_none() && a.name() == name).map(|a| a.value())
}

pub(crate) fn elements<'a>(node: Node<'a, 'a>) -> impl Iterator<Item = Node<'a, 'a>> {
    node.children().filter(|child| child.is_element())
}

/// The text directly inside an element, whatever comments interrupt it.
fn text(node: Node<'_, '_>) -> String {
    node.children().filter(|child| child.is_text()).filter_map(|child| child.text()).collect()
}

/// When an element is valid, if it says so: `from` and `until` of RFC 4480 §3.1 and RFC 4481 §3. What does not follow
/// the schema is no bound.
fn range(namespace: &str, local: &str, node: Node<'_, '_>) -> Option<Rule> {
    let (from, until) = (plain(node, "from"), plain(node, "until"));
    if !takes_range(namespace, local) || (from, until) == (None, None) {
        return None;
    }
    let bound = |text: Option<&str>| text.and_then(|text| instant::parse(text.trim_matches(is_space)));
    Some(Rule::Range { from: bound(from).unwrap_or(i64::MIN), until: bound(until).unwrap_or(i64::MAX) })
}

/// Whether an RPID element says that its value is unknown, which is less than any value.
fn is_unknown(node: Node<'_, '_>) -> bool {
    node.has_tag_name((RPID, node.tag_name().name()))
        && node.children().any(|c| c.has_tag_name((RPID, "unknown")))
}

const SELF: &str = "{urn:ietf:params:xml:ns:pidf:rpid}self";

/// What a `relationship` says, notes apart.
fn relation(node: Node<'_, '_>) -> String {
    let mut said = String::new();
    for child in node.children().filter(|c| c.is_element() && !c.has_tag_name((RPID, "note"))) {
        let namespace = child.tag_name().namespace().unwrap_or_default();
        said.push_str(&format!("{{{namespace}}}{}", child.tag_name().name()));
        said.push_str(text(child).trim_matches(is_space));
    }
    said
}

fn refusal(error: &roxmltree::Error, limits: &DocumentLimits) -> Error {
    match error {
        roxmltree::Error::NodesLimitReached => Error::TooManyNodes { max: limits.nodes_max },
        roxmltree::Error::AttributesLimitReached | roxmltree::Error::NamespacesLimitReached => {
            Error::TooManyAttributes { max: scan::ATTRIBUTES_MAX }
        }
        roxmltree::Error::DtdDetected => Error::Dtd,
        other => {
            let at = other.pos();
            let (reason, place) = (other.to_string(), format!(" at {at}"));
            let reason = reason.strip_suffix(&place).unwrap_or(&reason).to_owned();
            Error::NotWellFormed { line: at.row, column: at.col, reason }
        }
    }
}
