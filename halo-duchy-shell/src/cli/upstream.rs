//! Upstream's flags that our processes do not have: those accepted without effect, and those refused with advice. A
//! flag that neither clap nor this table knows is an error of clap's.

use std::ffi::OsString;

use super::CliError;

/// What becomes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is taken and has no effect; a warning says why.
    Ignored,
    /// It is an error, which says what to do.
    Refused,
}

/// A flag of upstream's that no command of ours has.
#[derive(Clone, Copy, Debug)]
pub(super) struct UpstreamFlag {
    pub(super) name: &'static str,
    pub(super) fate: Fate,
    /// Why it has no effect, or what to do.
    pub(super) advice: &'static str,
}

const CLOUD_SQL: &str = "run Google's Cloud SQL Auth Proxy beside the process, which logs in by IAM, and name its port \
    on this machine with --postgres-host and --postgres-port";
const FORWARDED: &str = "blobs are kept in files, S3 or Google Cloud Storage, without a server between: name the store with --blobs";

/// Flags of databases and blob stores come with upstream's images; ours chooses by flags.
pub(super) const UPSTREAM: &[UpstreamFlag] = &[
    ignored(
        "--default-service-config",
        "deadlines and retries are built in: 30 s, ten attempts while UNAVAILABLE",
    ),
    ignored("--google-cloud-storage-use-grpc", "Google Cloud Storage is reached by its XML API over HTTPS"),
    refused("--forwarded-storage-service-target", FORWARDED),
    refused("--forwarded-storage-cert-host", FORWARDED),
    ignored("--spanner-ready-timeout", "a process waits up to 10 s for Spanner to answer before it ends"),
    ignored("--spanner-async-thread-pool-size", "calls of Spanner take no threads of their own"),
    refused("--postgres-cloud-sql-connection-name", CLOUD_SQL),
];

const fn ignored(name: &'static str, advice: &'static str) -> UpstreamFlag {
    UpstreamFlag { name, fate: Fate::Ignored, advice }
}

const fn refused(name: &'static str, advice: &'static str) -> UpstreamFlag {
    UpstreamFlag { name, fate: Fate::Refused, advice }
}

/// The arguments without the flags that have no effect, and a warning for each of those.
///
/// # Errors
/// [`CliError::Flag`] for a flag that is refused.
#[allow(clippy::result_large_err, reason = "once, at the start of a process")]
pub(super) fn screen(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(Vec<OsString>, Vec<String>), CliError> {
    let (mut kept, mut warnings) = (Vec::new(), Vec::new());
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        let (name, inline) = text.split_once('=').map_or((&*text, false), |(name, _)| (name, true));
        match UPSTREAM.iter().find(|flag| flag.name == name) {
            None => kept.push(argument),
            Some(flag) if flag.fate == Fate::Refused => return Err(CliError::flag(flag.name, flag.advice)),
            Some(flag) => {
                warnings.push(format!("{} has no effect: {}", flag.name, flag.advice));
                if !inline {
                    // Its value, unless another flag follows.
                    arguments.next_if(|next| !next.to_string_lossy().starts_with("--"));
                }
            }
        }
    }
    Ok((kept, warnings))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use clap::{Arg, Command, CommandFactory};

    use super::*;
    use crate::cli::Cli;

    fn screened(arguments: &[&str]) -> Result<(Vec<OsString>, Vec<String>), CliError> {
        screen(arguments.iter().map(OsString::from))
    }

    #[test]
    fn flags_without_effect_are_dropped_with_their_values() {
        for given in [
            &["a", "--default-service-config", "file", "--port=1"][..],
            &["a", "--default-service-config=file", "--port=1"],
            &["a", "--default-service-config", "--port=1"],
        ] {
            let (kept, warnings) = screened(given).expect("accepted");
            assert_eq!(kept, ["a", "--port=1"]);
            assert!(warnings[0].starts_with("--default-service-config has no effect"), "{warnings:?}");
        }
    }

    #[test]
    fn refused_flags_say_what_to_do() {
        let error = screened(&["a", "--forwarded-storage-cert-host=x"]).expect_err("refused");
        let report = error.report();
        assert!(
            report.starts_with("--forwarded-storage-cert-host: ") && report.contains("--blobs"),
            "{report}"
        );
        assert_eq!(error.exit_code(), std::process::ExitCode::from(2));
    }

    /// Every command that takes arguments, with its name from the program's on, each before its own subcommands.
    fn with_arguments(name: &str, command: &Command) -> Vec<(String, Command)> {
        let own = command.get_arguments().next().map(|_| (name.to_owned(), command.clone()));
        let below = command.get_subcommands().flat_map(|below| {
            let name = format!("{name} {}", below.get_name());
            with_arguments(name.trim_start(), below)
        });
        own.into_iter().chain(below).collect()
    }

    /// What may be given, if that is a choice of words other than a yes or no.
    fn choices(argument: &Arg) -> String {
        let values = argument.get_possible_values();
        let names: Vec<_> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
        match names[..] {
            [] => String::new(),
            _ if ["`true`", "`false`"] == names[..] => String::new(),
            _ => format!(": {}", names.join(", ")),
        }
    }

    /// `docs/flags.md` as the definitions have it.
    fn page(before: &str) -> String {
        let mut page = format!("{before}<!-- from here on: cli/upstream.rs -->\n");
        for (name, command) in with_arguments("", &Cli::command()) {
            let _ = write!(page, "\n## {name}\n\n| flag | default | meaning |\n|---|---|---|\n");
            for argument in command.get_arguments() {
                let flag = match argument.get_long() {
                    Some(long) => format!("--{long}"),
                    None => argument.get_value_names().unwrap_or_default().join(" "),
                };
                assert!(UPSTREAM.iter().all(|upstream| upstream.name != flag), "{name} has {flag}");
                let default: Vec<_> =
                    argument.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
                let default = match (argument.is_required_set(), default.join(", ")) {
                    (true, _) => "required".to_owned(),
                    (false, default) => default,
                };
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                let _ = writeln!(
                    page,
                    "| `{flag}` | {default} | {}{} |",
                    help.replace('|', "\\|").replace('\n', " "),
                    choices(argument)
                );
            }
        }
        page.push_str("\n## Upstream's flags that no process has\n\n| flag | what becomes of it | why, or what to do |\n|---|---|---|\n");
        for flag in UPSTREAM {
            let fate = match flag.fate {
                Fate::Ignored => "accepted without effect, with a warning",
                Fate::Refused => "refused",
            };
            let _ = writeln!(page, "| `{}` | {fate} | {} |", flag.name, flag.advice);
        }
        page
    }

    #[test]
    fn the_page_lists_every_flag() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/flags.md");
        let found = std::fs::read_to_string(&path).expect("docs/flags.md");
        let before = found.split("<!-- from here on").next().unwrap_or_default();
        let expected = page(before);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &expected).expect("written");
        } else {
            assert_eq!(found, expected, "run this test with UPDATE_DOCS=1 and read what changed");
        }
    }
}
