//! Client transactions: what their user is told.

mod common;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Fate, User, bench, bench_with};
use parking_lot::Mutex;
use sip_message::{Response, Transport};
use sip_service::{
    ClientFailure, ClientUser, Connection, DROPPED, EndpointConfig, Flow, TimerUser, Unreachable, Unsent,
};
use sip_transaction::{Branch, ClientId};
use testkit::{Bench, message};

/// What was told, in order: `180`, `Timeout`, `timer 7`.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl ClientUser for Told {
    fn on_response(self: Arc<Self>, _: Instant, branch: u32, response: Response) {
        assert_eq!(branch, 3, "the number that the user gave");
        self.0.lock().push(response.status().to_string());
    }

    fn on_failure(self: Arc<Self>, _: Instant, branch: u32, failure: ClientFailure) {
        assert_eq!(branch, 3, "the number that the user gave");
        self.0.lock().push(format!("{failure:?}"));
    }
}

impl TimerUser for Told {
    fn on_timer(self: Arc<Self>, _: Instant, token: u64) {
        self.0.lock().push(format!("timer {token}"));
    }
}

struct Client {
    bench: Bench<User>,
    told: Arc<Told>,
    flow: Flow,
}

impl Client {
    fn new(transport: Transport) -> Self {
        Self::over(bench(Fate::Kept), transport)
    }

    fn over(mut bench: Bench<User>, transport: Transport) -> Self {
        bench.add_agent("bob", transport, "192.0.2.20:5060");
        let flow = bench.agent("bob").flow;
        Self { bench, told: Arc::default(), flow }
    }

    fn request(&self, method: &str) -> Result<ClientId, Unsent> {
        let id = self.bench.endpoint.new_client();
        let told: Arc<dyn ClientUser> = Arc::<Told>::clone(&self.told);
        let (now, is_invite) = (self.bench.now(), method == "INVITE");
        self.bench.endpoint.request(now, id, is_invite, request(id, method), &self.flow, told, 3)?;
        Ok(id)
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.told.0.lock())
    }
}

fn request(id: ClientId, method: &str) -> Bytes {
    let branch = Branch { id, loop_hash: 0 };
    message(&format!(
        "
        {method} sip:bob@192.0.2.20 SIP/2.0
        Via: SIP/2.0/UDP 192.0.2.1:5060;branch={branch}
        Max-Forwards: 70
        From: <sip:server@example.test>;tag=1
        To: <sip:bob@example.test>
        Call-ID: 1
        CSeq: 1 {method}"
    ))
}

// RFC 3261 §17.1.1.2, §17.1.2.2: Timers B and F, after the retransmissions that nobody answered.
#[test]
fn timeouts_are_told() {
    for (method, sent) in [("INVITE", 7), ("MESSAGE", 11)] {
        let mut client = Client::new(Transport::Udp);
        client.request(method).expect("sent");
        client.bench.run_to(31_990);
        assert_eq!(client.bench.take("bob").len(), sent);
        assert!(client.told().is_empty());
        client.bench.run_to(32_000);
        assert_eq!(client.told(), ["Timeout"]);
        assert_eq!(client.bench.endpoint.transactions(), (0, 0));
    }
}

// RFC 3261 §17.1.1.2, RFC 6026 §7.2: every 1xx and 2xx of an INVITE; §17.1.1.3: another final response once, acknowledged
// each time.
#[test]
fn responses_to_an_invite_are_told() {
    let mut client = Client::new(Transport::Udp);
    client.request("INVITE").expect("sent");
    client.bench.play(
        "0ms bob< INVITE
        10ms bob> 100
        20ms bob> 180
        30ms bob> 200
       530ms bob> 200
       600ms bob> 486",
    );
    assert_eq!(client.told(), ["100", "180", "200", "200"]);

    let mut client = Client::new(Transport::Udp);
    client.request("INVITE").expect("sent");
    client.bench.play(
        "0ms bob< INVITE
        30ms bob> 486
        30ms bob< ACK
       530ms bob> 486
       530ms bob< ACK",
    );
    assert_eq!(client.told(), ["486"]);
}

// RFC 3261 §17.1.2.2: the final response once.
#[test]
fn responses_to_another_request_are_told() {
    let mut client = Client::new(Transport::Udp);
    client.request("MESSAGE").expect("sent");
    client.bench.play(
        "0ms bob< MESSAGE
        10ms bob> 100 MESSAGE
        20ms bob> 200 MESSAGE
        30ms bob> 200 MESSAGE",
    );
    assert_eq!(client.told(), ["100", "200"]);
}

// RFC 6026 §7.3: what matches no transaction goes nowhere.
#[test]
fn a_stray_response_is_dropped() {
    let mut client = Client::new(Transport::Udp);
    let id = client.bench.endpoint.new_client();
    let text = String::from_utf8(request(id, "MESSAGE").to_vec()).expect("text");
    let response = text.replace("MESSAGE sip:bob@192.0.2.20 SIP/2.0", "SIP/2.0 200 OK");
    client.bench.send_bytes("bob", Bytes::from(response.clone()));
    client.bench.send_bytes("bob", Bytes::from(response.replace("z9hG4bK", "z9hG4bK-not-ours-")));
    assert_eq!(client.bench.metric(DROPPED, "reason=\"stray_response\""), 2.0);
    assert!(client.told().is_empty());
}

// RFC 3261 §9.1: a CANCEL waits for a provisional response.
#[test]
fn a_cancel_waits() {
    let mut client = Client::new(Transport::Udp);
    client.bench.show("Reason");
    let id = client.request("INVITE").expect("sent");
    client.bench.endpoint.cancel(client.bench.now(), id, Some("SIP;cause=200"));
    client.bench.play(
        "0ms bob< INVITE
       500ms bob< INVITE
       600ms bob> 180
       600ms bob< CANCEL | Reason: SIP;cause=200
       610ms bob> 200 CANCEL
       620ms bob> 487
       620ms bob< ACK",
    );
    assert_eq!(client.told(), ["180", "487"], "the answer to the CANCEL itself is nobody's");
}

// RFC 3261 §17.1.4: a transport that fails at once is an error, one that fails later is told.
#[test]
fn unreachable_is_told() {
    let mut client = Client::new(Transport::Tcp);
    let id = client.request("MESSAGE").expect("sent");
    client.bench.endpoint.unreachable(client.bench.now(), id);
    assert_eq!(client.told(), ["Unreachable"]);

    client.bench.network.close(client.flow.connection);
    assert_eq!(client.request("MESSAGE"), Err(Unsent::Unreachable(Unreachable::Closed)));
    client.bench.run_to(33_000);
    assert!(client.told().is_empty());
    assert_eq!(client.bench.endpoint.transactions(), (0, 0));
}

// A request without a connection opens one, and the next goes the same way.
#[test]
fn a_connection_is_opened() {
    let mut client = Client::new(Transport::Tcp);
    client.flow.connection = Connection::NONE;
    client.request("MESSAGE").expect("sent");
    client.request("MESSAGE").expect("sent");
    client.bench.run_to(10);
    assert_eq!(client.bench.take("bob").len(), 2);
}

#[test]
fn too_many_transactions() {
    let config = EndpointConfig { transactions_max: 32, ..EndpointConfig::default() };
    let client = Client::over(bench_with(Fate::Kept, config), Transport::Udp);
    let outcomes: Vec<_> = (0..100).map(|_| client.request("MESSAGE")).collect();
    let refused = outcomes.iter().filter(|outcome| **outcome == Err(Unsent::TooManyTransactions)).count();
    let (_, clients) = client.bench.endpoint.transactions();
    assert!(clients <= 32 && clients + refused == 100, "{clients} transactions");
    assert!(client.told().is_empty());
}

#[test]
fn a_timer_wakes_who_is_still_there() {
    let mut client = Client::new(Transport::Udp);
    let user = |told: &Arc<Told>| -> Weak<dyn TimerUser> { Arc::<Told>::downgrade(told) };
    let due = client.bench.now() + Duration::from_secs(1);
    client.bench.endpoint.schedule(due, user(&client.told), 7);
    client.bench.endpoint.schedule(due, user(&Arc::default()), 8);
    client.bench.run_to(990);
    assert!(client.told().is_empty());
    client.bench.run_to(1_000);
    assert_eq!(client.told(), ["timer 7"]);
}
