//! `halo-duchy computations`, `completions` and `man`, as an operator uses them.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use halo_duchy_shell::pki::{Pki, PkiSpec};
use halo_duchy_shell::proto::internal::computation_details::CompletedReason;
use halo_duchy_shell::store::GivenBack;
use serde_json::Value;

use crate::world::World;

const PROGRAM: &str = env!("CARGO_BIN_EXE_halo-duchy");

/// The exit status, and what is said on standard output, or on standard error if that is bad.
fn run(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(PROGRAM).args(arguments).output().expect("the program runs");
    let said = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.code().expect("a status"), String::from_utf8(said).expect("text"))
}

impl World {
    /// Runs a command on its database.
    fn computations(&self, command: &str, more: &[&str]) -> (i32, String) {
        let store = format!("--store=sqlite:{}", self.file.display());
        run(&[&["computations", command, &store], more].concat())
    }

    /// Runs a command that prints JSON, one object a line.
    fn json(&self, command: &str, more: &[&str]) -> Vec<Value> {
        let (status, said) = self.computations(command, &[more, &["--json"]].concat());
        assert_eq!(status, 0, "{said}");
        said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn ids(&self, more: &[&str]) -> Vec<String> {
        let listed = self.json("list", more);
        listed.iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn computations_are_listed_as_asked() {
    let world = World::full().await;
    for (flags, expected) in [
        (&[][..], &["c1", "running", "delayed", "expired", "queued"][..]),
        (&["--all"], &["c1", "running", "failed", "delayed", "expired", "queued"]),
        (&["--all", "--sort=newest", "--limit=2"], &["queued", "expired"]),
        (&["--all", "--limit=2", "--skip=2"], &["failed", "delayed"]),
        (&["--state=failed", "--state=running"], &["running", "failed"]),
        (&["--state=succeeded"], &[]),
        (&["--protocol=hmss"], &["queued"]),
        (&["--stage=initialization_phase"], &["running", "delayed", "expired"]),
        (&["--stage=WAIT_EXECUTION_PHASE_ONE_INPUTS"], &["c1"]),
        (&["--older-than=100000d"], &[]),
    ] {
        assert_eq!(world.ids(flags), expected, "{flags:?}");
    }
    let delayed = &world.json("list", &["--state=delayed"])[0];
    assert_eq!((&delayed["attempts"], &delayed["lock_owner"]), (&Value::from(1), &Value::Null));
    let error = &delayed["last_error"];
    assert_eq!(error["message"], "reading the stage's input: the storage is away");
    assert_eq!((&error["stage"], &error["attempt"]), (&Value::from("INITIALIZATION_PHASE"), &Value::from(1)));

    let (status, table) = world.computations("list", &[]);
    let running = table.lines().find(|line| line.starts_with("running ")).expect("a line");
    assert!(status == 0 && running.contains(" running ") && running.contains(" mill-1 "), "{table}");
    assert!(running.contains(" ██████░░░░░░░░░░░░░░ 31 % "), "{table}");
    let (status, refused) = world.computations("list", &["--stage=NO_PHASE"]);
    assert!(status == 2 && refused.contains("no protocol has such a stage"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_about_a_computation_is_shown() {
    let world = World::full().await;
    let shown = &world.json("show", &["c1", "--duchy-name=worker1"])[0];
    assert_eq!(shown["role"], "NON_AGGREGATOR");
    assert_eq!(shown["waits_for"], "1 message(s) of aggregator");
    assert_eq!(shown["requisitions"][1]["id"], "c1/2");
    assert_eq!(shown["stages"].as_array().map(Vec::len), Some(6));
    let attempt = &shown["stages"][4]["attempts"][0];
    assert_eq!((&attempt["number"], &attempt["outcome"]), (&Value::from(1), &Value::from("succeeded")));
    assert_eq!(attempt["statistics"]["crypto_wall_clock_duration_ms"], 1234);

    let (status, text) = world.computations("show", &["failed"]);
    assert_eq!(status, 0, "{text}");
    for told in [
        "Last error    no key fits (attempt 2 of INITIALIZATION_PHASE)",
        "What to do",
        " error ",
        "REQUISITION",
    ] {
        assert!(text.contains(told), "{told}\n{text}");
    }
    let progress = &world.json("show", &["running"])[0]["progress"];
    assert_eq!((&progress["step"], &progress["done_records"]), (&Value::from(2), &Value::from(310_000)));
    assert_eq!(world.json("list", &["--state=running"])[0]["progress"], *progress);
    let (_, text) = world.computations("show", &["running"]);
    assert!(text.contains("step 2, ██████░░░░░░░░░░░░░░ 31 % of 1000000 records\n"), "{text}");
    let (status, refused) = world.computations("show", &["unknown"]);
    assert_eq!((status, refused.as_str()), (1, "halo-duchy: no computation has the global id unknown\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_computation_is_watched_until_it_is_over() {
    let world = World::full().await;
    let store = format!("--store=sqlite:{}", world.file.display());
    let watching = ["computations", "show", "running", &store, "--watch=20ms"];
    let mut watching = Command::new(PROGRAM).args(watching).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut said = BufReader::new(watching.stdout.take().expect("its output")).lines();
    let mut next = |told: &str| {
        let line = said.by_ref().map_while(Result::ok).find(|line| line.starts_with(told));
        line.unwrap_or_else(|| panic!("nothing more of {told}"))
    };
    for _ in 0..3 {
        assert!(next("Progress ").ends_with("31 % of 1000000 records"));
    }
    let running = world.harness.store.get("running").await.expect("get");
    let ended = world.harness.store.finish(&running.guard(), CompletedReason::Succeeded, "").await;
    ended.expect("finish");
    while !next("State ").ends_with(" succeeded") {}
    assert!(watching.wait().expect("its end").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_mill_could_do_is_tried_again() {
    let world = World::full().await;
    let store = &world.harness.store;
    for (id, why) in [
        ("c1", "there is nothing for a mill to do. It waits for 1 message(s) of other duchies"),
        ("failed", "there is nothing for a mill to do"),
        ("queued", "any mill may claim it already"),
        ("running", "a mill works on it (--force takes it from it)"),
    ] {
        let before = store.get(id).await.expect("get");
        let (status, refused) = world.computations("retry", &[id]);
        assert!(status == 1 && refused.contains(why), "{id}: {refused}");
        assert_eq!(store.get(id).await.expect("get"), before, "{id}");
    }
    for (id, force, attempt) in [("delayed", false, 2), ("expired", false, 2), ("running", true, 2)] {
        let flags: &[&str] = if force { &[id, "--force"] } else { &[id] };
        let held = store.get(id).await.expect("get");
        let (status, said) = world.computations("retry", flags);
        assert!(status == 0 && said.contains(&format!("begins attempt {attempt}")), "{said}");
        let given_back = store.get(id).await.expect("get");
        assert_eq!((given_back.lock_owner, given_back.attempt), (None, held.attempt), "{id}");
        // Whoever had it writes nothing more.
        let (guard, owner) = (held.guard(), held.lock_owner.unwrap_or_default());
        let late = store.enqueue(&guard, &owner, Duration::ZERO, GivenBack::Failed("")).await;
        assert!(late.is_err(), "{id}: {late:?}");
        let record = store.record(id).await.expect("a record");
        let kept = record.stages[0].attempts[0].error.as_str();
        let expected = match id {
            "delayed" => "reading the stage's input: the storage is away",
            _ => "given back by an operator",
        };
        assert_eq!(kept, expected, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_computation_is_not_failed_behind_the_kingdoms_back() {
    let world = World::full().await;
    let store = &world.harness.store;
    let pki = Pki::create(&PkiSpec::default(), &world.harness.folder.path().join("pki")).expect("keys");
    let tls = pki.tls("worker1");
    let files = [
        format!("--tls-cert-file={}", tls.cert.display()),
        format!("--tls-key-file={}", pki.tls_key("worker1").display()),
        format!("--cert-collection-file={}", tls.collection.display()),
    ];
    let fail = |id: &str, force: bool| {
        let mut flags = vec![id, "--reason=bad data", "--duchy-name=worker1"];
        flags.extend(files.iter().map(String::as_str));
        // Nobody is there.
        flags.extend(["--kingdom-system-api-target=127.0.0.1:1", "--kingdom-system-api-cert-host=localhost"]);
        flags.extend(force.then_some("--force"));
        world.computations("fail", &flags)
    };
    let before = store.get("c1").await.expect("get");
    let (status, refused) = fail("c1", false);
    assert!(
        status == 1 && refused.contains("nothing has changed, since the Kingdom is not told"),
        "{refused}"
    );
    assert_eq!(store.get("c1").await.expect("get"), before);
    let (status, refused) = fail("running", false);
    assert!(status == 1 && refused.contains("mill-1 works on it"), "{refused}");

    let (status, said) = fail("c1", true);
    assert!(status == 0 && said.contains("has failed here only"), "{said}");
    assert!(said.contains("computations/c1/participants/worker1"), "{said}");
    let failed = &world.json("list", &["--state=failed"])[0];
    assert_eq!(failed["last_error"]["message"], "failed by an operator: bad data");
}

#[test]
fn a_database_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("typo.db");
    let store = format!("--store=sqlite:{}", file.display());
    let (status, refused) = run(&["computations", "list", &store]);
    assert!(status == 1 && refused.contains("typo.db"), "{refused}");
    assert!(!file.exists());
}

#[test]
fn shells_and_manuals_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (status, script) = run(&["completions", shell]);
        assert!(status == 0 && script.contains("internal-api-server"), "{shell}");
    }
    let (status, refused) = run(&["completions", "tcsh"]);
    assert!(status == 2 && refused.contains("tcsh"), "{refused}");
    let folder = tempfile::tempdir().expect("a folder");
    let (status, said) = run(&["man", &folder.path().to_string_lossy()]);
    assert_eq!((status, said.as_str()), (0, ""));
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("a page");
    assert!(page("halo-duchy.1").contains("computations"));
    assert!(page("halo-duchy-computations-retry.1").contains("\\-\\-force"));
}
