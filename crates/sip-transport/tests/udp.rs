//! UDP over loopback.

mod common;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use common::{Event, Server, bind, datagram, first_line, listen, metrics, recorder, request, soon};
use sip_message::Transport::{self, Tcp, Tls, Udp, Ws, Wss};
use sip_service::{Network, Unreachable};
use sip_transaction::{Branch, ClientId};
use sip_transport::{Config, Error, Transports, run_worker};
use tokio::net::{TcpStream, UdpSocket};

async fn client(server: SocketAddr) -> UdpSocket {
    let any = if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(any).await.expect("bound");
    socket.connect(server).await.expect("connected");
    socket
}

// RFC 3261 §18.2.2: each answer goes to the source of its request.
#[tokio::test]
async fn every_datagram_of_a_burst_is_answered() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let server = Server::start(&[(Udp, host)]);
        let client = client(server.address(Udp)).await;
        for number in 0..100 {
            client.send(request("OPTIONS", Udp, number, 0).as_bytes()).await.expect("sent");
        }
        let mut answered = BTreeSet::new();
        while answered.len() < 100 {
            let answer = datagram(&client).await;
            assert_eq!(first_line(answer.as_bytes()), "SIP/2.0 200 OK");
            let call_id = answer.lines().find_map(|line| line.strip_prefix("Call-ID: ")).expect("a Call-ID");
            answered.insert(call_id.parse::<u32>().expect("a number"));
        }
    }
}

// RFC 5626 §4.4.1: CRLF keep-alives belong to streams; RFC 3261 §7.5: before a message they are ignored.
#[tokio::test]
async fn crlf_is_not_answered() {
    let mut server = Server::start(&[(Udp, "127.0.0.1:0")]);
    let client = client(server.address(Udp)).await;
    for octets in ["\r\n\r\n", "\r\n", "\0", &request("OPTIONS", Udp, 1, 0)] {
        client.send(octets.as_bytes()).await.expect("sent");
    }
    assert_eq!(first_line(datagram(&client).await.as_bytes()), "SIP/2.0 200 OK");
    let flow = server.message("OPTIONS sip:bob@example.test SIP/2.0").await;
    assert_eq!(flow, server.flow(Udp, client.local_addr().expect("an address")));
}

// RFC 3261 §18.1.1: messages up to the maximum datagram size.
#[tokio::test]
async fn the_largest_datagram_is_taken() {
    let mut server = Server::start(&[(Udp, "127.0.0.1:0")]);
    let client = client(server.address(Udp)).await;
    let head = request("MESSAGE", Udp, 1, 10_000).len() - 10_000;
    client.send(request("MESSAGE", Udp, 1, 65_507 - head).as_bytes()).await.expect("sent");
    server.message("MESSAGE sip:bob@example.test SIP/2.0").await;
    assert_eq!(first_line(datagram(&client).await.as_bytes()), "SIP/2.0 200 OK");
}

#[tokio::test]
async fn tasks_and_foreign_threads_can_send() {
    let server = Server::start(&[(Udp, "127.0.0.1:0")]);
    let client = client(server.address(Udp)).await;
    let flow = server.flow(Udp, client.local_addr().expect("an address"));
    // On the worker's thread, but in no batch: the flusher sends it.
    tokio::task::yield_now().await;
    server.send(&flow, "from a task").expect("sent");
    assert_eq!(datagram(&client).await, "from a task");
    let transports = Arc::clone(&server.transports);
    let thread =
        std::thread::spawn(move || transports.send(&flow, Bytes::from_static(b"from a thread"), None));
    thread.join().expect("no panic").expect("sent");
    assert_eq!(datagram(&client).await, "from a thread");
}

#[tokio::test]
async fn more_than_an_outbox_holds_arrives_in_order() {
    let server = Server::start(&[(Udp, "127.0.0.1:0")]);
    let client = client(server.address(Udp)).await;
    let flow = server.flow(Udp, client.local_addr().expect("an address"));
    tokio::task::yield_now().await;
    for number in 0..150 {
        server.send(&flow, &number.to_string()).expect("sent");
    }
    for number in 0..150 {
        assert_eq!(datagram(&client).await, number.to_string());
    }
}

// RFC 3261 §18.4: a port unreachable ends the client transaction at once.
#[tokio::test]
async fn port_unreachable_is_reported() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let mut server = Server::start(&[(Udp, host)]);
        let nobody = client(server.address(Udp)).await.local_addr().expect("an address");
        let id = ClientId(0x0123_4567_89ab_cdef);
        let text = format!(
            "OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h:5060;branch={}\r\n\r\n",
            Branch { id, loop_hash: 1 }
        );
        let flow = server.flow(Udp, nobody);
        server.transports.send(&flow, Bytes::from(text), Some(id)).expect("sent");
        let event = server.event().await;
        assert!(matches!(event, Event::Unreachable(client) if client == id), "{event:?}");
        // The socket goes on.
        let client = client(server.address(Udp)).await;
        client.send(request("OPTIONS", Udp, 1, 0).as_bytes()).await.expect("sent");
        assert_eq!(first_line(datagram(&client).await.as_bytes()), "SIP/2.0 200 OK");
    }
}

// RFC 3261 §18.4: an error is all that there is then, and what was received before it is not received again.
#[tokio::test]
async fn nothing_is_received_again_with_an_error() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let mut server = Server::start(&[(Udp, host)]);
        let client = client(server.address(Udp)).await;
        client.send(request("OPTIONS", Udp, 1, 0).as_bytes()).await.expect("sent");
        assert_eq!(first_line(datagram(&client).await.as_bytes()), "SIP/2.0 200 OK");
        assert!(matches!(server.event().await, Event::Message(..)));
        let nobody = client.local_addr().expect("an address");
        drop(client);
        for id in (1..=3).map(ClientId) {
            let branch = Branch { id, loop_hash: 1 };
            let text = format!("OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h:5060;branch={branch}\r\n\r\n");
            server.transports.send(&server.flow(Udp, nobody), Bytes::from(text), Some(id)).expect("sent");
            let event = server.event().await;
            assert!(matches!(event, Event::Unreachable(client) if client == id), "{event:?}");
        }
    }
}

// RFC 3261 §18.4: what cannot even be sent is reported, too.
#[tokio::test]
async fn a_message_beyond_the_datagram_size_is_reported() {
    let mut server = Server::start(&[(Udp, "127.0.0.1:0")]);
    let flow = server.flow(Udp, "127.0.0.1:9".parse().expect("an address"));
    tokio::task::yield_now().await;
    server.transports.send(&flow, Bytes::from(vec![b'x'; 65_508]), Some(ClientId(7))).expect("queued");
    let event = server.event().await;
    assert!(matches!(event, Event::Unreachable(ClientId(7))), "{event:?}");
    assert_eq!(server.metric("rollcall_dropped_total", "udp_send"), 1.0);
}

#[tokio::test]
async fn a_peer_of_another_family_or_transport_has_no_socket() {
    let server = Server::start(&[(Udp, "127.0.0.1:0")]);
    let mut flow = server.flow(Udp, "[::1]:5060".parse().expect("an address"));
    assert_eq!(server.send(&flow, "x"), Err(Unreachable::NoSocket));
    flow.remote = "127.0.0.1:5060".parse().expect("an address");
    for transport in [Tcp, Tls, Ws, Wss] {
        flow.transport = transport;
        assert_eq!(server.send(&flow, "x"), Err(Unreachable::NoSocket), "{transport}");
    }
}

#[tokio::test]
async fn an_address_in_use_is_refused_by_name() {
    for transport in [Udp, Tcp] {
        let server = Server::start(&[(transport, "127.0.0.1:0")]);
        let address = server.address(transport);
        let again = listen(&[(transport, &address.to_string())]);
        let error = Transports::bind(&again, &Config::default(), 1, metrics().1).expect_err("refused");
        let text = error.to_string();
        assert!(matches!(error, Error::Bind { address: a, .. } if a == address), "{text}");
        assert!(text.contains(&address.to_string()), "{text}");
    }
}

// RFC 3261 §17.1.2.2: who is not answered sends again, or has turned to another server.
#[tokio::test]
async fn what_comes_before_the_start_is_not_carried_out() {
    let bound = bind(&[(Udp, "127.0.0.1:0"), (Tcp, "127.0.0.1:0")], &Config::default(), 1);
    let [(Udp, udp), (Tcp, tcp)] = bound.1.local_addresses()[..] else { panic!("two listeners") };
    let client = client(udp).await;
    for number in 1..=3 {
        client.send(request("OPTIONS", Udp, number, 0).as_bytes()).await.expect("sent");
    }
    let error = TcpStream::connect(tcp).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

    let _server = Server::of(bound);
    client.send(request("OPTIONS", Udp, 4, 0).as_bytes()).await.expect("sent");
    let answer = datagram(&client).await;
    assert!(answer.contains("Call-ID: 4\r\n"), "{answer}");
    TcpStream::connect(tcp).await.expect("connected");
}

#[test]
fn workers_share_a_port_and_the_peers() {
    let (_registry, transports, sockets) = bind(&[(Udp, "127.0.0.1:0")], &Config::default(), 3);
    sockets.iter().for_each(|sockets| sockets.open().expect("opened"));
    let [(Transport::Udp, address)] = transports.local_addresses()[..] else { panic!("one listener") };
    let (handler, _events) = recorder(&transports);
    let (stop, _) = tokio::sync::broadcast::channel::<()>(1);
    let threads: Vec<_> = sockets
        .into_iter()
        .map(|sockets| {
            let (transports, handler, mut stopped) =
                (Arc::clone(&transports), Arc::clone(&handler), stop.subscribe());
            std::thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(run_worker(sockets, transports, handler, async move {
                    let _dropped = stopped.recv().await;
                }))
            })
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for number in 0..60 {
            let client = client(address).await;
            client.send(request("OPTIONS", Udp, number, 0).as_bytes()).await.expect("sent");
            assert_eq!(first_line(soon(datagram(&client)).await.as_bytes()), "SIP/2.0 200 OK");
        }
    });
    drop(stop);
    for thread in threads {
        thread.join().expect("no panic").expect("ended in order");
    }
}
