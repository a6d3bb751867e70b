//! The request for a dump and its responses (§6.3; RSC:124-130, RSS:251-294, XRC:221-266).

use memchr::memmem::find;

use crate::ReadError;
use crate::element::Element;
use crate::text::{is_white_space, number, unescape_text};

/// The version of the protocol (`repro/RegSyncServer.hxx:11`).
pub const VERSION: u64 = 4;

/// What a client sends right after connecting.
pub const REQUEST: &[u8; 85] =
    b"<InitialSync>\r\n  <Request>\r\n     <Version>4</Version>\r\n  </Request>\r\n</InitialSync>\r\n";

/// What a listener says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultCode {
    /// 200: the dump is complete.
    Completed,
    /// 400: the request is not readable.
    ParseError,
    /// 400: the request is something else.
    UnknownMethod,
    /// 505: the version is another.
    VersionNotSupported,
}

impl ResultCode {
    /// 200, 400 or 505.
    pub const fn code(self) -> u16 {
        match self {
            Self::Completed => 200,
            Self::ParseError | Self::UnknownMethod => 400,
            Self::VersionNotSupported => 505,
        }
    }

    /// The sentence with it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Completed => "Initial Sync Completed.",
            Self::ParseError => "Parse error",
            Self::UnknownMethod => "Unknown method",
            Self::VersionNotSupported => "Version not supported.",
        }
    }

    /// The response to `request`, a whole message: the request itself with a `Response` spliced in after `</Request>`; the
    /// bare `Response` where there is no such end. There is no line end behind it.
    pub fn respond(self, request: &[u8]) -> Vec<u8> {
        const END: &[u8] = b"</Request>";
        let (code, text) = (self.code(), self.text());
        let result = format!("\r\n    <Result Code=\"{code}\">{text}</Result>\r\n");
        let split = find(request, END).and_then(|at| {
            let after = request.get(at + END.len()..)?;
            let white_space = after.iter().take_while(|&&octet| is_white_space(octet)).count();
            request.split_at_checked(at + END.len() + white_space)
        });
        match split {
            None => format!("<Response>{result}</Response>").into_bytes(),
            Some((before, after)) => {
                [before, b"\r\n  <Response>", result.as_bytes(), b"  </Response>\r\n", after].concat()
            }
        }
    }
}

/// The version that an `InitialSync` request names; 0 if it names none.
///
/// # Errors
/// [`ReadError`] if it is not the dialect.
pub fn requested_version(octets: &[u8]) -> Result<u64, ReadError> {
    let root = Element::root(octets)?;
    // repro reads all of a message before it looks for anything in it.
    root.children().try_for_each(|child| child.map(drop))?;
    let Some(request) = root.child("request")? else { return Ok(0) };
    let version = request.child("version")?;
    Ok(version.and_then(|version| version.text()).map_or(0, number))
}

/// A listener's response, as its client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200 when the dump is complete.
    pub code: u16,
    /// The sentence with it.
    pub text: String,
}

impl Reply {
    /// Reads a response of either form.
    ///
    /// # Errors
    /// [`ReadError`] if it is not the dialect or has no result. repro takes it for success, whatever is in it (RSC:264-268).
    pub fn read(octets: &[u8]) -> Result<Self, ReadError> {
        let root = Element::root(octets)?;
        let response = if root.is("response") { Some(root) } else { root.child("response")? };
        let result = response.map(|response| response.child("result")).transpose()?.flatten();
        let result = result.ok_or(ReadError::Missing { element: "Result" })?;
        let code = result.attribute("code").map(number).and_then(|code| u16::try_from(code).ok());
        let code = code.ok_or(ReadError::Missing { element: "Code" })?;
        Ok(Self { code, text: result.text().map(unescape_text).unwrap_or_default() })
    }
}
