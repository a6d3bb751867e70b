//! Event and Allow-Events (RFC 6665 §8.2.1, §8.2.2).

use super::params::{self, Params};
use crate::ParseError;
use crate::chars::{self, Cursor};

/// The value of Event or one of Allow-Events: package and parameters.
#[derive(Clone, Copy, Debug)]
pub struct EventType<'a> {
    /// `presence`, `presence.winfo`: compared with case (RFC 6665 §8.2.1).
    pub package: &'a str,
    /// Parameters.
    pub params: Params<'a>,
}

impl<'a> EventType<'a> {
    /// Reads the value.
    ///
    /// # Errors
    /// 400 with header `Event`.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let (package, params) =
            token_with_params(value).map_err(|what| ParseError::bad_request("Event", what))?;
        Ok(Self { package, params })
    }

    /// The `id` parameter.
    pub fn id(&self) -> Option<&'a str> {
        self.params.value("id")
    }
}

/// `token *( SEMI generic-param )`.
pub(super) fn token_with_params(value: &[u8]) -> Result<(&str, Params<'_>), &'static str> {
    let mut cursor = Cursor::new(value, 0, value.len());
    cursor.skip_lws();
    let token = cursor.take(chars::TOKEN);
    if token.is_empty() {
        return Err("a token");
    }
    let params = params::check(&mut cursor)?;
    Ok((token.text(value), Params(params.text(value))))
}
