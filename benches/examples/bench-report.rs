//! Renders what the benches have left as Markdown and SVG: every figure in relation to a peer of the same run, and the
//! processor's name with it.
//!
//! ```text
//! cargo bench -p halo-benches -- --quick
//! cargo run --release -p halo-benches --example bench-report -- [FOLDER OF RESULTS] [FOLDER OF THE REPORT]
//! ```
//!
//! Without arguments it reads where cargo puts results, and writes `bench-report.md` and `bench-report.svg` here.

use std::path::PathBuf;

use halo_benches::{report, results};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let from = arguments.next().unwrap_or_else(results::default_folder);
    let to = arguments.next().unwrap_or_default();
    let measurements = results::read_folder(&from).map_err(|error| {
        format!("no results of `cargo bench -p halo-benches` in {}: {error}", from.display())
    })?;
    for (name, text) in [("md", report::markdown(&measurements)), ("svg", report::svg(&measurements))] {
        let file = to.join("bench-report").with_extension(name);
        std::fs::write(&file, text)?;
        println!("{}", file.display());
    }
    Ok(())
}
