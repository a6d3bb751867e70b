//! TCP over loopback.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use common::{Event, Server, connect, datagram, first_line, head, octets, request, soon, to_end, write};
use sip_message::Transport::{self, Tcp, Udp};
use sip_message::Uri;
use sip_service::{Connection, Network, Unreachable};
use sip_transaction::ClientId;
use sip_transport::Config;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

const TCP_V4: [(Transport, &str); 1] = [(Tcp, "127.0.0.1:0")];
const OPTIONS: &str = "OPTIONS sip:bob@example.test SIP/2.0";
const OK: &str = "SIP/2.0 200 OK";

// RFC 3261 §18.3: Content-Length frames, whatever the segments are.
#[tokio::test]
async fn messages_are_framed_in_any_segments() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let mut server = Server::start(&[(Tcp, host)]);
        let mut client = connect(server.address(Tcp)).await;
        // Two and a half in one segment.
        let text: String = (1..=3).map(|number| request("OPTIONS", Tcp, number, 50)).collect();
        let (first, second) = text.split_at(text.len() - 200);
        write(&mut client, first).await;
        let flow = server.message(OPTIONS).await;
        assert_eq!(server.message(OPTIONS).await, flow);
        // Then one octet at a time.
        for octet in second.chars() {
            write(&mut client, &octet.to_string()).await;
        }
        assert_eq!(server.message(OPTIONS).await, flow);
        for _ in 0..3 {
            assert_eq!(first_line(head(&mut client).await.as_bytes()), OK);
        }
        assert_eq!(flow.local, server.address(Tcp));
        assert_eq!(flow.remote, client.local_addr().expect("an address"));
        assert_ne!(flow.connection, Connection::NONE);
    }
}

// RFC 5626 §3.5.1, §5.4: CRLF CRLF between messages is answered with CRLF, a single CRLF with nothing.
#[tokio::test]
async fn a_ping_is_answered_with_a_pong() {
    let server = Server::start(&TCP_V4);
    let mut client = connect(server.address(Tcp)).await;
    write(&mut client, "\r\n\r\n").await;
    assert_eq!(octets(&mut client, 2).await, "\r\n");
    write(&mut client, &format!("\r\n{}\r\n\r\n", request("OPTIONS", Tcp, 1, 0))).await;
    assert!(head(&mut client).await.starts_with(OK));
    assert_eq!(octets(&mut client, 2).await, "\r\n");
}

// RFC 3261 §18.1.1: an existing connection with that address and port is used, here the one that the peer opened.
#[tokio::test]
async fn a_connection_that_the_peer_opened_is_used_again() {
    let mut server = Server::start(&TCP_V4);
    let mut client = connect(server.address(Tcp)).await;
    write(&mut client, &request("OPTIONS", Tcp, 1, 0)).await;
    assert!(head(&mut client).await.starts_with(OK));
    let flow = server.message(OPTIONS).await;
    let to_peer = server.flow(Tcp, client.local_addr().expect("an address"));
    server.send(&to_peer, "by address\n").expect("sent");
    server.send(&flow, "by name\n").expect("sent");
    assert_eq!(octets(&mut client, 19).await, "by address\nby name\n");
    assert_eq!(server.metric("rollcall_connections", "tcp"), 1.0);
}

// RFC 3261 §18.1.1: and the one that we opened; the answer is taken on it.
#[tokio::test]
async fn a_connection_that_we_opened_is_used_again() {
    let mut server = Server::start(&TCP_V4);
    let peer = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let flow = server.flow(Tcp, peer.local_addr().expect("an address"));
    server.send(&flow, "first\n").expect("sent");
    server.send(&flow, "second\n").expect("sent");
    let (mut accepted, from) = soon(peer.accept()).await.expect("accepted");
    assert_eq!(from.ip(), server.address(Tcp).ip());
    assert_eq!(octets(&mut accepted, 13).await, "first\nsecond\n");
    write(&mut accepted, &request("OPTIONS", Tcp, 1, 0)).await;
    let source = server.message(OPTIONS).await;
    assert_eq!((source.local, source.remote), (flow.local, flow.remote));
    assert!(head(&mut accepted).await.starts_with(OK));
    server.send(&flow, "third\n").expect("sent");
    assert_eq!(octets(&mut accepted, 6).await, "third\n");
    assert_eq!(server.transports.connections(), 1);
}

#[tokio::test]
async fn any_thread_can_send_and_open() {
    let server = Server::start(&TCP_V4);
    let peer = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let flow = server.flow(Tcp, peer.local_addr().expect("an address"));
    let transports = Arc::clone(&server.transports);
    let thread = std::thread::spawn(move || transports.send(&flow, Bytes::from_static(b"thread"), None));
    thread.join().expect("no panic").expect("sent");
    let (mut accepted, _) = soon(peer.accept()).await.expect("accepted");
    assert_eq!(octets(&mut accepted, 6).await, "thread");
}

// RFC 3261 §18.4: a connection failure is reported, for each request that waited.
#[tokio::test]
async fn a_refused_connection_is_reported() {
    let mut server = Server::start(&TCP_V4);
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("bound").local_addr().expect("an address");
    let flow = server.flow(Tcp, closed);
    for id in [1, 2] {
        server.transports.send(&flow, Bytes::from_static(b"x"), Some(ClientId(id))).expect("queued");
    }
    for id in [1, 2] {
        let event = server.event().await;
        assert!(matches!(event, Event::Unreachable(client) if client == ClientId(id)), "{event:?}");
    }
    assert_eq!(server.transports.connections(), 0);
}

// RFC 3261 §18.2.2: a response whose connection is gone needs a new one, so the sender must learn that it is gone.
#[tokio::test]
async fn a_closed_connection_is_told_and_refuses() {
    let mut server = Server::start(&TCP_V4);
    let mut client = connect(server.address(Tcp)).await;
    write(&mut client, &request("OPTIONS", Tcp, 1, 0)).await;
    let flow = server.message(OPTIONS).await;
    assert!(server.transports.is_alive(&flow));
    drop(client);
    let event = server.event().await;
    assert!(matches!(event, Event::Closed(closed) if closed == flow), "{event:?}");
    assert!(!server.transports.is_alive(&flow));
    assert_eq!(server.send(&flow, "x"), Err(Unreachable::Closed));
    assert_eq!(server.metric("rollcall_connections", "tcp"), 0.0);
    assert!(server.transports.is_alive(&server.flow(Tcp, flow.remote)), "it can be opened again");
}

#[tokio::test]
async fn a_peer_that_does_not_read_gets_what_was_taken_and_no_more() {
    const CHUNK: usize = 60_000;
    let mut server =
        Server::with(&TCP_V4, &Config { connection_queue_bytes_max: 200_000, ..Config::default() });
    let mut client = connect(server.address(Tcp)).await;
    write(&mut client, &request("OPTIONS", Tcp, 1, 0)).await;
    let flow = server.message(OPTIONS).await;
    head(&mut client).await;
    let mut taken = 0;
    let refused = loop {
        let chunk = Bytes::from(vec![b'a' + (taken % 26) as u8; CHUNK]);
        match server.transports.send(&flow, chunk, None) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, Unreachable::QueueFull);
    assert_eq!(server.metric("rollcall_dropped_total", "connection_queue_bytes_max"), 1.0);
    for number in 0..taken {
        let chunk = octets(&mut client, CHUNK).await;
        assert!(chunk.bytes().all(|octet| octet == b'a' + (number % 26) as u8), "chunk {number}");
    }
    server.send(&flow, "room again").expect("sent");
    assert_eq!(octets(&mut client, 10).await, "room again");
}

#[tokio::test]
async fn connections_are_limited_per_source_and_in_all() {
    for (config, reason) in [
        (Config { connections_per_source_max: 2, ..Config::default() }, "connections_per_source_max"),
        (Config { tcp_connections_max: 2, ..Config::default() }, "tcp_connections_max"),
    ] {
        let mut server = Server::with(&TCP_V4, &config);
        let mut kept = Vec::new();
        for number in 0..2 {
            let mut client = connect(server.address(Tcp)).await;
            write(&mut client, &request("OPTIONS", Tcp, number, 0)).await;
            server.message(OPTIONS).await;
            kept.push(client);
        }
        let mut refused = connect(server.address(Tcp)).await;
        let mut octet = [0];
        // Closed or reset, as the timing has it.
        assert!(matches!(soon(refused.read(&mut octet)).await, Ok(0) | Err(_)), "{reason}");
        assert_eq!(server.metric("rollcall_dropped_total", reason), 1.0);
        // One that ends makes room.
        kept.pop();
        assert!(matches!(server.event().await, Event::Closed(_)));
        let mut client = connect(server.address(Tcp)).await;
        write(&mut client, &request("OPTIONS", Tcp, 9, 0)).await;
        assert!(head(&mut client).await.starts_with(OK), "{reason}");
    }
}

#[tokio::test]
async fn the_limit_holds_for_connections_that_we_open() {
    let server = Server::with(&TCP_V4, &Config { tcp_connections_max: 1, ..Config::default() });
    let (one, two) = (TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await);
    let flow = |peer: &TcpListener| server.flow(Tcp, peer.local_addr().expect("an address"));
    server.send(&flow(&one.expect("bound")), "x").expect("queued");
    assert_eq!(server.send(&flow(&two.expect("bound")), "x"), Err(Unreachable::QueueFull));
    assert_eq!(server.metric("rollcall_dropped_total", "tcp_connections_max"), 1.0);
}

// RFC 3261 §18.3: without Content-Length a stream has no frames; answered 400, then closed.
#[tokio::test]
async fn a_stream_that_cannot_be_framed_is_answered_and_closed() {
    let mut server = Server::start(&TCP_V4);
    let mut client = connect(server.address(Tcp)).await;
    let text = request("OPTIONS", Tcp, 1, 0).replace("Content-Length: 0\r\n", "");
    write(&mut client, &(text + &request("OPTIONS", Tcp, 2, 0))).await;
    let answer = to_end(&mut client).await;
    assert!(answer.starts_with("SIP/2.0 400 "), "{answer}");
    assert_eq!(answer.matches("SIP/2.0 ").count(), 1, "what follows is not looked at: {answer}");
    let event = server.event().await;
    assert!(matches!(event, Event::Malformed(400, _)), "{event:?}");
    drop(client);
    assert!(matches!(server.event().await, Event::Closed(_)));
}

#[tokio::test]
async fn a_message_that_does_not_end_closes_the_connection() {
    let mut server = Server::with(&TCP_V4, &Config { message_seconds_max: 1, ..Config::default() });
    let mut client = connect(server.address(Tcp)).await;
    // A whole message does not excuse the one after it.
    write(&mut client, &(request("OPTIONS", Tcp, 1, 0) + "OPTIONS sip:")).await;
    assert!(to_end(&mut client).await.starts_with(OK));
    server.message(OPTIONS).await;
    assert!(matches!(server.event().await, Event::Closed(_)));
    assert_eq!(server.metric("rollcall_dropped_total", "message_seconds_max"), 1.0);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let mut server = Server::with(&TCP_V4, &Config { connection_idle_seconds: 1, ..Config::default() });
    let mut client = connect(server.address(Tcp)).await;
    assert_eq!(to_end(&mut client).await, "");
    assert!(matches!(server.event().await, Event::Closed(_)));
}

#[tokio::test]
async fn closed_listeners_refuse_and_open_connections_go_on() {
    let mut server = Server::start(&[(Tcp, "127.0.0.1:0"), (Udp, "127.0.0.1:0")]);
    let mut client = connect(server.address(Tcp)).await;
    write(&mut client, &request("OPTIONS", Tcp, 1, 0)).await;
    assert!(head(&mut client).await.starts_with(OK));
    let flow = server.message(OPTIONS).await;
    server.transports.close_listeners();
    server.transports.close_listeners();
    let refused = soon(TcpStream::connect(server.address(Tcp))).await.expect_err("refused");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    write(&mut client, &request("OPTIONS", Tcp, 2, 0)).await;
    assert!(head(&mut client).await.starts_with(OK));
    server.send(&flow, "still here").expect("sent");
    assert_eq!(octets(&mut client, 10).await, "still here");
    let udp = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    udp.send_to(request("OPTIONS", Udp, 3, 0).as_bytes(), server.address(Udp)).await.expect("sent");
    assert!(datagram(&udp).await.starts_with(OK));
}

#[tokio::test]
async fn a_worker_that_stops_writes_what_waits() {
    const MANY: usize = 3_000_000;
    let config = Config { connection_queue_bytes_max: 2 * MANY, ..Config::default() };
    let mut server = Server::with(&TCP_V4, &config);
    let mut client = connect(server.address(Tcp)).await;
    write(&mut client, &request("OPTIONS", Tcp, 1, 0)).await;
    let flow = server.message(OPTIONS).await;
    head(&mut client).await;
    server.transports.send(&flow, Bytes::from(vec![b'x'; MANY]), None).expect("sent");
    let (rest, ()) = tokio::join!(to_end(&mut client), async {
        server.stop().await;
    });
    assert_eq!(rest.len(), MANY);
    assert_eq!(server.send(&flow, "x"), Err(Unreachable::Closed));
    assert_eq!(server.send(&server.flow(Tcp, flow.remote), "x"), Err(Unreachable::Closed));
    assert_eq!(server.transports.connections(), 0);
}

// RFC 3261 §18.1.1: TCP for the size alone, refused: the request is tried again by UDP, its Via says so, and the next one
// goes by UDP from the start.
#[tokio::test]
async fn a_large_request_goes_by_udp_where_tcp_is_refused() {
    let server = Server::start(&[(Udp, "127.0.0.1:0"), (Tcp, "127.0.0.1:0")]);
    let peer = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let text = format!("sip:bob@{}", peer.local_addr().expect("an address"));
    let uri = Uri::parse(text.as_bytes()).expect("a URI");
    let hop = server.transports.locate(&uri, 1_301).expect("located");
    assert_eq!((hop.flow.transport, &*hop.sent_by), (Tcp, server.address(Tcp).to_string().as_str()));
    let message = |sent: &str| format!("{OPTIONS}\r\nVia: SIP/2.0/{sent};branch=z9hG4bK1\r\n\r\n");
    let by_tcp = message(&format!("TCP {}", hop.sent_by));
    server.transports.send(&hop.flow, Bytes::from(by_tcp), Some(ClientId(1))).expect("queued");
    assert_eq!(datagram(&peer).await, message(&format!("UDP {}", server.address(Udp))));
    assert_eq!(server.transports.locate(&uri, 1_301).expect("located").flow.transport, Udp);
}

#[tokio::test]
async fn a_handler_that_panics_costs_one_message() {
    let mut server = Server::start(&[(Tcp, "127.0.0.1:0"), (Udp, "127.0.0.1:0")]);
    let mut client = connect(server.address(Tcp)).await;
    write(&mut client, &(request("PANIC", Tcp, 1, 0) + &request("OPTIONS", Tcp, 2, 0))).await;
    server.message(OPTIONS).await;
    let udp = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    for method in ["PANIC", "OPTIONS"] {
        udp.send_to(request(method, Udp, 3, 0).as_bytes(), server.address(Udp)).await.expect("sent");
    }
    server.message(OPTIONS).await;
    assert_eq!(server.metric("rollcall_dropped_total", "panic"), 2.0);
}

#[tokio::test]
async fn a_message_of_many_segments_is_given_once_and_whole() {
    let mut server = Server::start(&TCP_V4);
    server.handler.answers.store(false, Ordering::Relaxed);
    let mut client = connect(server.address(Tcp)).await;
    let text = request("MESSAGE", Tcp, 1, 70_000 - 6_000);
    let (begin, end) = text.split_at(30_000);
    write(&mut client, begin).await;
    write(&mut client, end).await;
    server.message("MESSAGE sip:bob@example.test SIP/2.0").await;
    // Nothing is left in the framer: the next message is read from its first octet.
    write(&mut client, &request("OPTIONS", Tcp, 2, 0)).await;
    server.message(OPTIONS).await;
}
