//! What a watcher is shown: repro's three behaviours as one rule.

use crate::DomainConfig;

/// What a presentity's state is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The composition of its live publications.
    Composed,
    /// A document of our own that says open: registered, nothing published.
    SyntheticOpen,
    /// A document of our own that says closed.
    SyntheticClosed,
    /// Nothing: a SUBSCRIBE is answered 480, subscriptions end with `noresource`.
    Nothing,
}

/// The view by a domain's settings, for an existing user.
///
/// `is_registered` is looked at only with `uses_registration_state`; `notify_closed_for_non_published_users` only without.
pub fn view_of(domain: &DomainConfig, is_registered: bool, is_published: bool) -> View {
    if domain.uses_registration_state {
        return match (is_registered, is_published) {
            (false, true) if domain.unregistered_is_closed => View::SyntheticClosed,
            (_, true) => View::Composed,
            (true, false) => View::SyntheticOpen,
            (false, false) => View::SyntheticClosed,
        };
    }
    if is_published {
        View::Composed
    } else if domain.notify_closed_for_non_published_users {
        View::SyntheticClosed
    } else {
        View::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::View::*;
    use super::*;

    /// Columns: uses_registration_state, unregistered_is_closed, notify_closed…, registered, published.
    #[test]
    fn every_combination() {
        for (uses, unregistered_is_closed, notify_closed, registered, published, expected) in [
            // Registrations play no part.
            (0, 0, 0, 0, 0, Nothing),
            (0, 0, 0, 0, 1, Composed),
            (0, 0, 0, 1, 0, Nothing),
            (0, 0, 0, 1, 1, Composed),
            (0, 0, 1, 0, 0, SyntheticClosed),
            (0, 0, 1, 0, 1, Composed),
            (0, 0, 1, 1, 0, SyntheticClosed),
            (0, 0, 1, 1, 1, Composed),
            (0, 1, 0, 0, 0, Nothing),
            (0, 1, 0, 0, 1, Composed),
            (0, 1, 0, 1, 0, Nothing),
            (0, 1, 0, 1, 1, Composed),
            (0, 1, 1, 0, 0, SyntheticClosed),
            (0, 1, 1, 0, 1, Composed),
            (0, 1, 1, 1, 0, SyntheticClosed),
            (0, 1, 1, 1, 1, Composed),
            // Registration speaks for those who do not publish; notify_closed… has no effect.
            (1, 0, 0, 0, 0, SyntheticClosed),
            (1, 0, 0, 0, 1, Composed),
            (1, 0, 0, 1, 0, SyntheticOpen),
            (1, 0, 0, 1, 1, Composed),
            (1, 0, 1, 0, 0, SyntheticClosed),
            (1, 0, 1, 0, 1, Composed),
            (1, 0, 1, 1, 0, SyntheticOpen),
            (1, 0, 1, 1, 1, Composed),
            // Closed for whoever is not registered, whatever is published: repro's rule.
            (1, 1, 0, 0, 0, SyntheticClosed),
            (1, 1, 0, 0, 1, SyntheticClosed),
            (1, 1, 0, 1, 0, SyntheticOpen),
            (1, 1, 0, 1, 1, Composed),
            (1, 1, 1, 0, 0, SyntheticClosed),
            (1, 1, 1, 0, 1, SyntheticClosed),
            (1, 1, 1, 1, 0, SyntheticOpen),
            (1, 1, 1, 1, 1, Composed),
        ] {
            let domain = DomainConfig {
                uses_registration_state: uses == 1,
                unregistered_is_closed: unregistered_is_closed == 1,
                notify_closed_for_non_published_users: notify_closed == 1,
                ..DomainConfig::default()
            };
            let view = view_of(&domain, registered == 1, published == 1);
            assert_eq!(view, expected, "{domain:?} registered={registered} published={published}");
        }
    }
}
