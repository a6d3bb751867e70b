//! What a node does with a request: authentication that believes From, steering by method, and errors as responses.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;
use presence::{Presence, Publish, Subscribe};
use registrar::{Registrar, Store};
use sip_message::{Aor, HeaderName, Method, Request, StatusCode};
use sip_service::{Answer, Directory, Domains, Flow, Identity, Rescue, SipRequest, TransactionUser};
use tower_service::Service;

use crate::clock::{self, Ms};

/// Why a request is refused.
#[derive(Debug)]
enum Refusal {
    Presence(presence::Error),
    Registrar(registrar::Error),
}

/// An answer that waits until its change is kept.
struct Waiting {
    not_before: Ms,
    branch: String,
    answer: Answer<Refusal>,
    /// Until it is refused.
    rescue: Option<Rescue>,
}

pub(crate) struct Stack {
    registrar: Registrar,
    publish: Publish,
    subscribe: Subscribe,
    /// Branches of requests that were executed since they were last taken.
    executed: Mutex<Vec<String>>,
    new: Mutex<Vec<Waiting>>,
    waiting: Mutex<Vec<Waiting>>,
}

/// Everybody exists.
pub(crate) struct Everybody;

impl Directory for Everybody {
    fn exists(&self, _: &Aor) -> bool {
        true
    }
}

impl Stack {
    pub(crate) fn new(store: &Arc<Store>, presence: &Arc<Presence>, domains: Arc<Domains>) -> Self {
        let config = registrar::Config { bindings_per_aor_max: 1_000, ..registrar::Config::default() };
        let config = Arc::new(config);
        let registrar = Registrar::new(Arc::clone(store), config, domains, Arc::new(Everybody));
        Self {
            registrar: registrar.with_wall_clock(clock::wall),
            publish: Publish::new(Arc::clone(presence)),
            subscribe: Subscribe::new(Arc::clone(presence)),
            executed: Mutex::default(),
            new: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    /// Takes out the branches of requests that were executed.
    pub(crate) fn take_executed(&self) -> Vec<String> {
        std::mem::take(&mut *self.executed.lock())
    }

    /// Answers that were begun since the last call do not leave before `synced_at`.
    pub(crate) fn hold_new(&self, synced_at: Ms) {
        let mut new = self.new.lock();
        if !new.is_empty() {
            let begun = new.drain(..).map(|waiting| Waiting { not_before: synced_at, ..waiting });
            self.waiting.lock().extend(begun);
        }
    }

    /// Lets those answers go whose time has come. Returns the branches of those that went.
    pub(crate) fn poll(&self, now: Ms) -> Vec<String> {
        let mut gone = Vec::new();
        let mut waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.retain_mut(|waiting| {
            if now < waiting.not_before {
                return true;
            }
            let polled = Pin::new(&mut waiting.answer).poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(answer) = polled else { return true };
            if let Err(refusal) = answer {
                refuse(waiting.rescue.take(), &refusal);
            }
            gone.push(std::mem::take(&mut waiting.branch));
            false
        });
        self.waiting.lock().extend(waiting);
        gone
    }

    /// When the next answer may leave.
    pub(crate) fn next(&self) -> Option<Ms> {
        self.waiting.lock().iter().map(|waiting| waiting.not_before).min()
    }
}

impl TransactionUser for Stack {
    fn on_request(&self, mut request: SipRequest) {
        let message = request.message();
        let branch = message.via().branch().to_owned();
        let method = message.method();
        self.executed.lock().push(branch.clone());
        let user = message.from().uri().ok().and_then(|uri| Aor::of(&uri));
        let is_register = matches!(method, Method::Register);
        let is_publish = matches!(method, Method::Publish);
        request.identity = user.map(Identity::User);
        let rescue = request.transaction.rescue();
        let answer = if is_register {
            self.registrar.clone().call(request).map_err()
        } else if is_publish {
            self.publish.clone().call(request).map_err()
        } else {
            self.subscribe.clone().call(request).map_err()
        };
        match answer {
            Answer::Now(Some(Err(refusal))) => refuse(Some(rescue), &refusal),
            Answer::Now(_) => {}
            Answer::Later(_) => {
                self.new.lock().push(Waiting { not_before: Ms::MAX, branch, answer, rescue: Some(rescue) });
            }
        }
    }

    fn on_ack(&self, _: Instant, _: Request, _: &Flow) {}
}

impl From<presence::Error> for Refusal {
    fn from(error: presence::Error) -> Self {
        Self::Presence(error)
    }
}

impl From<registrar::Error> for Refusal {
    fn from(error: registrar::Error) -> Self {
        Self::Registrar(error)
    }
}

/// The statuses that the errors document; what is not named is not expected of these user agents.
fn refuse(rescue: Option<Rescue>, refusal: &Refusal) {
    let Some(rescue) = rescue else { return };
    use presence::Error as P;
    use registrar::Error as R;
    let mut min_expires = None;
    let code = match refusal {
        Refusal::Presence(P::ConditionFailed) => StatusCode::CONDITIONAL_REQUEST_FAILED,
        Refusal::Presence(P::NoSubscription) => StatusCode::CALL_DOES_NOT_EXIST,
        Refusal::Presence(P::IntervalTooBrief { min_expires_seconds })
        | Refusal::Registrar(R::IntervalTooBrief { min_expires_seconds }) => {
            min_expires = Some(*min_expires_seconds);
            StatusCode::INTERVAL_TOO_BRIEF
        }
        Refusal::Presence(P::OutOfOrder { .. }) | Refusal::Registrar(R::OutOfOrder) => {
            StatusCode::SERVER_INTERNAL_ERROR
        }
        Refusal::Presence(P::NothingPublished) => StatusCode::TEMPORARILY_UNAVAILABLE,
        Refusal::Presence(P::MergedRequest) => StatusCode::LOOP_DETECTED,
        Refusal::Presence(P::Storage(_)) | Refusal::Registrar(R::Storage(_)) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        other => panic!("{other:?}"),
    };
    let mut reply = rescue.reply(code);
    if let Some(seconds) = min_expires {
        reply = reply.header(HeaderName::MinExpires, seconds);
    }
    let reply = reply.finish();
    let _answered = rescue.finish(&reply);
}
