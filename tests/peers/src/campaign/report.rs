//! The table of results.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Fault, Tally};

/// One row for each fault: what was injected, and what came of it.
pub fn table(tallies: &[(Fault, Tally)]) -> String {
    let mut table = String::from(
        "| fault | injected | acknowledged writes | of these, by one node alone | lost | came back | not told | told twice | \
         told falsely | served again after | all agree after |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut sum = Tally::default();
    for (fault, tally) in tallies {
        row(&mut table, fault.title(), tally);
        sum.add(tally.clone());
    }
    row(&mut table, "**all**", &sum);
    table
}

fn row(table: &mut String, title: &str, tally: &Tally) {
    let Tally { rounds, acknowledged, alone, lost, came_back, untold, duplicated, falsely, .. } = tally;
    let _ = writeln!(
        table,
        "| {title} | {rounds} | {acknowledged} | {alone} | {lost} | {came_back} | {untold} | {duplicated} | {falsely} | {} | \
         {} |",
        spread(&tally.served),
        spread(&tally.agreed),
    );
}

/// What is as promised, and worth knowing.
pub fn explained_table(tallies: &[(Fault, Tally)]) -> String {
    let mut table = String::from(
        "| fault | told again | refused by CSeq | shown by a node that had not heard | carried out late | not yet known: 412, \
         481 |\n|---|---|---|---|---|---|\n",
    );
    for (fault, tally) in tallies {
        let Tally { told_again, fenced, behind, late, unknown, .. } = tally;
        let _ = writeln!(
            table,
            "| {} | {told_again} | {fenced} | {behind} | {late} | {unknown} |",
            fault.title()
        );
    }
    table
}

/// A tally in a line.
pub(crate) fn line(tally: &Tally) -> String {
    let Tally { acknowledged, alone, lost, came_back, untold, duplicated, falsely, .. } = tally;
    let Tally { told_again, fenced, behind, late, unknown, refusals, .. } = tally;
    format!(
        "{acknowledged} acknowledged ({alone} alone), {lost} lost, {came_back} came back, {untold} not told, {duplicated} told \
         twice, {falsely} told falsely; served again {}, agreed {}; {told_again} told again, {fenced} fenced, {behind} behind, \
         {late} late, {unknown} unknown, refused {refusals:?}",
        spread(&tally.served),
        spread(&tally.agreed),
    )
}

/// Median and greatest, in seconds.
fn spread(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    match (times.get(times.len() / 2), times.last()) {
        (Some(median), Some(greatest)) => {
            format!("{:.2} s (≤ {:.2} s)", median.as_secs_f64(), greatest.as_secs_f64())
        }
        _ => "–".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_their_sum() {
        let tally = Tally {
            rounds: 1,
            acknowledged: 40,
            lost: 1,
            served: vec![Duration::from_millis(10), Duration::from_millis(1500), Duration::from_millis(30)],
            ..Tally::default()
        };
        let table = table(&[(Fault::Kill, tally.clone()), (Fault::Stop, tally)]);
        let rows: Vec<_> = table.lines().skip(2).collect();
        assert_eq!(
            rows[1],
            "| SIGSTOP, then SIGCONT | 1 | 40 | 0 | 1 | 0 | 0 | 0 | 0 | 0.03 s (≤ 1.50 s) | – |"
        );
        assert_eq!(rows[2], "| **all** | 2 | 80 | 0 | 2 | 0 | 0 | 0 | 0 | 0.03 s (≤ 1.50 s) | – |");
    }
}
