//! `[replication.redis]`: where the engine is that nodes share.

use std::fs;
use std::path::PathBuf;

use replication::{EngineOptions, EngineTls, EngineTlsError, Layout, Peer, ServerOptions};
use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::state::unix_ms;

/// What nodes share instead of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineConfig {
    /// Redis 7 or later, or Valkey.
    Redis,
}

/// `[replication.redis]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// `alone`: one server. `sentinel`: Sentinels say which server is the primary. `cluster`: Redis Cluster, which shares the
    /// slots among its servers. Default `alone`.
    pub layout: LayoutConfig,
    /// `host:port` of the server; of some servers of the cluster; or of Sentinels. They are asked in this order. Required.
    pub servers: Vec<String>,
    /// With `layout = "sentinel"`, what Sentinels call the primary. Default `mymaster`.
    pub primary: String,
    /// The user on the servers. Default: the server's own default user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// A file with that user's password, without a line end. Absent: none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Whether connections are TLS; servers have to prove by a certificate that they are the host that was connected to.
    /// Without it whoever can listen on the way reads all registrations and presence. Default `false`.
    pub tls: bool,
    /// With `tls`, the certificates, in PEM, of those who sign for the servers. Absent: those that the machine trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// What all keys begin with: letters, digits, `_`, `-` and `.`, 64 at most. The same on all nodes; two clusters in one
    /// engine have two. Default `rollcall`.
    pub prefix: String,
    /// Changes, 256 to 16,777,216, that each of the 16 logs keeps, about: a node that missed more compares all. Default 8,192.
    pub log_entries_max: u32,
}

/// How the servers of an engine stand to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LayoutConfig {
    /// There is one.
    #[default]
    Alone,
    /// Sentinels say which is the primary.
    Sentinel,
    /// Redis Cluster.
    Cluster,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            layout: LayoutConfig::default(),
            servers: Vec::new(),
            primary: "mymaster".to_owned(),
            username: None,
            password_file: None,
            tls: false,
            ca: None,
            prefix: "rollcall".to_owned(),
            log_entries_max: 8_192,
        }
    }
}

impl RedisConfig {
    /// Checks it, and reads the files that it names.
    ///
    /// # Errors
    /// The first fault, with its key.
    pub fn options(&self) -> Result<EngineOptions, ConfigError> {
        let fault = |key: &str, message: String| ConfigError::at(format!("replication.redis.{key}"), message);
        let expected = |key: &str, message: &str| Err(fault(key, message.to_owned()));
        if self.servers.is_empty() {
            return expected("servers", "expected at least one host:port");
        }
        let server = |(at, address): (usize, &String)| {
            let message = || "expected host:port, an IPv6 address in brackets".to_owned();
            Peer::new("", address).ok_or_else(|| fault(&format!("servers[{at}]"), message()))
        };
        let servers = self.servers.iter().enumerate().map(server).collect::<Result<Vec<_>, _>>()?;
        if self.layout == LayoutConfig::Alone && servers.len() > 1 {
            return expected(
                "servers",
                "expected one server: several are of layout = \"sentinel\" or \"cluster\"",
            );
        }
        if self.primary.is_empty() {
            return expected("primary", "expected a name");
        }
        let is_of_prefix = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        if !(1..=64).contains(&self.prefix.len()) || !self.prefix.bytes().all(is_of_prefix) {
            return expected("prefix", "expected 1 to 64 letters, digits, `_`, `-` and `.`");
        }
        if !(256..=16_777_216).contains(&self.log_entries_max) {
            return expected("log_entries_max", "expected 256 to 16777216");
        }
        if self.ca.is_some() && !self.tls {
            return expected("ca", "expected tls = true with it");
        }
        if self.username.is_some() && self.password_file.is_none() {
            return expected("username", "expected password_file with it");
        }
        let password = match &self.password_file {
            None => None,
            Some(path) => {
                let text = fs::read_to_string(path)
                    .map_err(|error| fault("password_file", format!("{}: {error}", path.display())))?;
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        };
        let tls = self.tls.then(|| EngineTls::new(self.ca.as_deref())).transpose();
        let tls = tls.map_err(|error| {
            let key = if matches!(error, EngineTlsError::Ca(_)) { "ca" } else { "tls" };
            fault(key, error.to_string())
        })?;
        Ok(EngineOptions {
            servers: ServerOptions {
                layout: match self.layout {
                    LayoutConfig::Alone => Layout::Alone,
                    LayoutConfig::Sentinel => Layout::Sentinel { primary: self.primary.clone() },
                    LayoutConfig::Cluster => Layout::Cluster,
                },
                servers,
                username: self.username.clone(),
                password,
                tls,
            },
            prefix: self.prefix.clone(),
            log_entries_max: self.log_entries_max,
            unix_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_named() {
        let good = || RedisConfig { servers: vec!["192.0.2.1:6379".to_owned()], ..RedisConfig::default() };
        assert!(good().options().is_ok());
        let two = || vec!["a:6379".to_owned(), "[2001:db8::1]:6379".to_owned()];
        assert!(RedisConfig { layout: LayoutConfig::Cluster, servers: two(), ..good() }.options().is_ok());
        for (config, key) in [
            (RedisConfig::default(), "servers"),
            (RedisConfig { servers: vec!["a".to_owned()], ..good() }, "servers[0]"),
            (RedisConfig { servers: two(), ..good() }, "servers"),
            (RedisConfig { primary: String::new(), ..good() }, "primary"),
            (RedisConfig { prefix: "roll call".to_owned(), ..good() }, "prefix"),
            (RedisConfig { prefix: String::new(), ..good() }, "prefix"),
            (RedisConfig { log_entries_max: 255, ..good() }, "log_entries_max"),
            (RedisConfig { ca: Some("ca.pem".into()), ..good() }, "ca"),
            (RedisConfig { ca: Some("/nowhere/at/all".into()), tls: true, ..good() }, "ca"),
            (RedisConfig { username: Some("u".to_owned()), ..good() }, "username"),
            (RedisConfig { password_file: Some("/nowhere/at/all".into()), ..good() }, "password_file"),
        ] {
            let error = config.options().expect_err(key).to_string();
            assert!(error.contains(&format!("replication.redis.{key}")), "{key}: {error}");
        }
    }
}
