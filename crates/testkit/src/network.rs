//! A network in memory, under virtual time: the same seed loses, delays and repeats the same datagrams.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sip_message::{Scheme, Transport, Uri};
use sip_service::{Connection, Flow, Hop, LocateError, Network, Unreachable};
use sip_transaction::ClientId;

/// Octets above which a request goes by TCP (RFC 3261 §18.1.1).
const DATAGRAM_BYTES_MAX: usize = 1_300;

/// What befalls messages. Streams lose and repeat nothing, and keep their order.
#[derive(Clone, Debug)]
pub struct Weather {
    /// The chance that a datagram is lost, in thousandths.
    pub loss_milli: u32,
    /// The chance that a datagram comes twice, in thousandths.
    pub repeat_milli: u32,
    /// The time from end to end, in milliseconds.
    pub delay_ms: RangeInclusive<u64>,
}

impl Default for Weather {
    fn default() -> Self {
        Self { loss_milli: 0, repeat_milli: 0, delay_ms: 0..=0 }
    }
}

/// A message on its way. The flow is as the server sees it, whichever way the message goes.
#[derive(Clone, Debug)]
pub struct Packet {
    /// `local` is the server's, `remote` the peer's address.
    pub flow: Flow,
    /// The message.
    pub bytes: Bytes,
    /// Whether the server receives it.
    pub is_for_server: bool,
}

/// The network between one server, with its listeners, and everybody else.
#[derive(Debug)]
pub struct SimNetwork {
    listeners: Vec<(Transport, SocketAddr)>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    now: Instant,
    rng: StdRng,
    weather: Weather,
    /// By the time at which they arrive, then by the order in which they were sent.
    under_way: BTreeMap<(Instant, u64), Packet>,
    sent: u64,
    connections: BTreeMap<u64, Flow>,
    last_connection: u64,
    refusing: BTreeSet<SocketAddr>,
    hosts: BTreeMap<String, IpAddr>,
}

impl SimNetwork {
    /// A network whose server listens at these addresses, and which loses nothing.
    pub fn new(listeners: &[(Transport, &str)], now: Instant) -> Arc<Self> {
        let address = |text: &str| text.parse().expect("an address and a port");
        let state = State {
            now,
            rng: StdRng::seed_from_u64(0),
            weather: Weather::default(),
            under_way: BTreeMap::new(),
            sent: 0,
            connections: BTreeMap::new(),
            last_connection: 0,
            refusing: BTreeSet::new(),
            hosts: BTreeMap::new(),
        };
        let listeners = listeners.iter().map(|(transport, text)| (*transport, address(text))).collect();
        Arc::new(Self { listeners, state: Mutex::new(state) })
    }

    /// From now on, what is sent meets this weather; `seed` decides all that is left to chance.
    pub fn set_weather(&self, weather: Weather, seed: u64) {
        let mut state = self.state.lock();
        state.weather = weather;
        state.rng = StdRng::seed_from_u64(seed);
    }

    /// Makes a host name known.
    pub fn add_host(&self, name: &str, ip: &str) {
        self.state.lock().hosts.insert(name.to_owned(), ip.parse().expect("an IP address"));
    }

    /// From now on, nobody accepts connections at this address.
    pub fn refuse(&self, remote: SocketAddr) {
        self.state.lock().refusing.insert(remote);
    }

    /// A flow between a peer and the server: for a stream, a new connection.
    ///
    /// # Panics
    /// If the server does not listen on that transport.
    pub fn connect(&self, transport: Transport, remote: SocketAddr) -> Flow {
        let local = self.listener(transport).expect("a listener on that transport");
        self.state.lock().open(Flow { transport, local, remote, connection: Connection::NONE })
    }

    /// Ends a connection: nothing can be sent on it any more.
    pub fn close(&self, connection: Connection) {
        self.state.lock().connections.remove(&connection.0);
    }

    /// Sends a message to the server.
    pub fn send_to_server(&self, flow: &Flow, bytes: Bytes) {
        self.state.lock().transmit(Packet { flow: *flow, bytes, is_for_server: true });
    }

    /// Takes out what has arrived at `now`, in order.
    pub fn arrived(&self, now: Instant) -> Vec<Packet> {
        let mut state = self.state.lock();
        state.now = now;
        let later = state.under_way.split_off(&(now + Duration::from_nanos(1), 0));
        let arrived = std::mem::replace(&mut state.under_way, later).into_values().collect();
        drop(state);
        arrived
    }

    /// Whether the server listens there.
    pub fn is_listener(&self, transport: Transport, address: SocketAddr) -> bool {
        self.listeners.contains(&(transport, address))
    }

    fn listener(&self, transport: Transport) -> Option<SocketAddr> {
        self.listeners.iter().find(|(t, _)| *t == transport).map(|(_, address)| *address)
    }
}

impl State {
    fn open(&mut self, flow: Flow) -> Flow {
        if !flow.transport.is_reliable() {
            return flow;
        }
        self.last_connection += 1;
        let flow = Flow { connection: Connection(self.last_connection), ..flow };
        self.connections.insert(self.last_connection, flow);
        flow
    }

    fn transmit(&mut self, packet: Packet) {
        let mut copies = 1;
        let mut delay_ms = *self.weather.delay_ms.start();
        if !packet.flow.transport.is_reliable() {
            if self.rng.random_range(0..1000) < self.weather.loss_milli {
                return;
            }
            copies += u32::from(self.rng.random_range(0..1000) < self.weather.repeat_milli);
            delay_ms = self.rng.random_range(self.weather.delay_ms.clone());
        }
        for _ in 0..copies {
            self.sent += 1;
            self.under_way.insert((self.now + Duration::from_millis(delay_ms), self.sent), packet.clone());
        }
    }
}

impl Network for SimNetwork {
    fn send(&self, flow: &Flow, bytes: Bytes, _: Option<ClientId>) -> Result<(), Unreachable> {
        let mut state = self.state.lock();
        let mut flow = *flow;
        if flow.transport.is_reliable() {
            let known = state.connections.values().find(|known| {
                flow.connection == Connection::NONE
                    && (known.transport, known.remote) == (flow.transport, flow.remote)
            });
            flow = match (known.copied(), state.connections.get(&flow.connection.0)) {
                (Some(known), _) => known,
                (None, Some(own)) => *own,
                (None, None) if flow.connection != Connection::NONE => return Err(Unreachable::Closed),
                (None, None) if state.refusing.contains(&flow.remote) => return Err(Unreachable::Closed),
                (None, None) => state.open(flow),
            };
        }
        // What the server sends to itself, it receives.
        let is_for_server = self.is_listener(flow.transport, flow.remote);
        if is_for_server {
            flow = Flow { local: flow.remote, remote: flow.local, ..flow };
        }
        state.transmit(Packet { flow, bytes, is_for_server });
        Ok(())
    }

    fn locate(&self, uri: &Uri<'_>, octets: usize) -> Result<Hop, LocateError> {
        if !matches!(uri.scheme(), Scheme::Sip | Scheme::Sips) {
            return Err(LocateError::Scheme);
        }
        let named = || self.state.lock().hosts.get(uri.host()).copied();
        let ip =
            uri.ip().or_else(named).ok_or_else(|| LocateError::Unresolved { host: uri.host().to_owned() })?;
        let default = if octets > DATAGRAM_BYTES_MAX { Transport::Tcp } else { Transport::Udp };
        let transport = uri.transport().unwrap_or(default);
        let local = self.listener(transport).ok_or(LocateError::Transport)?;
        let remote = SocketAddr::new(ip, uri.port().unwrap_or(transport.default_port()));
        let flow = Flow { transport, local, remote, connection: Connection::NONE };
        Ok(Hop { flow, sent_by: self.sent_by(&flow) })
    }

    fn sent_by(&self, flow: &Flow) -> Arc<str> {
        flow.local.to_string().into()
    }

    fn is_alive(&self, flow: &Flow) -> bool {
        flow.connection == Connection::NONE || self.state.lock().connections.contains_key(&flow.connection.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What arrives of a hundred messages, by number and time.
    fn arrivals(transport: Transport, seed: u64) -> Vec<(u8, u64)> {
        let now = Instant::now();
        let network = SimNetwork::new(&[(transport, "192.0.2.1:5060")], now);
        network.set_weather(Weather { loss_milli: 300, repeat_milli: 200, delay_ms: 10..=90 }, seed);
        let flow = network.connect(transport, "192.0.2.10:5060".parse().expect("an address"));
        for n in 0..100 {
            network.send_to_server(&flow, Bytes::from(vec![n]));
        }
        let arrived =
            |ms| network.arrived(now + Duration::from_millis(ms)).into_iter().map(move |p| (p.bytes[0], ms));
        (0..100).flat_map(arrived).collect()
    }

    #[test]
    fn a_seed_decides_what_befalls_datagrams() {
        let first = arrivals(Transport::Udp, 1);
        assert_eq!(first, arrivals(Transport::Udp, 1));
        assert_ne!(first, arrivals(Transport::Udp, 2));
        assert!(!first.is_sorted(), "they overtake each other");
        assert!(first.iter().all(|(_, ms)| (10..=90).contains(ms)));
        let lost = (0..100).filter(|n| first.iter().all(|(m, _)| m != n)).count();
        let repeated = first.len() + lost - 100;
        assert!((15..45).contains(&lost) && (5..30).contains(&repeated), "{lost} lost, {repeated} repeated");
    }

    #[test]
    fn a_stream_keeps_all_in_order() {
        let expected: Vec<(u8, u64)> = (0..100).map(|n| (n, 10)).collect();
        assert_eq!(arrivals(Transport::Tcp, 1), expected);
    }

    #[test]
    fn a_closed_connection_carries_nothing() {
        let (now, address) = (Instant::now(), "192.0.2.10:5060".parse().expect("an address"));
        let network = SimNetwork::new(&[(Transport::Tcp, "192.0.2.1:5060")], now);
        let flow = network.connect(Transport::Tcp, address);
        assert!(network.is_alive(&flow) && network.send(&flow, Bytes::new(), None).is_ok());
        network.close(flow.connection);
        assert!(!network.is_alive(&flow));
        assert_eq!(network.send(&flow, Bytes::new(), None), Err(Unreachable::Closed));
        let anew = Flow { connection: Connection::NONE, ..flow };
        assert_eq!(network.send(&anew, Bytes::new(), None), Ok(()));
        let opened = network.arrived(now).pop().expect("a packet").flow;
        assert!(network.is_alive(&opened) && opened.connection != flow.connection);
        network.close(opened.connection);
        network.refuse(address);
        assert_eq!(network.send(&anew, Bytes::new(), None), Err(Unreachable::Closed));
    }
}
