//! The few messages that the clients here send, and as much of a parser as they need.

/// A message from the server; only what the clients look at.
pub(crate) struct Incoming<'a> {
    /// `None` for a request.
    pub(crate) status: Option<u16>,
    pub(crate) head: &'a str,
    pub(crate) body: &'a str,
}

impl<'a> Incoming<'a> {
    pub(crate) fn parse(datagram: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(datagram).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = match head.strip_prefix("SIP/2.0 ") {
            Some(rest) => Some(rest.get(..3)?.parse().ok()?),
            None => None,
        };
        Some(Self { status, head, body })
    }

    /// The value of the first header field of that name, in its long form.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.trim_end().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// What we put at the end of the Call-ID.
    pub(crate) fn index(&self) -> Option<usize> {
        self.header("Call-ID")?.rsplit('-').next()?.parse().ok()
    }
}

/// The 200 to a request within a dialog (RFC 3261 §8.2.6.2).
pub(crate) fn ok(request: &Incoming<'_>) -> Vec<u8> {
    let mut response = String::with_capacity(512);
    response.push_str("SIP/2.0 200 OK\r\n");
    for line in request.head.lines() {
        let name = line.split(':').next().unwrap_or_default().trim_end();
        if ["Via", "From", "To", "Call-ID", "CSeq"].iter().any(|kept| name.eq_ignore_ascii_case(kept)) {
            response.push_str(line);
            response.push_str("\r\n");
        }
    }
    response.push_str("Content-Length: 0\r\n\r\n");
    response.into_bytes()
}

/// Who sends a request to whom: what all requests here have in common.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// User of the Request-URI and To; empty for the domain itself as Request-URI.
    pub(crate) target: &'a str,
    pub(crate) to: &'a str,
    pub(crate) from: &'a str,
    pub(crate) port: u16,
    /// Unique among the requests of a port.
    pub(crate) call_id: String,
    pub(crate) cseq: u32,
    /// Further header fields, each with its line end.
    pub(crate) fields: &'a str,
    pub(crate) body: &'a str,
}

impl Request<'_> {
    pub(crate) fn text(&self) -> String {
        let Self { method, target, to, from, port, call_id, cseq, fields, body } = self;
        let at = if target.is_empty() { "" } else { "@" };
        format!(
            "{method} sip:{target}{at}bench.test SIP/2.0\r\n\
             Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK-{cseq}-{call_id}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{from}@bench.test>;tag=t{cseq}{call_id}\r\n\
             To: <sip:{to}@bench.test>\r\n\
             Call-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\n\
             {fields}Content-Length: {length}\r\n\r\n{body}",
            length = body.len(),
        )
    }
}

/// Registers `user` at our port, for two hours.
pub(crate) fn register(user: &str, contact_port: u16, port: u16, call_id: String) -> String {
    let fields = format!("Contact: <sip:{user}@127.0.0.1:{contact_port}>\r\nExpires: 7200\r\n");
    Request {
        method: "REGISTER",
        target: "",
        to: user,
        from: user,
        port,
        call_id,
        cseq: 1,
        fields: &fields,
        body: "",
    }
    .text()
}

/// Subscribes to the presence of `presentity`.
pub(crate) fn subscribe(
    presentity: &str,
    watcher: &str,
    port: u16,
    call_id: String,
    expires_seconds: u32,
) -> String {
    let fields = format!(
        "Contact: <sip:{watcher}@127.0.0.1:{port}>\r\nEvent: presence\r\nAccept: application/pidf+xml\r\n\
         Expires: {expires_seconds}\r\n"
    );
    Request {
        method: "SUBSCRIBE",
        target: presentity,
        to: presentity,
        from: watcher,
        port,
        call_id,
        cseq: 1,
        fields: &fields,
        body: "",
    }
    .text()
}

/// Publishes a document with a note: initially, or with the entity-tag of what it replaces (RFC 3903 §4.1).
pub(crate) fn publish(
    user: &str,
    port: u16,
    call_id: String,
    cseq: u32,
    entity_tag: Option<&str>,
    note: &str,
) -> String {
    let condition = entity_tag.map(|tag| format!("SIP-If-Match: {tag}\r\n")).unwrap_or_default();
    let fields =
        format!("Event: presence\r\nExpires: 3600\r\n{condition}Content-Type: application/pidf+xml\r\n");
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
         <presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
         xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\"sip:{user}@bench.test\">\r\n\
         <tuple id=\"t1\"><status><basic>open</basic></status><contact priority=\"0.8\">sip:{user}@127.0.0.1:{port}\
         </contact><note>{note}</note></tuple>\r\n\
         <dm:person id=\"p1\"><rpid:activities><rpid:busy/></rpid:activities></dm:person>\r\n</presence>\r\n"
    );
    Request {
        method: "PUBLISH",
        target: user,
        to: user,
        from: user,
        port,
        call_id,
        cseq,
        fields: &fields,
        body: &body,
    }
    .text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notify_is_answered() {
        let notify = "NOTIFY sip:w@127.0.0.1:9 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1\r\n\
                      From: <sip:u0@bench.test>;tag=1\r\nTo: <sip:w@bench.test>;tag=2\r\nCall-ID: w-17\r\n\
                      CSeq: 5 NOTIFY\r\nEvent: presence\r\nContent-Length: 3\r\n\r\nabc";
        let incoming = Incoming::parse(notify.as_bytes()).unwrap();
        assert_eq!((incoming.status, incoming.index(), incoming.body), (None, Some(17), "abc"));
        let answer = String::from_utf8(ok(&incoming)).unwrap();
        assert_eq!(
            answer,
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1\r\nFrom: <sip:u0@bench.test>;tag=1\r\n\
             To: <sip:w@bench.test>;tag=2\r\nCall-ID: w-17\r\nCSeq: 5 NOTIFY\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_response_has_a_status() {
        let text = subscribe("u1", "w1", 5070, "w-1".into(), 60)
            .replace("SUBSCRIBE sip:u1@bench.test SIP/2.0", "SIP/2.0 481 Gone");
        assert_eq!(Incoming::parse(text.as_bytes()).unwrap().status, Some(481));
        assert!(Incoming::parse(b"\r\n").is_none());
    }
}
