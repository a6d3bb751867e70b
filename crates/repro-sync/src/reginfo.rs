//! The registration event `reginfo` (§6.4; RSS:100-125, 296-341; RSC:302-428).

use crate::element::Element;
use crate::text::{number, put, put_number, put_text, unescape_text};
use crate::{ReadError, Tuple};

/// The contacts of an AOR: all that may be exported, those that were removed included. Who is not in it is left alone.
///
/// Texts lose the white space before them on the way. The caller leaves out what is never exported: static registrations,
/// and contacts that can be reached by a connection of the sender only (§6.1).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RegInfo {
    /// `aor`: the AOR as a URI with its scheme, without the default port.
    pub aor: String,
    /// `contactinfo`, in order.
    pub contacts: Vec<ContactInfo>,
}

/// One contact.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ContactInfo {
    /// `contacturi`: the Contact as a name-addr with all its parameters, as it was registered.
    pub contact_uri: String,
    /// `expires`: seconds to live; 0 if it was removed or has expired.
    pub expires_seconds: u64,
    /// `lastupdate`: age of the record in seconds, by the clock of the sender. `None` if it did not say: then it is new.
    pub last_update_seconds: Option<u64>,
    /// `receivedfrom`: where the REGISTER came from. Not written if the port is 0.
    pub received_from: Option<Tuple>,
    /// `publicaddress`: the address before NAT, where the sender detected it.
    pub public_address: Option<Tuple>,
    /// `sippath`: the URIs of the Path, in order. Parameters of the header field were lost at the sender.
    pub path: Vec<String>,
    /// `instance`: `+sip.instance` with its angle brackets; empty if there is none.
    pub instance: String,
    /// `regid`: `reg-id`; 0 if there is none.
    pub reg_id: u32,
    /// `useragent`: User-Agent of the REGISTER; empty if there was none.
    pub user_agent: String,
}

impl RegInfo {
    /// Writes it as repro does, line end included.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<reginfo>\r\n");
        put_text(out, "   ", "aor", self.aor.as_bytes());
        self.contacts.iter().for_each(|contact| contact.write(out));
        out.extend_from_slice(b"</reginfo>\r\n");
    }

    /// Reads a message whose root is [`Root::RegInfo`](crate::Root).
    ///
    /// # Errors
    /// [`ReadError`] if it is not the dialect, if the AOR is missing, or what a contact cannot be without: taking a missing
    /// `expires` for 0, as repro does, would remove the contact.
    pub fn read(octets: &[u8]) -> Result<Self, ReadError> {
        let mut aor = None;
        let mut contacts = Vec::new();
        for child in Element::root(octets)?.children() {
            let child = child?;
            if child.is("aor") {
                aor = child.text().map(unescape_text).or(aor);
            } else if child.is("contactinfo") {
                contacts.push(ContactInfo::read(&child)?);
            }
        }
        Ok(Self { aor: aor.ok_or(ReadError::Missing { element: "aor" })?, contacts })
    }
}

impl ContactInfo {
    fn write(&self, out: &mut Vec<u8>) {
        const INDENT: &str = "      ";
        out.extend_from_slice(b"   <contactinfo>\r\n");
        put_text(out, INDENT, "contacturi", self.contact_uri.as_bytes());
        put_number(out, INDENT, "expires", self.expires_seconds);
        if let Some(age) = self.last_update_seconds {
            put_number(out, INDENT, "lastupdate", age);
        }
        let received_from = self.received_from.filter(|tuple| tuple.address.port() != 0);
        for (name, tuple) in [("receivedfrom", received_from), ("publicaddress", self.public_address)] {
            if let Some(tuple) = tuple {
                put(out, INDENT, name, |out| out.extend_from_slice(tuple.to_base64().as_bytes()));
            }
        }
        for uri in &self.path {
            put_text(out, INDENT, "sippath", uri.as_bytes());
        }
        if !self.instance.is_empty() {
            put_text(out, INDENT, "instance", self.instance.as_bytes());
        }
        if self.reg_id != 0 {
            put_number(out, INDENT, "regid", self.reg_id.into());
        }
        if !self.user_agent.is_empty() {
            put_text(out, INDENT, "useragent", self.user_agent.as_bytes());
        }
        out.extend_from_slice(b"   </contactinfo>\r\n");
    }

    fn read(element: &Element<'_>) -> Result<Self, ReadError> {
        let mut contact = Self::default();
        let mut expires_seconds = None;
        for child in element.children() {
            let child = child?;
            // repro takes an element without text for one that is not there.
            let Some(text) = child.text() else { continue };
            match child.name().as_str() {
                "contacturi" => contact.contact_uri = unescape_text(text),
                "expires" => expires_seconds = Some(number(text)),
                "lastupdate" => contact.last_update_seconds = Some(number(text)),
                "receivedfrom" => contact.received_from = Tuple::from_base64(text),
                "publicaddress" => contact.public_address = Tuple::from_base64(text),
                "sippath" => contact.path.push(unescape_text(text)),
                "instance" => contact.instance = unescape_text(text),
                "regid" => contact.reg_id = u32::try_from(number(text)).unwrap_or(u32::MAX),
                "useragent" => contact.user_agent = unescape_text(text),
                _ => {}
            }
        }
        if contact.contact_uri.is_empty() {
            return Err(ReadError::Missing { element: "contacturi" });
        }
        contact.expires_seconds = expires_seconds.ok_or(ReadError::Missing { element: "expires" })?;
        Ok(contact)
    }
}
