//! What the benches leave for `bench-report`: a file of JSON lines for each bench and backend, one measurement a line.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use halo_crypto::Backend;
use serde::{Deserialize, Serialize};

/// Where results are, below the directory that cargo gives benches (`target/tmp`).
const FOLDER: &str = "halo-benches";

/// What one work took, beside what a peer took in the same run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// The bench: `stages`, `groups` and so on.
    pub bench: String,
    /// The processor's name.
    pub cpu: String,
    /// The backend of P-256.
    pub backend: String,
    /// What was done.
    pub work: String,
    /// How many records it was done to.
    pub records: usize,
    /// What it took for one record.
    pub nanoseconds: f64,
    /// What it is compared with.
    pub peer: String,
    /// What that takes.
    pub peer_nanoseconds: f64,
    /// How much faster two threads are than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub two_threads: Option<f64>,
    /// The most bytes held at once for each byte of input and output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
}

impl Measurement {
    /// The cost in units of the peer's.
    pub fn ratio(&self) -> f64 {
        self.nanoseconds / self.peer_nanoseconds
    }
}

/// Writes the measurements of one run of a bench.
#[derive(Debug)]
pub struct Recorder {
    file: File,
    like: Measurement,
}

impl Recorder {
    /// Replaces what an earlier run of `bench` on this backend left under `target`, which is `CARGO_TARGET_TMPDIR`.
    ///
    /// # Errors
    /// If there can be no such file.
    pub fn create(target: &Path, bench: &str) -> io::Result<Self> {
        let backend = Backend::active().to_string();
        let folder = target.join(FOLDER);
        fs::create_dir_all(&folder)?;
        let file = File::create(folder.join(format!("{bench}-{backend}.jsonl")))?;
        let like =
            Measurement { bench: bench.to_owned(), cpu: cpu_name(), backend, ..Measurement::default() };
        Ok(Self { file, like })
    }

    /// A measurement of this run of which only the run is known.
    pub fn measurement(&self) -> Measurement {
        self.like.clone()
    }

    /// Appends a line.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, measurement: &Measurement) -> io::Result<()> {
        writeln!(self.file, "{}", serde_json::to_string(measurement)?)
    }
}

/// Everything that benches have left in `folder`, a file after the other by name.
///
/// # Errors
/// If the folder or a file cannot be read, or a line is none of ours, which the error names.
pub fn read_folder(folder: &Path) -> io::Result<Vec<Measurement>> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files = entries.collect::<io::Result<Vec<PathBuf>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let mut measurements = Vec::new();
    for file in files {
        for (index, line) in fs::read_to_string(&file)?.lines().enumerate() {
            let measurement = serde_json::from_str(line).map_err(|error| {
                let place = format!("{}, line {}: {error}", file.display(), index + 1);
                io::Error::new(io::ErrorKind::InvalidData, place)
            })?;
            measurements.push(measurement);
        }
    }
    Ok(measurements)
}

/// Where the benches of this workspace leave results unless cargo is told of another target directory.
pub fn default_folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join("target"), PathBuf::from);
    target.join("tmp").join(FOLDER)
}

/// The processor's name, as Linux tells it.
fn cpu_name() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| format!("an unnamed {}", std::env::consts::ARCH), |(_, name)| name.trim().to_owned())
}
