//! The publication event `pubinfo` (§6.5; RSS:127-222; RSC:473-651).

use crate::ReadError;
use crate::element::Element;
use crate::text::{escape_except, number, put, put_number, put_text, unescape, unescape_text};

/// What became of one publication.
///
/// Texts and contents lose the white space before them on the way.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PubInfo {
    /// `eventtype`: the event package, a token. The receiver does not decode it, so a `'` is not escaped either.
    pub event_type: String,
    /// `documentkey`: the presentity as `user@host[:port]`, without a scheme.
    pub document_key: String,
    /// `etag`: its entity-tag.
    pub etag: String,
    /// `expires`: seconds to live; 0 if it was removed or has expired.
    pub expires_seconds: u64,
    /// `lastupdate`: age in seconds, by the clock of the sender. `None` if it did not say: then it is older than anything.
    pub last_update_seconds: Option<u64>,
    /// What it says; `None` in a refresh. Not written when it was removed.
    pub contents: Option<Contents>,
}

/// What a publication says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Contents {
    /// `contents`: the document. Its type is not on the wire; it is `application/pidf+xml`.
    pub body: Vec<u8>,
    /// `isencrypted` and what follows it; `None` if the document came in the clear.
    pub encryption: Option<Encryption>,
}

/// Who signed a document that came encrypted, and who published it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Encryption {
    /// `sigstatus`.
    pub signature: SignatureStatus,
    /// `signer`; empty if there is none.
    pub signer: String,
    /// `identity`; empty if there is none.
    pub identity: String,
    /// `identitystrength`. Written with an identity only.
    pub strength: IdentityStrength,
}

/// What the sender found of a signature. One that is not known is read as [`Self::None`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum SignatureStatus {
    #[default]
    None,
    Bad,
    Trusted,
    CaTrusted,
    NotTrusted,
    SelfSigned,
}

impl SignatureStatus {
    const NAMES: [(&str, Self); 6] = [
        ("none", Self::None),
        ("bad", Self::Bad),
        ("trusted", Self::Trusted),
        ("catrusted", Self::CaTrusted),
        ("nottrusted", Self::NotTrusted),
        ("selfsigned", Self::SelfSigned),
    ];
}

/// How sure the sender is of the identity. One that is not known is read as [`Self::From`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum IdentityStrength {
    #[default]
    From,
    FailedIdentity,
    Identity,
}

impl IdentityStrength {
    const NAMES: [(&str, Self); 3] =
        [("from", Self::From), ("failedidentity", Self::FailedIdentity), ("identity", Self::Identity)];
}

const INDENT: &str = "   ";

impl PubInfo {
    /// Writes it as repro does, line end included.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<pubinfo>\r\n");
        // repro does not escape the type at all in one of its forms. A token has none of the other four characters.
        put(out, INDENT, "eventtype", |out| escape_except(out, self.event_type.as_bytes(), Some(b'\'')));
        put_text(out, INDENT, "documentkey", self.document_key.as_bytes());
        put_text(out, INDENT, "etag", self.etag.as_bytes());
        put_number(out, INDENT, "expires", self.expires_seconds);
        if let Some(age) = self.last_update_seconds {
            put_number(out, INDENT, "lastupdate", age);
        }
        if let Some(contents) = self.contents.as_ref().filter(|_| self.expires_seconds != 0) {
            contents.write(out);
        }
        out.extend_from_slice(b"</pubinfo>\r\n");
    }

    /// Reads a message whose root is [`Root::PubInfo`](crate::Root).
    ///
    /// # Errors
    /// [`ReadError`] if it is not the dialect, or if what names the publication is missing, or `expires`: taking that for 0,
    /// as repro does, would remove the publication.
    pub fn read(octets: &[u8]) -> Result<Self, ReadError> {
        let mut info = Self::default();
        let mut expires_seconds = None;
        let mut body = None;
        let mut is_encrypted = false;
        let mut encryption = Encryption::default();
        for child in Element::root(octets)?.children() {
            let child = child?;
            // repro takes an element without text for one that is not there.
            let Some(text) = child.text() else { continue };
            match child.name().as_str() {
                "eventtype" => info.event_type = String::from_utf8_lossy(text).into_owned(),
                "documentkey" => info.document_key = unescape_text(text),
                "etag" => info.etag = unescape_text(text),
                "expires" => expires_seconds = Some(number(text)),
                "lastupdate" => info.last_update_seconds = Some(number(text)),
                "contents" => body = Some(unescape(text).into_owned()),
                "isencrypted" => is_encrypted = text.eq_ignore_ascii_case(b"true"),
                "sigstatus" => encryption.signature = named(&SignatureStatus::NAMES, text),
                "signer" => encryption.signer = unescape_text(text),
                "identity" => encryption.identity = unescape_text(text),
                "identitystrength" => encryption.strength = named(&IdentityStrength::NAMES, text),
                _ => {}
            }
        }
        for (element, text) in
            [("eventtype", &info.event_type), ("documentkey", &info.document_key), ("etag", &info.etag)]
        {
            if text.is_empty() {
                return Err(ReadError::Missing { element });
            }
        }
        info.expires_seconds = expires_seconds.ok_or(ReadError::Missing { element: "expires" })?;
        info.contents = body.map(|body| Contents { body, encryption: is_encrypted.then_some(encryption) });
        Ok(info)
    }
}

impl Contents {
    fn write(&self, out: &mut Vec<u8>) {
        put_text(out, INDENT, "contents", &self.body);
        let Some(encryption) = &self.encryption else {
            put_text(out, INDENT, "isencrypted", b"false");
            return;
        };
        put_text(out, INDENT, "isencrypted", b"true");
        put_text(out, INDENT, "sigstatus", name_of(&SignatureStatus::NAMES, encryption.signature).as_bytes());
        if !encryption.signer.is_empty() {
            put_text(out, INDENT, "signer", encryption.signer.as_bytes());
        }
        if !encryption.identity.is_empty() {
            put_text(out, INDENT, "identity", encryption.identity.as_bytes());
            let strength = name_of(&IdentityStrength::NAMES, encryption.strength);
            put_text(out, INDENT, "identitystrength", strength.as_bytes());
        }
    }
}

fn name_of<T: Copy + PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, named)| *named == value).map_or("unknown", |(name, _)| name)
}

/// The value of this name in any case; the default if there is none.
fn named<T: Copy + Default>(names: &[(&str, T)], text: &[u8]) -> T {
    let found = names.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(text));
    found.map_or_else(T::default, |(_, value)| *value)
}
