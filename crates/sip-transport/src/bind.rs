//! Binding: one socket for each worker and listener, all on the listener's port.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};
use sip_message::Transport;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{Config, Error, ListenConfig};

/// Connections that may wait for `accept`; `net.core.somaxconn` bounds it.
const BACKLOG: i32 = 4_096;
/// Datagrams that are dropped before a socket is served, at most: more than its buffer holds.
const DROPPED_MAX: u32 = 1 << 20;

/// The sockets of one listener, one for each worker. Nothing is served yet: the system refuses connections, and datagrams
/// wait.
pub(crate) enum Bound {
    Udp(Vec<UdpSocket>),
    Tcp(Vec<TcpListener>),
}

/// Binds a listener for each worker; returns the address with the port that the system gave for 0.
pub(crate) fn bind(
    listen: &ListenConfig,
    config: &Config,
    workers: usize,
) -> Result<(SocketAddr, Bound), Error> {
    listen.validate()?;
    let ListenConfig { transport, address, .. } = *listen;
    let named = |source| Error::Bind { transport, address, source };
    if transport == Transport::Udp {
        let (address, sockets) = for_each_worker(address, workers, |to| udp(to, config)).map_err(named)?;
        Ok((address, Bound::Udp(sockets.into_iter().map(UdpSocket::from).collect())))
    } else {
        let (address, sockets) = for_each_worker(address, workers, tcp).map_err(named)?;
        Ok((address, Bound::Tcp(sockets.into_iter().map(TcpListener::from).collect())))
    }
}

fn for_each_worker(
    address: SocketAddr,
    workers: usize,
    bind: impl Fn(SocketAddr) -> io::Result<Socket>,
) -> io::Result<(SocketAddr, Vec<Socket>)> {
    let first = bind(address)?;
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    while sockets.len() < workers {
        sockets.push(bind(address)?);
    }
    Ok((address, sockets))
}

fn udp(address: SocketAddr, config: &Config) -> io::Result<Socket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    // Best effort: the system cuts it to what the administrator allows.
    socket.set_recv_buffer_size(config.udp_receive_buffer_bytes)?;
    // ICMP errors are kept for us (RFC 3261 §18.4).
    if address.is_ipv4() {
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
    }
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    // Connections of a former process in TIME_WAIT do not keep us from the port.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// From now on connections are accepted.
pub(crate) fn listen(listener: &TcpListener) -> io::Result<()> {
    SockRef::from(listener).listen(BACKLOG)
}

/// Drops the datagrams that wait; returns how many.
pub(crate) fn drop_waiting(socket: &UdpSocket) -> u32 {
    let is_more = |_: &u32| match socket.recv(&mut [0]) {
        Ok(_) => true,
        // Other errors are those of datagrams that were sent.
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    };
    (0..DROPPED_MAX).take_while(is_more).count() as u32
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), Some(protocol))?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` can stand side by side, and no IPv4 address comes disguised as IPv6.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Refuses an address that another process listens on. SO_REUSEPORT alone would let a second server of the same user
/// share the port, and take half of the messages.
pub(crate) fn refuse_shared(listen: &ListenConfig) -> Result<(), Error> {
    let ListenConfig { transport, address, .. } = *listen;
    if address.port() == 0 {
        return Ok(());
    }
    let probe = || {
        if transport == Transport::Udp {
            return socket(address, Type::DGRAM, Protocol::UDP)?.bind(&address.into());
        }
        let socket = socket(address, Type::STREAM, Protocol::TCP)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(1)
    };
    probe().map_err(|source| Error::Bind { transport, address, source })
}
