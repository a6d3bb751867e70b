//! `[replication]`: the other nodes, and what they are to have.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use replication::{
    Ack, ClusterSecret, CredentialFile, Credentials, CredentialsError, NodeId, Peer, ReplicaOptions, Tls,
};
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Peers of one node: a mesh of more would tell every change too often.
const PEERS_MAX: usize = 4;

/// `[replication]`; absent, this node is alone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicationConfig {
    /// Address and port that the other nodes connect to: what changes on a node is told over a connection that it opens, so
    /// without this one nothing would be heard. Required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Whether publications are told to other nodes, and taken from them, as bindings and subscriptions always are; the same
    /// on all nodes. Default `true`.
    pub publications: bool,
    /// When a change is acknowledged. `local`: when it is kept here, as `[storage]` says; `peer`: when another node has it,
    /// too, if one is connected. Default `local`.
    pub ack: AckConfig,
    /// Milliseconds, 10 to 10,000, that `ack = "peer"` waits for the other node. Then the change is acknowledged all the
    /// same, and counts in `rollcall_replication_unacked_total`. Default 500.
    pub ack_wait_ms: u32,
    /// A file with a secret that all nodes share, of 32 octets at least: who has it is a node. Nonces and dialog tokens are
    /// made under it, too, so that those of one node are good on the others. This or `certificate`, `key` and `ca`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// This node's certificate chain in PEM, for the host by which others connect to it, and for client authentication.
    /// Nonces and dialog tokens then stay good on the node alone that made them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its private key in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The certificates, in PEM, of those who sign for nodes. Whoever has a certificate of theirs is taken for a node, so it
    /// should be a CA of the cluster alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Seconds, 1 to 3,600, from one comparison of all state with each peer to the next; what differs is repaired. Default
    /// 30.
    pub digest_interval_seconds: u32,
    /// Milliseconds, 500 to 600,000, in which nothing is heard of a node until others notify its watchers; the same on all
    /// nodes. Default 5,000.
    pub peer_timeout_ms: u32,
    /// Octets, 65,536 to 4,294,967,295, of the latest changes that are kept for a node that was away for a moment; one that
    /// missed more compares all. Default 33,554,432.
    pub log_bytes_max: u32,
    /// Milliseconds, 60,000 at most, that a node which starts waits for what its peers have before it serves. Default 3,000.
    pub start_wait_ms: u32,
    /// One block for each other node, four at most.
    pub peer: Vec<PeerConfig>,
}

/// One `[[replication.peer]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// Its `server.node`.
    pub node: String,
    /// `host:port` of its `replication.listen`, as it is reached from here. A name is looked up at each attempt to connect.
    /// Where nodes prove themselves by certificates, its one has to be for this host.
    pub address: String,
    /// `repro` is known and refused: this version has no RegSync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compat: Option<Compat>,
}

/// When a change is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AckConfig {
    /// When it is kept here.
    #[default]
    Local,
    /// When another node has it too.
    Peer,
}

/// What a peer speaks instead of our own protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compat {
    /// RegSync, version 4. Not in this version: refused by [`ReplicationConfig::validate`].
    Repro,
}

impl Default for ReplicationConfig {
    fn default() -> Self {
        let ReplicaOptions { ack_wait, outlog_bytes_max, digest_interval, peer_timeout, .. } =
            ReplicaOptions::default();
        let milliseconds = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        Self {
            listen: None,
            publications: true,
            ack: AckConfig::default(),
            ack_wait_ms: milliseconds(ack_wait),
            secret_file: None,
            certificate: None,
            key: None,
            ca: None,
            digest_interval_seconds: milliseconds(digest_interval) / 1000,
            peer_timeout_ms: milliseconds(peer_timeout),
            log_bytes_max: u32::try_from(outlog_bytes_max).unwrap_or(u32::MAX),
            start_wait_ms: 3_000,
            peer: Vec::new(),
        }
    }
}

impl ReplicationConfig {
    /// Checks what types alone cannot say, and that the credentials can be used, for the node of that name.
    ///
    /// # Errors
    /// The first fault, with its key.
    pub fn validate(&self, own: &str) -> Result<(), ConfigError> {
        let expected = |key: &str, message: &str| Err(at(key, message));
        if self.listen.is_none() {
            return expected("listen", "expected an address and port that the other nodes connect to");
        }
        for (key, value, bounds, message) in [
            ("ack_wait_ms", self.ack_wait_ms, 10..=10_000, "expected 10 to 10000"),
            ("digest_interval_seconds", self.digest_interval_seconds, 1..=3_600, "expected 1 to 3600"),
            ("peer_timeout_ms", self.peer_timeout_ms, 500..=600_000, "expected 500 to 600000"),
            ("log_bytes_max", self.log_bytes_max, 1 << 16..=u32::MAX, "expected 65536 to 4294967295"),
            ("start_wait_ms", self.start_wait_ms, 0..=60_000, "expected at most 60000"),
        ] {
            if !bounds.contains(&value) {
                return expected(key, message);
            }
        }
        self.validate_peers(own)?;
        Tls::new(&self.credentials()?).map_err(tls_error).map(drop)
    }

    fn validate_peers(&self, own: &str) -> Result<(), ConfigError> {
        if self.peer.is_empty() {
            return Err(at("peer", "expected at least one [[replication.peer]] block"));
        }
        if self.peer.len() > PEERS_MAX {
            return Err(at("peer", format!("expected at most {PEERS_MAX} blocks")));
        }
        let mut names = BTreeSet::from([own]);
        let mut ids = BTreeSet::from([NodeId::of(own)]);
        for (i, peer) in self.peer.iter().enumerate() {
            let at = |key: &str, message: &str| Err(at(format!("peer[{i}].{key}"), message));
            if peer.node.is_empty() {
                return at("node", "expected a name");
            }
            if peer.node == own {
                return at("node", "expected another node: server.node is this one's name");
            }
            if !names.insert(&peer.node) {
                return at("node", "this peer is there already");
            }
            // Versions name nodes by a checksum of their names.
            if !ids.insert(NodeId::of(&peer.node)) {
                return at("node", "expected another name: this one has the checksum of another node's");
            }
            if Peer::new(&peer.node, &peer.address).is_none() {
                return at("address", "expected host:port, an IPv6 address in brackets");
            }
            match peer.compat {
                None => {}
                Some(Compat::Repro) => {
                    return at("compat", "this version does not speak RegSync: expected no compat");
                }
            }
        }
        Ok(())
    }

    /// Reads what nodes know each other by.
    ///
    /// # Errors
    /// Neither or both kinds are given, or the secret cannot be used.
    pub fn credentials(&self) -> Result<Credentials, ConfigError> {
        match (&self.secret_file, &self.certificate, &self.key, &self.ca) {
            (Some(path), None, None, None) => ClusterSecret::read(path)
                .map(Credentials::Secret)
                .map_err(|error| at("secret_file", error.to_string())),
            (None, Some(certificate), Some(key), Some(ca)) => Ok(Credentials::Certificates {
                certificate: certificate.clone(),
                key: key.clone(),
                ca: ca.clone(),
            }),
            (Some(_), ..) => Err(at("secret_file", "expected this, or certificate, key and ca, not both")),
            (None, None, None, None) => Err(ConfigError::at(
                "replication",
                "expected secret_file, or certificate, key and ca: nodes prove themselves",
            )),
            (None, certificate, key, _) => {
                let missing = match (certificate, key) {
                    (None, _) => "certificate",
                    (_, None) => "key",
                    _ => "ca",
                };
                Err(at(missing, "expected a file: certificate, key and ca go together"))
            }
        }
    }

    /// The other nodes, in the order of the configuration.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        self.peer.iter().filter_map(|peer| Peer::new(&peer.node, &peer.address)).collect()
    }

    pub(crate) fn options(&self) -> ReplicaOptions {
        let milliseconds = |time: u32| Duration::from_millis(time.into());
        ReplicaOptions {
            ack: match self.ack {
                AckConfig::Local => Ack::Local,
                AckConfig::Peer => Ack::Peer,
            },
            ack_wait: milliseconds(self.ack_wait_ms),
            outlog_bytes_max: usize::try_from(self.log_bytes_max).unwrap_or(usize::MAX),
            digest_interval: Duration::from_secs(self.digest_interval_seconds.into()),
            peer_timeout: milliseconds(self.peer_timeout_ms),
        }
    }

    pub(crate) fn start_wait(&self) -> Duration {
        Duration::from_millis(self.start_wait_ms.into())
    }
}

/// A fault of the credentials, at the key that names the file.
pub(crate) fn tls_error(error: CredentialsError) -> ConfigError {
    let key = match &error {
        CredentialsError::Pem { of, .. } | CredentialsError::NoCertificate { of, .. } => match of {
            CredentialFile::Certificate => "certificate",
            CredentialFile::Key => "key",
            CredentialFile::Ca => "ca",
        },
        CredentialsError::Verifier(_) => "ca",
        CredentialsError::Tls(_) => "certificate",
    };
    at(key, error.to_string())
}

fn at(key: impl AsRef<str>, message: impl Into<String>) -> ConfigError {
    ConfigError::at(format!("replication.{}", key.as_ref()), message)
}
