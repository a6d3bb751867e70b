//! `[presence]`, and `[domain.presence]` of each domain.

use std::time::Duration;

use presence_doc::{Composition, DocumentLimits};
use serde::{Deserialize, Serialize};

/// `[presence]`: publications and subscriptions of all domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Shortest duration of a publication or subscription; less is answered 423 with Min-Expires, except 0, and for
    /// SUBSCRIBE an hour or more (RFC 3903 §6 step 4, RFC 6665 §4.2.1.1). Default 30.
    pub min_expires_seconds: u32,
    /// Duration of a PUBLISH without Expires; also of such a SUBSCRIBE, for which the package says an hour at most
    /// (RFC 3856 §6.4). Default 3600.
    pub default_expires_seconds: u32,
    /// Longest duration; more is cut to it. Default 86,400.
    pub max_expires_seconds: u32,
    /// Live publications in the process; beyond it an initial PUBLISH is answered 503 with Retry-After. Default 1,000,000.
    pub publications_max: usize,
    /// Live publications of one AOR; beyond it an initial PUBLISH is answered 403 (503 would make a phone shun us for its
    /// calls too, RFC 3261 §21.5.4). Default 128.
    pub publications_per_aor_max: usize,
    /// Octets of one published document; beyond it 413. Default 65,536.
    pub document_bytes_max: usize,
    /// Nesting of one published document, the root being 1; beyond it 400. Default 32.
    pub document_depth_max: usize,
    /// Elements, texts, comments and processing instructions of one published document; beyond it 413. Default 10,000.
    pub document_nodes_max: u32,
    /// Live subscription dialogs in the process; beyond it a SUBSCRIBE is answered 503 with Retry-After. Default 1,000,000.
    pub subscriptions_max: usize,
    /// Live subscription dialogs to one presentity; beyond it 480 with Retry-After. Default 10,000.
    pub watchers_per_presentity_max: usize,
    /// Subscriptions, told apart by Event ids, in one dialog (RFC 6665 §4.5.2); beyond it 403. Default 4.
    pub subscriptions_per_dialog_max: usize,
    /// Least milliseconds between two NOTIFYs of changes to one watcher. Default 0: at once. RFC 3856 §6.10 asks for five
    /// seconds; we leave that to the operator, because a change that is seen late is what users complain of, and because
    /// one NOTIFY in flight per dialog already keeps the rate to what a watcher can take.
    pub notify_min_interval_ms: u32,
    /// NOTIFYs lost in a row (no response, 408, 5xx) until a subscription is given up; 1 is what RFC 6665 §4.2.2 says.
    /// Default 3.
    pub notify_failures_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        let documents = DocumentLimits::default();
        Self {
            min_expires_seconds: 30,
            default_expires_seconds: 3600,
            max_expires_seconds: 86_400,
            publications_max: 1_000_000,
            publications_per_aor_max: 128,
            document_bytes_max: documents.bytes_max,
            document_depth_max: documents.depth_max,
            document_nodes_max: documents.nodes_max,
            subscriptions_max: 1_000_000,
            watchers_per_presentity_max: 10_000,
            subscriptions_per_dialog_max: sip_event::Policy::default().subscriptions_per_dialog_max,
            notify_min_interval_ms: 0,
            notify_failures_max: sip_event::Policy::default().failures_max,
        }
    }
}

impl Config {
    /// Whether the values make sense together.
    ///
    /// # Errors
    /// The first key that does not, and what was expected of it.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let invalid = |key, message: &str| Err(InvalidConfig { key, message: message.to_owned() });
        if self.max_expires_seconds == 0 {
            return invalid("max_expires_seconds", "expected at least 1");
        }
        if self.min_expires_seconds > self.max_expires_seconds {
            return invalid("min_expires_seconds", "expected at most max_expires_seconds");
        }
        if self.default_expires_seconds == 0 {
            return invalid("default_expires_seconds", "expected at least 1");
        }
        if self.notify_failures_max == 0 {
            return invalid("notify_failures_max", "expected at least 1");
        }
        if self.subscriptions_per_dialog_max == 0 {
            return invalid("subscriptions_per_dialog_max", "expected at least 1");
        }
        if self.document_depth_max == 0 {
            return invalid("document_depth_max", "expected at least 1");
        }
        Ok(())
    }

    pub(crate) fn document_limits(&self) -> DocumentLimits {
        DocumentLimits {
            bytes_max: self.document_bytes_max,
            depth_max: self.document_depth_max,
            nodes_max: self.document_nodes_max,
        }
    }

    pub(crate) fn notifier_policy(&self) -> sip_event::Policy {
        sip_event::Policy {
            notify_min_interval: Duration::from_millis(self.notify_min_interval_ms.into()),
            failures_max: self.notify_failures_max,
            subscriptions_per_dialog_max: self.subscriptions_per_dialog_max,
            ..sip_event::Policy::default()
        }
    }
}

/// `[domain.presence]`: the presence of one domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DomainConfig {
    /// Whether presence is served (repro: `EnablePresenceServer`); if not, SUBSCRIBE and PUBLISH are proxied like any
    /// request. Default true.
    pub enabled: bool,
    /// Whether registrations count (repro: `PresenceUsesRegistrationState`): who is registered and does not publish is
    /// shown open, who is not registered closed. Default false.
    pub uses_registration_state: bool,
    /// With it: whether an unregistered AOR is closed although it publishes, which is repro's rule; if not, registration
    /// speaks only for those who do not publish. Default true.
    pub unregistered_is_closed: bool,
    /// Without it: whether a user who publishes nothing is shown closed (repro:
    /// `PresenceNotifyClosedStateForNonPublishedUsers`); if not, a SUBSCRIBE is answered 480, and a subscription whose last
    /// publication goes ends with `noresource`. Default true.
    pub notify_closed_for_non_published_users: bool,
    /// How several publications become one document. Default `merge`.
    pub composition: Composition,
    /// Who may watch. Default `allow`.
    pub watchers: Watchers,
}

/// Who may watch the users of a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Watchers {
    /// Whoever the rest of the configuration lets in.
    #[default]
    Allow,
    /// Users of ours and trusted peers; others get 403.
    Authenticated,
    /// By the presentity's own rules (RFC 5025). Not in this version: refused by [`DomainConfig::validate`].
    Rules,
}

impl Default for DomainConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            uses_registration_state: false,
            unregistered_is_closed: true,
            notify_closed_for_non_published_users: true,
            composition: Composition::Merge,
            watchers: Watchers::Allow,
        }
    }
}

impl DomainConfig {
    /// Whether this version can do what is asked.
    ///
    /// # Errors
    /// `watchers = "rules"`.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        match self.watchers {
            Watchers::Allow | Watchers::Authenticated => Ok(()),
            Watchers::Rules => Err(InvalidConfig {
                key: "watchers",
                message: "this version has no presence rules: expected \"allow\" or \"authenticated\""
                    .to_owned(),
            }),
        }
    }
}

/// A key of a section with a value that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct InvalidConfig {
    /// The key, within its section.
    pub key: &'static str,
    /// What was expected.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_those_of_the_design() {
        assert_eq!(Config::default().validate(), Ok(()));
        assert_eq!(DomainConfig::default().validate(), Ok(()));
        let Config { min_expires_seconds, default_expires_seconds, max_expires_seconds, .. } =
            Config::default();
        assert_eq!((min_expires_seconds, default_expires_seconds, max_expires_seconds), (30, 3600, 86_400));
    }

    #[test]
    fn contradictions_are_named() {
        let config = Config { min_expires_seconds: 100, max_expires_seconds: 60, ..Config::default() };
        assert_eq!(config.validate().map_err(|e| e.key), Err("min_expires_seconds"));
        let domain = DomainConfig { watchers: Watchers::Rules, ..DomainConfig::default() };
        assert_eq!(domain.validate().map_err(|e| e.key), Err("watchers"));
    }

    #[test]
    fn every_key_is_read_and_others_are_refused() {
        let config: Config =
            toml::from_str("min_expires_seconds = 5\nnotify_min_interval_ms = 5000").expect("valid");
        assert_eq!((config.min_expires_seconds, config.notify_min_interval_ms), (5, 5000));
        let whole = toml::to_string(&Config::default()).expect("a table");
        assert_eq!(toml::from_str(&whole), Ok(Config::default()));
        assert!(toml::from_str::<Config>("min_expire_seconds = 5").is_err());

        let text = "composition = \"union\"\nwatchers = \"authenticated\"\nuses_registration_state = true";
        let domain: DomainConfig = toml::from_str(text).expect("valid");
        assert_eq!((domain.composition, domain.watchers), (Composition::Union, Watchers::Authenticated));
        assert!(domain.uses_registration_state && domain.enabled && domain.unregistered_is_closed);
        let whole = toml::to_string(&domain).expect("a table");
        assert_eq!(toml::from_str(&whole), Ok(domain));
        assert!(toml::from_str::<DomainConfig>("composition = \"mix\"").is_err());
        assert!(toml::from_str::<DomainConfig>("use_registration_state = true").is_err());
    }
}
