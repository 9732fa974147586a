//! Command lines of `halo-duchy` in the pages are understood by it, and every other one is known.

use std::collections::BTreeMap;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory};
use halo_duchy_shell::cli::Cli;

use crate::assert_none;
use crate::cargo;
use crate::pages::{self, Code};

const PROGRAM: &str = "halo-duchy";

/// Other programs in blocks for a shell, and why nobody tries them here.
const OTHERS: [(&str, &str); 18] = [
    ("cd", "the shell's own"),
    ("curl", "fetches Rust, from the network"),
    ("git", "fetches the repository, from the network"),
    ("grpcurl", "is not ours, and few machines have it"),
    ("head", "cuts what the command before prints"),
    ("helm", "takes a cluster; the chart is tried by tests/deployment"),
    ("kubectl", "takes a cluster; manifests are tried by tests/kubernetes"),
    ("pkcs11-tool", "takes a token; the tests make keys in one themselves"),
    ("printf", "is the shell's own"),
    ("sed", "is not ours"),
    ("seq", "is coreutils'"),
    ("sh", "runs what `curl` fetched"),
    ("sha256sum", "is coreutils'"),
    ("softhsm2-util", "makes a token; the tests do so themselves"),
    ("ssh", "takes another machine"),
    ("sudo", "takes root's rights"),
    ("tinkey", "is Tink's, and few machines have it"),
    (".", "the shell's own"),
];

/// Pages whose blocks are run as they stand, and so may hold any command.
const RUN: [&str; 3] = ["docs/by-hand.md", "docs/deployment/docker-compose.md", "examples/README.md"];

#[test]
fn the_program_understands_its_command_lines() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in pages::all() {
        for code in page.code() {
            for arguments in own_commands(&code) {
                seen += 1;
                let complaints = complaints(&code, &arguments);
                wrong.extend(
                    complaints
                        .into_iter()
                        .map(|why| format!("{}: {PROGRAM} {}: {why}", code.place(), arguments.join(" "))),
                );
            }
        }
    }
    assert_none(&wrong);
    assert!(seen > 80, "only {seen} command lines were found");
}

#[test]
fn every_command_of_a_block_is_known() {
    let mut wrong = Vec::new();
    let mut unused: BTreeMap<&str, &str> = OTHERS.into();
    for page in pages::all().iter().filter(|page| !RUN.contains(&page.path.as_str())) {
        for code in page.code().iter().filter(|code| code.is_shell()) {
            for words in code.commands() {
                let program = words.iter().find(|word| !is_assignment(word)).map_or("", String::as_str);
                let tried = ["", PROGRAM, "cargo"].contains(&program) || program.starts_with(".ci/");
                if !tried && !OTHERS.iter().any(|(other, _)| *other == program) {
                    wrong.push(format!("{}: `{program}` is not known to this test", code.place()));
                }
                unused.remove(program);
            }
        }
    }
    wrong.extend(unused.into_keys().map(|program| format!("no page has `{program}` any more")));
    assert_none(&wrong);
}

/// The arguments of each call of our program in `code`.
fn own_commands(code: &Code<'_>) -> Vec<Vec<String>> {
    let is_line = code.text.starts_with(PROGRAM) || code.text.starts_with("cargo run");
    if !(code.is_shell() || code.language.is_none() && is_line) {
        return Vec::new();
    }
    code.commands()
        .into_iter()
        .filter_map(|words| {
            let own = match words.first()?.as_str() {
                "cargo" => cargo::arguments_of_program(&words, PROGRAM)?,
                _ => words.iter().skip_while(|word| is_assignment(word)).cloned().collect(),
            };
            let (program, arguments) = own.split_first()?;
            // The beginning of a function of that name is no call.
            let begins = arguments.is_empty() && code.text.contains(&format!("{PROGRAM}() {{"));
            (program == PROGRAM && !begins).then(|| arguments.to_vec())
        })
        .collect()
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_' || c.is_ascii_lowercase())
    })
}

/// What the program would say against a command line, but for what the page leaves out.
fn complaints(code: &Code<'_>, arguments: &[String]) -> Vec<String> {
    let is_dots = |word: &str| word == "…" || word == "..." || word.contains("[@]");
    // A mere name in prose is no whole command line.
    let cut = code.language.is_none() || arguments.iter().any(|word| is_dots(word));
    let given: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| !is_dots(word)).collect();
    if given.first() == Some(&"help") {
        return unknown_subcommand(&given[1..]).into_iter().collect();
    }
    let mut wrong = unknown_flags(&given);
    if let Err(error) = Cli::command().try_get_matches_from([PROGRAM].iter().chain(&given)) {
        let excused = match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => cut,
            ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
                given.iter().any(|word| is_placeholder(word))
            }
            _ => false,
        };
        if !excused {
            wrong.extend(error.to_string().lines().next().map(str::to_owned));
        }
    }
    wrong
}

/// Whether a word stands for others: ADDRESS, HOST:PORT, sqlite:FILE, "$1".
fn is_placeholder(word: &str) -> bool {
    let capital = |part: &str| part.len() > 1 && part.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    word.contains('$') || word.split([':', '=', '/', '@', '.']).any(capital)
}

/// Flags that the subcommand lacks. The program's own error names the first thing that is wrong alone.
fn unknown_flags(given: &[&str]) -> Vec<String> {
    let mut command = Cli::command();
    let mut wrong = Vec::new();
    for word in given {
        if let Some(found) = command.find_subcommand(word).cloned() {
            command = found;
        } else if let Some(flag) = word.strip_prefix("--") {
            let name = flag.split('=').next().unwrap_or_default();
            let known = |argument: &clap::Arg| argument.get_long() == Some(name);
            if !command.get_arguments().any(known) && !["help", "version"].contains(&name) {
                wrong.push(format!("there is no --{name}"));
            }
        }
    }
    wrong
}

/// What follows `help`, if it is no subcommand and does not stand for one.
fn unknown_subcommand(names: &[&str]) -> Option<String> {
    let mut command: Command = Cli::command();
    for name in names.iter().filter(|name| !is_placeholder(name)) {
        match command.find_subcommand(name).cloned() {
            Some(found) => command = found,
            None => return Some(format!("there is no subcommand {name}")),
        }
    }
    None
}

#[test]
fn what_is_wrong_is_noticed() {
    let page = pages::Page {
        path: "page.md".into(),
        text: "```sh\nhalo-duchy serve --no-flag …\n```\n`halo-duchy nothing`\n\
               ```sh\nhalo-duchy demo --protocol none\nhalo-duchy demo --protocol PROTOCOL\nhalo-duchy pki\n```\n"
            .into(),
    };
    let wrong: Vec<Vec<String>> = page
        .code()
        .iter()
        .flat_map(|code| own_commands(code).iter().map(|own| complaints(code, own)).collect::<Vec<_>>())
        .collect();
    let first = |index: usize| wrong[index].first().cloned().unwrap_or_default();
    assert_eq!(first(0), "there is no --no-flag");
    assert!(first(1).contains("unrecognized subcommand 'nothing'"), "{wrong:?}");
    assert!(first(2).contains("invalid value 'none'"), "{wrong:?}");
    assert!(wrong[3].is_empty(), "{wrong:?}");
    assert!(first(4).contains("required"), "{wrong:?}");
}
