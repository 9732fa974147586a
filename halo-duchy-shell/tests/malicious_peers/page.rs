//! The table of `docs/threat-model.md` says what [`table`](crate::table) has come of it, and nothing else.

use std::collections::BTreeSet;

use crate::table::{self, Comes, Deviation};

const PAGE: &str = include_str!("../../../docs/threat-model.md");

/// How a row of the page begins, and the deviations that it tells of. Those of [`door`](crate::door) are without any.
const ROWS: [(&str, &[&str]); 18] = [
    ("a stream without header or data", &[]),
    ("what somebody else is to send", &[]),
    ("the same again", &[]),
    ("other bytes for the same stage", &[]),
    ("other bytes, when the stage has gone on", &[]),
    (
        "the identity, a point off the curve",
        &[
            "the identity",
            "the identity as a count",
            "the identity as a key's second half",
            "a point off the curve",
            "x above the prime",
            "another tag",
            "no canonical encoding",
            "a negative encoding",
        ],
    ),
    ("a byte less", &["a byte less", "nothing at all"]),
    (
        "noise of the reach-only protocol that is no ciphertext",
        &["noise off the curve", "the identity for noise"],
    ),
    (
        "noise of the reach-only protocol that opens to no possible number",
        &["equal halves of noise", "opposite halves of noise", "a register for noise"],
    ),
    (
        "a share with a value outside the ring",
        &[
            "a value outside the ring",
            "a value less",
            "a number of registers that its values are not",
            "a number of registers that no vector has",
            "a seed that is too short",
            "bytes that are no message",
            "a length beyond the end",
        ],
    ),
    ("a share of another number of registers", &["another number of registers"]),
    (
        "a seed for no requisition",
        &[
            "a seed that no requisition has",
            "a seed of another number of registers",
            "a seed twice",
            "far more seeds than requisitions",
        ],
    ),
    ("a seed that was altered", &["a seed that was altered"]),
    (
        "another stage's payload, in a share shuffle",
        &["another stage's payload", "the receiver's own random seed"],
    ),
    ("a field that nobody knows", &["a field that nobody knows"]),
    (
        "one register for all",
        &[
            "one register for all",
            "a register less",
            "a register twice",
            "a register twice, for the aggregator",
            "no register",
            "another's or another computation's payload",
            "another stage's payload",
        ],
    ),
    (
        "ciphertexts whose halves are equal or opposite",
        &[
            "equal halves",
            "opposite halves",
            "equal halves for the aggregator",
            "opposite halves for the aggregator",
            "an id for all of a register",
            "an id for all of a register, for the aggregator",
            "a flag for another",
            "a cell for another",
        ],
    ),
    (
        "the same, or another stage's registers",
        &["equal halves", "opposite halves", "another stage's payload"],
    ),
];

/// What comes of a row, as its cells say, in words that deviations have, too.
fn promised(outcome: &str, record: &str) -> &'static str {
    if record.contains("`consent.refused`") {
        "consent.refused"
    } else if record.starts_with("`payload.refused`") {
        "payload.refused"
    } else if record.starts_with("the failure alone") {
        "a failure"
    } else if outcome.contains("nothing](#what-goes-unnoticed)") || outcome == "it is not read" {
        "nothing"
    } else {
        panic!("what comes of it? | {outcome} | {record} |")
    }
}

fn comes(deviation: &Deviation) -> &'static str {
    match deviation.comes {
        Comes::Refused { event, .. } => event,
        Comes::Fails { .. } => "a failure",
        Comes::Unnoticed => "nothing",
    }
}

#[test]
fn the_page_says_what_comes_of_each_deviation() {
    let tables =
        [table::liquid_legions(), table::ristretto255(), table::reach_only(), table::share_shuffle()];
    let tried: BTreeSet<_> =
        tables.iter().flatten().map(|deviation| (deviation.what, comes(deviation))).collect();

    let section = PAGE.split("\n## What a duchy may send\n").nth(1).expect("the section");
    let section = section.split("\n## ").next().expect("a beginning");
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let mut told = BTreeSet::new();
    let mut left: Vec<_> = ROWS.to_vec();
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [what, outcome, record] = cells[..] else { panic!("not three cells: {row}") };
        let place = left.iter().position(|(beginning, _)| what.starts_with(beginning));
        let (_, deviations) = left.remove(place.unwrap_or_else(|| panic!("nobody tries it: {row}")));
        told.extend(deviations.iter().map(|deviation| (*deviation, promised(outcome, record))));
    }
    assert_eq!(left, [], "not on the page");
    assert_eq!(told, tried, "told by the page, and tried");
}
