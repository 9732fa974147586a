//! `halo-duchy store`, as an operator uses it.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn store(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halo-duchy"));
    command.arg("store").args(arguments);
    command
}

fn told(output: &Output) -> (Option<i32>, String) {
    let said = if output.status.success() { &output.stdout } else { &output.stderr };
    let said = String::from_utf8_lossy(said);
    (output.status.code(), said.trim().trim_start_matches("halo-duchy: ").to_owned())
}

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    told(&store(arguments).output().expect("the program runs"))
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

fn sqlite(path: &Path) -> String {
    format!("--store=sqlite:{}", path.display())
}

#[test]
fn a_migration_is_shown_before_it_is_done() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("duchy.db");
    let database = sqlite(&file);
    let name = format!("sqlite:{}", file.display());
    let step = "from schema version 0 to 2: create_computations, index_queue_and_stages";
    let shown = (Some(0), format!("{name} would be migrated {step}"));
    assert_eq!(run(&["migrate", &database, "--dry-run"]), shown);
    assert!(!file.exists(), "only shown");
    assert_eq!(run(&["migrate", &database]), (Some(0), format!("{name} is migrated {step}")));
    let done = (Some(0), format!("{name} has schema version 2, which is this program's"));
    assert_eq!(run(&["migrate", &database]), done);
    assert_eq!(run(&["migrate", &database, "--dry-run"]), done);
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("duchy.db");
    run(&["migrate", &sqlite(&file)]);
    let connection = rusqlite::Connection::open(&file).expect("the file");
    connection.execute("INSERT INTO SchemaMigrations VALUES (99, 'later')", []).expect("insert");
    drop(connection);
    for arguments in
        [&["migrate"][..], &["migrate", "--dry-run"], &["export", "--output=stream"], &["import"]]
    {
        let (code, told) = run(&[arguments, &[sqlite(&file).as_str()]].concat());
        // Import reads what it is given before it looks at the database.
        let expected = match arguments[0] {
            "import" => "the stream does not begin as an export of a store does",
            _ => "the database has schema version 99, this program knows 2",
        };
        assert!(code == Some(1) && told.ends_with(expected), "{arguments:?}: {told}");
    }
}

#[test]
fn a_store_is_moved_through_a_pipe_and_through_a_file() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = |name: &str| folder.path().join(name);
    let (from, to, stream) = (sqlite(&path("from.db")), sqlite(&path("to.db")), path("stream"));
    run(&["migrate", &from]);
    let connection = rusqlite::Connection::open(path("from.db")).expect("the file");
    let token = "INSERT INTO HeraldContinuationTokens VALUES (1, 'CgIIAQ', 7)";
    connection.execute(token, []).expect("insert");
    drop(connection);

    let mut export = store(&["export", &from]);
    let mut export = export.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program runs");
    let pipe = export.stdout.take().expect("a pipe");
    let import = store(&["import", &to]).stdin(pipe).output().expect("the program runs");
    assert!(export.wait().expect("an end").success());
    let (code, imported) = told(&import);
    assert!(code == Some(0) && imported.starts_with("imported 1 rows, SHA-256 "), "{imported}");

    let (code, exported) = run(&["export", &to, &flag("output", &stream)]);
    assert_eq!((code, exported.as_str()), (Some(0), &*imported.replace("imported", "exported")));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = stream.metadata().expect("the file").permissions().mode();
        assert_eq!(mode & 0o077, 0, "others do not read it");
    }
    let (code, again) = run(&["export", &to, &flag("output", &stream)]);
    assert!(code == Some(1) && again.contains("File exists"), "{again}");
    let (code, refused) = run(&["import", &from, &flag("input", &stream)]);
    assert_eq!((code, refused.as_str()), (Some(1), "the store is not empty: name a new database"));
    let third = sqlite(&path("third.db"));
    assert_eq!(run(&["import", &third, &flag("input", &stream)]), (Some(0), imported));

    // One that is cut is not imported, not even in part.
    let text = std::fs::read(&stream).expect("the stream");
    std::fs::write(path("cut"), &text[..text.len() - 9]).expect("a file");
    let fourth = sqlite(&path("fourth.db"));
    let cut = File::open(path("cut")).expect("the file");
    let (code, refused) = told(&store(&["import", &fourth]).stdin(cut).output().expect("the program runs"));
    assert!(code == Some(1) && refused.contains("the rest is missing"), "{refused}");
    assert!(!path("fourth.db").exists());
}
