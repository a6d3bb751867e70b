//! A transaction user that does with each request what the test says.

#![allow(dead_code, unreachable_pub)] // each test file uses its part

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use sip_message::{HeaderName, Request, StatusCode, Transport};
use sip_service::{CancelUser, EndpointConfig, Flow, SipRequest, TransactionUser};
use testkit::Bench;

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// Answered at once.
    Answered(u16),
    /// Given to a context that keeps it: [`User::kept`].
    Kept,
    /// Dropped.
    Dropped,
    /// Abandoned.
    Abandoned,
    /// Dropped, while somebody holds a `Rescue` who then answers.
    Rescued(u16),
    /// The same, but the `Rescue` is dropped, too.
    NotRescued,
}

pub struct User {
    pub fate: Fate,
    /// What was kept, until a test answers it.
    pub kept: Mutex<Vec<SipRequest>>,
    /// ACKs that reached the user.
    pub acks: Mutex<Vec<Request>>,
    pub cancelled: Arc<Cancelled>,
}

/// The Reason of each CANCEL that was told of.
#[derive(Default)]
pub struct Cancelled(pub Mutex<Vec<String>>);

impl CancelUser for Cancelled {
    fn on_cancel(self: Arc<Self>, _: Instant, cancel: &Request) {
        self.0.lock().push(cancel.text(HeaderName::Reason).unwrap_or("").to_owned());
    }
}

pub fn code(number: u16) -> StatusCode {
    StatusCode::new(number).expect("a status code")
}

impl User {
    pub fn new(fate: Fate) -> Self {
        let (kept, acks) = (Mutex::default(), Mutex::default());
        Self { fate, kept, acks, cancelled: Arc::default() }
    }

    /// Answers the request that is kept longest.
    pub fn answer(&self, now: Instant, number: u16) {
        let mut kept = self.kept.lock();
        let request = kept.first().expect("a request");
        let reply = request.transaction.reply(code(number)).finish();
        if reply.code.is_provisional() {
            request.transaction.provisional(now, &reply);
        } else {
            kept.remove(0).transaction.respond(now, &reply);
        }
    }
}

impl TransactionUser for User {
    fn on_request(&self, request: SipRequest) {
        match self.fate {
            Fate::Answered(number) => {
                let reply = request.transaction.reply(code(number)).finish();
                let _answered = request.transaction.finish(&reply);
            }
            Fate::Kept => {
                let SipRequest { transaction, now, identity } = request;
                let keep = |transaction| self.kept.lock().push(SipRequest { transaction, now, identity });
                let cancelled = Arc::clone(&self.cancelled);
                let _answered = transaction.hand_over(cancelled, keep);
            }
            Fate::Dropped => drop(request),
            Fate::Abandoned => {
                let _answered = request.transaction.abandon();
            }
            Fate::Rescued(number) => {
                let rescue = request.transaction.rescue();
                drop(request);
                let reply = rescue.reply(code(number)).finish();
                let _answered = rescue.finish(&reply);
            }
            Fate::NotRescued => {
                let rescue = request.transaction.rescue();
                drop(request);
                drop(rescue);
            }
        }
    }

    fn on_ack(&self, _: Instant, ack: Request, _: &Flow) {
        self.acks.lock().push(ack);
    }
}

/// A server with that user, and alice.
pub fn bench(fate: Fate) -> Bench<User> {
    bench_with(fate, EndpointConfig::default())
}

pub fn bench_with(fate: Fate, config: EndpointConfig) -> Bench<User> {
    let mut bench = Bench::new("example.test", config, |_, _| User::new(fate));
    bench.add_agent("alice", Transport::Udp, "192.0.2.10:5060");
    bench
}
