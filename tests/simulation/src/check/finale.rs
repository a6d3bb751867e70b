//! The end of a run: all is mended, clients begin nothing more. What was acknowledged is there, all nodes agree, each watcher
//! has the last state without having asked for it, and when all has expired nothing is left.

use std::collections::BTreeMap;

use super::stream::{Sender, check_truth};
use crate::agent::{Role, contact_uri};
use crate::clock::Ms;
use crate::model::{Key, Operation};
use crate::node::DOMAIN;
use crate::port;
use crate::sip::{self, Draft, Tuple};
use crate::world::World;

/// A key that ends so soon is let be: nodes end their copies themselves.
const SOON_MS: Ms = 8_000;

/// What an AOR is on one node, as it says: bindings, and what watchers are shown.
#[derive(Debug)]
struct Said {
    bindings: Vec<(String, u32, u64)>,
    shown: Option<Vec<Tuple>>,
}

impl World {
    /// # Errors
    /// What is wrong.
    pub(crate) fn check_end(&mut self) -> Result<(), String> {
        self.check_digests()?;
        self.check_subscriptions()?;
        let said = self.ask_all()?;
        for (aor, of_nodes) in said.iter().enumerate() {
            self.check_bindings(aor, of_nodes)?;
            self.check_shown(aor, of_nodes)?;
            self.check_watchers(aor, of_nodes)?;
        }
        Ok(())
    }

    fn processes(&self) -> Result<Vec<&crate::node::Process>, String> {
        self.nodes
            .iter()
            .enumerate()
            .map(|(index, node)| {
                let serving = node.process.as_ref().filter(|process| process.is_serving());
                serving.ok_or_else(|| format!("node {index} does not serve though all is mended"))
            })
            .collect()
    }

    /// All nodes know the same. What has expired is forgotten by each at its own time, and had again from one that remembers
    /// it longer: so it may take two comparisons, and more where a node remembers all longer by what its wall clock jumped.
    fn check_digests(&mut self) -> Result<(), String> {
        let mut digests = Vec::new();
        let comparisons = if self.setting.has_jumps { 4 } else { 2 };
        let half_seconds = 2 * (comparisons * self.setting.digest_seconds + 5);
        for _ in 0..half_seconds {
            digests = self.processes()?.iter().map(|process| process.replica.digest()).collect();
            if digests.windows(2).all(|pair| pair[0] == pair[1]) {
                return Ok(());
            }
            self.run_for(500)?;
        }
        Err(format!("nodes do not agree: digests {digests:x?}"))
    }

    /// Each subscription is on all nodes, and one of them notifies it, by the word of all.
    fn check_subscriptions(&self) -> Result<(), String> {
        let processes = self.processes()?;
        let counts: Vec<usize> = processes.iter().map(|p| p.presence.subscription_dialogs()).collect();
        if counts.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(format!("nodes have {counts:?} subscriptions"));
        }
        let live = self.clients.iter().filter(|client| {
            client.dialog().is_some_and(|d| d.is_confirmed && !d.is_ending && d.until > self.now + SOON_MS)
        });
        for client in live {
            let Some(dialog) = client.dialog() else { continue };
            let key = Key::Subscription { client: client.index, ordinal: dialog.ordinal };
            let Some(history) = self.model.keys.get(&key) else { continue };
            let is_certain = (0..self.setting.nodes)
                .all(|node| self.model.allowed(&key, node, self.now, &self.ways).iter().eq([&Some(1)]));
            if history.has_ended || history.is_doubled || !is_certain {
                continue;
            }
            let Some(tag) = dialog.to_tag.as_deref().and_then(|tag| u64::from_str_radix(tag, 16).ok()) else {
                continue;
            };
            let part = (tag % replication::PARTS as u64) as usize;
            let owner =
                |p: &&crate::node::Process| p.replica.owner(part, presence::SUBSCRIPTION, &tag.to_be_bytes());
            let owners: Vec<_> = processes.iter().map(owner).collect();
            if owners.iter().any(|owner| owner.is_none() || *owner != owners[0]) {
                return Err(format!("{key:?} is notified by {owners:?}"));
            }
        }
        Ok(())
    }

    /// Asks every node about every AOR, as a client would.
    fn ask_all(&mut self) -> Result<Vec<Vec<Said>>, String> {
        let (aors, nodes) = (self.setting.aors, self.setting.nodes);
        let mut asked = Vec::new();
        for aor in 0..aors {
            for node in 0..nodes {
                asked.push((self.ask(aor, node, "REGISTER"), self.ask(aor, node, "SUBSCRIBE")));
            }
        }
        self.run_for(1_500)?;
        let mut said: Vec<Vec<Said>> = (0..aors).map(|_| Vec::new()).collect();
        for (at, (register, subscribe)) in asked.into_iter().enumerate() {
            let response = self.observed.remove(&register).and_then(|(response, _)| response);
            let response = response.ok_or("a node does not answer REGISTER though all is mended")?;
            let notify = self.observed.remove(&subscribe).and_then(|(_, notify)| notify);
            let notify = notify.ok_or("a node does not answer SUBSCRIBE though all is mended")?;
            let shown = (!notify.body().is_empty()).then(|| sip::tuples(notify.body()));
            said[at / nodes].push(Said { bindings: sip::bindings(&response), shown });
        }
        Ok(said)
    }

    fn ask(&mut self, aor: usize, node: usize, method: &str) -> usize {
        let writes = Vec::new();
        let operation =
            self.model.begin(Operation { node, writes, follows: None, is_first: false, is_change: false });
        let (user, address) = (sip::user(aor), port::of_client(self.clients.len()));
        let is_register = method == "REGISTER";
        let lines = if is_register {
            String::new()
        } else {
            format!("Contact: <sip:observer@{address}>\r\nEvent: presence\r\nExpires: 0\r\n")
        };
        let text = Draft {
            method,
            uri: &if is_register { format!("sip:{DOMAIN}") } else { format!("sip:{user}@{DOMAIN}") },
            operation,
            address,
            from: &user,
            from_tag: "o",
            to: &user,
            to_tag: None,
            call_id: &format!("observer{operation}"),
            cseq: 1,
            lines: &lines,
            body: "",
        };
        self.after(1, crate::world::Event::Datagram(address, port::of_node(node), text.write()));
        operation
    }

    fn check_bindings(&self, aor: usize, said: &[Said]) -> Result<(), String> {
        let key = |aor| Key::Binding { aor, client: 0, contact: 0 };
        let mut known = BTreeMap::new();
        for (key, _) in self.model.keys.range(key(aor)..key(aor + 1)) {
            let Key::Binding { client, contact, .. } = *key else { continue };
            known.insert(contact_uri(aor, client, contact), *key);
        }
        for (node, said) in said.iter().enumerate() {
            for (uri, key) in &known {
                let found = said.bindings.iter().find(|(contact, ..)| contact == uri).map(|(_, v, _)| *v);
                let allowed = self.model.allowed(key, node, self.now, &self.ways);
                if !allowed.contains(&found) {
                    return Err(format!("{key:?} is {found:?} on node {node}, not {allowed:?}"));
                }
            }
            if let Some((uri, ..)) = said.bindings.iter().find(|(uri, ..)| !known.contains_key(uri)) {
                return Err(format!("{uri} was never registered, and is on node {node}"));
            }
        }
        let lasting = |said: &Said| -> Vec<(String, u32)> {
            let lasting = said.bindings.iter().filter(|(_, _, left)| left * 1000 > SOON_MS);
            lasting.map(|(uri, version, _)| (uri.clone(), *version)).collect()
        };
        let all: Vec<_> = said.iter().map(lasting).collect();
        if all.iter().any(|bindings| bindings != &all[0])
            && !self.ends_soon(|k| matches!(k, Key::Binding { aor: a, .. } if *a == aor))
        {
            return Err(format!("nodes have different bindings of {}: {all:?}", sip::user(aor)));
        }
        Ok(())
    }

    fn check_shown(&self, aor: usize, said: &[Said]) -> Result<(), String> {
        for (node, said) in said.iter().enumerate() {
            let sender = Sender { now: self.now, node, life: self.nodes[node].life, taken: 0 };
            check_truth(sender, aor, said.shown.as_deref(), &self.model, &self.ways)
                .map_err(|error| format!("asked at the end: {error}"))?;
        }
        let ends_soon = self.publications_end_soon(aor);
        if said.iter().any(|said| said.shown != Some(said.shown.clone().unwrap_or_default())) {
            return Err(format!("a node shows nothing of {}", sip::user(aor)));
        }
        if said.windows(2).any(|pair| pair[0].shown != pair[1].shown) && !ends_soon {
            let shown: Vec<_> = said.iter().map(|said| &said.shown).collect();
            return Err(format!("nodes show different states of {}: {shown:?}", sip::user(aor)));
        }
        Ok(())
    }

    fn publications_end_soon(&self, aor: usize) -> bool {
        self.ends_soon(|key| matches!(key, Key::Publication { aor: a, .. } if *a == aor))
    }

    fn ends_soon(&self, is_it: impl Fn(&Key) -> bool) -> bool {
        let keys = self.model.keys.iter().filter(|(key, _)| is_it(key));
        let (early, late) = (self.model.early_ms.max(SOON_MS), self.model.late_ms.max(SOON_MS));
        let is_soon = |until: Ms| until <= self.now + early && self.now <= until + late;
        keys.flat_map(|(_, history)| &history.executions).any(|e| e.value.is_some() && is_soon(e.until))
    }

    /// Whoever watches has what all nodes show.
    fn check_watchers(&self, aor: usize, said: &[Said]) -> Result<(), String> {
        if self.publications_end_soon(aor) {
            return Ok(());
        }
        for client in &self.clients {
            let Role::Watching(role) = &client.role else { continue };
            let Some(dialog) = role.dialog().filter(|_| role.aor == aor) else { continue };
            let key = Key::Subscription { client: client.index, ordinal: dialog.ordinal };
            let Some(history) = self.model.keys.get(&key) else { continue };
            let is_there = self.model.allowed(&key, 0, self.now, &self.ways).iter().eq([&Some(1)]);
            if !dialog.is_confirmed || history.has_ended || history.is_doubled || !is_there {
                continue;
            }
            let is_lost = self.streams.has_lost(client.index, dialog.ordinal, &self.model);
            if dialog.shown != said[0].shown && !is_lost {
                return Err(format!(
                    "{key:?} was last shown {:?}, and the state is {:?}",
                    dialog.shown, said[0].shown
                ));
            }
        }
        Ok(())
    }

    /// After everything has expired nothing is left.
    ///
    /// # Errors
    /// What is.
    pub(crate) fn check_nothing_is_left(&self) -> Result<(), String> {
        for (node, process) in self.processes()?.iter().enumerate() {
            let (servers, clients) = process.endpoint.transactions();
            let left = [
                ("versions", process.replica.len()),
                ("publications", process.presence.publications()),
                ("subscription dialogs", process.presence.subscription_dialogs()),
                ("bindings", process.metric(registrar::BINDINGS) as usize),
                ("publications in metrics", process.metric("rollcall_presence_publications") as usize),
                ("subscriptions in metrics", process.metric("rollcall_subscriptions") as usize),
                ("server transactions", servers),
                ("client transactions", clients),
            ];
            if let Some((what, count)) = left.iter().find(|(_, count)| *count != 0) {
                return Err(format!("{count} {what} are left on node {node}"));
            }
        }
        Ok(())
    }
}
