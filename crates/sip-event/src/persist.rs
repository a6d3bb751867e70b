//! Dialogs as records of a journal: what must outlive the process for the watcher to notice nothing.

use std::time::{Duration, Instant};

use replication::{Malformed, Reader, put_optional, put_text};

use crate::Dialog;
use crate::machine::Subscription;

/// The form of what is written.
const VERSION: u8 = 2;

impl Dialog {
    /// When the last of its subscriptions expires; `None` if all have ended, and nothing need outlive the process.
    pub fn expires_at(&self) -> Option<Instant> {
        self.subscriptions.iter().filter(|s| !s.is_terminated()).map(|s| s.expires_at).max()
    }

    /// The number of its last NOTIFY.
    pub fn local_cseq(&self) -> u32 {
        self.local_cseq
    }

    /// The number of the last SUBSCRIBE that counted.
    pub fn remote_cseq(&self) -> u32 {
        self.remote_cseq
    }

    /// Its next NOTIFY has a number beyond `used`: another notifier may have sent NOTIFYs with numbers up to that.
    pub fn leave_cseq_to(&mut self, used: u32) {
        self.local_cseq = self.local_cseq.max(used);
    }

    /// Writes it, but for subscriptions that have ended. When they expire is told by how much earlier that is than
    /// [`Dialog::expires_at`], which stands beside it: whoever reads it may have another wall clock. After it was read again,
    /// its next NOTIFY has a number beyond `cseq_reserved`: the owner writes it anew before more NOTIFYs were sent than that.
    pub fn write(&self, out: &mut Vec<u8>, cseq_reserved: u32) {
        out.push(VERSION);
        put_text(out, &self.call_id);
        put_text(out, &self.local);
        put_text(out, &self.remote);
        out.extend_from_slice(&self.remote_tag_start.to_le_bytes());
        out.extend_from_slice(&cseq_reserved.to_le_bytes());
        out.extend_from_slice(&self.remote_cseq.to_le_bytes());
        put_text(out, &self.remote_target);
        out.extend_from_slice(&(self.route_set.len() as u32).to_le_bytes());
        self.route_set.iter().for_each(|route| put_text(out, route));
        put_text(out, &self.contact);
        let live = || self.subscriptions.iter().filter(|s| !s.is_terminated());
        out.extend_from_slice(&(live().count() as u32).to_le_bytes());
        let last = self.expires_at();
        for subscription in live() {
            let earlier = last.map_or(Duration::ZERO, |last| last - subscription.expires_at);
            let earlier_ms = u64::try_from(earlier.as_millis()).unwrap_or(u64::MAX);
            put_optional(out, subscription.id.as_deref());
            out.push(u8::from(subscription.is_pending()));
            out.extend_from_slice(&earlier_ms.to_le_bytes());
        }
    }

    /// Reads one at `now` whose last subscription expires at `expires_at`. Those whose time is over are left out. Nobody
    /// knows what the watchers have, until the owner says it by [`Dialog::set_told`].
    ///
    /// # Errors
    /// If it is not there.
    pub fn read(
        record: &mut Reader<'_>,
        package: &'static str,
        now: Instant,
        expires_at: Instant,
    ) -> Result<Self, Malformed> {
        if record.u8()? != VERSION {
            return Err(Malformed);
        }
        let (call_id, local, remote) = (record.text()?.into(), record.text()?.into(), record.text()?.into());
        let (remote_tag_start, local_cseq, remote_cseq) = (record.u32()?, record.u32()?, record.u32()?);
        let remote_target = record.text()?.into();
        let mut route_set: Vec<Box<str>> = Vec::new();
        for _ in 0..record.u32()? {
            route_set.push(record.text()?.into());
        }
        let contact = record.text()?.into();
        let mut subscriptions = smallvec::SmallVec::new();
        for _ in 0..record.u32()? {
            let (id, is_pending) = (record.optional()?, record.u8()? != 0);
            let earlier = Duration::from_millis(record.u64()?);
            if let Some(expires_at) = expires_at.checked_sub(earlier).filter(|at| *at > now) {
                subscriptions.push(Subscription::restored(id.map(Into::into), is_pending, expires_at));
            }
        }
        Ok(Self {
            call_id,
            local,
            remote,
            remote_tag_start,
            local_cseq,
            remote_cseq,
            remote_target,
            route_set: route_set.into(),
            contact,
            package,
            subscriptions,
            in_flight: None,
            failures: 0,
            hold_until: None,
            change_sent: None,
        })
    }

    /// Takes the place of what was known of this dialog, of whose last NOTIFY the outcome is awaited, and knows as much of
    /// what watchers have. Returns whether that is so: not if none is awaited, or the subscriptions are others.
    pub fn await_outcome_of(&mut self, before: &Self) -> bool {
        let ids = |dialog: &Self| dialog.subscriptions.iter().map(|s| s.id.clone()).collect::<Vec<_>>();
        let is_awaited = before.in_flight.is_some() && ids(self) == ids(before);
        if is_awaited {
            self.in_flight = before.in_flight;
            self.set_told(before.told());
        }
        is_awaited
    }

    /// Whether a NOTIFY is under way: what the watcher has is known when its outcome is.
    pub fn is_awaiting(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether a NOTIFY is under way after which, if the watcher takes it, nothing is left of the dialog.
    pub fn is_ending(&self) -> bool {
        self.subscriptions.len() == 1 && self.in_flight.is_some_and(|sent| sent.is_last)
    }

    /// The version that each subscription's watcher is known to have.
    pub fn told(&self) -> impl Iterator<Item = Option<u64>> {
        self.subscriptions.iter().map(|s| s.told)
    }

    /// Says which version each subscription's watcher has, in the same order; those that are not named have none.
    pub fn set_told(&mut self, told: impl Iterator<Item = Option<u64>>) {
        let told = told.chain(std::iter::repeat(None));
        self.subscriptions.iter_mut().zip(told).for_each(|(s, told)| s.told = told);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // virtual time begins somewhere
mod tests {
    use bytes::Bytes;
    use sip_message::{Limits, Request, StatusCode};

    use super::*;
    use crate::{Input, NotifyBody, Output, Permission, Policy, Subscribe, SubscriptionState};

    const SUBSCRIBE: &[u8] = b"SUBSCRIBE sip:alice@example.test SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:bob@example.test>;tag=b\r\n\
        To: <sip:alice@example.test>\r\nCall-ID: c@192.0.2.1\r\nCSeq: 17 SUBSCRIBE\r\n\
        Record-Route: <sip:p1.example.test;lr>, <sip:p2.example.test;lr>\r\n\
        Contact: <sip:bob@192.0.2.1>\r\nEvent: presence\r\n\r\n";

    fn dialog(now: Instant) -> Dialog {
        let request = Request::parse(Bytes::from_static(SUBSCRIBE), &Limits::default()).expect("a request");
        let mut dialog =
            Dialog::create(&request, "tag", "<sip:us@192.0.2.9>".into(), "presence").expect("a dialog");
        for (id, expires_seconds) in [(None, 600), (Some("x"), 60)] {
            let subscribe = Subscribe { id, expires_seconds, permission: Permission::Granted };
            dialog.subscribe(now, &Policy::default(), 1, &subscribe).expect("accepted");
        }
        dialog
    }

    fn written(dialog: &Dialog) -> Vec<u8> {
        let mut out = Vec::new();
        dialog.write(&mut out, 40);
        out
    }

    fn read(octets: &[u8], now: Instant, expires_at: Instant) -> Result<Dialog, Malformed> {
        let mut reader = Reader::new(octets);
        let dialog = Dialog::read(&mut reader, "presence", now, expires_at)?;
        reader.finish().map(|()| dialog)
    }

    /// The next NOTIFY of a dialog whose resource has another version.
    fn next(dialog: &mut Dialog, now: Instant, version: u64) -> Option<(u32, SubscriptionState, Bytes)> {
        let outputs = dialog.handle(now, &Policy::default(), version, Input::Changed);
        outputs.into_iter().find_map(|output| match output {
            Output::Notify(notify) => {
                let body = Some(NotifyBody { content_type: "text/plain", octets: b"state" });
                Some((notify.cseq, notify.state, dialog.render(&notify, "SIP/2.0/UDP us", body)))
            }
            Output::Ended(_) => None,
        })
    }

    // RFC 3261 §12.2.1.1: the next request of the dialog has a higher CSeq and all else as before.
    #[test]
    fn a_dialog_goes_on_where_it_was() {
        let now = Instant::now();
        let octets = written(&dialog(now));
        let later = now + Duration::from_secs(100);
        let mut back = read(&octets, later, now + Duration::from_secs(600)).expect("a dialog");
        assert_eq!(back.len(), 1, "the other subscription's time is over");
        let (cseq, state, notify) = next(&mut back, later, 7).expect("a NOTIFY");
        assert_eq!((cseq, state), (41, SubscriptionState::Active { expires_seconds: 500 }));
        let notify = String::from_utf8_lossy(&notify).into_owned();
        for line in [
            "From: <sip:alice@example.test>;tag=tag",
            "To: <sip:bob@example.test>;tag=b",
            "Call-ID: c@192.0.2.1",
            "Route: <sip:p1.example.test;lr>",
            "Route: <sip:p2.example.test;lr>",
            "Contact: <sip:us@192.0.2.9>",
        ] {
            assert!(notify.lines().any(|l| l == line), "{line}: {notify}");
        }
    }

    // RFC 6665 §4.2.2: who has the state is not told it again.
    #[test]
    fn who_has_the_state_is_not_told() {
        let now = Instant::now();
        let octets = written(&dialog(now));
        let mut back = read(&octets, now, now + Duration::from_secs(600)).expect("a dialog");
        back.set_told([Some(7), Some(7)].into_iter());
        assert_eq!(next(&mut back, now, 7), None);
        assert!(next(&mut back, now, 8).is_some());
        let mut unknown = read(&octets, now, now + Duration::from_secs(600)).expect("a dialog");
        unknown.set_told([Some(7)].into_iter());
        assert!(next(&mut unknown, now, 7).is_some(), "the second subscription's watcher may have nothing");
    }

    // RFC 6665 §4.4.1: a node that has not heard of a refresh tells the watcher that its time is over, then hears of it. If the
    // watcher took that, so it is; if it refused the NOTIFY (RFC 3261 §12.2.2), it goes on.
    #[test]
    fn a_last_notify_under_way_counts_as_the_watcher_takes_it() {
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        let octets = written(&dialog(now));
        for (code, left) in [(StatusCode::OK, 1), (StatusCode::SERVER_INTERNAL_ERROR, 2)] {
            let mut known = read(&octets, now, now + hour).expect("a dialog");
            let later = now + hour;
            assert_eq!(known.handle(later, &Policy::default(), 1, Input::Wake).len(), 1, "it is over");
            let mut heard = read(&octets, later, later + hour).expect("a dialog");
            assert!(heard.await_outcome_of(&known));
            assert!(heard.told().eq(known.told()));
            assert_eq!(heard.handle(later, &Policy::default(), 1, Input::Changed).len(), 0, "one at a time");
            let answered = Input::Answered { code, retry_after_seconds: None };
            heard.handle(later, &Policy::default(), 1, answered);
            assert_eq!(heard.len(), left, "{code:?}");
        }
    }

    // Another node may have another wall clock: what is written holds no time of it.
    #[test]
    fn a_dialog_is_read_alike_whatever_the_clock_shows() {
        let now = Instant::now();
        let octets = written(&dialog(now));
        let there = now + Duration::from_secs(1_000_000);
        let back = read(&octets, there, there + Duration::from_secs(600)).expect("a dialog");
        assert_eq!((back.len(), back.expires_at()), (2, Some(there + Duration::from_secs(600))));
        let later = there + Duration::from_secs(100);
        assert_eq!(read(&octets, later, there + Duration::from_secs(600)).expect("a dialog").len(), 1);
    }

    #[test]
    fn what_is_no_dialog_is_refused() {
        let now = Instant::now();
        let octets = written(&dialog(now));
        for length in 0..octets.len() {
            assert!(read(&octets[..length], now, now).is_err(), "{length}");
        }
    }
}
