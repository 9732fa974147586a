//! What pages tell cargo, and `.ci/run`, to do can be done: packages, tests, benches, examples and steps of these names exist.

use std::fs;

use crate::assert_none;
use crate::pages::{self, Page};

pub const PACKAGES: [&str; 6] =
    ["halo-crypto", "halo-protocols", "halo-duchy-shell", "halo-benches", "halo-examples", "halo-fuzz"];

/// The folder of a package.
pub fn folder(package: &str) -> &str {
    match package {
        "halo-benches" => "benches",
        "halo-examples" => "examples",
        "halo-fuzz" => "fuzz",
        same => same,
    }
}

/// The words after `--`, behind the program's name, if these words let cargo run it.
pub fn arguments_of_program(words: &[String], program: &str) -> Option<Vec<String>> {
    let position = words.iter().position(|word| word == "--bin")?;
    if words.get(1)? != "run" || words.get(position + 1)? != program {
        return None;
    }
    let own = words.iter().skip_while(|word| *word != "--").skip(1);
    Some([program.to_owned()].into_iter().chain(own.cloned()).collect())
}

#[test]
fn what_cargo_is_told_to_do_exists() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    // A changelog tells of the past.
    let other = |page: &&Page| page.path != "CHANGELOG.md";
    for page in pages::all().iter().filter(other) {
        for code in page.code() {
            let is_line = code.language.is_none()
                && ["cargo ", ".ci/run"].iter().any(|start| code.text.contains(start))
                && !code.text.contains('…');
            if !code.is_shell() && !is_line {
                continue;
            }
            for words in code.commands() {
                let complaint = match words.iter().position(|word| word == "cargo" || word == ".ci/run") {
                    Some(at) if words[at] == "cargo" => missing(&words[at + 1..]),
                    Some(at) => missing_step(&words[at + 1..]),
                    None => continue,
                };
                seen += 1;
                wrong.extend(complaint.map(|why| format!("{}: {}: {why}", code.place(), words.join(" "))));
            }
        }
    }
    assert_none(&wrong);
    assert!(seen > 50, "only {seen} commands were found");
}

/// What a cargo command names that does not exist.
pub fn missing(words: &[String]) -> Option<String> {
    let until = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let (own, passed) = (&words[..until], words.get(until + 1..).unwrap_or_default());
    let value = |flags: &[&str]| {
        let at = own.iter().position(|word| flags.contains(&word.as_str()))?;
        own.get(at + 1).map(String::as_str)
    };
    let package = value(&["-p", "--package"]);
    if let Some(unknown) = package.filter(|package| !PACKAGES.contains(package)) {
        return Some(format!("there is no package {unknown}"));
    }
    let packages =
        || PACKAGES.into_iter().filter(move |known| package.is_none_or(|package| package == *known));
    for (flag, below) in
        [("--test", "tests"), ("--bench", "benches"), ("--example", "examples"), ("--bin", "src/main.rs")]
    {
        let Some(name) = value(&[flag]) else { continue };
        let exists = packages().any(|package| {
            let below = pages::root().join(folder(package)).join(below);
            // A program is called as its package says.
            below.is_file() && name == "halo-duchy"
                || below.join(format!("{name}.rs")).exists()
                || below.join(name).join("main.rs").exists()
        });
        if !exists {
            return Some(format!("no {flag} {name}"));
        }
    }
    if own.first().is_none_or(|command| command != "test") {
        return None;
    }
    // A test is named before the `--` or after it.
    let with_values =
        ["-p", "--package", "--test", "--bench", "--example", "--bin", "--manifest-path", "--features"];
    let named = |words: &[String]| {
        let mut skip = false;
        let filter = |word: &&String| {
            let value = std::mem::replace(&mut skip, with_values.contains(&word.as_str()));
            !value && !word.starts_with('-')
        };
        words.iter().filter(filter).cloned().collect::<Vec<_>>()
    };
    let filters = [named(&own[1..]), named(passed)].concat();
    filters.into_iter().find_map(|filter| {
        let part = filter.rsplit("::").next().unwrap_or_default().to_owned();
        let holds = |path: &String| {
            path.ends_with(".rs")
                && fs::read_to_string(pages::root().join(path)).is_ok_and(|text| text.contains(&part))
        };
        let found = packages().flat_map(|package| pages::files(folder(package))).any(|path| holds(&path));
        (!found).then(|| format!("no test is called {filter}"))
    })
}

/// A step that `.ci/run` lacks.
fn missing_step(words: &[String]) -> Option<String> {
    let script = fs::read_to_string(pages::root().join(".ci/run")).expect("the script");
    let steps =
        script.lines().find_map(|line| line.strip_prefix("steps=(")?.strip_suffix(')')).expect("its steps");
    let unknown =
        words.iter().find(|word| !word.starts_with('-') && !steps.split(' ').any(|step| step == *word));
    unknown.map(|step| format!("no step {step}"))
}

#[test]
fn what_is_missing_is_noticed() {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(missing(&words("test -p halo-none")), Some("there is no package halo-none".into()));
    assert_eq!(missing(&words("bench -p halo-benches --bench none")), Some("no --bench none".into()));
    let unnamed = format!("test -p halo-crypto --lib {}", ["nobody", "is", "called", "so"].join("_"));
    assert_eq!(missing(&words(&unnamed)), Some("no test is called nobody_is_called_so".into()));
    assert_eq!(missing(&words("run --release --bin halo-duchy -- demo")), None);
    assert_eq!(missing_step(&words("none")), Some("no step none".into()));
}
