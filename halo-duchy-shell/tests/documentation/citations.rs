//! What comments of the Rust sources cite of the documentation is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::assert_none;
use crate::book::{anchors, normal};
use crate::pages;

const REPOSITORY: &str = "https://github.com/halo-duchy/halo-duchy/blob/main/";

/// What programs write, which is no page of the documentation.
const WRITTEN: [&str; 1] = ["bench-report.md"];

/// The headings of each page.
type Pages = BTreeMap<String, BTreeSet<String>>;

fn headings() -> Pages {
    pages::all().into_iter().map(|page| (page.path.clone(), anchors(&page))).collect()
}

/// The comment of a line: what is behind the first `//` that is not part of an address.
fn comment(line: &str) -> Option<&str> {
    let (start, _) = line.match_indices("//").find(|(index, _)| !line[..*index].ends_with(':'))?;
    Some(&line[start..])
}

/// Whether a path may have this character.
fn in_path(character: char) -> bool {
    character.is_ascii_alphanumeric() || "/._-#:".contains(character)
}

/// What is wrong with what a line of the file at `path` cites: a page (`….md`, from the root of the repository, beside the file, or by
/// its address in this one) that is not there, one of its headings (`#…`) that it lacks, or a section (`§`) of anything but an RFC.
fn wrong(path: &str, line: &str, pages: &Pages) -> Vec<String> {
    let Some(comment) = comment(line) else { return Vec::new() };
    let mut wrong = Vec::new();
    for cited in comment.split(|character| !in_path(character)) {
        let cited = cited.trim_end_matches(['.', ':', '#']);
        let (page, heading) = cited.split_once('#').map_or((cited, None), |(page, name)| (page, Some(name)));
        let address = page.strip_prefix(REPOSITORY);
        if !page.ends_with(".md") || (page.contains("://") && address.is_none()) || WRITTEN.contains(&page) {
            continue;
        }
        let beside = Path::new(path).parent().map(|folder| normal(&folder.join(page)));
        let named = [Some(address.unwrap_or(page).to_owned()), beside];
        match named.into_iter().flatten().find_map(|name| pages.get(&name)) {
            None => wrong.push(format!("there is no {page}")),
            Some(headings) => wrong.extend(
                heading
                    .filter(|name| !headings.contains(*name))
                    .map(|name| format!("{page} has no heading #{name}")),
            ),
        }
    }
    for (index, _) in comment.match_indices('§') {
        let before: Vec<_> = comment[..index].split_whitespace().rev().take(2).collect();
        let of_an_rfc = matches!(before[..], [number, "RFC" | "(RFC"] if number.parse::<u32>().is_ok());
        if !of_an_rfc {
            wrong.push("a `§` of no page: cite a heading, `docs/PAGE.md#HEADING`".to_owned());
        }
    }
    wrong
}

#[test]
fn comments_cite_pages_that_are_there() {
    let pages = headings();
    let mut all = Vec::new();
    let mut cited = 0;
    for path in pages::files("").into_iter().filter(|path| path.ends_with(".rs")) {
        let text = std::fs::read_to_string(pages::root().join(&path)).expect("a source");
        // This one says what is wrong.
        if path.ends_with("tests/documentation/citations.rs") {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            cited += comment(line).map_or(0, |comment| comment.matches(".md").count());
            let wrong = wrong(&path, line, &pages);
            all.extend(wrong.into_iter().map(|wrong| format!("{path}:{}: {wrong}", index + 1)));
        }
    }
    assert_none(&all);
    assert!(cited > 50, "only {cited} pages are cited");
}

#[test]
fn a_citation_of_what_is_not_there_is_found() {
    let headings = |names: &[&str]| names.iter().map(|name| String::from(*name)).collect();
    let pages = Pages::from([
        ("docs/protocols/llv2.md".into(), headings(&["setup"])),
        ("fuzz/README.md".into(), headings(&[])),
    ]);
    let wrong = |line: &str| wrong("fuzz/src/lib.rs", line, &pages);
    let fine = [
        "//! Sorted (docs/protocols/llv2.md#setup).",
        "    /// See [it](https://github.com/halo-duchy/halo-duchy/blob/main/docs/protocols/llv2.md#setup), ../README.md.",
        "// Upstream's: https://example.org/llv2.md §B2 is no page of ours, RFC 9180 §5.1 neither.",
        "    let page = \"crypto.md §A2\";",
    ];
    // An address does not make its section one of an RFC.
    assert_eq!(fine.map(|line| wrong(line).len()), [0, 0, 1, 0]);
    for (line, about) in [
        ("//! Sorted (llv2.md#setup).", "there is no llv2.md"),
        ("let x = 1; // (crypto.md)", "there is no crypto.md"),
        ("/// docs/protocols/llv2.md#set-up", "no heading #set-up"),
        ("/// (https://github.com/halo-duchy/halo-duchy/blob/main/docs/none.md)", "docs/none.md"),
        ("//! which splits (§E4).", "`§` of no page"),
        ("//! See docs/protocols/llv2.md §B2.", "`§` of no page"),
    ] {
        let found = wrong(line);
        assert!(matches!(&found[..], [only] if only.contains(about)), "{line}: {found:?}");
    }
}
