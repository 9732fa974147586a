//! Which computations of upstream's C++ core are recorded in `tests/vectors`.

use std::path::Path;

/// Checks that the listed computations are all that are recorded of a protocol.
#[track_caller]
pub fn assert_all_recorded(prefix: &str, listed: &[&str]) {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let names = std::fs::read_dir(vectors).unwrap().map(|entry| entry.unwrap().file_name());
    let mut recorded: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    recorded.retain(|name| name.starts_with(prefix));
    recorded.sort();
    assert_eq!(recorded, listed);
}
