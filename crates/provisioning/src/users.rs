//! The users of the domains that are ours.

use hashbrown::HashMap;
use sip_message::Aor;
use sip_service::Directory;

use crate::{Algorithm, Error, Ha1, UserConfig};

/// A user: an AOR, and one HA1 for each algorithm that the user may answer with.
#[derive(Clone, Debug)]
pub struct User {
    aor: Aor,
    ha1: Vec<Ha1>,
}

impl User {
    /// The AOR.
    pub fn aor(&self) -> &Aor {
        &self.aor
    }

    /// HA1 under an algorithm.
    pub fn ha1(&self, algorithm: Algorithm) -> Option<&Ha1> {
        self.ha1.iter().find(|ha1| ha1.algorithm() == algorithm)
    }

    fn load(index: usize, config: &UserConfig) -> Result<Self, Error> {
        let aor = Aor::parse(&config.aor).ok_or_else(|| Error::Aor { index, found: config.aor.clone() })?;
        let asked = config.algorithms.as_deref();
        if asked.is_some_and(<[Algorithm]>::is_empty) {
            return Err(Error::NoAlgorithms { index });
        }
        let ha1 = match (&config.password, &config.ha1) {
            (Some(password), None) => asked
                .unwrap_or(&Algorithm::ALL)
                .iter()
                .map(|algorithm| Ha1::new(*algorithm, aor.user(), aor.domain(), password))
                .collect(),
            (None, Some(given)) => {
                let mut all = Vec::new();
                for (&algorithm, digits) in &given.0 {
                    let ha1 = Ha1::from_hex(algorithm, digits).ok_or_else(|| Error::Ha1 {
                        index,
                        algorithm,
                        expected: 2 * algorithm.hash_bytes(),
                        found: digits.chars().count(),
                    })?;
                    all.push(ha1);
                }
                let has = |algorithm: &&Algorithm| all.iter().any(|ha1: &Ha1| ha1.algorithm() == **algorithm);
                if let Some(algorithm) = asked.and_then(|asked| asked.iter().find(|a| !has(a))) {
                    return Err(Error::NoHa1 { index, algorithm: *algorithm });
                }
                if all.is_empty() {
                    return Err(Error::NoAlgorithms { index });
                }
                all.retain(|ha1| asked.is_none_or(|asked| asked.contains(&ha1.algorithm())));
                all
            }
            (Some(_), Some(_)) | (None, None) => return Err(Error::Secret { index }),
        };
        Ok(Self { aor, ha1 })
    }
}

/// All users. Built once per configuration.
#[derive(Clone, Debug, Default)]
pub struct Users {
    domains: HashMap<Box<str>, Domain>,
}

/// The users of one domain.
#[derive(Clone, Debug)]
enum Domain {
    /// By the user part of the AOR, canonically escaped.
    Listed(HashMap<Box<str>, User>),
    /// Every user part there can be.
    Open,
}

impl Users {
    /// Loads `[[user]]` blocks.
    ///
    /// # Errors
    /// The first block that is no user, or names one that is there already.
    pub fn load(users: &[UserConfig]) -> Result<Self, Error> {
        let mut domains: HashMap<Box<str>, Domain> = HashMap::new();
        for (index, config) in users.iter().enumerate() {
            let user = User::load(index, config)?;
            let domain =
                domains.entry(user.aor.domain().into()).or_insert_with(|| Domain::Listed(HashMap::new()));
            if let Domain::Listed(listed) = domain
                && let Some(before) = listed.insert(user.aor.user().into(), user)
            {
                return Err(Error::Twice { index, aor: before.aor.to_string() });
            }
        }
        Ok(Self { domains })
    }

    /// Users of domains where everyone exists and nobody has to prove it: [`Users::find`] finds nobody.
    pub fn open_to_all<'a>(domains: impl IntoIterator<Item = &'a str>) -> Self {
        let open = |name: &str| (name.to_ascii_lowercase().into_boxed_str(), Domain::Open);
        Self { domains: domains.into_iter().map(open).collect() }
    }

    /// A user by user part, canonically escaped as in an [`Aor`], and domain, in any case.
    pub fn find(&self, user: &str, domain: &str) -> Option<&User> {
        let domain = match self.domains.get(domain) {
            Some(domain) => domain,
            None if domain.bytes().any(|b| b.is_ascii_uppercase()) => {
                self.domains.get(&*domain.to_ascii_lowercase())?
            }
            None => return None,
        };
        match domain {
            Domain::Listed(listed) => listed.get(user),
            Domain::Open => None,
        }
    }
}

impl Directory for Users {
    fn exists(&self, aor: &Aor) -> bool {
        match self.domains.get(aor.domain()) {
            Some(Domain::Listed(listed)) => listed.contains_key(aor.user()),
            Some(Domain::Open) => true,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Ha1Config;

    fn with_password(aor: &str) -> UserConfig {
        UserConfig { aor: aor.into(), password: Some("zanzibar".into()), ha1: None, algorithms: None }
    }

    fn with_ha1(aor: &str, ha1: &[(Algorithm, &str)]) -> UserConfig {
        let ha1: BTreeMap<_, _> = ha1.iter().map(|(a, digits)| (*a, (*digits).to_owned())).collect();
        UserConfig { aor: aor.into(), password: None, ha1: Some(Ha1Config(ha1)), algorithms: None }
    }

    fn aor(text: &str) -> Aor {
        Aor::parse(text).expect("an AOR")
    }

    const MD5: &str = "12af60467a33e8518da5c68bbff12b11";
    const SHA_256: &str = "e65db393e748c5228939a6b4b2879e9ea5625cd79fd5267868cb568d69f6b97e";
    const SHA_512_256: &str = "a969680ab364e333ec5c93ff823d570a79841c8d40270655dd42f37b755dfc38";

    // RFC 3261 §22.1: the realm is the domain; RFC 7616 §3.4.2.
    #[test]
    fn a_password_is_kept_as_ha1_of_every_algorithm() {
        let users = Users::load(&[with_password("sip:bob@Biloxi.COM")]).expect("users");
        let bob = users.find("bob", "biloxi.com").expect("bob");
        for (algorithm, digits) in
            [(Algorithm::Md5, MD5), (Algorithm::Sha256, SHA_256), (Algorithm::Sha512_256, SHA_512_256)]
        {
            assert_eq!(bob.ha1(algorithm).map(Ha1::as_hex), Some(digits));
        }
        assert!(!format!("{users:?}").contains("12af"), "{users:?}");
    }

    #[test]
    fn a_user_may_ask_for_some_algorithms_only() {
        let only = Some(vec![Algorithm::Sha256]);
        let config = UserConfig { algorithms: only.clone(), ..with_password("bob@biloxi.com") };
        let given = with_ha1("bill@biloxi.com", &[(Algorithm::Md5, MD5), (Algorithm::Sha256, SHA_256)]);
        let users = Users::load(&[config, UserConfig { algorithms: only, ..given }]).expect("users");
        for name in ["bob", "bill"] {
            let user = users.find(name, "biloxi.com").expect("a user");
            assert!(user.ha1(Algorithm::Sha256).is_some() && user.ha1(Algorithm::Md5).is_none(), "{name}");
        }
    }

    #[test]
    fn who_exists() {
        let users =
            Users::load(&[with_password("alice@a.test"), with_ha1("bob@b.test", &[(Algorithm::Md5, MD5)])])
                .expect("users");
        assert!(users.exists(&aor("sips:alice@A.test:5061")) && users.exists(&aor("pres:bob@b.test")));
        for nobody in ["bob@a.test", "alice@b.test", "Alice@a.test", "alice@c.test"] {
            assert!(!users.exists(&aor(nobody)), "{nobody}");
        }
        assert!(users.find("alice", "A.TEST").is_some() && users.find("alice", "c.test").is_none());
    }

    #[test]
    fn everyone_of_an_open_domain_exists() {
        let users = Users::open_to_all(["A.test"]);
        assert!(users.exists(&aor("anyone@a.test")) && !users.exists(&aor("anyone@b.test")));
        assert!(users.find("anyone", "a.test").is_none());
    }

    #[test]
    fn a_faulty_block_is_named_with_what_was_expected() {
        let good = || with_password("alice@a.test");
        let none = UserConfig { password: None, ..good() };
        let both =
            UserConfig { password: Some("x".into()), ..with_ha1("bob@a.test", &[(Algorithm::Md5, MD5)]) };
        let asks = UserConfig {
            algorithms: Some(vec![Algorithm::Md5, Algorithm::Sha256]),
            ..with_ha1("bob@a.test", &[(Algorithm::Md5, MD5)])
        };
        let empty = UserConfig { algorithms: Some(vec![]), ..with_password("bob@a.test") };
        for (bad, message) in [
            (with_password("alice"), "aor: expected user@domain, with or without sip:, found \"alice\""),
            (
                with_password("sip:a.test"),
                "aor: expected user@domain, with or without sip:, found \"sip:a.test\"",
            ),
            (
                with_password("sips:%61lice@A.test"),
                "aor: expected every user once, alice@a.test is there already",
            ),
            (none, "expected either a password or an ha1"),
            (both, "expected either a password or an ha1"),
            (
                with_ha1("b@a.test", &[(Algorithm::Sha256, MD5)]),
                "ha1: expected 64 hexadecimal digits for SHA-256, found 32 characters",
            ),
            (asks, "algorithms: expected those of ha1, which has none for SHA-256"),
            (empty, "algorithms: expected at least one of MD5, SHA-256, SHA-512-256"),
            (with_ha1("b@a.test", &[]), "algorithms: expected at least one of MD5, SHA-256, SHA-512-256"),
        ] {
            let error = Users::load(&[good(), bad]).expect_err(message);
            assert_eq!((error.index(), error.to_string().as_str()), (1, message));
        }
    }
}
