//! An engine that is reached over TLS, as a user that may do no more than nodes need.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Result;
use peers::{
    Redis, Rollcall, Signal, UserAgent, contacts, free_port, pidf, publish, register, subscribe, told,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::nodes::{BINDINGS, Plan, SUBSCRIPTIONS};

/// The users of a Redis: the nodes' one, and what it may do.
const USERS: &str = include_str!("../../../../deploy/redis/users.acl");

/// A CA, a Redis with a certificate that it signed, and the file with the password of the nodes' user.
struct Secured {
    redis: Redis,
    tls: SocketAddr,
    folder: TempDir,
}

impl Secured {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (ca, other) = (Authority::new()?, Authority::new()?);
        let (certificate, key) = ca.sign("127.0.0.1")?;
        for (name, text) in [
            ("ca.pem", ca.pem.as_str()),
            ("other.pem", &other.pem),
            ("redis.pem", &certificate),
            ("redis.key", &key),
            ("users.acl", &USERS.replace("PASSWORD", "of-the-nodes")),
            ("password", "of-the-nodes\n"),
            ("wrong", "of-nobody\n"),
        ] {
            fs::write(folder.path().join(name), text)?;
        }
        let tls = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let path = |name: &str| folder.path().join(name).display().to_string();
        let redis = Redis::start_with(&[
            "--tls-port",
            &tls.port().to_string(),
            "--tls-cert-file",
            &path("redis.pem"),
            "--tls-key-file",
            &path("redis.key"),
            "--tls-ca-cert-file",
            &path("ca.pem"),
            "--tls-auth-clients",
            "no",
            "--aclfile",
            &path("users.acl"),
        ])?;
        Ok(Self { redis, tls, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Nodes that take a CA for the engine's, and have a password of it.
    fn plan(&self, ca: &str, password: &str) -> Result<Plan> {
        let (ca, password) = (self.path(ca), self.path(password));
        let keys = format!(
            "tls = true\nca = \"{}\"\nusername = \"rollcall\"\npassword_file = \"{}\"",
            ca.display(),
            password.display()
        );
        // Handshakes take a slow machine its time.
        let plan = Plan::new("alone", &[self.tls], "ack = \"peer\"\nack_wait_ms = 5000")?;
        Ok(plan.in_memory().with_engine(&keys))
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// The certificate of a host, and its key, in PEM.
    fn sign(&self, host: &str) -> Result<(String, String)> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![host.to_owned()])?.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn register_alice(at: &Rollcall) -> Result<()> {
    let mut alice = UserAgent::udp(at.sip())?;
    register(&mut alice, "alice", 1, "Contact: <sip:alice@192.0.2.1>;expires=600").map(drop)
}

/// What nodes do with an engine is done as that user and over TLS: they tell and hear, compare, act for one that was killed and
/// for one that left.
#[test]
fn nodes_share_an_engine_over_tls_as_a_user_of_few_rights() -> Result<()> {
    let secured = Secured::start()?;
    let plan = secured.plan("ca.pem", "password")?.with_timeout(2_000);
    let [mut a, mut b] = plan.start_all(["a", "b"])?;
    register_alice(&a)?;
    b.wait_for_metric(BINDINGS, 1.0)?;
    assert_eq!(a.metric("rollcall_replication_unacked_total")?, 0.0, "the engine had it before the 200");

    let clients = secured.redis.ask(&["CLIENT", "LIST"])?;
    let theirs: Vec<&str> = clients.lines().filter(|line| line.contains("user=rollcall")).collect();
    assert!(theirs.len() >= 2, "{clients}");
    let place = format!("laddr={}", secured.tls);
    assert!(theirs.iter().all(|line| line.contains(&place)), "{clients}");

    let (mut alice, mut bob) = (UserAgent::udp(b.sip())?, UserAgent::udp(a.sip())?);
    subscribe(&mut bob, 1, None, 600)?;
    told(&mut bob)?;
    b.wait_for_metric(SUBSCRIPTIONS, 1.0)?;
    a.kill()?;
    publish(&mut alice, "", &pidf("desk", "open"))?;
    assert_eq!(told(&mut bob)?.sender_port()?, b.sip_port());

    let mut c = plan.start("c")?;
    c.wait_for_metric(BINDINGS, 1.0)?;
    c.wait_for_metric(SUBSCRIPTIONS, 1.0)?;
    assert_eq!(contacts(&c, "alice")?, ["<sip:alice@192.0.2.1"]);
    b.signal(Signal::TERM)?;
    b.wait()?;
    alice.turn_to(c.sip())?;
    publish(&mut alice, "", &pidf("mobile", "open"))?;
    assert_eq!(told(&mut bob)?.sender_port()?, c.sip_port());

    let refused = secured.redis.ask(&["ACL", "LOG"])?;
    assert_eq!(refused, "", "nothing that they did was refused");
    // Asked of a cluster only.
    assert_eq!(secured.redis.ask(&["ACL", "DRYRUN", "rollcall", "CLUSTER", "SLOTS"])?, "OK");
    assert_ne!(secured.redis.ask(&["ACL", "DRYRUN", "rollcall", "CLUSTER", "NODES"])?, "OK");
    Ok(())
}

/// A node that the engine does not let in, or that does not believe it, says so, and serves what it has alone.
#[test]
fn who_is_not_let_in_or_does_not_believe_serves_alone() -> Result<()> {
    let secured = Secured::start()?;
    for (ca, password, why) in
        [("ca.pem", "wrong", "Password authentication failed"), ("other.pem", "password", "certificate")]
    {
        let mut alone = secured.plan(ca, password)?.start_alone("alone")?;
        let log = alone.log();
        assert!(log.lines().any(|line| line.contains(" WARN ") && line.contains(why)), "{why}");
        assert!(!log.contains("of-nobody"), "passwords are not logged");
        register_alice(&alone)?;
        assert_eq!(alone.metric("rollcall_replication_unacked_total")?, 1.0);
    }
    Ok(())
}
