//! A store moved to another database, whole or not at all.

use std::fs::File;
use std::io::Cursor;
use std::path::Path;

use halo_duchy_shell::store::StoreAddress;
use halo_duchy_shell::store::transfer::{Summary, TransferError, export, import};
use sha2::{Digest, Sha256};

use crate::model::{seed, take_steps, walks};

const HEADER: &str = r#"{"format":"halo-duchy store","version":1}"#;
const TOKEN: &str = r#"{"table":"HeraldContinuationTokens","row":{"Presence":true,"ContinuationToken":"CgIIAQ","UpdateTime":7}}"#;

/// A stream of these rows.
pub fn stream(rows: &[&str]) -> Vec<u8> {
    let mut text = format!("{HEADER}\n");
    text.extend(rows.iter().map(|row| format!("{row}\n")));
    let digest = hex::encode(Sha256::digest(&text));
    text.push_str(&format!("{{\"rows\":{},\"sha256\":\"{digest}\"}}\n", rows.len()));
    text.into_bytes()
}

fn sqlite(folder: &Path, name: &str) -> StoreAddress {
    StoreAddress::Sqlite(folder.join(name))
}

/// The stream of a store.
async fn exported(address: &StoreAddress, file: &Path) -> (Summary, Vec<u8>) {
    let summary = export(address, File::create(file).expect("a file")).await.expect("export");
    (summary, std::fs::read(file).expect("the stream"))
}

/// An empty database of each kind that the machine has.
async fn empty_databases(folder: &Path) -> Vec<StoreAddress> {
    #[cfg_attr(not(any(feature = "postgres", feature = "spanner")), allow(unused_mut))]
    let mut databases = vec![sqlite(folder, "moved.db")];
    #[cfg(feature = "postgres")]
    databases.extend(crate::postgres::address().await);
    #[cfg(feature = "spanner")]
    databases.extend(crate::spanner::address().await);
    databases
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_store_holds_is_moved_and_goes_on_there() {
    let folder = tempfile::tempdir().expect("a directory");
    let stream = folder.path().join("stream");
    let mut from = sqlite(folder.path(), "duchy.db");
    let mut walks = take_steps(walks(&from, seed()).await, 300).await;
    // From SQLite, then from each of the others to the next.
    for to in empty_databases(folder.path()).await {
        let (summary, before) = exported(&from, &stream).await;
        assert!(summary.rows > 100, "{summary:?}");
        let imported = import(&to, File::open(&stream).expect("the file")).await.expect("import");
        assert_eq!(imported, summary);
        let (_, after) = exported(&to, &folder.path().join("again")).await;
        assert!(before == after, "{to} does not have the rows of {from}");
        for walk in &mut walks {
            walk.move_to(&to).await;
            walk.check().await;
        }
        walks = take_steps(walks, 60).await;
        from = to;
    }
    // And back.
    let (summary, before) = exported(&from, &stream).await;
    let back = sqlite(folder.path(), "back.db");
    import(&back, File::open(&stream).expect("the file")).await.expect("import");
    assert_eq!(exported(&back, &folder.path().join("again")).await, (summary, before));
    for walk in &mut walks {
        walk.move_to(&back).await;
    }
    take_steps(walks, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_as_documented() {
    let folder = tempfile::tempdir().expect("a directory");
    let (address, file) = (sqlite(folder.path(), "duchy.db"), folder.path().join("stream"));
    import(&address, Cursor::new(stream(&[TOKEN]))).await.expect("import");
    let (summary, text) = exported(&address, &file).await;
    assert_eq!(summary.rows, 1);
    assert_eq!(text, stream(&[TOKEN]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_rows_takes_no_others() {
    let folder = tempfile::tempdir().expect("a directory");
    for address in empty_databases(folder.path()).await {
        import(&address, Cursor::new(stream(&[TOKEN]))).await.expect("import");
        let again = import(&address, Cursor::new(stream(&[]))).await;
        assert!(matches!(again, Err(TransferError::NotEmpty)), "{address}: {again:?}");
        // It is still as it was.
        address.open(std::sync::Arc::new(halo_duchy_shell::clock::SystemClock)).await.expect("a database");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_whole_changes_nothing() {
    let folder = tempfile::tempdir().expect("a directory");
    let address = sqlite(folder.path(), "duchy.db");
    let whole = stream(&[TOKEN]);
    for length in 0..whole.len() {
        let cut = import(&address, Cursor::new(whole[..length].to_vec())).await;
        assert!(matches!(cut, Err(TransferError::Format | TransferError::Truncated { .. })), "{cut:?}");
    }
    for index in 0..whole.len() {
        let mut altered = whole.clone();
        altered[index] ^= 1;
        assert!(import(&address, Cursor::new(altered)).await.is_err(), "byte {index} is another one");
    }
    let longer = [&whole[..], b"\n"].concat();
    assert!(matches!(import(&address, Cursor::new(longer)).await, Err(TransferError::Line { line: 4, .. })));
    import(&address, Cursor::new(whole)).await.expect("the store is still empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_no_rows_are_told_by_their_number() {
    let folder = tempfile::tempdir().expect("a directory");
    let address = sqlite(folder.path(), "duchy.db");
    for (line, why) in [
        ("[]", "is no row of a table"),
        (r#"{"table":"Computations"}"#, "is no row of a table"),
        (r#"{"table":"sqlite_master","row":{}}"#, "is of no known table"),
        (r#"{"table":"HeraldContinuationTokens","row":{"Presence":true}}"#, "has no ContinuationToken"),
        (&TOKEN.replace("true", "1"), "has a bad Presence"),
        (&TOKEN.replace("\"CgIIAQ\"", "null"), "has a bad ContinuationToken"),
        (&TOKEN.replace(":7", ":7.5"), "has a bad UpdateTime"),
        (&TOKEN.replace(":7", ":9223372036854775808"), "has a bad UpdateTime"),
        (&TOKEN.replace("{\"Presence", "{\"Absence\":false,\"Presence"), "has a column that"),
    ] {
        let refused = import(&address, Cursor::new(stream(&[TOKEN, line]))).await;
        match refused {
            Err(TransferError::Line { line: 3, why: told }) => assert!(told.starts_with(why), "{told}"),
            other => panic!("{line}: {other:?}"),
        }
    }
    let later = String::from_utf8(stream(&[])).expect("text").replace("\"version\":1", "\"version\":2");
    let refused = import(&address, Cursor::new(later.into_bytes())).await;
    assert!(matches!(refused, Err(TransferError::Version { found: 2 })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_database_refuses_undoes_all() {
    let folder = tempfile::tempdir().expect("a directory");
    let address = sqlite(folder.path(), "duchy.db");
    let refused = import(&address, Cursor::new(stream(&[TOKEN, TOKEN]))).await;
    assert!(
        matches!(refused, Err(TransferError::Refused { table: "HeraldContinuationTokens", .. })),
        "{refused:?}"
    );
    import(&address, Cursor::new(stream(&[TOKEN]))).await.expect("the store is still empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_does_not_exist_is_not_exported() {
    let folder = tempfile::tempdir().expect("a directory");
    let missing = export(&sqlite(folder.path(), "missing.db"), std::io::sink()).await;
    assert!(matches!(missing, Err(TransferError::Open(_))), "{missing:?}");
    assert_eq!(folder.path().read_dir().expect("a directory").count(), 0);
}
