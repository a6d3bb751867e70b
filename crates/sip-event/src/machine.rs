//! The subscription machine of a notifier (RFC 6665 §4.2.2), for all subscriptions of one dialog.
//!
//! ```text
//!            SUBSCRIBE ┌─────────┐ permission ┌────────┐
//!   init ────────────▶ │ pending │ ─────────▶ │ active │
//!                      └────┬────┘            └───┬────┘
//!     Expires 0, expiry, end│                     │
//!                      ┌────▼─────────────────────▼────┐  last NOTIFY answered or lost;
//!                      │ terminated: last NOTIFY to go │ ──────────────────────────────▶ gone
//!                      └───────────────────────────────┘  or a refusing response, at once
//! ```

use std::time::{Duration, Instant};

use sip_message::StatusCode;
use smallvec::SmallVec;

use crate::outcome::Outcome;
use crate::{Cause, Dialog, Error, Notify, Policy, Reason, SubscriptionState};

/// What happens to a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The resource's state may be another: compare the version.
    Changed,
    /// Permission was given to all that is pending.
    Granted,
    /// All subscriptions of the dialog are to end.
    End(Reason),
    /// The NOTIFY in flight got a final response.
    Answered {
        /// Its code.
        code: StatusCode,
        /// Its Retry-After, in seconds.
        retry_after_seconds: Option<u32>,
    },
    /// The NOTIFY in flight got none.
    Failed(Failure),
    /// It is [`Dialog::deadline`], or later, or earlier.
    Wake,
}

impl Input {
    /// Whether the watcher knows by it that the subscription is over, if the NOTIFY in flight was the last one: it took that
    /// one, or knows of no subscription (RFC 6665 §4.2.2).
    pub fn confirms_end(&self) -> bool {
        let Self::Answered { code, .. } = self else { return false };
        matches!(Outcome::of(*code), Outcome::Delivered | Outcome::EndsSubscription | Outcome::EndsDialog)
    }
}

/// Why a NOTIFY got no final response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Timer F.
    Timeout,
    /// It could not be sent.
    Unreachable,
}

/// What is to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this NOTIFY, now; its outcome is to come back as [`Input::Answered`] or [`Input::Failed`], once.
    Notify(Notify),
    /// A subscription is gone. When [`Dialog::is_empty`], so is the dialog.
    Ended(Cause),
}

/// Outputs; seldom more than one.
pub type Outputs = SmallVec<[Output; 2]>;

/// Whether a watcher may see the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Granted,
    /// Somebody has yet to say so (RFC 6665 §4.2.1.3).
    Awaited,
}

/// A SUBSCRIBE that was accepted.
#[derive(Clone, Copy, Debug)]
pub struct Subscribe<'a> {
    /// The `id` of its Event header field.
    pub id: Option<&'a str>,
    /// The duration granted; 0 is a poll or an unsubscription.
    pub expires_seconds: u32,
    /// Whether the watcher may see the state.
    pub permission: Permission,
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) id: Option<Box<str>>,
    state: State,
    pub(crate) expires_at: Instant,
    /// The version that the watcher is known to have.
    pub(crate) told: Option<u64>,
    need: Need,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Active,
    /// The last NOTIFY is to be sent, with the state or without.
    Terminated {
        reason: Reason,
        with_state: bool,
    },
}

/// Why a NOTIFY is needed, beside a version that the watcher does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    /// The last one was lost: send again after the hold.
    Retry,
    /// A SUBSCRIBE asks (§4.2.1.2), permission came, or it is the last one: send as soon as nothing is in flight.
    Now,
}

/// The NOTIFY whose outcome is awaited. While there is one, no subscription leaves the dialog, so the index holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    subscription: usize,
    version: u64,
    pub(crate) is_last: bool,
}

impl Dialog {
    /// A SUBSCRIBE was accepted: it begins, refreshes or ends the subscription of that id (RFC 6665 §4.2.1, §4.4.3, §4.5.2).
    ///
    /// # Errors
    /// [`Error::Ended`] (481), [`Error::TooManySubscriptions`] (403); see [`Dialog::may_subscribe`].
    pub fn subscribe(
        &mut self,
        now: Instant,
        policy: &Policy,
        version: u64,
        subscribe: &Subscribe<'_>,
    ) -> Result<Outputs, Error> {
        self.may_subscribe(now, policy, subscribe.id)?;
        let expires_at = now + Duration::from_secs(subscribe.expires_seconds.into());
        let state = match (subscribe.expires_seconds, subscribe.permission) {
            (0, permission) => {
                State::Terminated { reason: Reason::Timeout, with_state: permission == Permission::Granted }
            }
            (_, Permission::Granted) => State::Active,
            (_, Permission::Awaited) => State::Pending,
        };
        match self.subscriptions.iter_mut().find(|s| s.id.as_deref() == subscribe.id) {
            Some(subscription) => {
                subscription.expires_at = expires_at;
                subscription.state = state;
                subscription.need = Need::Now;
            }
            None => self.subscriptions.push(Subscription {
                id: subscribe.id.map(Into::into),
                state,
                expires_at,
                told: None,
                need: Need::Now,
            }),
        }
        // Whoever subscribes is there.
        self.failures = 0;
        self.hold_until = None;
        Ok(self.handle(now, policy, version, Input::Wake))
    }

    /// Whether a SUBSCRIBE with that id can be accepted.
    ///
    /// # Errors
    /// [`Error::Ended`] if that subscription's last NOTIFY is on its way or its time is over;
    /// [`Error::TooManySubscriptions`] if it would be one more than [`Policy::subscriptions_per_dialog_max`].
    pub fn may_subscribe(&self, now: Instant, policy: &Policy, id: Option<&str>) -> Result<(), Error> {
        match self.subscriptions.iter().find(|s| s.id.as_deref() == id) {
            Some(s) if s.is_terminated() || s.expires_at <= now => Err(Error::Ended),
            None if self.subscriptions.len() >= policy.subscriptions_per_dialog_max => {
                Err(Error::TooManySubscriptions { max: policy.subscriptions_per_dialog_max })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Advances the machine. `version` is that of the resource's state as this watcher may see it, now.
    pub fn handle(&mut self, now: Instant, policy: &Policy, version: u64, input: Input) -> Outputs {
        let mut out = Outputs::new();
        match input {
            Input::Changed | Input::Wake => {}
            Input::Granted => {
                for s in self.subscriptions.iter_mut().filter(|s| s.state == State::Pending) {
                    s.state = State::Active;
                    s.need = Need::Now;
                }
            }
            Input::End(reason) => self.subscriptions.iter_mut().for_each(|s| s.terminate(reason)),
            Input::Answered { code, retry_after_seconds } => {
                self.conclude(now, policy, Outcome::of(code), code.as_u16(), retry_after_seconds, &mut out);
            }
            Input::Failed(Failure::Timeout | Failure::Unreachable) => {
                self.conclude(now, policy, Outcome::TryLater, 408, None, &mut out);
            }
        }
        for s in self.subscriptions.iter_mut().filter(|s| s.expires_at <= now) {
            s.terminate(Reason::Timeout); // §4.2.1.4
        }
        if let Some(notify) = self.next_notify(now, policy, version) {
            out.push(Output::Notify(notify));
        }
        out
    }

    /// When [`Input::Wake`] is due.
    pub fn deadline(&self, policy: &Policy, version: u64) -> Option<Instant> {
        let expiry = self.subscriptions.iter().filter(|s| !s.is_terminated()).map(|s| s.expires_at).min();
        let waits = self.in_flight.is_none().then(|| {
            self.subscriptions.iter().filter_map(|s| match s.need {
                Need::Retry => self.hold_until,
                Need::Nothing if s.lacks(version) => self.hold_until.max(self.paced_until(policy)),
                Need::Nothing | Need::Now => None,
            })
        });
        expiry.into_iter().chain(waits.into_iter().flatten()).min()
    }

    /// The outcome of the NOTIFY in flight (§4.2.2).
    fn conclude(
        &mut self,
        now: Instant,
        policy: &Policy,
        outcome: Outcome,
        code: u16,
        retry_after_seconds: Option<u32>,
        out: &mut Outputs,
    ) {
        let Some(sent) = self.in_flight.take() else { return };
        let Some(subscription) = self.subscriptions.get_mut(sent.subscription) else { return };
        // A last NOTIFY ends it, answered or not; if the watcher had come to another node, as is known by now, only one that
        // it took does.
        let reason = match subscription.state {
            State::Terminated { reason, .. } => Some(reason),
            _ if matches!(outcome, Outcome::Delivered | Outcome::Declined) => Some(Reason::Timeout),
            State::Pending | State::Active => None,
        };
        if let (true, Some(reason)) = (sent.is_last, reason) {
            out.push(Output::Ended(Cause::Terminated(reason)));
            self.subscriptions.remove(sent.subscription);
            return;
        }
        match outcome {
            Outcome::Delivered | Outcome::Declined => {
                subscription.told = Some(sent.version);
                self.failures = 0;
                self.hold_until = None;
            }
            Outcome::TryLater => {
                subscription.told = None;
                if subscription.need == Need::Nothing {
                    subscription.need = Need::Retry;
                }
                self.failures += 1;
                if self.failures >= policy.failures_max {
                    self.end_all(Cause::Lost, out);
                } else {
                    let backoff = policy.retry_delay.saturating_mul(1 << (self.failures - 1).min(6));
                    let asked = Duration::from_secs(retry_after_seconds.unwrap_or(0).into());
                    self.hold_until = now.checked_add(backoff.max(asked));
                }
            }
            Outcome::EndsSubscription => {
                self.subscriptions.remove(sent.subscription);
                out.push(Output::Ended(Cause::Refused { code }));
            }
            Outcome::EndsDialog => self.end_all(Cause::Refused { code }, out),
        }
    }

    fn end_all(&mut self, cause: Cause, out: &mut Outputs) {
        out.extend(self.subscriptions.drain(..).map(|_| Output::Ended(cause)));
    }

    /// The NOTIFY to be sent now, if one is needed and nothing is in flight.
    fn next_notify(&mut self, now: Instant, policy: &Policy, version: u64) -> Option<Notify> {
        if self.in_flight.is_some() {
            return None;
        }
        let is_held = self.hold_until.is_some_and(|until| now < until);
        let is_paced = self.paced_until(policy).is_some_and(|until| now < until);
        let index = self.subscriptions.iter().position(|s| match s.need {
            Need::Now => true,
            Need::Retry => !is_held,
            Need::Nothing => s.lacks(version) && !is_held && !is_paced,
        })?;
        let subscription = self.subscriptions.get_mut(index)?;
        let is_change = subscription.need != Need::Now;
        subscription.need = Need::Nothing;
        if is_change {
            self.change_sent = Some(now);
        }
        self.local_cseq += 1;
        let state = subscription.subscription_state(now);
        let is_last = matches!(state, SubscriptionState::Terminated(_));
        self.in_flight = Some(InFlight { subscription: index, version, is_last });
        let with_state = subscription.shows_state();
        Some(Notify { cseq: self.local_cseq, state, version, with_state, is_change, subscription: index })
    }

    fn paced_until(&self, policy: &Policy) -> Option<Instant> {
        self.change_sent.map(|sent| sent + policy.notify_min_interval)
    }
}

impl Subscription {
    /// One that was written down by an earlier process.
    pub(crate) fn restored(id: Option<Box<str>>, is_pending: bool, expires_at: Instant) -> Self {
        let state = if is_pending { State::Pending } else { State::Active };
        Self { id, state, expires_at, told: None, need: Need::Nothing }
    }

    pub(crate) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated { .. })
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.state == State::Pending
    }

    /// Ends it, unless it has ended.
    fn terminate(&mut self, reason: Reason) {
        if !self.is_terminated() {
            self.state = State::Terminated { reason, with_state: false };
            self.need = Need::Now;
        }
    }

    /// Whether it is to be told a version that it does not have.
    fn lacks(&self, version: u64) -> bool {
        self.state == State::Active && self.told != Some(version)
    }

    fn shows_state(&self) -> bool {
        match self.state {
            State::Pending => false,
            State::Active => true,
            State::Terminated { with_state, .. } => with_state,
        }
    }

    fn subscription_state(&self, now: Instant) -> SubscriptionState {
        // Rounded down, so that a watcher refreshes before we forget it; but never an active subscription of no time.
        let expires_seconds = self.expires_at.saturating_duration_since(now).as_secs().max(1);
        match self.state {
            State::Pending => SubscriptionState::Pending { expires_seconds },
            State::Active => SubscriptionState::Active { expires_seconds },
            State::Terminated { reason, .. } => SubscriptionState::Terminated(reason),
        }
    }
}
