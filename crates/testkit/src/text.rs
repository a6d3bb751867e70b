//! Messages as tests write them.

use bytes::Bytes;

/// A message from an indented text: the indentation of the first line is taken away (what a folded line has beyond it
/// stays), lines end with CRLF, and Content-Length is added unless it is there. The first empty line begins the body.
///
/// # Panics
/// If a line is indented less than the first one.
pub fn message(text: &str) -> Bytes {
    let text = text.trim_start_matches('\n').trim_end();
    let indent = text.len() - text.trim_start_matches(' ').len();
    let lines: Vec<&str> = text
        .lines()
        .map(|line| {
            let (margin, line) = line.split_at(indent.min(line.len()));
            assert!(margin.trim().is_empty(), "a line that is indented less than the first: {margin}{line}");
            line
        })
        .collect();
    let (head, body) = match lines.iter().position(|line| line.is_empty()) {
        Some(end) => (&lines[..end], lines[end + 1..].iter().map(|line| format!("{line}\r\n")).collect()),
        None => (&lines[..], String::new()),
    };
    let mut message: String = head.iter().map(|line| format!("{line}\r\n")).collect();
    let is_length = |line: &&str| {
        let name = line.split(':').next().unwrap_or("").trim();
        name.eq_ignore_ascii_case("Content-Length") || name.eq_ignore_ascii_case("l")
    };
    if !head.iter().any(is_length) {
        message.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    Bytes::from(message + "\r\n" + &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_from_indented_text() {
        let text = "
            MESSAGE sip:bob@example.test SIP/2.0
            Subject: a
             fold

            Hello
              there
        ";
        let expected = "MESSAGE sip:bob@example.test SIP/2.0\r\nSubject: a\r\n fold\r\nContent-Length: 16\r\n\r\nHello\r\n  there\r\n";
        assert_eq!(message(text), expected);
        assert_eq!(message("ACK sip:b SIP/2.0\nl: 0"), "ACK sip:b SIP/2.0\r\nl: 0\r\n\r\n");
    }
}
