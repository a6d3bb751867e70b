//! A user agent on a socket of its own: sends requests, answers challenges and NOTIFYs.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use rsip::headers::{CSeq, CallId, Contact, ContentLength, From, MaxForwards, To, Via};
use rsip::{Header, Headers};
use sip_auth::{Algorithm, digest};
use sip_message::{AuthParams, Framed, HeaderName, Limits, ReplyBuilder, Request, Response, StatusCode};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{DOMAIN, PASSWORD};

/// How long a server on the same machine may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Agent {
    user: &'static str,
    socket: UdpSocket,
    local: SocketAddr,
    /// Makes Call-IDs, tags and branches of this agent differ from all others.
    seed: u64,
    cseq: u32,
    notifies: VecDeque<Request>,
}

/// What is asked of the server; the agent adds the rest.
pub(crate) struct Ask<'a> {
    pub(crate) method: rsip::Method,
    /// The user whom it is about; `None`: the domain itself.
    pub(crate) of: Option<&'a str>,
    pub(crate) to: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a str,
}

impl Agent {
    /// An agent of a user on a free port of the loopback interface.
    pub(crate) async fn new(user: &'static str, server: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind((server.ip(), 0)).await?;
        socket.connect(server).await?;
        let local = socket.local_addr()?;
        Ok(Self { user, socket, local, seed: rand::random(), cseq: 0, notifies: VecDeque::new() })
    }

    /// Asks, with credentials once they are wanted.
    pub(crate) async fn ask(&mut self, ask: &Ask<'_>) -> Result<Response> {
        let response = self.transact(ask, None).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let challenge = response.header(HeaderName::WwwAuthenticate).context("401 without a challenge")?;
        let credentials = self.credentials(ask, challenge)?;
        self.transact(ask, Some(&credentials)).await
    }

    /// The document of the next NOTIFY.
    pub(crate) async fn notified(&mut self) -> Result<String> {
        while self.notifies.is_empty() {
            // A response that nobody waits for any more.
            let _late = self.receive().await?;
        }
        let notify = self.notifies.pop_front().context("a NOTIFY")?;
        Ok(String::from_utf8(notify.body().to_vec())?)
    }

    async fn transact(&mut self, ask: &Ask<'_>, credentials: Option<&str>) -> Result<Response> {
        self.cseq += 1;
        self.socket.send(&self.write(ask, credentials)?).await?;
        loop {
            let Some(response) = self.receive().await? else { continue };
            if response.cseq().number == self.cseq && response.status().is_final() {
                return Ok(response);
            }
        }
    }

    /// Builds a request with rsip.
    fn write(&self, ask: &Ask<'_>, credentials: Option<&str>) -> Result<Vec<u8>> {
        let Self { user, local, seed, cseq, .. } = self;
        let target = ask.of.map_or(format!("sip:{DOMAIN}"), |of| format!("sip:{of}@{DOMAIN}"));
        let mut headers = Headers::default();
        headers.push(Via::from(format!("SIP/2.0/UDP {local};branch=z9hG4bK{seed:x}-{cseq};rport")).into());
        headers.push(MaxForwards::from(70).into());
        headers.push(From::from(format!("<sip:{user}@{DOMAIN}>;tag={seed:x}")).into());
        headers.push(To::from(format!("<sip:{}@{DOMAIN}>", ask.to)).into());
        headers.push(CallId::from(format!("{seed:x}-{}@{local}", ask.method)).into());
        headers.push(CSeq::from(format!("{cseq} {}", ask.method)).into());
        headers.push(Contact::from(format!("<sip:{user}@{local}>")).into());
        for (name, value) in ask.headers {
            headers.push(Header::Other((*name).into(), (*value).into()));
        }
        if let Some(credentials) = credentials {
            headers.push(Header::Other("Authorization".into(), credentials.into()));
        }
        headers.push(ContentLength::from(ask.body.len() as u32).into());
        let request = rsip::Request {
            method: ask.method,
            uri: rsip::Uri::try_from(target.as_str())?,
            version: rsip::Version::V2,
            headers,
            body: ask.body.as_bytes().to_vec(),
        };
        Ok(request.into())
    }

    /// RFC 3261 §22.2, RFC 7616 §3.4.
    fn credentials(&self, ask: &Ask<'_>, challenge: &[u8]) -> Result<String> {
        let challenge = AuthParams::parse(challenge, "WWW-Authenticate")?;
        let get =
            |name: &'static str| challenge.value(name).with_context(|| format!("no {name} in the challenge"));
        let (realm, nonce) = (get("realm")?, get("nonce")?);
        let algorithm = Algorithm::from_token(get("algorithm")?).context("an algorithm that we have")?;
        let ha1 = provisioning::Ha1::new(algorithm, self.user, realm, PASSWORD);
        let method = ask.method.to_string();
        let uri = format!("sip:{DOMAIN}");
        let auth = digest::Auth { nc: "00000001", cnonce: "demo" };
        let request = digest::Request { method: &method, uri: &uri, nonce, auth: Some(auth) };
        let response = digest::response(algorithm, ha1.as_hex(), &request);
        Ok(format!(
            "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", \
             algorithm={algorithm}, qop=auth, nc=00000001, cnonce=\"demo\"",
            self.user
        ))
    }

    /// Takes one message: a response, or a NOTIFY, which is answered and kept.
    async fn receive(&mut self) -> Result<Option<Response>> {
        let mut buffer = vec![0; 65_536];
        let received = timeout(PATIENCE, self.socket.recv(&mut buffer));
        let octets = received.await.with_context(|| format!("{} waited in vain", self.user))??;
        buffer.truncate(octets);
        match Framed::datagram(Bytes::from(buffer), &Limits::default()) {
            Framed::Response(response) => Ok(Some(response)),
            Framed::Request(request) => {
                ensure!(request.method() == sip_message::Method::Notify, "{} came unasked", request.method());
                let reply = ReplyBuilder::new(&request, StatusCode::OK, "").finish();
                self.socket.send(&reply.bytes).await?;
                self.notifies.push_back(request);
                Ok(None)
            }
            Framed::Malformed(malformed) => bail!("the server sent what cannot be read: {}", malformed.error),
            Framed::Ping | Framed::Pong => Ok(None),
        }
    }
}
