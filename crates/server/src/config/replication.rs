//! `[replication]`: the other nodes, and what they are to have.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use replication::{
    Ack, ClusterSecret, CredentialFile, Credentials, CredentialsError, NodeId, Peer, ReplicaOptions, Tls,
};
use serde::{Deserialize, Serialize};

use super::{ConfigError, EngineConfig, RedisConfig};
use crate::repro::{PeerOptions, is_local};

/// Peers of one node: a mesh of more would tell every change too often.
const PEERS_MAX: usize = 4;

/// `[replication]`; absent, this node is alone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicationConfig {
    /// `redis`: nodes have no links with each other; they share a Redis or Valkey, which `[replication.redis]` tells, and any
    /// number of nodes may join. Absent: nodes are each other's peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineConfig>,
    /// Address and port that the other nodes connect to: what changes on a node is told over a connection that it opens, so
    /// without this one nothing would be heard. Required, unless the only peer is a repro, or with `engine`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Whether publications are told to other nodes, and taken from them, as bindings and subscriptions always are; the same
    /// on all nodes. Default `true`.
    pub publications: bool,
    /// When a change is acknowledged. `local`: when it is kept here, as `[storage]` says; `peer`: when another node has it,
    /// too, if one is connected, or the engine. Default `local`.
    pub ack: AckConfig,
    /// Milliseconds, 10 to 10,000, that `ack = "peer"` waits for the other node. Then the change is acknowledged all the
    /// same, and counts in `rollcall_replication_unacked_total`. Default 500.
    pub ack_wait_ms: u32,
    /// A file with a secret that all nodes share, of 32 octets at least: who has it is a node. Nonces and dialog tokens are
    /// made under it, too, so that those of one node are good on the others. This or `certificate`, `key` and `ca`, unless the
    /// only peer is a repro; with `engine` it may be absent, and then nonces and tokens are good on one node alone.
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
    /// Milliseconds, 60,000 at most, that a node which starts waits for what its peers have before it serves; so long does a
    /// start take if one of them is not there. Default 3,000.
    pub start_wait_ms: u32,
    /// With `engine = "redis"`: where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisConfig>,
    /// One block for each other node, four at most; none with `engine`.
    pub peer: Vec<PeerConfig>,
}

/// One `[[replication.peer]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// Its `server.node`.
    pub node: String,
    /// `host:port` of its `replication.listen`, as it is reached from here. A name is looked up at each attempt to connect.
    /// Where nodes prove themselves by certificates, its one has to be for this host. Required, but of a repro: of that it is
    /// the `RegSyncPort`, and without it nothing is heard of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `repro`: the peer is a reSIProcate `repro`, which speaks RegSync, version 4, over plain TCP. One peer at most. Absent:
    /// it is a Rollcall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compat: Option<Compat>,
    /// Of a repro: address and port where its `RegSyncPeer` and `RemoteRegSyncPort` lead; without it nothing is told. `address`
    /// or this, or both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Of a repro: the host, a name or an IP address, whose connections are taken. Default: the one in `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Of a repro: whether `address` and `listen` may be other than loopback, private (RFC 1918, RFC 4193) or link-local. Who
    /// can listen on the way reads all registrations and presence, and who can speak on it takes calls over. Default `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
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
    /// RegSync, version 4.
    Repro,
}

impl Default for ReplicationConfig {
    fn default() -> Self {
        let ReplicaOptions { ack_wait, outlog_bytes_max, digest_interval, peer_timeout, .. } =
            ReplicaOptions::default();
        let milliseconds = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        Self {
            engine: None,
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
            redis: None,
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
        if self.redis.is_some() && self.engine.is_none() {
            return expected("redis", "expected engine = \"redis\" with it");
        }
        let is_repro_alone = !self.peer.is_empty() && self.peers().is_empty() && self.repro().is_some();
        if self.listen.is_none() && !is_repro_alone && self.engine.is_none() {
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
        if self.engine.is_some() {
            return self.validate_engine();
        }
        self.validate_peers(own)?;
        if is_repro_alone {
            if self.ack == AckConfig::Peer {
                return expected("ack", "expected `local`: a repro acknowledges nothing");
            }
            if self.listen.is_some() {
                return expected(
                    "listen",
                    "expected none: the only peer is a repro, whose block has its own",
                );
            }
            if self.secret_file.is_none()
                && self.certificate.is_none()
                && self.key.is_none()
                && self.ca.is_none()
            {
                return Ok(());
            }
        }
        Tls::new(&self.credentials()?).map_err(tls_error).map(drop)
    }

    fn validate_engine(&self) -> Result<(), ConfigError> {
        for (key, is_given) in [
            ("listen", self.listen.is_some()),
            ("peer", !self.peer.is_empty()),
            ("certificate", self.certificate.is_some()),
            ("key", self.key.is_some()),
            ("ca", self.ca.is_some()),
        ] {
            if is_given {
                return Err(at(key, "expected none: with an engine nodes have no links with each other"));
            }
        }
        if self.secret_file.is_some() {
            self.credentials()?;
        }
        self.redis.clone().unwrap_or_default().options().map(drop)
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
            match (peer.compat, &peer.address) {
                (_, Some(address)) if Peer::new(&peer.node, address).is_none() => {
                    return at("address", "expected host:port, an IPv6 address in brackets");
                }
                (None, None) => return at("address", "expected host:port of its replication.listen"),
                (None, Some(_)) => {
                    let of_repro = [
                        ("listen", peer.listen.is_some()),
                        ("from", peer.from.is_some()),
                        ("insecure", peer.insecure),
                    ];
                    if let Some((key, _)) = of_repro.iter().find(|(_, is_given)| *is_given) {
                        return at(key, "expected none: it is of a peer with compat = \"repro\"");
                    }
                }
                (Some(Compat::Repro), _) => {
                    if self.peer.iter().take(i).any(|other| other.compat.is_some()) {
                        return at("compat", "expected one peer with `repro` at most");
                    }
                    peer.validate_repro().or_else(|(key, message)| at(key, message))?;
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
        let native = self.peer.iter().filter(|peer| peer.compat.is_none());
        native.filter_map(|peer| Peer::new(&peer.node, peer.address.as_deref()?)).collect()
    }

    /// The repro among the peers.
    pub(crate) fn repro(&self) -> Option<PeerOptions> {
        let peer = self.peer.iter().find(|peer| peer.compat == Some(Compat::Repro))?;
        Some(PeerOptions {
            node: peer.node.clone(),
            address: peer.address.as_ref().and_then(|address| Peer::new(&peer.node, address)),
            listen: peer.listen,
            from: peer.from.as_ref().map(|from| from.trim_matches(['[', ']']).to_owned()),
            is_insecure: peer.insecure,
            has_publications: self.publications,
            is_alone: self.peers().is_empty(),
        })
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

impl PeerConfig {
    /// Checks the block of a repro; a fault has the key.
    fn validate_repro(&self) -> Result<(), (&'static str, &'static str)> {
        const LOCAL: &str = "expected a loopback, private or link-local address: this wire has neither secrecy nor proof; \
                             insecure = true allows another";
        if self.address.is_none() && self.listen.is_none() {
            return Err(("address", "expected this, or listen, or both"));
        }
        if self.listen.is_some() && self.address.is_none() && self.from.is_none() {
            return Err(("from", "expected the host that the repro connects from"));
        }
        if self.from.is_some() && self.listen.is_none() {
            return Err(("from", "expected none: without listen nobody connects"));
        }
        if self.insecure {
            return Ok(());
        }
        // A name is looked up, and judged, when it is used.
        let host =
            self.address.as_ref().and_then(|address| Peer::new(&self.node, address)).map(|peer| peer.host);
        let is_local = |ip: Option<IpAddr>| ip.is_none_or(is_local);
        if !is_local(host.and_then(|host| host.parse().ok())) {
            return Err(("address", LOCAL));
        }
        if !is_local(self.listen.map(|listen| listen.ip())) {
            return Err(("listen", LOCAL));
        }
        Ok(())
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
