//! A user agent of plain sockets: it sends what a test writes, and receives what comes.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::message::Message;

/// How long a message may take to come.
const LIMIT: Duration = Duration::from_secs(10);

/// One socket and what has come in on it.
pub struct UserAgent {
    link: Link,
    here: SocketAddr,
    /// Received, and not asked for yet.
    waiting: VecDeque<Message>,
}

enum Link {
    Udp { socket: UdpSocket, server: SocketAddr },
    Tcp { stream: TcpStream, received: Vec<u8> },
}

impl UserAgent {
    /// A user agent that speaks UDP with `server`, and hears whoever sends.
    ///
    /// # Errors
    /// No socket can be had.
    pub fn udp(server: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let here = socket.local_addr()?;
        let link = Link::Udp { socket, server };
        Ok(Self { link, here, waiting: VecDeque::new() })
    }

    /// A user agent with a TCP connection to `server`.
    ///
    /// # Errors
    /// No connection can be had.
    pub fn tcp(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&server, LIMIT)?;
        // A request that follows an answer would wait until the server has acknowledged that.
        stream.set_nodelay(true)?;
        let here = stream.local_addr()?;
        let link = Link::Tcp { stream, received: Vec::new() };
        Ok(Self { link, here, waiting: VecDeque::new() })
    }

    /// Sends requests to another server from now on.
    ///
    /// # Errors
    /// It has a connection.
    pub fn turn_to(&mut self, other: SocketAddr) -> Result<()> {
        match &mut self.link {
            Link::Udp { server, .. } => *server = other,
            Link::Tcp { .. } => bail!("a connection cannot be turned elsewhere"),
        }
        Ok(())
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.here
    }

    /// Sends a request, given without Via, Max-Forwards and Content-Length; `{here}` stands for the own address, and an
    /// empty line begins the body.
    ///
    /// # Errors
    /// The socket refuses it.
    pub fn request(&mut self, text: &str) -> Result<()> {
        // A socket may get the port of an earlier one, whose transactions the server has not yet forgotten.
        static BRANCHES: AtomicU64 = AtomicU64::new(1);
        let branch = format!("z9hG4bK{}", BRANCHES.fetch_add(1, Ordering::Relaxed));
        let transport = match self.link {
            Link::Udp { .. } => "UDP",
            Link::Tcp { .. } => "TCP",
        };
        let message = render(text, transport, self.here, &branch)?;
        self.send(&message, None)
    }

    /// Answers a request; `more` is empty, or further header fields, one a line. The tag of the To header field, where it
    /// has none, is `tag`.
    ///
    /// # Errors
    /// The socket refuses it.
    pub fn answer(&mut self, request: &Message, status: &str, tag: &str, more: &str) -> Result<()> {
        let message = render_answer(request, status, tag, more, self.here);
        // RFC 3261 §18.2.2: to whom the top Via says.
        let sent_by = request.header("Via").split([' ', ';']).nth(1).and_then(|host| host.parse().ok());
        self.send(&message, sent_by)
    }

    /// The next message whose start line begins with `start`; others wait until they are asked for.
    ///
    /// # Errors
    /// None came in time; the error tells what came instead.
    pub fn receive(&mut self, start: &str) -> Result<Message> {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(at) = self.waiting.iter().position(|message| message.start_line().starts_with(start))
            {
                return self.waiting.remove(at).context("the position was found just now");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let came: Vec<_> = self.waiting.iter().map(Message::start_line).collect();
                bail!("no `{start}` came within {LIMIT:?}; what came: {came:?}");
            }
            self.read(left)?;
        }
    }

    /// Sends to an address, or to the server.
    fn send(&mut self, message: &str, to: Option<SocketAddr>) -> Result<()> {
        match &mut self.link {
            Link::Udp { socket, server } => {
                socket.send_to(message.as_bytes(), to.unwrap_or(*server))?;
            }
            Link::Tcp { stream, .. } => stream.write_all(message.as_bytes())?,
        }
        Ok(())
    }

    /// Reads once, for `limit` at most.
    fn read(&mut self, limit: Duration) -> Result<()> {
        let mut buffer = [0; 65_536];
        match &mut self.link {
            Link::Udp { socket, .. } => {
                socket.set_read_timeout(Some(limit))?;
                if let Some(length) = unless_late(socket.recv(&mut buffer))? {
                    self.waiting.push_back(Message::new(String::from_utf8_lossy(&buffer[..length])));
                }
            }
            Link::Tcp { stream, received } => {
                stream.set_read_timeout(Some(limit))?;
                match unless_late(stream.read(&mut buffer))? {
                    None => {}
                    Some(0) => bail!("the server closed the connection"),
                    Some(length) => received.extend_from_slice(&buffer[..length]),
                }
                while let Some(length) = whole_message(received) {
                    let message: Vec<u8> = received.drain(..length).collect();
                    self.waiting.push_back(Message::new(String::from_utf8_lossy(&message)));
                }
            }
        }
        Ok(())
    }
}

/// A request as it is sent; `text` is as for [`UserAgent::request`].
pub(crate) fn render(text: &str, transport: &str, here: SocketAddr, branch: &str) -> Result<String> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut message = format!(
        "{}\r\nVia: SIP/2.0/{transport} {here};branch={branch}\r\nMax-Forwards: 70\r\n",
        lines.next().context("a request needs a request line")?,
    );
    for line in lines {
        message += &line.replace("{here}", &here.to_string());
        message += "\r\n";
    }
    message += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    Ok(message)
}

/// A response as it is sent; the parameters are as for [`UserAgent::answer`].
pub(crate) fn render_answer(
    request: &Message,
    status: &str,
    tag: &str,
    more: &str,
    here: SocketAddr,
) -> String {
    let mut message = format!("SIP/2.0 {status}\r\n");
    // RFC 3261 §8.2.6.2 names the first five, §12.1.1 adds Record-Route.
    for name in ["Via", "From", "To", "Call-ID", "CSeq", "Record-Route"] {
        for value in request.headers(name) {
            let tag =
                if name == "To" && !value.contains(";tag=") { format!(";tag={tag}") } else { String::new() };
            message += &format!("{name}: {value}{tag}\r\n");
        }
    }
    for line in more.lines().map(str::trim) {
        message += &format!("{}\r\n", line.replace("{here}", &here.to_string()));
    }
    message += "Content-Length: 0\r\n\r\n";
    message
}

fn unless_late(result: std::io::Result<usize>) -> Result<Option<usize>> {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    match result {
        Ok(length) => Ok(Some(length)),
        Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The length of the message at the beginning of a stream, if all of it is there (RFC 3261 §18.3).
fn whole_message(received: &[u8]) -> Option<usize> {
    let head = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let message = Message::new(String::from_utf8_lossy(received.get(..head)?));
    let body: usize = message.header("Content-Length").parse().ok()?;
    (received.len() >= head + body).then_some(head + body)
}
