//! Who has to prove who they are, and whether they did.

use std::sync::Arc;

use ipnet::IpNet;
use provisioning::{Algorithm, Ha1, Users};
use sip_message::{Aor, AuthParams, HeaderName, Method, NameAddr, Request};
use sip_service::{Domain, Domains, Identity, SipRequest};

use crate::credentials::{Credentials, Protection};
use crate::digest::{self, Auth};
use crate::{Config, Error, NodeSecret, NonceUse, Nonces};

/// Whether a request is one that the server answers itself: 401 then, 407 for what it would forward (RFC 3261 §22.2, §22.3).
pub type Served = fn(&Request, &Domains) -> bool;

/// The rules of one configuration.
#[derive(Debug)]
pub struct Policy {
    config: Config,
    /// By `Domain::index`; `None`: those of the configuration.
    algorithms: Vec<Option<Vec<Algorithm>>>,
    domains: Arc<Domains>,
    users: Arc<Users>,
    secret: Arc<NodeSecret>,
    served: Served,
    nonces: Arc<Nonces>,
    /// HA1 of nobody: an unknown user costs the same time as a wrong password.
    nobody: Vec<Ha1>,
}

/// What a request has to prove.
enum Need<'a> {
    /// Nothing: it is from elsewhere.
    Nothing,
    /// That it is from a user of this domain.
    User { domain: &'a Domain, proxy: bool },
}

/// What credentials turned out to be.
enum Proof {
    User(Aor),
    Stale,
    Wrong,
}

impl Policy {
    /// `algorithms` by [`Domain::index`]; `users` has the HA1s; `nonces` outlives the policy.
    pub fn new(
        config: Config,
        algorithms: Vec<Option<Vec<Algorithm>>>,
        domains: Arc<Domains>,
        users: Arc<Users>,
        secret: Arc<NodeSecret>,
        served: Served,
        nonces: Arc<Nonces>,
    ) -> Self {
        let nobody = Algorithm::ALL.into_iter().map(|algorithm| Ha1::new(algorithm, "", "", "")).collect();
        Self { config, algorithms, domains, users, secret, served, nonces, nobody }
    }

    /// Finds out who sent a request; `None` for somebody from elsewhere, who has nothing to prove.
    ///
    /// # Errors
    /// The request is not to be let through: see [`Error`].
    pub fn identify(&self, request: &SipRequest) -> Result<Option<Identity>, Error> {
        let source = request.source().remote.ip().to_canonical();
        if self.config.trusted_peers.iter().any(|net: &IpNet| net.contains(&source)) {
            return Ok(Some(Identity::TrustedPeer));
        }
        if !self.config.enabled {
            return Ok(Some(Identity::Anyone));
        }
        let identified = self.identify_message(request.message());
        let metrics = &self.nonces.metrics;
        match &identified {
            Ok(None) => {}
            Ok(Some(_)) => metrics.ok.inc(),
            Err(Error::Forbidden) => metrics.forbidden.inc(),
            Err(Error::BadCredentials { .. }) => metrics.malformed.inc(),
            Err(Error::Challenge { .. }) => {} // counted where the reason is known
        }
        identified
    }

    fn identify_message(&self, message: &Request) -> Result<Option<Identity>, Error> {
        // Credentials that a telephone repeats within a dialog have been used before: they prove nothing, and need not.
        if self.is_in_known_dialog(message) {
            return Ok(None);
        }
        let need = self.need(message);
        let credentials = match self.credentials(message) {
            Ok(credentials) => credentials,
            // What cannot be read may be meant for another: it matters only if we need some.
            Err(error) => return if matches!(need, Need::Nothing) { Ok(None) } else { Err(error) },
        };
        let metrics = &self.nonces.metrics;
        let (proof, realm) = match credentials {
            Some((domain, credentials)) => (Some(self.prove(message, domain, &credentials)), Some(domain)),
            None => (None, None),
        };
        if let Some(Proof::User(aor)) = proof {
            // A user of another domain of ours than the one that is asked for has proved nothing about this one.
            if is_for_identity(message, &aor) {
                return Ok(Some(Identity::User(aor)));
            }
            return Err(Error::Forbidden);
        }
        let (domain, proxy) = match (need, realm) {
            (Need::User { domain, proxy }, _) => (domain, proxy),
            // It said that it is somebody of ours: it shall prove it, or say nothing.
            (Need::Nothing, Some(realm)) => (realm, !(self.served)(message, &self.domains)),
            (Need::Nothing, None) => return Ok(None),
        };
        let is_stale = matches!(proof, Some(Proof::Stale));
        match proof {
            None => metrics.challenged.inc(),
            Some(Proof::Stale) => metrics.stale.inc(),
            Some(Proof::Wrong | Proof::User(_)) => metrics.wrong.inc(),
        }
        Err(self.challenge(domain, proxy, is_stale))
    }

    fn need(&self, message: &Request) -> Need<'_> {
        let served = (self.served)(message, &self.domains);
        // REGISTER and PUBLISH change the state of one AOR, so its owner has to come, whoever From says it is
        // (RFC 3261 §10.3 step 4, RFC 3903 §6 step 4).
        let subject = match message.method() {
            Method::Register if served => message.to().uri().ok().and_then(|uri| self.domains.of(&uri)),
            Method::Publish if served => self.domains.of(&message.uri()),
            _ => None,
        };
        let sender = || message.from().uri().ok().and_then(|uri| self.domains.of(&uri));
        match subject.or_else(sender) {
            Some(domain) => Need::User { domain, proxy: !served },
            None => Need::Nothing,
        }
    }

    /// Whether a Route of ours proves that the dialog was let through. What strict routers leave stands in the Request-URI.
    fn is_in_known_dialog(&self, message: &Request) -> bool {
        let Some(to_tag) = message.to().tag() else { return false };
        let from_tag = message.from().tag().unwrap_or("");
        let top = message.values(HeaderName::Route).next();
        let route = top.and_then(|value| NameAddr::parse(value, "Route").ok()?.uri().ok());
        [route, Some(message.uri())].into_iter().flatten().any(|uri| {
            uri.user().is_some_and(|token| {
                self.secret.verify_dialog_token(token, message.call_id(), from_tag, Some(to_tag))
            })
        })
    }

    /// The first credentials for a realm of ours. Both header fields are read: telephones mix them up.
    fn credentials<'m>(&self, message: &'m Request) -> Result<Option<(&Domain, Credentials<'m>)>, Error> {
        const NAMES: [(HeaderName, &str); 2] = [
            (HeaderName::Authorization, "Authorization"),
            (HeaderName::ProxyAuthorization, "Proxy-Authorization"),
        ];
        for (name, text) in NAMES {
            for line in message.lines(name) {
                let params = AuthParams::parse(line, text).map_err(|_| Error::BadCredentials {
                    expected: "a scheme and comma-separated parameters",
                })?;
                if !params.scheme.eq_ignore_ascii_case("Digest") {
                    continue;
                }
                if let Some(domain) = params.value("realm").and_then(|realm| self.domains.find(realm)) {
                    return Ok(Some((domain, Credentials::read(&params)?)));
                }
            }
        }
        Ok(None)
    }

    /// RFC 3261 §22.4. The `uri` is hashed as it came and not compared to the Request-URI (§22.4 item 5 lets it differ by
    /// what proxies on the way rewrote); a count that is good once keeps credentials from being used for another request.
    fn prove(&self, message: &Request, domain: &Domain, credentials: &Credentials<'_>) -> Proof {
        let user = self.users.find(credentials.username, &domain.name);
        let offered = |algorithm: &Algorithm| self.offered(domain).contains(algorithm);
        let Some(algorithm) = credentials.algorithm.filter(offered) else { return Proof::Wrong };
        let ha1 = user.and_then(|user| user.ha1(algorithm));
        let nobody = self.nobody.iter().find(|ha1| ha1.algorithm() == algorithm);
        let Some(hashed) = ha1.or(nobody) else { return Proof::Wrong };
        let request = digest::Request {
            method: message.method().as_str(),
            uri: credentials.uri,
            nonce: credentials.nonce,
            auth: match credentials.protection {
                Protection::Auth { nc, cnonce, .. } => Some(Auth { nc, cnonce }),
                Protection::Legacy => None,
            },
        };
        let expected = digest::response(algorithm, hashed.as_hex(), &request);
        let is_right = credentials.response.is_some_and(|response| {
            subtle::ConstantTimeEq::ct_eq(expected.as_bytes(), response.as_bytes()).into()
        });
        match user {
            Some(user) if is_right && ha1.is_some() => {
                match self.nonces.take(&self.secret, credentials.nonce, credentials.protection) {
                    NonceUse::Good => Proof::User(user.aor().clone()),
                    NonceUse::Stale => Proof::Stale,
                }
            }
            _ => Proof::Wrong,
        }
    }

    fn offered(&self, domain: &Domain) -> &[Algorithm] {
        let own = self.algorithms.get(domain.index).and_then(Option::as_deref);
        own.unwrap_or(&self.config.algorithms)
    }

    /// RFC 7616 §3.3; RFC 8760 §2.4: one challenge for each algorithm, the preferred one first.
    fn challenge(&self, domain: &Domain, proxy: bool, is_stale: bool) -> Error {
        let nonce = self.nonces.issue(&self.secret);
        let stale = if is_stale { ", stale=true" } else { "" };
        let challenges = self
            .offered(domain)
            .iter()
            .map(|algorithm| {
                let realm = &domain.name;
                format!(
                    "Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\", algorithm={algorithm}{stale}"
                )
            })
            .collect();
        Error::Challenge { proxy, challenges }
    }
}

/// Whether what a request says of its sender agrees with what was proved. REGISTER may be sent for somebody by another
/// (RFC 3261 §10.2 From); there the registrar compares To. Within a dialog From names the dialog, which may be known by
/// another name of the user (§12.2.1.1). RFC 3323 §4.1.1.3: who wants to stay anonymous to others has proved itself to us.
fn is_for_identity(message: &Request, identity: &Aor) -> bool {
    if message.method() == Method::Register || message.to().tag().is_some() {
        return true;
    }
    let Ok(uri) = message.from().uri() else { return false };
    Aor::of(&uri).is_some_and(|from| from == *identity)
        || uri.host().eq_ignore_ascii_case("anonymous.invalid")
}
