//! Whether what a peer says replaces what is held: the rules of §6.4 and §6.5 without the faults of §6.8.
//!
//! The same for a contact, found by [`ContactKey`](crate::ContactKey), and for a publication, found by event package,
//! document key and entity-tag. Nothing is stored here: the owner of the state asks, and does what it is told.
//!
//! - The newer one wins, by stamps in whole seconds, as in repro.
//! - A tombstone is held like anything else. A stale copy does not pass it (§7, 21). It is stamped with the time of the removal,
//!   not with that of its arrival, so that both sides stamp it alike.
//! - At equal stamps repro keeps its own on either side, and the two stay apart (§6.8; §7, 25). Here, if what is held came
//!   from the peer, what comes now is its later word, as a connection keeps the order; also if its stamp is a second older,
//!   by rounding. Else the two are ranked by what they say, which comes out the same on both sides: a removal first (a phone
//!   that is there says so again at its next refresh; nobody says again that it is gone), then the greater contents, then
//!   the later end.
//! - A stamp of ours that is later than our clock counts as now: a clock that was set back freezes nothing.

use crate::{ContactInfo, PubInfo, Stamp};

/// Where what is held was changed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// On this node, by SIP or an operator.
    Here,
    /// On the peer.
    Peer,
}

/// What is held: a live entry, or a tombstone that lingers.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// When it was changed last.
    pub stamp: Stamp,
    /// When it ends; `None` for a tombstone.
    pub expires: Option<Stamp>,
    /// What it says: a contact's name-addr, a publication's document. `None` if it is gone, as in a tombstone.
    pub contents: Option<&'a [u8]>,
    /// Who changed it last.
    pub origin: Origin,
    /// When the copy of the peer ends, as far as it was heard of: the end that was taken from the peer last, kept when the
    /// entry is refreshed here. `None` if the peer never said anything of it.
    pub peer_expires: Option<Stamp>,
}

/// What a peer says of it.
#[derive(Clone, Copy, Debug)]
pub struct Offered<'a> {
    /// When it was changed last.
    pub stamp: Stamp,
    /// When it ends; `None` if it was removed.
    pub expires: Option<Stamp>,
    /// What it says; `None` if it is removed or only refreshed.
    pub contents: Option<&'a [u8]>,
}

/// What the owner of the state is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Stores what came, contents and all, with its stamp and end, as the peer's.
    Store,
    /// Takes the stamp and the end, and leaves the contents as they are.
    Refresh,
    /// Removes it, and keeps a tombstone with the stamp that came.
    Remove,
    /// Takes the stamp only. Nobody is told, as nothing that shows has changed (§7, 30).
    Restamp,
    /// Leaves it.
    Keep(Kept),
}

/// Why what is held stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is newer.
    Newer,
    /// It is the same.
    Same,
    /// A refresh of something of which only a tombstone, or nothing, is here. It comes again with its contents in a dump.
    NoContents,
    /// It is as new and wins by rank. A repro at the other end keeps its own, unless it is told again.
    Tie {
        /// See [`Kept::announce_at`].
        announce_at: Stamp,
    },
    /// The peer's timer ran out for something that was refreshed here meanwhile: repro does not stop it when the publisher
    /// turns to the other node (§6.7; §7, 20). The peer has removed its copy and is to be told.
    PeerTimer {
        /// See [`Kept::announce_at`].
        announce_at: Stamp,
    },
}

impl Kept {
    /// If the peer is to be told again: the stamp to give to the entry, and the time when it is to be announced. It is a
    /// second later than what the peer has, since repro takes nothing that is only as new.
    pub const fn announce_at(self) -> Option<Stamp> {
        match self {
            Self::Tie { announce_at } | Self::PeerTimer { announce_at } => Some(announce_at),
            Self::Newer | Self::Same | Self::NoContents => None,
        }
    }
}

/// How far a removal may be from the end that the peer knew, to be taken for its timer: ages and lifetimes are cut to whole
/// seconds on their way there and back.
const PEER_TIMER_SECONDS: u64 = 2;

/// How far the ends of two copies of one thing may be apart, for the same reason.
const SAME_END_SECONDS: u64 = 1;

/// By how much two stamps that the peer made in one second may differ here: an age is cut to whole seconds by one clock, and
/// counted from another.
const ROUNDING_SECONDS: u64 = 1;

impl<'a> Offered<'a> {
    /// A contact that came now. Without an age it is new (§6.4).
    pub fn contact(contact: &'a ContactInfo, now: Stamp) -> Self {
        let stamp = contact.last_update_seconds.map_or(now, |age| Stamp::aged(age, now));
        let expires = (contact.expires_seconds != 0).then(|| now.plus(contact.expires_seconds));
        Self { stamp, expires, contents: expires.map(|_| contact.contact_uri.as_bytes()) }
    }

    /// A publication that came now. Without an age it is older than anything (§6.4).
    pub fn publication(info: &'a PubInfo, now: Stamp) -> Self {
        let stamp = info.last_update_seconds.map_or(Stamp::OLDEST, |age| Stamp::aged(age, now));
        let expires = (info.expires_seconds != 0).then(|| now.plus(info.expires_seconds));
        let contents = info.contents.as_ref().filter(|_| expires.is_some());
        Self { stamp, expires, contents: contents.map(|contents| &contents.body[..]) }
    }
}

/// Decides what becomes of one contact or publication. `held` is `None` only if there is not even a tombstone.
pub fn decide(held: Option<&Held<'_>>, offered: &Offered<'_>, now: Stamp) -> Decision {
    use std::cmp::Ordering::{Equal, Greater, Less};

    let Some(held) = held else { return first(offered) };
    // The peer's stamp cannot be later than now, as it is made of an age.
    let held_stamp = held.stamp.min(now);
    match offered.stamp.cmp(&held_stamp) {
        Less if held.origin == Origin::Here => Decision::Keep(Kept::Newer),
        Less if offered.stamp.distance_seconds(held_stamp) > ROUNDING_SECONDS => Decision::Keep(Kept::Newer),
        Less if is_same(held, offered) => Decision::Keep(Kept::Same),
        Less => take(held, offered),
        Greater if is_peer_timer(held, offered, now) => {
            Decision::Keep(Kept::PeerTimer { announce_at: offered.stamp.plus(1) })
        }
        Greater => take(held, offered),
        Equal if is_same(held, offered) => Decision::Keep(Kept::Same),
        Equal => match held.origin {
            Origin::Peer => take(held, offered),
            Origin::Here if outranks(held, offered) => take(held, offered),
            Origin::Here => Decision::Keep(Kept::Tie { announce_at: offered.stamp.plus(1) }),
        },
    }
}

/// Nothing is held. A removal is kept all the same: it may have overtaken what it removes.
const fn first(offered: &Offered<'_>) -> Decision {
    match (offered.expires, offered.contents) {
        (None, _) => Decision::Remove,
        (Some(_), Some(_)) => Decision::Store,
        (Some(_), None) => Decision::Keep(Kept::NoContents),
    }
}

const fn take(held: &Held<'_>, offered: &Offered<'_>) -> Decision {
    match (offered.expires, offered.contents, held.contents) {
        (None, ..) if held.expires.is_none() => Decision::Restamp,
        (None, ..) => Decision::Remove,
        (Some(_), Some(_), _) => Decision::Store,
        (Some(_), None, Some(_)) => Decision::Refresh,
        (Some(_), None, None) => Decision::Keep(Kept::NoContents),
    }
}

/// A removal at the very time when the peer's copy ends, of something that was refreshed here and still lives. A removal
/// that is meant and comes at that time is lost: what it removes then ends by itself.
fn is_peer_timer(held: &Held<'_>, offered: &Offered<'_>, now: Stamp) -> bool {
    let is_at_its_end = |end: Stamp| end.distance_seconds(offered.stamp) <= PEER_TIMER_SECONDS;
    offered.expires.is_none()
        && held.origin == Origin::Here
        && held.expires.is_some_and(|end| end > now)
        && held.peer_expires.is_some_and(is_at_its_end)
}

fn is_same(held: &Held<'_>, offered: &Offered<'_>) -> bool {
    match (held.expires, offered.expires) {
        (None, None) => true,
        (Some(held_end), Some(end)) => {
            held_end.distance_seconds(end) <= SAME_END_SECONDS
                && offered.contents.is_none_or(|contents| held.contents == Some(contents))
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Whether what is offered wins at equal stamps. They are not the same.
fn outranks(held: &Held<'_>, offered: &Offered<'_>) -> bool {
    let contents = offered.contents.or(held.contents);
    match (held.expires, offered.expires) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(held_end), Some(end)) => (contents, end) > (held.contents, held_end),
    }
}
