//! The tables, `docs/performance.md` and `docs/performance-cluster.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::cost::{Load, Sample};
use super::engine::EngineCatchUp;
use super::memory::{Thing, WAVES};
use super::pair::CatchUp;
use super::recovery::Recovery;
use super::server::{Histogram, Kind};
use crate::machine::Machine;

/// What is reported, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    Register,
    RegisterAuth,
    Forward,
    Call,
    Publish,
    Notify,
    LastTold,
    Binding,
    Subscription,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mark {
    /// At most this share of kamailio's.
    OfKamailio(f64),
    AtMost(f64),
}

impl Figure {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Register => "REGISTER",
            Self::RegisterAuth => "REGISTER with digest (401, then 200)",
            Self::Forward => "OPTIONS forwarded, with its response",
            Self::Call => "call (INVITE, 180, 200, ACK, BYE, 200)",
            Self::Publish => "PUBLISH",
            Self::Notify => "NOTIFY (1 PUBLISH, 1,000 watchers)",
            Self::LastTold => "last of 1,000 watchers told",
            Self::Binding => "binding",
            Self::Subscription => "subscription",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::LastTold => "ms",
            Self::Binding | Self::Subscription => "bytes",
            _ => "CPU µs",
        }
    }

    /// Whether it is the price of something that is kept.
    pub(crate) fn changes_state(self) -> bool {
        matches!(self, Self::Register | Self::Publish | Self::Notify)
    }

    fn mark(self) -> Mark {
        match self {
            Self::LastTold => Mark::AtMost(25.0),
            Self::Binding => Mark::AtMost(700.0),
            Self::Subscription => Mark::AtMost(2_000.0),
            _ => Mark::OfKamailio(0.4),
        }
    }
}

/// Everything one run found.
#[derive(Default)]
pub(crate) struct Results {
    /// Processor microseconds of a bare UDP echo.
    pub(crate) echo: Option<f64>,
    pub(crate) values: BTreeMap<(Figure, Kind), Vec<f64>>,
    /// Processor microseconds of the other node of a pair.
    of_partners: BTreeMap<(Figure, Kind), Vec<f64>>,
    /// How long changes took until the other node of a pair had them.
    pub(crate) acks: BTreeMap<(Figure, Kind), Histogram>,
    /// How long a start over much state takes.
    pub(crate) recovery: Option<Recovery>,
    /// How long a node without state takes to have that of the other.
    pub(crate) catch_up: Option<CatchUp>,
    pub(crate) engine_catch_up: Option<EngineCatchUp>,
    /// Every measurement of processor time, with its load.
    pub(crate) samples: Vec<(Figure, Sample)>,
}

impl Results {
    pub(crate) fn add(&mut self, figure: Figure, kind: Kind, value: f64) {
        self.values.entry((figure, kind)).or_default().push(value);
    }

    pub(crate) fn add_of_partner(&mut self, figure: Figure, kind: Kind, value: f64) {
        self.of_partners.entry((figure, kind)).or_default().push(value);
    }

    /// The table of results.
    pub(crate) fn table(&self) -> String {
        let mut table = String::new();
        if !self.values.is_empty() {
            table += "| | unit | Rollcall | kamailio | ratio | mark | |\n|---|---|---|---|---|---|---|\n";
        }
        let mut figures: Vec<_> = self.values.keys().map(|(figure, _)| *figure).collect();
        figures.dedup();
        for figure in figures {
            let spread = |kind| self.values.get(&(figure, kind)).and_then(|values| Spread::of(values));
            let (ours, theirs) = (spread(Kind::Rollcall), spread(Kind::Kamailio));
            let ratio = ours.zip(theirs).map(|(ours, theirs)| ours.median / theirs.median);
            let (mark, met) = match figure.mark() {
                Mark::OfKamailio(share) => {
                    (format!("≤ {share} × kamailio"), ratio.map(|ratio| ratio <= share))
                }
                Mark::AtMost(limit) => {
                    (format!("≤ {limit} {}", figure.unit()), ours.map(|ours| ours.median <= limit))
                }
            };
            // Nothing can be said without a number.
            let met = met.map_or("–", |met| if met { "met" } else { "**not met**" });
            let show = |spread: Option<Spread>| spread.map_or_else(|| "–".to_owned(), |spread| spread.show());
            let _ = writeln!(
                table,
                "| {} | {} | {} | {} | {} | {mark} | {met} |",
                figure.title(),
                figure.unit(),
                show(ours),
                show(theirs),
                ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
            );
        }
        if let Some(echo) = self.echo {
            let _ = writeln!(table, "\nFor scale: a bare UDP echo costs {echo:.1} CPU µs a datagram.");
        }
        table
    }

    /// What it costs to have state on the disk.
    pub(crate) fn durability(&self) -> String {
        let median = |figure, kind| {
            self.values.get(&(figure, kind)).and_then(|values| Spread::of(values)).map(|spread| spread.median)
        };
        let mut table = String::new();
        for figure in self.values.keys().filter(|(_, kind)| *kind == Kind::RollcallOnDisk).map(|(f, _)| *f) {
            let Some((memory, disk)) =
                median(figure, Kind::Rollcall).zip(median(figure, Kind::RollcallOnDisk))
            else {
                continue;
            };
            if table.is_empty() {
                table += "| | unit | `memory` | `commit` | more |\n|---|---|---|---|---|\n";
            }
            let more = disk - memory;
            let _ = writeln!(
                table,
                "| {} | {} | {memory:.1} | {disk:.1} | {more:.1} |",
                figure.title(),
                figure.unit()
            );
        }
        if let Some(Recovery { bindings, publications, took, journal_bytes }) = self.recovery {
            let (bindings, publications) = (grouped(bindings), grouped(publications));
            let _ = writeln!(
                table,
                "\nKilled with {bindings} bindings, {publications} publications and {publications} subscriptions, {} MB of \
                 journal,\nthe server has them all again and is ready after {:.2} s (mark: ≤ 15 s).",
                journal_bytes / 1_000_000,
                took.as_secs_f64(),
            );
        }
        table
    }

    /// What it costs that another node has the state, too.
    pub(crate) fn replication(&self) -> String {
        let median = |values: Option<&Vec<f64>>| {
            values
                .and_then(|values| Spread::of(values))
                .map_or_else(|| "–".into(), |s| format!("{:.1}", s.median))
        };
        let of = |figure, kind| median(self.values.get(&(figure, kind)));
        let mut table = String::new();
        let pairs =
            self.values.keys().filter(|(_, kind)| *kind == Kind::RollcallPair).map(|(figure, _)| *figure);
        for figure in pairs {
            if table.is_empty() {
                table += "| | unit | alone | pair, `ack = \"local\"` | pair, `ack = \"peer\"` | the other node | on it after \
                          (p50, p99) | Redis, `ack = \"peer\"` | the Redis | in it after (p50, p99) |\n\
                          |---|---|---|---|---|---|---|---|---|---|\n";
            }
            let within = |kind, share| {
                let acks = self.acks.get(&(figure, kind));
                acks.and_then(|acks| acks.within(share))
                    .map_or("–".into(), |s| format!("≤ {:.1} ms", s * 1e3))
            };
            let _ = writeln!(
                table,
                "| {} | {} | {} | {} | {} | {} | {}, {} | {} | {} | {}, {} |",
                figure.title(),
                figure.unit(),
                of(figure, Kind::RollcallOnDisk),
                of(figure, Kind::RollcallPair),
                of(figure, Kind::RollcallPairAcked),
                median(self.of_partners.get(&(figure, Kind::RollcallPair))),
                within(Kind::RollcallPair, 0.5),
                within(Kind::RollcallPair, 0.99),
                of(figure, Kind::RollcallEngine),
                median(self.of_partners.get(&(figure, Kind::RollcallEngine))),
                within(Kind::RollcallEngine, 0.5),
                within(Kind::RollcallEngine, 0.99),
            );
        }
        if let Some(CatchUp { bindings, took }) = self.catch_up {
            let _ = writeln!(
                table,
                "\nA node without state has {} bindings of the other, and is ready, after {:.1} s.",
                grouped(bindings),
                took.as_secs_f64(),
            );
        }
        if let Some(EngineCatchUp { bindings, took, bytes_each, node_bytes_each }) = self.engine_catch_up {
            let _ = writeln!(
                table,
                "\nA node without state has {} bindings of a Redis, and is ready, after {:.1} s. There each takes {bytes_each:.0} \
                 bytes,\nits place in a log included; all memory of the node, shared out, is {node_bytes_each:.0} bytes for each.",
                grouped(bindings),
                took.as_secs_f64(),
            );
        }
        table
    }

    /// The table of single measurements.
    pub(crate) fn loads(&self) -> String {
        let mut table = String::from(
            "| | server | operations | a second | sent again | failed | CPU µs | core at rest |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        for (figure, Sample { kind, microseconds, load, idle, .. }) in &self.samples {
            let Load { operations, seconds, failed, retransmissions, .. } = load;
            let _ = writeln!(
                table,
                "| {} | {} | {operations} | {:.0} | {retransmissions} | {failed} | {microseconds:.1} | {:.1} % |",
                figure.title(),
                kind.name(),
                *operations as f64 / seconds,
                idle * 100.0,
            );
        }
        table
    }

    /// The whole of `docs/performance-cluster.md`.
    pub(crate) fn cluster_page(&self, machine: &Machine) -> String {
        format!(
            "# Performance of a cluster\n\n\
             Generated by `cargo xtask bench --cluster --write` from one run; nothing here is written by hand. What is \
             measured, and\nhow: [performance.md](performance.md).\n\n\
             {machine}\n\
             ## What other nodes cost\n\n\
             CPU of one node, which has all the load, by what else has its state: nothing but its disk; another node of a \
             pair, on\nthis machine, with a disk of its own, told soon after (`local`) or before the answer (`peer`); a Redis on \
             this machine, which\nwrites down all and syncs once a second. With it what that other process needs, and how long \
             after a change was made it\nwas there.\n\n\
             {replication}\n\
             ## Load\n\n{loads}",
            machine = machine.list(),
            replication = self.replication(),
            loads = self.loads(),
        )
    }

    /// The whole of `docs/performance.md`.
    pub(crate) fn page(&self, machine: &Machine) -> String {
        format!(
            "# Performance\n\n\
             Generated by `cargo xtask bench --write` from one run; nothing here is written by hand. To repeat it: Linux, a \
             Rust\ntoolchain, Debian's `sip-tester`, and for the comparison `kamailio`, `kamailio-presence-modules` and\n\
             `kamailio-xml-modules`; then `cargo xtask bench`, or `cargo xtask bench --quick` for a first look.\n\n\
             {machine}\n\
             ## Results\n\n\
             Medians of the repetitions of one run, with the least and the greatest in parentheses; marks are held against the\n\
             medians. Both servers keep their state in memory.\n\n{results}\n\
             ## What durability costs\n\n\
             The same loads in the same run with `storage.durability` as it is by default: acknowledged when it is on the disk.\n\n\
             {durability}\n\
             ## How it is measured\n\n\
             Both servers run on the same machine as their load, on loopback UDP, each with a fresh state, first one, then \
             the other.\nRollcall has one worker per core; kamailio has four processes \
             (`xtask/src/bench/kamailio.cfg`). Neither authenticates except where digest is \
             measured. A load like the one that is\nmeasured comes before it, so that memory has its size.\n\n\
             - **CPU µs**: user and system time of all threads and processes of the server (`/proc/PID/stat`) over the run \
             and until its\n  last transaction is gone, less what it needs at rest, divided by the operations. The load is \
             SIPp with the scenarios in\n  `xtask/src/bench/scenarios`; a run with more than one failed call in a thousand \
             is an error, not a result.\n\
             - **call**: all messages of it through the proxy, along the route that it recorded.\n\
             - **PUBLISH**: the mean of an initial one, two modifications, a refresh and a removal; nobody watches.\n\
             - **NOTIFY**: 1,000 subscriptions to one user, who publishes again as soon as all have been told and have \
             answered; the\n  PUBLISH and the responses are in the price.\n\
             - **last told**: from sending the PUBLISH until the last of the 1,000 NOTIFYs with its note has been received, \
             by a client\n  that shares the cores with the server; the spread is that of single rounds.\n\
             - **bytes**: growth of resident memory (shared pages counted once) by {bindings} bindings of as many users, and \
             by\n  {subscriptions} subscriptions to a tenth as many, in waves, each read when its transactions have ended; \
             a wave before\n  them brings transactions and buffers to their size.\n\n\
             ## Load\n\n{loads}",
            machine = machine.list(),
            results = self.table(),
            durability = self.durability(),
            loads = self.loads(),
            bindings = grouped((WAVES - 1) * Thing::Binding.per_wave(false)),
            subscriptions = grouped((WAVES - 1) * Thing::Subscription.per_wave(false)),
        )
    }
}

/// A median with its extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    least: f64,
    greatest: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
        Some(Self { median: (low + high) / 2.0, least: *values.first()?, greatest: *values.last()? })
    }

    fn show(self) -> String {
        let show =
            |value: f64| if value < 100.0 { format!("{value:.1}") } else { grouped(value.round() as usize) };
        if self.least == self.greatest {
            return show(self.median);
        }
        format!("{} ({}–{})", show(self.median), show(self.least), show(self.greatest))
    }
}

/// Groups of three digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_extremes() {
        let spread = |values| Spread::of(values).map(|s| s.show());
        assert_eq!(spread(&[3.0, 1.0, 2.04]).as_deref(), Some("2.0 (1.0–3.0)"));
        assert_eq!(spread(&[1.0, 2.0]).as_deref(), Some("1.5 (1.0–2.0)"));
        assert_eq!(spread(&[1234.4]).as_deref(), Some("1,234"));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!(
            [1, 12, 123, 1234, 123_456, 1_234_567].map(grouped),
            ["1", "12", "123", "1,234", "123,456", "1,234,567"]
        );
    }

    #[test]
    fn marks_are_met_or_not() {
        let mut results = Results { echo: Some(5.0), ..Results::default() };
        results.add(Figure::Register, Kind::Rollcall, 20.0);
        results.add(Figure::Register, Kind::Kamailio, 50.0);
        results.add(Figure::Call, Kind::Rollcall, 201.0);
        results.add(Figure::Call, Kind::Kamailio, 500.0);
        results.add(Figure::Publish, Kind::Rollcall, 20.0);
        results.add(Figure::Binding, Kind::Rollcall, 701.0);
        let expected = "\
| | unit | Rollcall | kamailio | ratio | mark | |
|---|---|---|---|---|---|---|
| REGISTER | CPU µs | 20.0 | 50.0 | 0.40 | ≤ 0.4 × kamailio | met |
| call (INVITE, 180, 200, ACK, BYE, 200) | CPU µs | 201 | 500 | 0.40 | ≤ 0.4 × kamailio | **not met** |
| PUBLISH | CPU µs | 20.0 | – | – | ≤ 0.4 × kamailio | – |
| binding | bytes | 701 | – | – | ≤ 700 bytes | **not met** |

For scale: a bare UDP echo costs 5.0 CPU µs a datagram.
";
        assert_eq!(results.table(), expected);
    }
}
