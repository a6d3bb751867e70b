//! Agents that register, refresh and leave (RFC 3261 §10.2).

use std::collections::BTreeSet;

use rand::RngExt;

use super::agent::Role;
use super::record::Record;
use super::scene::Scene;
use crate::message::Message;

/// Contacts that a user may be registered with.
const CONTACTS: usize = 2;

/// Somebody who registers.
pub(crate) struct Registrant {
    pub(crate) user: String,
    cseq: u32,
    /// Whether each contact is registered.
    contacts: [Record<bool>; CONTACTS],
}

/// What a REGISTER is to do.
pub(crate) struct Register {
    contact: usize,
    is_there: bool,
}

impl Registrant {
    pub(crate) fn new(number: usize) -> Self {
        let contacts = std::array::from_fn(|_| Record::new(false));
        Self { user: format!("r{number}"), cseq: 0, contacts }
    }

    /// Each contact, and whether it has to be registered if that can be told.
    pub(crate) fn expected(&self) -> impl Iterator<Item = (String, Option<bool>)> {
        self.contacts.iter().enumerate().map(|(at, record)| (self.contact(at), record.certain()))
    }

    fn contact(&self, at: usize) -> String {
        format!("sip:{}-{at}@192.0.2.1", self.user)
    }
}

impl Role for Registrant {
    type Act = Register;

    fn next(&mut self, scene: &mut Scene<'_>, _: usize) -> Option<(String, Register)> {
        let contact = scene.rng.random_range(0..CONTACTS);
        let record = &mut self.contacts[contact];
        let is_there = !record.acknowledged() || scene.rng.random_bool(0.5);
        record.begin(is_there);
        self.cseq += 1;
        let (user, cseq, uri) = (&self.user, self.cseq, self.contact(contact));
        let expires = if is_there { 3_600 } else { 0 };
        let text = format!(
            "REGISTER sip:example.test SIP/2.0
             From: <sip:{user}@example.test>;tag=r
             To: <sip:{user}@example.test>
             Call-ID: {user}-{{here}}
             CSeq: {cseq} REGISTER
             Contact: <{uri}>;expires={expires}"
        );
        Some((text, Register { contact, is_there }))
    }

    fn answered(&mut self, scene: &mut Scene<'_>, _: usize, act: Register, response: &Message) {
        let record = &mut self.contacts[act.contact];
        if response.start_line().starts_with("SIP/2.0 200") {
            record.acknowledge(act.is_there);
            scene.tally.acknowledged += 1;
        } else {
            // A 5xx after the change was made does not take it back.
            record.give_up();
            scene.tally.refused(response);
        }
    }

    fn given_up(&mut self, _: &mut Scene<'_>, act: &Register) {
        self.contacts[act.contact].give_up();
    }

    fn answered_late(&mut self, scene: &mut Scene<'_>, act: Register, response: &Message) {
        if response.start_line().starts_with("SIP/2.0 200") {
            scene.tally.late += 1;
            self.contacts[act.contact].doubt(act.is_there);
        }
    }
}

/// Where a server says that a user is registered.
pub(crate) fn contacts_in(response: &Message) -> BTreeSet<String> {
    let uri = |contact: &str| {
        contact.trim_start_matches('<').split(['>', ';']).next().unwrap_or_default().to_owned()
    };
    response.headers("Contact").flat_map(|value| value.split(',')).map(|c| uri(c.trim())).collect()
}
