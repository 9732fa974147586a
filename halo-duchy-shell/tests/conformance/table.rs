//! `docs/status-codes.md`: which input ends with which status, written from the cases that the suites run.

use std::fmt::Write;
use std::path::Path;

use halo_duchy_shell::telemetry::rpc::code_name;

use crate::case::Suite;
use crate::{computations, control, fulfillment, internal};

const MARK: &str = "<!-- from here on: halo-duchy-shell/tests/conformance -->";

/// What the test asserts of each RPC, as tables.
fn tables() -> String {
    let suites = [
        computations::suite(),
        internal::computation_stats(),
        internal::continuation_tokens(),
        internal::async_computation_control(),
        control::suite(),
        fulfillment::suite(),
    ];
    suites.iter().map(table).collect()
}

fn table(Suite { service, cases }: &Suite) -> String {
    let mut text = format!("\n## {service}\n\n| RPC | input | status |\n|---|---|---|\n");
    let mut rpcs: Vec<_> = cases.iter().map(|case| case.rpc).collect();
    rpcs.sort_by_key(|rpc| cases.iter().position(|case| case.rpc == *rpc));
    rpcs.dedup();
    for rpc in rpcs {
        for case in cases.iter().filter(|case| case.rpc == rpc) {
            writeln!(text, "| {rpc} | {} | `{}` |", case.input, code_name(case.code)).expect("text");
        }
    }
    text
}

#[test]
fn the_page_has_what_the_suites_assert() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/status-codes.md");
    let found = std::fs::read_to_string(&page).expect("the page");
    let (introduction, written) = found.split_once(MARK).expect("the mark");
    let tables = format!("\n{}", tables());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&page, format!("{introduction}{MARK}{tables}")).expect("writable");
    } else {
        let command = "UPDATE_DOCS=1 cargo test -p halo-duchy-shell --test conformance the_page_has";
        assert!(written == tables, "docs/status-codes.md is not what the suites assert: {command}");
    }
}

/// A pair of RPC and input is told once.
#[test]
fn no_input_has_two_rows() {
    let tables = tables();
    let rows: Vec<_> = tables
        .split("\n## ")
        .flat_map(|service| {
            service.lines().filter(|line| line.starts_with("| ")).map(move |line| {
                let input = line.rsplit_once(" | ").map(|(input, _)| input);
                (service.lines().next(), input)
            })
        })
        .collect();
    let distinct: std::collections::BTreeSet<_> = rows.iter().collect();
    assert_eq!(distinct.len(), rows.len());
    assert!(rows.len() > 150, "{}", rows.len());
}
