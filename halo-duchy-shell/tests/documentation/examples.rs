//! The page of examples has a row for each. What they print, `examples/tests` sees.

use crate::assert_none;
use crate::cargo;
use crate::pages;

const PAGE: &str = "examples/README.md";

#[test]
fn every_example_is_in_the_table() {
    let all = pages::all();
    let page = all.iter().find(|page| page.path == PAGE).expect("the page");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for package in cargo::PACKAGES {
        let folder = format!("{}/examples", cargo::folder(package));
        let files = pages::files(cargo::folder(package));
        for file in files.iter().filter(|path| path.starts_with(&folder) && path.ends_with(".rs")) {
            seen += 1;
            let name = file.rsplit('/').next().and_then(|name| name.strip_suffix(".rs")).expect("a name");
            let link = file.strip_prefix("examples/").map_or_else(|| format!("../{file}"), str::to_owned);
            let row = page.text.lines().find(|line| line.starts_with(&format!("| [`{name}`]({link}) |")));
            // That cargo finds it is seen where all commands are.
            if !row.is_some_and(|row| row.contains(&format!("--example {name}"))) {
                wrong.push(format!("{PAGE}: no row for {file} with its command"));
            }
        }
    }
    assert_none(&wrong);
    assert!(seen > 8, "only {seen} examples were found");
}

/// So says the page, and the embedding guide.
#[test]
fn the_front_page_has_a_reach_in_30_lines() {
    let all = pages::all();
    let page = all.iter().find(|page| page.path == "halo-protocols/README.md").expect("the page");
    let code = page.code();
    let program = code.iter().find(|code| code.text.contains("fn main()")).expect("a program");
    assert_eq!(program.text.lines().filter(|line| !line.is_empty()).count(), 30);
}
