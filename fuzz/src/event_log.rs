use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use halo_duchy_shell::events::EventLog;

use crate::memory::bounded;

const LOG: &str = "publisher,id,event_time\nnews,ann,2026-01-01\nnews,ann,2026-01-02\nvideo,bob,2026-01-03\n";
/// With a byte order mark, another order, one more column, quotes and the other line ends.
const ANOTHER: &str = "\u{feff}event_time,more,\"id\",publisher\r\n2013-01-01T05:15:00Z,,\"a \"\"b\"\"\",\"x,y\"\r\n2013-01-01T05:15:00.5+01:00,1,,z\r\n";

/// Any bytes as an event log.
///
/// What is read adds up, and is the same if it was compressed.
pub fn event_log(data: &[u8]) {
    let read = bounded(longest(data), 64, || EventLog::from_reader("log", data));
    let Ok(log) = read else { return };
    assert!(!log.is_empty());
    assert!(log.publishers().all(|(name, vids)| !name.is_empty() && !vids.is_empty()));
    let truth = log.truth(3, |_| true);
    assert_eq!(truth.impressions, log.len() as u64);
    assert!((1..=truth.impressions).contains(&truth.reach));
    assert!((truth.frequency.values().sum::<f64>() - 1.0).abs() < 1e-9);
    let numbered = log.numbered(1);
    assert_eq!(numbered.truth(3, |_| true), truth);
    let population = log.population(1);
    assert!(numbered.publishers().all(|(_, vids)| vids.iter().all(|vid| population.contains(vid))));
    let again = EventLog::from_reader("log", &compressed(data)[..]);
    if !is_compressed(data) {
        assert_eq!(again.expect("the same log"), log);
    }
}

/// The most bytes that `data` can stand for: DEFLATE makes up to 1032 of one.
fn longest(data: &[u8]) -> usize {
    if is_compressed(data) { 1032 * data.len() } else { data.len() }
}

fn is_compressed(data: &[u8]) -> bool {
    data.starts_with(&[0x1f, 0x8b])
}

fn compressed(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).expect("into memory");
    encoder.finish().expect("into memory")
}

/// Logs of both kinds.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let logs = [LOG, ANOTHER].map(|log| log.as_bytes().to_vec());
    let compressed = logs.clone().map(|log| compressed(&log));
    logs.into_iter().chain(compressed).collect()
}
