//! What types alone cannot say.

use std::collections::BTreeSet;

use sip_message::Aor;

use super::{Config, ConfigError};

const ALGORITHMS_EXPECTED: &str = "expected at least one of MD5, SHA-256, SHA-512-256";

impl Config {
    /// Checks what concerns more than one key, and what this version cannot do.
    ///
    /// # Errors
    /// The first fault, with its key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_listeners()?;
        self.validate_auth()?;
        self.validate_domains()?;
        self.validate_users()?;
        let r = &self.registrar;
        bounds("registrar", r.min_expires_seconds, r.max_expires_seconds)?;
        self.presence
            .validate()
            .map_err(|error| ConfigError::at(format!("presence.{}", error.key), error.message))?;
        self.transport.validate().map_err(|error| ConfigError::at("transport", error.to_string()))?;
        self.validate_storage()?;
        self.replication.as_ref().map_or(Ok(()), |replication| replication.validate(&self.server.node))
    }

    fn validate_storage(&self) -> Result<(), ConfigError> {
        let storage = &self.storage;
        if !(1 << 16..=1 << 30).contains(&storage.segment_bytes) {
            return Err(ConfigError::at("storage.segment_bytes", "expected 65536 to 1073741824"));
        }
        if storage.commit_interval_ms > 100 {
            return Err(ConfigError::at("storage.commit_interval_ms", "expected 0 to 100"));
        }
        if !(1..=10_000).contains(&storage.relaxed_delay_ms) {
            return Err(ConfigError::at("storage.relaxed_delay_ms", "expected 1 to 10000"));
        }
        Ok(())
    }

    fn validate_listeners(&self) -> Result<(), ConfigError> {
        if self.listen.is_empty() {
            return Err(ConfigError::at("listen", "expected at least one [[listen]] block"));
        }
        for (i, listen) in self.listen.iter().enumerate() {
            listen.validate().map_err(|error| ConfigError::at(format!("listen[{i}]"), error.to_string()))?;
        }
        Ok(())
    }

    fn validate_auth(&self) -> Result<(), ConfigError> {
        let auth = &self.auth;
        if auth.algorithms.is_empty() {
            return Err(ConfigError::at("auth.algorithms", ALGORITHMS_EXPECTED));
        }
        if auth.nonce_lifetime_seconds == 0 {
            return Err(ConfigError::at("auth.nonce_lifetime_seconds", "expected at least 1"));
        }
        if auth.nonces_tracked_max < 1_000 {
            return Err(ConfigError::at("auth.nonces_tracked_max", "expected at least 1000"));
        }
        Ok(())
    }

    fn validate_domains(&self) -> Result<(), ConfigError> {
        if self.domain.is_empty() {
            return Err(ConfigError::at("domain", "expected at least one [[domain]] block"));
        }
        let mut names = BTreeSet::new();
        for (i, domain) in self.domain.iter().enumerate() {
            let name = domain.name.to_ascii_lowercase();
            let valid =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b));
            if !valid {
                return Err(ConfigError::at(
                    format!("domain[{i}].name"),
                    "expected a host name, without a port",
                ));
            }
            if !names.insert(name) {
                return Err(ConfigError::at(format!("domain[{i}].name"), "this domain is there already"));
            }
            if domain.algorithms.as_ref().is_some_and(Vec::is_empty) {
                return Err(ConfigError::at(format!("domain[{i}].algorithms"), ALGORITHMS_EXPECTED));
            }
            domain.presence.validate().map_err(|error| {
                ConfigError::at(format!("domain[{i}].presence.{}", error.key), error.message)
            })?;
        }
        Ok(())
    }

    fn validate_users(&self) -> Result<(), ConfigError> {
        for (i, user) in self.user.iter().enumerate() {
            let aor = Aor::parse(&user.aor)
                .ok_or_else(|| ConfigError::at(format!("user[{i}].aor"), "expected user@domain"))?;
            if !self.domain.iter().any(|d| d.name.eq_ignore_ascii_case(aor.domain())) {
                return Err(ConfigError::at(
                    format!("user[{i}].aor"),
                    format!("expected a user of one of the domains, not of {}", aor.domain()),
                ));
            }
        }
        provisioning::Users::load(&self.user)
            .map(drop)
            .map_err(|error| ConfigError::at(format!("user[{}]", error.index()), error.to_string()))
    }
}

/// A default outside the bounds is no fault: it is cut to them where it is used.
fn bounds(section: &str, min: u32, max: u32) -> Result<(), ConfigError> {
    if min > max {
        let message = format!("expected at most max_expires_seconds, which is {max}");
        return Err(ConfigError::at(format!("{section}.min_expires_seconds"), message));
    }
    Ok(())
}

impl Config {
    /// Refuses a reload that would change what a running server cannot.
    ///
    /// # Errors
    /// The key.
    pub fn only_reloadable_changes(&self, running: &Self) -> Result<(), ConfigError> {
        let sockets = |config: &Self| format!("{:?}", config.listen);
        let fixed = [
            ("listen", sockets(self) == sockets(running)),
            ("server.data_dir", self.server.data_dir == running.server.data_dir),
            ("server.node", self.server.node == running.server.node),
            ("server.workers", self.server.workers == running.server.workers),
            ("storage", self.storage == running.storage),
            ("replication", self.replication == running.replication),
            ("admin.address", self.admin.address == running.admin.address),
            ("limits.transactions_max", self.limits.transactions_max == running.limits.transactions_max),
        ];
        match fixed.iter().find(|(_, same)| !same) {
            Some((key, _)) => Err(ConfigError::at(*key, "cannot change while the server runs: restart it")),
            None => Ok(()),
        }
    }
}
