//! Cuts messages from a stream (§6.2): from `<name>` to the literal `</name>`; there is no length prefix.
//!
//! Two things differ from repro, which takes any `<…>` for the beginning of a message and waits for its end for ever:
//!
//! - Only the roots that a peer of ours may send begin a message. What stands between messages is discarded as it comes, so
//!   a keep-alive of repro, which is process memory (§6.7), can neither grow nor open anything, `<` in it or not.
//! - `<InitialSync>`, `<reginfo>` or `<pubinfo>` within a message begins a new one, and what came of the old one is
//!   discarded. None can be meant as text, since `<` is escaped there, nor as a child, since none has such a name: a message
//!   that was never ended, or junk that looks like the beginning of one, does not swallow what comes after it.
//!
//! A framer belongs to one connection. repro goes on with what it had after a reconnect, and so loses the first message of
//! the new connection when the old one broke within a message (§7, 23).

use memchr::memchr;

use crate::Closed;

/// What a message is, by the name of its outermost element, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// `InitialSync`: the request, and the usual form of its response.
    InitialSync,
    /// `reginfo`.
    RegInfo,
    /// `pubinfo`.
    PubInfo,
    /// `Response`: the bare form of a response (§6.3).
    Response,
    /// Any other name.
    Other,
}

impl Root {
    const NAMES: [(&str, Self); 4] = [
        ("InitialSync", Self::InitialSync),
        ("reginfo", Self::RegInfo),
        ("pubinfo", Self::PubInfo),
        ("Response", Self::Response),
    ];

    fn of(name: &[u8]) -> Self {
        let named = Self::NAMES.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        named.map_or(Self::Other, |(_, root)| *root)
    }
}

/// Which names begin a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Those that the protocol knows.
    Known,
    /// Any name: letters, digits, `-`, `_`, `.` and `:`, a letter first. For a listener until the first request was granted,
    /// as it owes an answer to a request that it does not know, and no keep-alive comes before.
    Any,
    /// `InitialSync` alone. For a listener later, when most of what comes is keep-alives of repro. Even that name may stand in
    /// its memory: what is too large for a message was none, and is discarded like all junk, and the connection goes on.
    Request,
}

impl Roots {
    /// Whether a message may begin with a name that the protocol knows.
    const fn admits(self, root: Root) -> bool {
        match (self, root) {
            (_, Root::Other) => false,
            (Self::Known | Self::Any, _) | (Self::Request, Root::InitialSync) => true,
            (Self::Request, Root::RegInfo | Root::PubInfo | Root::Response) => false,
        }
    }

    /// Whether one of the names that may begin a message begins so.
    fn may_begin(self, name: &[u8]) -> bool {
        let begins =
            |known: &str| known.as_bytes().get(..name.len()).is_some_and(|k| k.eq_ignore_ascii_case(name));
        Root::NAMES.iter().any(|(known, root)| self.admits(*root) && begins(known))
    }
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub root: Root,
    /// From the `<` of its outermost element to the `>` of its end.
    pub octets: &'a [u8],
}

/// Cuts messages from the octets of one connection.
#[derive(Debug)]
pub struct Framer {
    message_bytes_max: usize,
    roots: Roots,
    state: State,
    buffer: Vec<u8>,
    /// How much of the buffer is done with.
    done: usize,
    discarded_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Between,
    /// The pending octets begin with an opening tag; its end is not in the first `scanned` of them.
    Within {
        root: Root,
        name_bytes: usize,
        scanned: usize,
    },
    TooLarge,
}

/// Octets of the name of an outermost element.
const NAME_BYTES_MAX: usize = 64;

impl Framer {
    /// For a new connection. A message of more than `message_bytes_max` octets ends it.
    pub const fn new(message_bytes_max: usize, roots: Roots) -> Self {
        Self {
            message_bytes_max,
            roots,
            state: State::Between,
            buffer: Vec::new(),
            done: 0,
            discarded_bytes: 0,
        }
    }

    /// From now on, these names begin a message.
    pub const fn set_roots(&mut self, roots: Roots) {
        self.roots = roots;
    }

    /// Takes what came. [`Self::cut`] is to be called after it until there is no more, so that what is kept stays within
    /// one message and one piece.
    pub fn push(&mut self, octets: &[u8]) {
        if matches!(self.state, State::TooLarge) {
            return;
        }
        self.buffer.drain(..self.done);
        self.done = 0;
        self.buffer.extend_from_slice(octets);
    }

    /// The next whole message.
    ///
    /// # Errors
    /// [`Closed::MessageTooLarge`], from then on always: where the next message begins is not known. Never of
    /// [`Roots::Request`].
    pub fn cut(&mut self) -> Result<Option<Frame<'_>>, Closed> {
        loop {
            let pending = self.buffer.get(self.done..).unwrap_or_default();
            match self.state {
                State::TooLarge => return Err(self.too_large()),
                State::Between => {
                    let (skipped, opened) = opening(pending, self.roots);
                    self.discard(skipped);
                    let Some((root, name_bytes)) = opened else { return Ok(None) };
                    self.state = State::Within { root, name_bytes, scanned: name_bytes + 2 };
                }
                State::Within { root, name_bytes, scanned } => {
                    match progress(pending, self.roots, name_bytes, scanned) {
                        Progress::Ended(bytes) if bytes <= self.message_bytes_max => {
                            let begin = self.done;
                            self.done += bytes;
                            self.state = State::Between;
                            let octets = self.buffer.get(begin..self.done).unwrap_or_default();
                            return Ok(Some(Frame { root, octets }));
                        }
                        Progress::Waits(scanned) if pending.len() <= self.message_bytes_max => {
                            self.state = State::Within { root, name_bytes, scanned };
                            return Ok(None);
                        }
                        Progress::Ended(_) | Progress::Waits(_) if matches!(self.roots, Roots::Request) => {
                            self.discard(1);
                            self.state = State::Between;
                        }
                        Progress::Ended(_) | Progress::Waits(_) => {
                            self.state = State::TooLarge;
                            self.buffer = Vec::new();
                            self.done = 0;
                        }
                        Progress::Restarted { at, root, name_bytes } => {
                            self.discard(at);
                            self.state = State::Within { root, name_bytes, scanned: name_bytes + 2 };
                        }
                    }
                }
            }
        }
    }

    /// Octets that are kept, as they may yet become a message.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len().saturating_sub(self.done)
    }

    /// Octets so far that belonged to no message, white space between messages included.
    pub const fn discarded_bytes(&self) -> u64 {
        self.discarded_bytes
    }

    fn discard(&mut self, bytes: usize) {
        self.done += bytes;
        self.discarded_bytes = self.discarded_bytes.saturating_add(bytes as u64);
    }

    const fn too_large(&self) -> Closed {
        Closed::MessageTooLarge { message_bytes_max: self.message_bytes_max }
    }
}

/// How much is junk, and what begins behind it: a root and the octets of its name.
fn opening(pending: &[u8], roots: Roots) -> (usize, Option<(Root, usize)>) {
    let mut at = 0;
    while let Some(tag) = next_tag(pending, &mut at) {
        match Opening::of(tag, roots) {
            Opening::Root { root, name_bytes } => return (at, Some((root, name_bytes))),
            Opening::Undecided => return (at, None),
            Opening::None => at += 1,
        }
    }
    (pending.len(), None)
}

enum Progress {
    /// The message has so many octets.
    Ended(usize),
    /// There, another message begins.
    Restarted { at: usize, root: Root, name_bytes: usize },
    /// Neither, in so many octets.
    Waits(usize),
}

fn progress(pending: &[u8], roots: Roots, name_bytes: usize, scanned: usize) -> Progress {
    // Within a message only the names of the protocol begin another: any other may be a child.
    let roots = if matches!(roots, Roots::Any) { Roots::Known } else { roots };
    let name = pending.get(1..=name_bytes).unwrap_or_default();
    let mut at = scanned;
    while let Some(tag) = next_tag(pending, &mut at) {
        match (closes(tag, name), Opening::of(tag, roots)) {
            (Some(true), _) => return Progress::Ended(at + name_bytes + 3),
            // `Response` also is a child, of `InitialSync`.
            (_, Opening::Root { root, name_bytes }) if root != Root::Response => {
                return Progress::Restarted { at, root, name_bytes };
            }
            (None, _) | (_, Opening::Undecided) => return Progress::Waits(at),
            (Some(false), Opening::None | Opening::Root { .. }) => at += 1,
        }
    }
    Progress::Waits(pending.len())
}

/// Goes to the next `<`, and returns what begins with it.
fn next_tag<'a>(pending: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    *at += memchr(b'<', pending.get(*at..)?)?;
    pending.get(*at..)
}

/// Whether this is `</name>`; `None` if more octets have to come.
fn closes(tag: &[u8], name: &[u8]) -> Option<bool> {
    let mut octets = tag.iter();
    for expected in b"</".iter().chain(name).chain(b">") {
        if octets.next()? != expected {
            return Some(false);
        }
    }
    Some(true)
}

enum Opening {
    Root { root: Root, name_bytes: usize },
    Undecided,
    None,
}

impl Opening {
    /// Whether what begins with `<` opens a message.
    fn of(tag: &[u8], roots: Roots) -> Self {
        let inside = tag.get(1..).unwrap_or_default();
        let is_name = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.:".contains(octet);
        let name_bytes = inside.iter().take_while(|octet| is_name(octet)).take(NAME_BYTES_MAX + 1).count();
        let name = inside.get(..name_bytes).unwrap_or_default();
        let is_any = matches!(roots, Roots::Any)
            && name_bytes <= NAME_BYTES_MAX
            && name.first().is_none_or(u8::is_ascii_alphabetic);
        match (inside.get(name_bytes), Root::of(name)) {
            (None, _) if is_any || roots.may_begin(name) => Self::Undecided,
            (Some(b'>'), Root::Other) if is_any && !name.is_empty() => {
                Self::Root { root: Root::Other, name_bytes }
            }
            (Some(b'>'), root) if roots.admits(root) => Self::Root { root, name_bytes },
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages in these pieces, and how many octets belonged to none.
    fn cut(roots: Roots, pieces: &[&[u8]]) -> (Vec<String>, u64) {
        let mut framer = Framer::new(100, roots);
        let mut found = Vec::new();
        for piece in pieces {
            framer.push(piece);
            loop {
                match framer.cut() {
                    Ok(Some(frame)) => found.push(String::from_utf8_lossy(frame.octets).into_owned()),
                    Ok(None) => break,
                    Err(error) => {
                        found.push(error.to_string());
                        break;
                    }
                }
            }
        }
        (found, framer.discarded_bytes())
    }

    fn known(octets: &str) -> Vec<String> {
        cut(Roots::Known, &[octets.as_bytes()]).0
    }

    #[test]
    fn from_a_root_to_its_literal_end() {
        assert_eq!(
            known("  <reginfo>\r\n<aor>x</aor></reginfo>\r\n<PUBINFO>y</pubinfo></PUBINFO>"),
            ["<reginfo>\r\n<aor>x</aor></reginfo>", "<PUBINFO>y</pubinfo></PUBINFO>"]
        );
        assert_eq!(
            known("<InitialSync><Response>1</Response></InitialSync><Response>2</Response>"),
            ["<InitialSync><Response>1</Response></InitialSync>", "<Response>2</Response>"]
        );
        for never in
            ["<reginfo a='b'></reginfo>", "<reginfo ></reginfo >", "<other></other>", "<></>", "<reginfo/>"]
        {
            assert_eq!(known(never), [""; 0], "{never}");
        }
    }

    #[test]
    fn any_name_begins_a_message_where_a_request_is_awaited() {
        let any = |octets: &str| cut(Roots::Any, &[octets.as_bytes()]).0;
        assert_eq!(any("x<< <1></1><Foo.b>1</Foo.b>"), ["<Foo.b>1</Foo.b>"]);
        assert_eq!(any("<Foo><InitialSync>1</InitialSync>"), ["<InitialSync>1</InitialSync>"]);
        let long = "n".repeat(65);
        assert_eq!(any(&format!("<{long}></{long}><a></a>")), ["<a></a>"]);
    }

    #[test]
    fn junk_is_not_kept() {
        // §6.7: what repro sends for a keep-alive, and what else lies in its memory.
        let junk =
            b"\r\n\r\n\0makeWsHandshakeResponse\0<regi\0<reginfo \0</reginfo>\0<\0<InitialSyn".repeat(1000);
        let mut framer = Framer::new(100, Roots::Known);
        for piece in junk.chunks(85) {
            framer.push(piece);
            assert_eq!(framer.cut(), Ok(None));
            assert!(framer.pending_bytes() < 14);
        }
        framer.push(b"\0<reginfo>1</reginfo>");
        assert!(framer.cut().is_ok_and(|frame| frame.is_some()));
        assert_eq!((framer.pending_bytes(), framer.discarded_bytes()), (0, junk.len() as u64 + 1));
    }

    #[test]
    fn what_was_never_ended_swallows_nothing() {
        for begun in
            ["<pubinfo>\0", "<reginfo><aor>sip:a", "<InitialSync><Req", "<Response>", "<reginfo></reg", "<"]
        {
            let octets = format!("{begun}<reginfo>1</reginfo>");
            let pieces: Vec<_> = octets.as_bytes().chunks(1).collect();
            assert_eq!(cut(Roots::Known, &pieces).0, ["<reginfo>1</reginfo>"], "{begun}");
        }
    }

    #[test]
    fn what_is_too_large_among_keep_alives_was_junk() {
        for look_alike in ["<InitialSync>", "<reginfo>", "<x>", "<InitialSync><InitialSync>"] {
            let mut framer = Framer::new(100, Roots::Request);
            framer.push(look_alike.as_bytes());
            for _ in 0..1000 {
                framer.push(b"\r\n\r\n\0makeWsHandshakeResponse\0");
                assert_eq!(framer.cut(), Ok(None));
                assert!(framer.pending_bytes() <= 100);
            }
            framer.push(b"<InitialSync>1</InitialSync>");
            let frame = framer.cut().expect("no error").expect("a message");
            assert_eq!(frame.octets, b"<InitialSync>1</InitialSync>");
        }
        let others = b"<reginfo></reginfo><Response></Response><Foo></Foo>";
        assert_eq!(cut(Roots::Request, &[others]), (vec![], others.len() as u64));
        let too_large = format!("<InitialSync>{}</InitialSync><InitialSync></InitialSync>", "x".repeat(100));
        assert_eq!(cut(Roots::Request, &[too_large.as_bytes()]).0, ["<InitialSync></InitialSync>"]);
    }

    #[test]
    fn too_large_is_the_end() {
        let text = |bytes| "x".repeat(bytes);
        let largest = format!("<reginfo>{}</reginfo>", text(81));
        assert_eq!(known(&largest), [largest]);
        let error = "a message of more than 100 octets";
        assert_eq!(known(&format!("<reginfo>{}</reginfo>", text(82))), [error]);
        assert_eq!(known(&format!("<reginfo>{}", text(92))), [error]);
        assert_eq!(known(&text(1000)), [""; 0]);
        let mut framer = Framer::new(10, Roots::Known);
        framer.push(b"<reginfo>123");
        assert!(framer.cut().is_err());
        framer.push(b"</reginfo><reginfo></reginfo>");
        assert!(framer.cut().is_err());
        assert_eq!(framer.pending_bytes(), 0);
    }
}
