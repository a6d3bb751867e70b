//! A scripted user agent: it says what it is told to, as one who knows RFC 3261 §12 and §13 would.

use std::collections::BTreeMap;

use bytes::Bytes;
use rsip::headers::{CSeq, CallId, Contact, ContentLength, From, MaxForwards, Route, To, UntypedHeader, Via};
use rsip::{Header, Method, Version};
use sip_message::{HeaderName, Limits, Message, NameAddr, Request, Response, Transport};
use sip_service::Flow;

/// A message that arrived.
#[derive(Clone, Debug)]
pub enum Received {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
}

impl Received {
    /// What both have in common.
    pub fn message(&self) -> &Message {
        match self {
            Self::Request(request) => request,
            Self::Response(response) => response,
        }
    }

    /// `INVITE`; `180` of an INVITE; `200 BYE`.
    pub fn summary(&self) -> String {
        match self {
            Self::Request(request) => request.method().to_string(),
            Self::Response(response) => match response.cseq().method {
                sip_message::Method::Invite => response.status().to_string(),
                method => format!("{} {method}", response.status()),
            },
        }
    }
}

/// A user agent at one address.
#[derive(Debug)]
pub struct Agent {
    name: String,
    /// How the server sees it.
    pub flow: Flow,
    domain: String,
    /// All that has arrived, until it is taken.
    pub inbox: Vec<Received>,
    requests_sent: u32,
    last_sent: Bytes,
    /// The last request of each method, and the last final response to it.
    own: BTreeMap<String, (Request, Option<Response>)>,
    /// The last request of each method that arrived.
    others: BTreeMap<String, Request>,
    dialog: Option<Dialog>,
}

/// RFC 3261 §12.
#[derive(Clone, Debug)]
struct Dialog {
    call_id: String,
    /// From and To of a request from here.
    local: String,
    remote: String,
    target: String,
    routes: Vec<String>,
    cseq: u32,
}

/// A request to be written.
struct Draft<'a> {
    method: &'a str,
    uri: &'a str,
    via: String,
    routes: Vec<String>,
    from: String,
    to: String,
    call_id: String,
    cseq: u32,
    extra: &'a [(&'a str, &'a str)],
}

impl Agent {
    /// An agent `sip:name@domain`.
    pub(crate) fn new(name: &str, domain: &str, flow: Flow) -> Self {
        Self {
            name: name.to_owned(),
            flow,
            domain: domain.to_owned(),
            inbox: Vec::new(),
            requests_sent: 0,
            last_sent: Bytes::new(),
            own: BTreeMap::new(),
            others: BTreeMap::new(),
            dialog: None,
        }
    }

    /// The URI of its Contact.
    pub fn contact(&self) -> String {
        let transport = match self.flow.transport {
            Transport::Udp => String::new(),
            transport => format!(";transport={}", transport.token()),
        };
        format!("sip:{}@{}{transport}", self.name, self.flow.remote)
    }

    /// Takes what arrives.
    pub(crate) fn receive(&mut self, received: Received) {
        match &received {
            Received::Request(request) => {
                self.others.insert(request.method().to_string(), request.clone());
            }
            Received::Response(response) => {
                let own = self.own.get_mut(&response.cseq().method.to_string());
                if let Some((request, last)) = own.filter(|_| response.status().is_final()) {
                    *last = Some(response.clone());
                    // Within a dialog the route set stands (§12.2.1.2).
                    let begins = response.status().is_success() && request.to().tag().is_none();
                    if begins && response.header(HeaderName::Contact).is_some() {
                        let mut routes = values(response, HeaderName::RecordRoute);
                        routes.reverse();
                        let (from, to) = (HeaderName::From, HeaderName::To);
                        self.dialog = Some(Dialog::of(response, from, to, routes, request.cseq().number));
                    }
                }
            }
        }
        self.inbox.push(received);
    }

    /// Writes a message: `INVITE bob` (or a URI), `BYE` in the dialog, `CANCEL`, `ACK`, `180` or `200 BYE` to the last request
    /// of that method, `again` what was said last. Header fields may follow: `… | Reason: SIP;cause=600`.
    ///
    /// # Panics
    /// If there is nothing that it could refer to.
    pub(crate) fn say(&mut self, what: &str) -> Bytes {
        let mut parts = what.split(" | ");
        let words: Vec<&str> = parts.next().unwrap_or("").split(' ').collect();
        let extra: Vec<(&str, &str)> =
            parts.map(|field| field.split_once(": ").expect("a header field")).collect();
        self.last_sent = match words[..] {
            ["again"] => self.last_sent.clone(),
            ["CANCEL"] => self.follow_up("CANCEL", &extra),
            ["ACK"] => self.ack(&extra),
            [code] if code.parse::<u16>().is_ok() => self.respond(code, "INVITE", &extra),
            [code, method] if code.parse::<u16>().is_ok() => self.respond(code, method, &extra),
            [method] => self.within_dialog(method, &extra),
            [method, to] => self.initial(method, to, &extra),
            _ => panic!("{what}"),
        };
        self.last_sent.clone()
    }

    fn via(&mut self) -> String {
        self.requests_sent += 1;
        let (transport, remote, name) = (self.flow.transport, self.flow.remote, &self.name);
        format!("SIP/2.0/{transport} {remote};branch=z9hG4bK-{name}-{};rport", self.requests_sent)
    }

    fn initial(&mut self, method: &str, to: &str, extra: &[(&str, &str)]) -> Bytes {
        let uri = if to.contains(':') { to.to_owned() } else { format!("sip:{to}@{}", self.domain) };
        let via = self.via();
        let (name, domain, n) = (self.name.clone(), &self.domain, self.requests_sent);
        let from = format!("<sip:{name}@{domain}>;tag={name}-{n}");
        self.request(Draft {
            method,
            uri: &uri,
            via,
            routes: Vec::new(),
            from,
            to: format!("<{uri}>"),
            call_id: format!("{name}-{n}"),
            cseq: 1,
            extra,
        })
    }

    fn within_dialog(&mut self, method: &str, extra: &[(&str, &str)]) -> Bytes {
        let via = self.via();
        let dialog = self.dialog.as_mut().expect("a dialog");
        dialog.cseq += 1;
        let Dialog { call_id, local, remote, target, routes, cseq } = dialog.clone();
        self.request(Draft {
            method,
            uri: &target,
            via,
            routes,
            from: local,
            to: remote,
            call_id,
            cseq,
            extra,
        })
    }

    /// §13.2.2.4 for a 2xx, §17.1.1.3 for another final response.
    fn ack(&mut self, extra: &[(&str, &str)]) -> Bytes {
        let (invite, response) = &self.own["INVITE"];
        let cseq = invite.cseq().number;
        if response.as_ref().is_some_and(|response| !response.status().is_success()) {
            return self.follow_up("ACK", extra);
        }
        let via = self.via();
        let Dialog { call_id, local, remote, target, routes, .. } = self.dialog.clone().expect("a dialog");
        self.request(Draft {
            method: "ACK",
            uri: &target,
            via,
            routes,
            from: local,
            to: remote,
            call_id,
            cseq,
            extra,
        })
    }

    /// §9.1 and §17.1.1.3: Request-URI, Via and Route of the INVITE.
    fn follow_up(&mut self, method: &str, extra: &[(&str, &str)]) -> Bytes {
        let (invite, response) = self.own["INVITE"].clone();
        let to = if method == "ACK" { response.as_deref().expect("a response") } else { &*invite };
        self.request(Draft {
            method,
            uri: invite.uri_text(),
            via: text(&invite, HeaderName::Via),
            routes: values(&invite, HeaderName::Route),
            from: text(&invite, HeaderName::From),
            to: text(to, HeaderName::To),
            call_id: invite.call_id().to_owned(),
            cseq: invite.cseq().number,
            extra,
        })
    }

    fn request(&mut self, draft: Draft<'_>) -> Bytes {
        let Draft { method, uri, via, routes, from, to, call_id, cseq, extra } = draft;
        let mut headers: Vec<Header> = vec![Via::new(via).into(), MaxForwards::new("70").into()];
        headers.extend(routes.into_iter().map(|route| Route::new(route).into()));
        headers.extend::<[Header; 5]>([
            From::new(from).into(),
            To::new(to).into(),
            CallId::new(call_id).into(),
            CSeq::new(format!("{cseq} {method}")).into(),
            Contact::new(format!("<{}>", self.contact())).into(),
        ]);
        headers.extend(extra.iter().map(|(name, value)| Header::Other((*name).into(), (*value).into())));
        headers.push(ContentLength::new("0").into());
        let request = rsip::Request {
            method: method.parse::<Method>().expect("a method"),
            uri: rsip::Uri::try_from(uri).expect("a URI that rsip reads"),
            version: Version::V2,
            headers: headers.into(),
            body: Vec::new(),
        };
        let bytes = Bytes::from(request.to_string());
        let request = Request::parse(bytes.clone(), &Limits::default()).expect("a request");
        if !matches!(method, "ACK" | "CANCEL") {
            self.own.insert(method.to_owned(), (request, None));
        }
        bytes
    }

    /// §8.2.6.
    fn respond(&mut self, code: &str, method: &str, extra: &[(&str, &str)]) -> Bytes {
        let request = self.others.get(method).cloned().expect("a request of that method");
        let copies = |name: HeaderName| -> String {
            let field = |value: &[u8]| format!("{}: {}\r\n", name.as_str(), String::from_utf8_lossy(value));
            request.lines(name).map(field).collect()
        };
        let mut to = text(&request, HeaderName::To);
        if request.to().tag().is_none() && code != "100" {
            to = format!("{to};tag={}", self.name);
        }
        let lines: String = [HeaderName::Via, HeaderName::RecordRoute, HeaderName::From].map(copies).concat();
        let rest = [HeaderName::CallId, HeaderName::CSeq].map(copies).concat();
        let extra: String = extra.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let response = Bytes::from(format!(
            "SIP/2.0 {code} Scripted\r\n{lines}To: {to}\r\n{rest}Contact: <{}>\r\n{extra}Content-Length: 0\r\n\r\n",
            self.contact()
        ));
        let parsed = Response::parse(response.clone(), &Limits::default()).expect("a response");
        let begins = parsed.status().is_success() && request.to().tag().is_none();
        if begins && request.header(HeaderName::Contact).is_some() {
            let target = text(&request, HeaderName::Contact);
            let routes = values(&request, HeaderName::RecordRoute);
            let mut dialog = Dialog::of(&parsed, HeaderName::To, HeaderName::From, routes, 0);
            dialog.target = uri_of(&target);
            self.dialog = Some(dialog);
        }
        response
    }
}

impl Dialog {
    fn of(
        response: &Response,
        local: HeaderName,
        remote: HeaderName,
        routes: Vec<String>,
        cseq: u32,
    ) -> Self {
        Self {
            call_id: response.call_id().to_owned(),
            local: text(response, local),
            remote: text(response, remote),
            target: uri_of(&text(response, HeaderName::Contact)),
            routes,
            cseq,
        }
    }
}

fn uri_of(value: &str) -> String {
    NameAddr::parse(value.as_bytes(), "Contact").expect("a Contact").uri_text.to_owned()
}

fn text(message: &Message, name: HeaderName) -> String {
    message.text(name).unwrap_or_else(|| panic!("no {}", name.as_str())).to_owned()
}

fn values(message: &Message, name: HeaderName) -> Vec<String> {
    message.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}
