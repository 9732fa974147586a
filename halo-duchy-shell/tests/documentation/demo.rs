//! What the README shows of a demo is what one prints, but for the figures.

use std::collections::BTreeMap;
use std::process::Command;

use crate::assert_none;
use crate::pages;

/// A line without its bars, and with 0 for each number but the true reach, which never changes.
fn shape(line: &str) -> String {
    let mut words = Vec::new();
    for word in line.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)) {
        let number = word.trim_matches(|c| "()+-%,".contains(c)).parse::<f64>().is_ok();
        words.push(if number && words.last() != Some(&"true") { "0" } else { word });
    }
    words.join(" ")
}

/// How often each shape comes in a text.
fn shapes(text: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for shape in text.lines().map(shape).filter(|shape| !shape.is_empty()) {
        *counts.entry(shape).or_default() += 1;
    }
    counts
}

#[test]
fn the_readme_shows_what_a_demo_prints() {
    let all = pages::all();
    let readme = all.iter().find(|page| page.path == "README.md").expect("the README");
    let code = readme.code();
    let shown = code.iter().find(|code| code.language == Some("text")).expect("what a demo prints");
    let output = Command::new(env!("CARGO_BIN_EXE_halo-duchy")).arg("demo").output().expect("the program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout);
    let found = shapes(&printed);
    let wrong: Vec<_> = shapes(&shown.text)
        .into_iter()
        .filter(|(shape, count)| found.get(shape).is_none_or(|found| found < count))
        .map(|(shape, count)| format!("{}: a demo has no {count} of `{shape}`", shown.place()))
        .collect();
    assert!(wrong.is_empty(), "{printed}");
    assert_none(&wrong);
}

#[test]
fn a_shape_has_no_figures() {
    assert_eq!(shape("   10+      0.0272   0.0030    0.0283  ███│"), "0 0 0 0");
    assert_eq!(shape("  reach    estimated   2074   true   2048"), "reach estimated 0 true 2048");
    assert_eq!(shape("  worker1   SETUP_PHASE  0.23  3207"), "worker1 SETUP_PHASE 0 0");
}
