//! What a final response to a NOTIFY means for the subscription (RFC 6665 §4.2.2, RFC 5057 §5.1).

use sip_message::StatusCode;

/// The consequences of a final response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 2xx: the watcher has the state.
    Delivered,
    /// The watcher is there and does not want this NOTIFY. The subscription goes on; the same state is not sent again.
    Declined,
    /// Somebody on the way was overloaded or broken. The latest state is to be sent again later.
    TryLater,
    /// The subscription is gone, others in the dialog are not.
    EndsSubscription,
    /// The dialog is gone with all that is in it.
    EndsDialog,
}

impl Outcome {
    /// RFC 6665 §4.2.2 lists the codes that MUST remove a subscription: 404, 405, 410, 416, 480–485, 489, 501, 604.
    /// RFC 5057 table 1 tells which of them take the dialog with them. The rest concerns the transaction only: 408 and
    /// 5xx (table 1; 502 too, which §5.1 would let end the dialog: the peers' users ask that a failing proxy does not
    /// end subscriptions) speak of a passing condition; 3xx, other 4xx and 6xx would be the same next time.
    pub(crate) fn of(code: StatusCode) -> Self {
        match code.as_u16() {
            0..300 => Self::Delivered,
            404 | 410 | 416 | 482..=485 | 604 => Self::EndsDialog,
            405 | 480 | 481 | 489 | 501 => Self::EndsSubscription,
            408 | 500..600 => Self::TryLater,
            _ => Self::Declined,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Failure, Input};

    fn codes(outcome: Outcome) -> Vec<u16> {
        (200..700).filter(|c| StatusCode::new(*c).is_some_and(|c| Outcome::of(c) == outcome)).collect()
    }

    // RFC 6665 §4.2.2: the codes that MUST remove the subscription, and no other.
    #[test]
    fn codes_that_end_a_subscription() {
        let mut ending = codes(Outcome::EndsSubscription);
        ending.extend(codes(Outcome::EndsDialog));
        ending.sort_unstable();
        assert_eq!(ending, [404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604]);
    }

    // RFC 6665 §4.2.2: a last NOTIFY that is taken, or of a subscription that the watcher does not know, was the end. One that is
    // refused, as by a watcher that has a later number (RFC 3261 §12.2.2), or that nobody answers, leaves it open.
    #[test]
    fn answers_by_which_a_watcher_knows_of_the_end() {
        let answered = |code| {
            let code = StatusCode::new(code).expect("a code");
            Input::Answered { code, retry_after_seconds: None }
        };
        assert!([200, 202, 404, 481, 489].into_iter().all(|code| answered(code).confirms_end()));
        assert!(![302, 401, 408, 500, 503, 603].into_iter().any(|code| answered(code).confirms_end()));
        assert!(!Input::Failed(Failure::Timeout).confirms_end());
    }

    // RFC 5057 §5.1 table 1.
    #[test]
    fn codes_that_end_the_dialog() {
        assert_eq!(codes(Outcome::EndsDialog), [404, 410, 416, 482, 483, 484, 485, 604]);
    }

    #[test]
    fn codes_that_are_worth_another_attempt() {
        let again = codes(Outcome::TryLater);
        assert_eq!((again.first(), again.len()), (Some(&408), 100));
        assert!(!again.contains(&501));
        assert!(again.contains(&503));
    }

    // RFC 5057 §5.1: complaints about one transaction.
    #[test]
    fn codes_that_concern_the_transaction_only() {
        for code in [
            300, 302, 400, 401, 403, 406, 407, 413, 415, 420, 423, 486, 488, 491, 493, 499, 600, 603, 606,
            699,
        ] {
            assert_eq!(StatusCode::new(code).map(Outcome::of), Some(Outcome::Declined), "{code}");
        }
    }
}
