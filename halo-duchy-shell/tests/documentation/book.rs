//! The book: its pages are in its summary, and links lead to headings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::assert_none;
use crate::pages::{self, Page};

const SUMMARY: &str = "docs/SUMMARY.md";

/// The targets of links in a text, but for those in code.
fn links(page: &Page) -> Vec<String> {
    let mut text = String::new();
    let mut code = false;
    for line in page.text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if !code {
            text.push_str(line);
            text.push('\n');
        }
    }
    let prose: String = text.split('`').step_by(2).collect();
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// `path` without `.` and `..`.
pub fn normal(path: &Path) -> String {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::Normal(part) => normal.push(part),
            _ => {}
        }
    }
    normal.to_string_lossy().into_owned()
}

fn target_of(page: &Page, target: &str) -> String {
    normal(&Path::new(&page.path).parent().unwrap_or(Path::new("")).join(target))
}

#[test]
fn every_page_is_in_the_summary() {
    let all = pages::all();
    let summary = all.iter().find(|page| page.path == SUMMARY).expect("a summary");
    let listed: BTreeSet<String> = links(summary).iter().map(|target| target_of(summary, target)).collect();
    let there: BTreeSet<String> = all
        .iter()
        .map(|page| page.path.clone())
        .filter(|path| path.starts_with("docs/") && path != SUMMARY)
        .collect();
    let missing = there.difference(&listed).map(|path| format!("{path} is not in {SUMMARY}"));
    let broken = listed.difference(&there).map(|path| format!("{SUMMARY} names {path}, which is not there"));
    assert_none(&missing.chain(broken).collect::<Vec<_>>());
}

/// As GitHub and mdBook name a heading: in small letters, with `-` for spaces and without what is no letter, digit, `-` or `_`.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().flat_map(char::to_lowercase);
    kept.filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || "-_".contains(c) => Some(c),
        _ => None,
    })
    .collect()
}

/// The names of a page's headings. Of equal ones the second ends in `-1`.
pub fn anchors(page: &Page) -> BTreeSet<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let mut code = false;
    let mut found = BTreeSet::new();
    for line in page.text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        let heading = line.trim_start_matches('#');
        if !code && heading.len() < line.len() && heading.starts_with(' ') {
            let name = anchor(heading);
            let count = seen.entry(name.clone()).or_default();
            found.insert(if *count == 0 { name } else { format!("{name}-{count}") });
            *count += 1;
        }
    }
    found
}

/// That there are such files, `.ci/check-links` says.
#[test]
fn links_to_headings_lead_to_one() {
    let all = pages::all();
    let headings: BTreeMap<&str, BTreeSet<String>> =
        all.iter().map(|page| (page.path.as_str(), anchors(page))).collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in &all {
        for link in links(page).iter().filter(|link| !link.contains("://")) {
            let Some((target, heading)) = link.split_once('#') else { continue };
            let target = if target.is_empty() { page.path.clone() } else { target_of(page, target) };
            let Some(there) = headings.get(target.as_str()) else { continue };
            seen += 1;
            if !there.contains(heading) {
                wrong.push(format!("{}: {target} has no heading #{heading}", page.path));
            }
        }
    }
    assert_none(&wrong);
    assert!(seen > 50, "only {seen} links were found");
}

/// The front page of a crate is shown by crates.io and docs.rs too, where nothing is beside it and no name is resolved.
#[test]
fn front_pages_of_crates_link_to_the_web() {
    const REPOSITORY: &str = "https://github.com/halo-duchy/halo-duchy/blob/main/";
    let all = pages::all();
    let mut wrong = Vec::new();
    for path in ["halo-crypto/README.md", "halo-protocols/README.md", "halo-duchy-shell/README.md"] {
        let page = all.iter().find(|page| page.path == path).expect("the page");
        for link in links(page) {
            let Some(target) = link.strip_prefix(REPOSITORY) else {
                if !link.starts_with("https://") {
                    wrong.push(format!("{path}: {link} leads nowhere on crates.io"));
                }
                continue;
            };
            let (file, heading) = target.split_once('#').map_or((target, None), |(f, h)| (f, Some(h)));
            let there = all.iter().find(|page| page.path == file);
            if !pages::root().join(file).exists() {
                wrong.push(format!("{path}: there is no {file}"));
            } else if heading
                .is_some_and(|heading| !there.is_some_and(|page| anchors(page).contains(heading)))
            {
                wrong.push(format!("{path}: {target} is no heading"));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn headings_are_named_as_github_names_them() {
    assert_eq!(anchor(" What each party learns"), "what-each-party-learns");
    assert_eq!(anchor(" `Effect`s, and why: it's so"), "effects-and-why-its-so");
    let page = Page { path: "p".into(), text: "# A\n```sh\n# no heading\n```\n## A\n#[no]\n".into() };
    assert_eq!(anchors(&page), BTreeSet::from(["a".into(), "a-1".into()]));
}

/// A block that says nothing of its language is one of Rust to rustdoc, and to a reader nothing. Lines that rustdoc hides are
/// seen on crates.io and GitHub, and without them what is copied is no program.
#[test]
fn every_block_says_what_it_is() {
    // Pages that are a crate's documentation hold Rust, and rustdoc tries it.
    let rust = [
        "halo-crypto/README.md",
        "halo-protocols/README.md",
        "halo-duchy-shell/README.md",
        "docs/embedding.md",
    ];
    let known = ["sh", "console", "text", "toml", "textproto", "yaml", "json"];
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in pages::all() {
        for code in page.code() {
            let tried = rust.contains(&page.path.as_str());
            match code.language {
                Some("rust") if tried => {
                    seen += 1;
                    let hidden = |line: &str| line.trim() == "#" || line.trim_start().starts_with("# ");
                    if code.text.lines().any(hidden) {
                        wrong.push(format!("{}: a line is hidden", code.place()));
                    }
                    if !code.text.contains("fn main() ") {
                        wrong.push(format!("{}: no whole program", code.place()));
                    }
                }
                Some(language) if !known.contains(&language) => {
                    wrong.push(format!("{}: a block of `{language}`, which nobody tries", code.place()));
                }
                _ => {}
            }
        }
    }
    assert_none(&wrong);
    assert!(seen > 8, "only {seen} programs were found");
}
