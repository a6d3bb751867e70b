//! Subscription-State (RFC 6665 §8.2.3).

use super::event::token_with_params;
use super::params::Params;
use crate::ParseError;

/// The value of Subscription-State.
#[derive(Clone, Copy, Debug)]
pub struct SubscriptionState<'a> {
    /// `active`, `pending`, `terminated` or an extension.
    pub state: &'a str,
    /// Parameters: `expires`, `reason`, `retry-after`.
    pub params: Params<'a>,
}

impl<'a> SubscriptionState<'a> {
    /// Reads the value.
    ///
    /// # Errors
    /// 400 with header `Subscription-State`.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let (state, params) =
            token_with_params(value).map_err(|what| ParseError::bad_request("Subscription-State", what))?;
        Ok(Self { state, params })
    }
}
