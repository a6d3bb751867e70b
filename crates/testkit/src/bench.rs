//! A server on the simulated network, with scripted user agents around it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::{Registry, TextEncoder};
use sip_message::{Framed, Limits, Transport, Uri};
use sip_service::{Endpoint, EndpointConfig, Flow, Metrics, Network, TransactionUser};

use crate::{Agent, Packet, Received, SimNetwork, message};

/// How often the server runs its timers.
const TICK: Duration = Duration::from_millis(10);

/// The server: an endpoint with a transaction user of type `U`; time, which passes only when told to; and the agents.
pub struct Bench<U> {
    /// The network.
    pub network: Arc<SimNetwork>,
    /// The endpoint of the server.
    pub endpoint: Arc<Endpoint>,
    /// Where its metrics are.
    pub registry: Registry,
    /// What is above it.
    pub user: U,
    began: Instant,
    now: Instant,
    domain: String,
    agents: BTreeMap<String, Agent>,
    shown: Vec<String>,
    log: Vec<String>,
}

impl<U: TransactionUser> Bench<U> {
    /// A server that listens at 192.0.2.1:5060 by UDP and TCP, for users of `domain`.
    pub fn new(
        domain: &str,
        config: EndpointConfig,
        user: impl FnOnce(&Arc<Endpoint>, &Registry) -> U,
    ) -> Self {
        let (began, registry) = (Instant::now(), Registry::new());
        let listeners = [(Transport::Udp, "192.0.2.1:5060"), (Transport::Tcp, "192.0.2.1:5060")];
        let network = SimNetwork::new(&listeners, began);
        let metrics = Metrics::register(&registry).expect("an empty registry");
        let endpoint = Endpoint::new(Arc::<SimNetwork>::clone(&network), config, metrics, began);
        let user = user(&endpoint, &registry);
        Self {
            network,
            endpoint,
            registry,
            user,
            began,
            now: began,
            domain: domain.to_owned(),
            agents: BTreeMap::new(),
            shown: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Puts an agent at an address; for TCP it connects at once.
    pub fn add_agent(&mut self, name: &str, transport: Transport, address: &str) {
        let flow = self.network.connect(transport, address.parse().expect("an address and a port"));
        self.agents.insert(name.to_owned(), Agent::new(name, &self.domain, flow));
    }

    /// An agent.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn agent(&mut self, name: &str) -> &mut Agent {
        self.agents.get_mut(name).unwrap_or_else(|| panic!("no agent {name}"))
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// An agent sends a message, written as [`message`] reads it.
    pub fn send(&mut self, name: &str, text: &str) {
        self.send_bytes(name, message(text));
    }

    /// An agent sends octets.
    pub fn send_bytes(&mut self, name: &str, bytes: Bytes) {
        let flow = self.agent(name).flow;
        self.network.send_to_server(&flow, bytes);
        self.deliver();
    }

    /// Takes what has arrived at an agent.
    pub fn take(&mut self, name: &str) -> Vec<Received> {
        std::mem::take(&mut self.agent(name).inbox)
    }

    /// Lets time pass until `ms` after the beginning, in ticks as the server has them.
    pub fn run_to(&mut self, ms: u64) {
        self.deliver();
        let end = self.began + Duration::from_millis(ms);
        while self.now < end {
            self.now = (self.now + TICK).min(end);
            self.endpoint.tick(self.now, 0, 1);
            self.deliver();
        }
    }

    /// The sum of a metric's values as they are scraped, of the lines that hold `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather()).expect("metrics");
        let is_it = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
        };
        text.lines().filter(is_it).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// From now on [`Bench::play`] shows this header field of each message that arrives with it.
    pub fn show(&mut self, header: &str) {
        self.shown.push(header.to_owned());
    }

    /// Plays the lines `10ms bob> 180` of a script ([`Agent`] knows what can be said; `bob> closes` ends its connection,
    /// `end> .` says nothing), lets the timers run in between, and compares the whole with all that happened: `10ms alice<
    /// 180` is what arrived. Time goes on from script to script.
    ///
    /// # Panics
    /// If something else happened.
    pub fn play(&mut self, script: &str) {
        let lines: Vec<String> = script
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|line| !line.is_empty())
            .collect();
        self.log.clear();
        for line in &lines {
            let (time, rest) = line.split_once("ms ").expect("time");
            let (who, what) = rest.split_once(' ').expect("who and what");
            let Some(who) = who.strip_suffix('>') else { continue };
            self.run_to(time.parse().expect("milliseconds"));
            self.log.push(line.clone());
            match (who, what) {
                ("end", _) => {}
                (_, "closes") => self.network.close(self.agents[who].flow.connection),
                _ => self.say(who, what),
            }
        }
        assert_eq!(self.log, lines, "\n{}", self.log.join("\n"));
    }

    /// An agent says something, as in a script.
    pub fn say(&mut self, name: &str, what: &str) {
        let bytes = self.agent(name).say(what);
        let flow = self.flow_of(name, &bytes);
        self.network.send_to_server(&flow, bytes);
        self.deliver();
    }

    /// The way of a message: the agent's own, or where a Route of its dialog leads (RFC 3261 §12.2.1.1).
    fn flow_of(&mut self, name: &str, bytes: &Bytes) -> Flow {
        let flow = self.agent(name).flow;
        let Framed::Request(request) = Framed::datagram(bytes.clone(), &Limits::default()) else {
            return flow;
        };
        let first = request.values(sip_message::HeaderName::Route).next().map(|route| {
            let route = sip_message::NameAddr::parse(route, "Route").expect("a Route");
            let uri = Uri::parse(route.uri_text.as_bytes()).expect("a URI");
            self.network.locate(&uri, bytes.len()).expect("a Route that leads somewhere").flow
        });
        if let Some(first) = first {
            let leads_back =
                first.transport == flow.transport && self.network.is_listener(flow.transport, first.remote);
            assert!(leads_back, "the Route of {name} leads past the server: {}", first.remote);
        }
        flow
    }

    /// Delivers what has arrived, and what comes of that, until nothing more arrives now.
    fn deliver(&mut self) {
        loop {
            let arrived = self.network.arrived(self.now);
            if arrived.is_empty() {
                return;
            }
            for packet in arrived {
                self.arrive(packet);
            }
        }
    }

    fn arrive(&mut self, Packet { flow, bytes, is_for_server }: Packet) {
        let framed = Framed::datagram(bytes, &Limits::default());
        if is_for_server {
            return self.endpoint.receive(self.now, framed, &flow, &self.user);
        }
        let received = match framed {
            Framed::Request(request) => Received::Request(request),
            Framed::Response(response) => Received::Response(response),
            other => panic!("the server sent {other:?}"),
        };
        let is_at = |agent: &Agent, remote: SocketAddr| {
            (agent.flow.transport, agent.flow.remote) == (flow.transport, remote)
        };
        // Who is not there hears nothing.
        let Some((name, agent)) = self.agents.iter_mut().find(|(_, agent)| is_at(agent, flow.remote)) else {
            return;
        };
        let mut line = format!("{}ms {name}< {}", (self.now - self.began).as_millis(), received.summary());
        for field in received.message().fields() {
            let field_name = String::from_utf8_lossy(field.name_bytes);
            if self.shown.iter().any(|shown| shown.eq_ignore_ascii_case(&field_name)) {
                line.push_str(&format!(" | {field_name}: {}", String::from_utf8_lossy(field.value)));
            }
        }
        self.log.push(line);
        agent.receive(received);
    }
}
