use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use super::Cli;

const DUCHY: &[&str] = &["--duchy-name=worker1"];
const TLS: &[&str] = &["--tls-cert-file=tls.pem", "--tls-key-file=tls.key", "--cert-collection-file=all.pem"];
const SERVER: &[&str] = &[
    "--port=9443",
    "--health-port=9080",
    "--require-client-auth=true",
    "--debug-verbose-grpc-server-logging=true",
    "--shutdown-grace-period-seconds=5",
    "--grpc-thread-pool-size=4",
];
const INTERNAL_API: &[&str] = &[
    "--computations-service-target=internal:8443",
    "--computations-service-cert-host=localhost",
    "--computations-default-deadline=10s",
];
const ASYNC_CONTROL: &[&str] = &[
    "--async-computation-control-service-target=async:8443",
    "--async-computation-control-service-cert-host=localhost",
    "--async-computation-control-default-deadline=1m30s",
];
const KINGDOM: &[&str] =
    &["--kingdom-system-api-target=kingdom:8443", "--kingdom-system-api-cert-host=localhost"];
const KINGDOM_PUBLIC: &[&str] =
    &["--kingdom-public-api-target=kingdom:8444", "--kingdom-public-api-cert-host=localhost"];
const SETUP: &[&str] = &["--protocols-setup-config=setup.textproto"];
const KEY_ENCRYPTION: &[&str] = &["--key-encryption-key-file=kek.tink"];
const DUCHY_INFO: &[&str] = &["--duchy-info-config=duchies.textproto"];
const HERALD: &[&str] = &["--deletable-computation-state=SUCCEEDED", "--deletable-computation-state=FAILED"];
const CLIENT: &[&str] = &["--channel-shutdown-timeout=3s"];
const PRINCIPALS: &[&str] = &["--authority-key-identifier-to-principal-map-file=principals.textproto"];
const MILL: &[&str] = &[
    "--duchy-computation-control-target=aggregator=aggregator:8443",
    "--duchy-computation-control-target=worker2=worker2:8443",
    "--work-lock-duration=5m",
    "--bytes-per-chunk=32768",
    "--parallelism=2",
    "--consent-signaling-certificate-resource-name=duchies/worker1/certificates/1",
    "--consent-signaling-private-key-der-file=cs.der",
    "--consent-signaling-certificate-der-file=cs_cert.der",
];
const SCHEDULER: &[&str] = &[
    "--deployment-name=worker1-mill-job-scheduler-deployment",
    "--polling-delay=2s",
    "--successful-jobs-history-limit=3",
    "--failed-jobs-history-limit=1",
    "--llv2-pod-template-name=worker1-llv2-mill",
    "--llv2-maximum-concurrency=10",
    "--llv2-work-lock-duration=10m",
    "--hmss-pod-template-name=worker1-hmss-mill",
    "--hmss-maximum-concurrency=5",
    "--hmss-work-lock-duration=5m",
];
/// Ours: upstream's come with the image.
const STORE: &[&str] = &["--store=sqlite:worker1.sqlite"];
const BLOBS: &[&str] = &["--blob-directory=blobs"];
const CLEANER: &[&str] = &["--computations-time-to-live=180d", "--rpc-deadline-duration=5m", "--dry-run"];

/// Upstream's flags for each process, and ours for database and blobs.
fn command_lines() -> [(&'static str, Vec<&'static [&'static str]>); 10] {
    [
        (
            "herald",
            vec![DUCHY, TLS, KINGDOM, INTERNAL_API, DUCHY_INFO, SETUP, KEY_ENCRYPTION, HERALD, CLIENT],
        ),
        (
            "llv2-mill",
            vec![
                DUCHY,
                TLS,
                KINGDOM,
                INTERNAL_API,
                DUCHY_INFO,
                KEY_ENCRYPTION,
                MILL,
                CLIENT,
                BLOBS,
                &["--mill-id=mill-7"],
            ],
        ),
        ("internal-api-server", vec![DUCHY, TLS, SERVER, KINGDOM, CLIENT, STORE, BLOBS]),
        (
            "async-computation-control-server",
            vec![DUCHY, TLS, SERVER, INTERNAL_API, DUCHY_INFO, &["--max-advance-attempts=2147483647"]],
        ),
        (
            "computation-control-server",
            vec![DUCHY, TLS, SERVER, INTERNAL_API, ASYNC_CONTROL, DUCHY_INFO, BLOBS],
        ),
        (
            "requisition-fulfillment-server",
            vec![DUCHY, TLS, SERVER, INTERNAL_API, KINGDOM, PRINCIPALS, BLOBS],
        ),
        (
            "serve",
            vec![
                DUCHY,
                TLS,
                &SERVER[1..],
                KINGDOM,
                KINGDOM_PUBLIC,
                DUCHY_INFO,
                PRINCIPALS,
                SETUP,
                KEY_ENCRYPTION,
                HERALD,
                MILL,
                STORE,
                BLOBS,
            ],
        ),
        ("mill-job-scheduler", vec![DUCHY, TLS, INTERNAL_API, SCHEDULER, CLIENT]),
        (
            "hmss-mill",
            vec![
                DUCHY,
                TLS,
                KINGDOM,
                KINGDOM_PUBLIC,
                INTERNAL_API,
                DUCHY_INFO,
                SETUP,
                KEY_ENCRYPTION,
                PRINCIPALS,
                MILL,
                CLIENT,
                BLOBS,
                &["--mill-id=mill-7"],
            ],
        ),
        ("computations-cleaner", vec![TLS, &INTERNAL_API[..2], CLEANER, CLIENT]),
    ]
}

fn parse<'a>(subcommand: &'a str, flags: impl IntoIterator<Item = &'a str>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(["halo-duchy", subcommand].into_iter().chain(flags))
}

/// What is said about a command line that is refused.
fn refusal<'a>(subcommand: &'a str, flags: impl IntoIterator<Item = &'a str>) -> String {
    match parse(subcommand, flags) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => {
            assert_eq!(error.exit_code(), 2, "{error}");
            error.to_string()
        }
    }
}

#[test]
fn the_commands_are_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn every_flag_is_documented() {
    for subcommand in Cli::command().get_subcommands() {
        assert!(subcommand.get_about().is_some(), "{}", subcommand.get_name());
        for argument in subcommand.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {argument}", subcommand.get_name());
        }
    }
}

#[test]
fn upstreams_flags_are_accepted() {
    for (subcommand, flags) in command_lines() {
        let parsed = parse(subcommand, flags.into_iter().flatten().copied());
        assert!(parsed.is_ok(), "{subcommand}: {}", parsed.err().map(|e| e.to_string()).unwrap_or_default());
    }
}

/// What upstream's images with a database are told, each in its way.
#[test]
fn a_database_is_named_once() {
    let (_, server) = &command_lines()[2];
    let server = || server.iter().copied().flatten().copied().filter(|flag| !flag.starts_with("--store"));
    let spanner = ["--spanner-project=p", "--spanner-instance=i1", "--spanner-database=d1"];
    let postgres =
        ["--postgres-host=h", "--postgres-port=5432", "--postgres-database=d", "--postgres-user=u"];
    let secret =
        [&postgres[..3], &["--postgres-credential-secret-name=s", "--postgres-region=us-west-2"]].concat();
    let emulated = [&spanner[..], &["--spanner-emulator-host=localhost:9010"]].concat();
    for flags in [&spanner[..], &emulated, &postgres, &secret] {
        assert_eq!(
            refusal("internal-api-server", server().chain(flags.iter().copied())),
            "accepted",
            "{flags:?}"
        );
    }
    let file = "--store=sqlite:duchy.db";
    for (flags, named) in [
        (&[file, "--store=sqlite:other.db"][..], "--store"),
        (&[file, spanner[0], spanner[1], spanner[2]], "--spanner-database"),
        (&[file, postgres[0], postgres[2], postgres[3]], "--postgres-database"),
        (&[spanner[0], spanner[1], spanner[2], postgres[0], postgres[2]], "--postgres-database"),
        (&spanner[..2], "--spanner-database"),
        (&spanner[1..], "--spanner-project"),
    ] {
        let refusal = refusal("internal-api-server", server().chain(flags.iter().copied()));
        assert!(refusal.contains(named), "{flags:?}: {refusal}");
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_told_without_its_password() {
    use crate::cli::options::StoreOptions;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        store: StoreOptions,
    }
    for (flags, told) in [
        (&["--store=duchy.db"][..], "--store: \"duchy.db\" is no kind of database: sqlite:FILE"),
        (&["--store=sqlite://duchy.db"], "--store: \"sqlite://duchy.db\" is not of the form sqlite:FILE"),
        (&["--store=mysql://me:hunter2@host/duchy"], "--store: \"mysql\" is no kind of database"),
        (&["--spanner-project=p", "--spanner-instance=i", "--spanner-database=d1"], "--spanner-database: "),
    ] {
        let command = Command::try_parse_from(std::iter::once(&"test").chain(flags)).expect("flags");
        let error = command.store.address().await.expect_err("no address");
        assert!(
            error.report().starts_with(told) && !error.report().contains("hunter2"),
            "{}",
            error.report()
        );
        assert_eq!(error.exit_code(), ExitCode::from(2));
    }
}

#[test]
fn a_development_kingdom_is_told_everything_once() {
    for (flags, told) in [
        (&["--pki=pki"][..], "accepted"),
        (&["--pki=pki", "--config=kingdom.textproto"], "accepted"),
        (&["--insecure-dev", "--config=kingdom.textproto"], "accepted"),
        (&["--pki=pki", "--insecure-dev", "--protocol=llv2"], "accepted"),
        (&["list", "--pki=pki"], "accepted"),
        (&["list", "--insecure-dev"], "accepted"),
        (&[], "--pki <DIR>"),
        (&["--config=kingdom.textproto"], "--pki <DIR>"),
        (&["list"], "--pki <DIR>"),
        (&["list", "--insecure-dev", "--cert-host=a"], "--cert-host"),
        (&["--pki=pki", "--config=kingdom.textproto", "--protocol=llv2"], "--protocol"),
        (&["--pki=pki", "--config=kingdom.textproto", "--sketch-size=9"], "--sketch-size"),
        (&["--pki=pki", "--config=kingdom.textproto", "--noise=geometric"], "--noise"),
    ] {
        let refusal = refusal("kingdom", flags.iter().copied());
        assert!(refusal.contains(told), "{flags:?}: {refusal}");
    }
}

#[test]
fn the_name_of_a_certificate_is_given_once() {
    let name = "--consent-signaling-certificate-resource-name";
    let (subcommand, flags) = &command_lines()[1];
    assert_eq!(*subcommand, "llv2-mill");
    let flags: Vec<_> = flags.iter().copied().flatten().copied().collect();
    let file = format!("{name}-file=name");
    let both = refusal(subcommand, flags.iter().copied().chain([file.as_str()]));
    assert!(both.contains("cannot be used with"), "{both}");
    let others = flags.iter().copied().filter(|flag| !flag.starts_with(name));
    assert_eq!(refusal(subcommand, others.chain([file.as_str()])), "accepted");
}

#[test]
fn one_key_encryption_key_is_named_in_a_known_way() {
    let (subcommand, flags) = &command_lines()[1];
    assert_eq!(*subcommand, "llv2-mill");
    let flags: Vec<_> = flags.iter().copied().flatten().copied().collect();
    let uri = "--key-encryption-key-uri";
    let both = format!("{uri}=file:kek.tink");
    let both = refusal(subcommand, flags.iter().copied().chain([both.as_str()]));
    assert!(both.contains("cannot be used with") && both.contains(uri), "{both}");
    for (value, told) in [
        ("file:kek.tink", "accepted"),
        ("gcp-kms://projects/p/locations/l/keyRings/r/cryptoKeys/k", "accepted"),
        ("aws-kms://arn:aws:kms:us-west-2:111122223333:key/1234", "accepted"),
        ("pkcs11:token=duchy;object=kek?module-path=/lib/hsm.so&pin-source=file:/run/pin", "accepted"),
        ("kek.tink", "not of the form file:PATH"),
        (
            "gcp-kms://projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
            "a version is not named",
        ),
        ("aws-kms://arn:aws:kms:us-west-2:111122223333:alias/duchy", "an alias is no name"),
    ] {
        let flag = format!("{uri}={value}");
        let others = flags.iter().copied().filter(|flag| !flag.starts_with("--key-encryption"));
        let refusal = refusal(subcommand, others.chain([flag.as_str()]));
        assert!(refusal.contains(told), "{value}: {refusal}");
    }
}

#[test]
fn a_missing_flag_is_named() {
    let optional = [
        "--port",
        "--health-port",
        "--require-client-auth",
        "--debug-verbose-grpc-server-logging",
        "--shutdown-grace-period-seconds",
        "--grpc-thread-pool-size",
        "--computations-default-deadline",
        "--async-computation-control-default-deadline",
        "--kingdom-system-api-cert-host",
        "--kingdom-public-api-cert-host",
        "--key-encryption-key-file",
        "--deletable-computation-state",
        "--channel-shutdown-timeout",
        "--duchy-computation-control-target",
        "--work-lock-duration",
        "--bytes-per-chunk",
        "--parallelism",
        "--mill-id",
        "--max-advance-attempts",
        "--polling-delay",
        "--successful-jobs-history-limit",
        "--failed-jobs-history-limit",
        "--llv2-maximum-concurrency",
        "--llv2-work-lock-duration",
        "--hmss-maximum-concurrency",
        "--hmss-work-lock-duration",
        "--computations-time-to-live",
        "--rpc-deadline-duration",
        "--dry-run",
    ];
    for (subcommand, flags) in command_lines() {
        let flags: Vec<_> = flags.into_iter().flatten().copied().collect();
        for missing in &flags {
            let name = missing.split('=').next().unwrap_or_default();
            let others = flags.iter().filter(|flag| *flag != missing).copied();
            // One process needs it only if the duchy is a worker of share shuffles.
            let sometimes = subcommand == "serve" && name == "--kingdom-public-api-target";
            if sometimes || optional.contains(&name) {
                assert!(parse(subcommand, others).is_ok() || name == "--mill-id", "{subcommand} {name}");
            } else {
                let refusal = refusal(subcommand, others);
                assert!(refusal.contains(name), "{subcommand} without {name}: {refusal}");
            }
        }
    }
}

#[test]
fn a_value_that_makes_no_sense_is_refused_with_its_flag() {
    let (_, mill) = &command_lines()[1];
    for wrong in [
        "--work-lock-duration=0s",
        "--work-lock-duration=5 minutes",
        "--bytes-per-chunk=0",
        "--bytes-per-chunk=4194304",
        "--parallelism=0",
        "--duchy-computation-control-target=worker2",
        "--duchy-computation-control-target=work/er2=worker2:8443",
        "--claimed-computation-type=TRUS_TEE",
    ] {
        let name = wrong.split('=').next().unwrap_or_default();
        let others = mill.iter().copied().flatten().copied().filter(|flag| !flag.starts_with(name));
        let refusal = refusal("llv2-mill", others.chain([wrong]));
        assert!(refusal.contains(name), "{wrong}: {refusal}");
    }
    let (_, server) = &command_lines()[4];
    for wrong in ["--require-client-auth=false", "--port=65536", "--max-advance-bytes=0"] {
        let name = wrong.split('=').next().unwrap_or_default();
        let others = server.iter().copied().flatten().copied().filter(|flag| !flag.starts_with(name));
        let refusal = refusal("computation-control-server", others.chain([wrong]));
        assert!(refusal.contains(name), "{wrong}: {refusal}");
    }
}

#[test]
fn a_kingdom_is_run_or_told_something() {
    let pki = "--pki=pki";
    assert!(parse("kingdom", [pki, "--database=kingdom.sqlite", "--protocol=ro-llv2,llv2"]).is_ok());
    for command in [
        &["list", pki, "--state=PENDING_COMPUTATION"][..],
        &["show", pki, "--target=kingdom:8443", "computations/AAAAAAAAAAE"],
        &["purge", pki, "--time-to-live=1h"],
        &["plan", pki, "--measurement-consumer=measurementConsumers/mc", "--request-id=1", "--protocol=hmss"],
        &["inject", pki, "--refuse=UNAVAILABLE", "--method=SetComputationResult", "--calls=1", "--for=1m"],
        &["inject", pki, "--wrong-state=FAILED", "--caller=duchies/worker1"],
        &["clear", pki, "--id=1", "--id=2"],
    ] {
        let parsed = parse("kingdom", command.iter().copied());
        assert!(parsed.is_ok(), "{command:?}: {}", parsed.err().map(|e| e.to_string()).unwrap_or_default());
    }
    for (command, named) in [
        (&[][..], "--pki"),
        (&["list"], "--pki"),
        (&[pki, "list", pki], "list"),
        (&[pki, "--protocol=trus-tee"], "--protocol"),
        (&[pki, "--stream-limit=0"], "--stream-limit"),
        (&["list", pki, "--state=OVER"], "--state"),
        (&["inject", pki], "--refuse"),
        (&["inject", pki, "--refuse=ABORTED", "--repeat-items"], "--repeat-items"),
        (&["inject", pki, "--refuse=ABORT"], "--refuse"),
        (&["inject", pki, "--repeat-items", "--method=Nothing"], "--method"),
        (&["inject", pki, "--repeat-items", "--calls=0"], "--calls"),
    ] {
        let refusal = refusal("kingdom", command.iter().copied());
        assert!(refusal.contains(named), "{command:?}: {refusal}");
    }
}

#[test]
fn a_claim_is_given_whole() {
    let (_, mill) = &command_lines()[1];
    let mill = || mill.iter().copied().flatten().copied();
    let claim = [
        "--claimed-computation-type=LIQUID_LEGIONS_SKETCH_AGGREGATION_V2",
        "--claimed-computation-id=abc",
        "--claimed-computation-version=1700000000000",
    ];
    assert!(parse("llv2-mill", mill().chain(claim)).is_ok());
    for missing in claim {
        let refusal = refusal("llv2-mill", mill().chain(claim.into_iter().filter(|flag| *flag != missing)));
        let name = missing.split('=').next().unwrap_or_default();
        assert!(refusal.contains(name), "{refusal}");
    }
}

/// What running says, with the files of a development infrastructure.
mod running {
    use super::*;
    use crate::cli::{CliError, Command};
    use crate::pki::{Pki, PkiSpec};

    fn path(flag: &str, path: &std::path::Path) -> String {
        format!("{flag}={}", path.display())
    }

    /// The flags of a mill of `worker1` that calls itself `duchy`.
    fn mill_flags(pki: &Pki, duchy: &str, certificate: &str, targets: &[&str]) -> Vec<String> {
        let tls = pki.tls("worker1");
        let mut flags = vec![
            format!("--duchy-name={duchy}"),
            path("--tls-cert-file", &tls.cert),
            path("--tls-key-file", &pki.tls_key("worker1")),
            path("--cert-collection-file", &tls.collection),
            path("--duchy-info-config", &pki.duchy_cert_config()),
            path("--consent-signaling-private-key-der-file", &pki.consent_private_key("worker1")),
            path("--consent-signaling-certificate-der-file", &pki.consent_certificate("worker1")),
            format!("--consent-signaling-certificate-resource-name={certificate}"),
            path("--blob-directory", &pki.collection().with_file_name("blobs")),
            "--mill-id=mill".to_owned(),
            "--kingdom-system-api-target=localhost:1".to_owned(),
            "--computations-service-target=localhost:1".to_owned(),
            "--computations-service-cert-host=localhost".to_owned(),
        ];
        flags.extend(targets.iter().map(|target| format!("--duchy-computation-control-target={target}")));
        flags
    }

    fn run(subcommand: &str, flags: &[String]) -> Result<(), CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(CliError::Process)?;
        match parse(subcommand, flags.iter().map(String::as_str)).map(|cli| cli.command) {
            Ok(Command::Llv2Mill(command)) => runtime.block_on(command.work()),
            Ok(Command::HmssMill(command)) => runtime.block_on(command.work()),
            other => panic!("{other:?}"),
        }
    }

    fn mill(pki: &Pki, duchy: &str, certificate: &str, targets: &[&str]) -> Result<(), CliError> {
        run("llv2-mill", &mill_flags(pki, duchy, certificate, targets))
    }

    #[test]
    fn flags_that_contradict_the_configuration_are_named() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let pki = Pki::create(&PkiSpec::default(), &folder.path().join("pki"))?;
        let certificate = "duchies/worker1/certificates/1";
        let (aggregator, worker2) = ("aggregator=localhost:2", "worker2=localhost:3");
        for (duchy, certificate, targets, flag) in [
            ("worker9", certificate, &[aggregator, worker2][..], "--duchy-name"),
            ("worker1", certificate, &[aggregator], "--duchy-computation-control-target: worker2"),
            ("worker1", certificate, &[aggregator, aggregator, worker2], "aggregator has two targets"),
            ("worker1", certificate, &[aggregator, worker2, "worker9=localhost:4"], "worker9 is not among"),
            (
                "worker1",
                "duchies/worker2/certificates/1",
                &[aggregator, worker2],
                "--consent-signaling-certificate-resource-name",
            ),
        ] {
            let error = mill(&pki, duchy, certificate, targets).expect_err("the flags contradict");
            assert!(error.report().contains(flag), "{}", error.report());
            assert_eq!(error.exit_code(), ExitCode::from(2));
        }
        Ok(())
    }

    #[test]
    fn a_key_is_in_a_file_or_in_a_token() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let pki = Pki::create(&PkiSpec::default(), &folder.path().join("pki"))?;
        let targets = ["aggregator=localhost:2", "worker2=localhost:3"];
        let flags = mill_flags(&pki, "worker1", "duchies/worker1/certificates/1", &targets);
        for (file, uri) in [
            ("--tls-key-file", "--tls-key-uri"),
            ("--consent-signaling-private-key-der-file", "--consent-signaling-private-key-uri"),
        ] {
            let without: Vec<_> = flags.iter().filter(|flag| !flag.starts_with(file)).cloned().collect();
            let parsed = |flags: &[String]| parse("llv2-mill", flags.iter().map(String::as_str)).map(drop);
            let missing = parsed(&without).expect_err("no key");
            assert_eq!(missing.kind(), ErrorKind::MissingRequiredArgument);
            let with = |flags: &[String], value: &str| [flags, &[format!("{uri}={value}")]].concat();
            let both = parsed(&with(&flags, "pkcs11:object=a")).expect_err("two keys");
            assert_eq!(both.kind(), ErrorKind::ArgumentConflict);
            // What is wrong with a URI is told without the URI, in which there may be a PIN.
            let error =
                run("llv2-mill", &with(&without, "pkcs11:object=a?pin-value=2718")).expect_err("a PIN");
            assert!(error.report().starts_with(uri) && error.report().contains("pin-source=file:FILE"));
            assert!(!error.report().contains("2718"), "{}", error.report());
            assert_eq!(error.exit_code(), ExitCode::from(2));
        }
        Ok(())
    }

    #[test]
    fn a_worker_of_share_shuffles_needs_a_key_for_its_keys() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let pki = Pki::create(&PkiSpec::default(), &folder.path().join("pki"))?;
        let targets = ["aggregator=localhost:2", "worker2=localhost:3"];
        let mut flags = mill_flags(&pki, "worker1", "duchies/worker1/certificates/1", &targets);
        flags.push("--kingdom-public-api-target=localhost:1".to_owned());
        flags.push(path("--protocols-setup-config", &pki.protocols_setup("worker1")));
        flags.push(path("--authority-key-identifier-to-principal-map-file", &pki.principal_map()));
        let error = run("hmss-mill", &flags).expect_err("there is no key");
        assert!(error.report().starts_with("--key-encryption-key-file: "), "{}", error.report());
        assert_eq!(error.exit_code(), ExitCode::from(2));

        flags.push(path("--key-encryption-key-file", &pki.key_encryption_key("worker1")));
        flags.push("--claimed-computation-type=LIQUID_LEGIONS_SKETCH_AGGREGATION_V2".to_owned());
        flags.push("--claimed-computation-id=abc".to_owned());
        flags.push("--claimed-computation-version=1".to_owned());
        let error = run("hmss-mill", &flags).expect_err("another mill's work");
        assert!(error.report().starts_with("--claimed-computation-type: "), "{}", error.report());
        Ok(())
    }

    #[test]
    fn a_failure_is_one_line_with_its_cause() {
        let folder = std::path::Path::new("/nowhere");
        let error = mill(&Pki::at(folder), "worker1", "duchies/worker1/certificates/1", &[])
            .expect_err("there are no files");
        let report = error.report();
        assert_eq!(report, "cannot read /nowhere/worker1_tls.pem: No such file or directory (os error 2)");
        assert_eq!(error.exit_code(), ExitCode::FAILURE);
    }
}
