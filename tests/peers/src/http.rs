//! As much HTTP as the admin interface needs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

const LIMIT: Duration = Duration::from_secs(5);

/// Status code and body of what `path` answers.
///
/// # Errors
/// Nobody listens, or what came is no HTTP response.
pub fn get(server: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&server, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let (head, body) =
        response.split_once("\r\n\r\n").with_context(|| format!("{path}: no HTTP response"))?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.with_context(|| format!("{path}: no status code"))?, body.to_owned()))
}
