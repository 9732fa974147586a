use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::virtual_person_id as vid;
use super::*;

const HEADER: &str = "event_time,publisher,id\n";

fn read(log: &str) -> Result<EventLog, EventLogError> {
    EventLog::from_reader("log.csv", log.as_bytes())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn message(log: &str) -> String {
    read(log).unwrap_err().to_string()
}

#[test]
fn bundled_log_counts_as_its_readme_says() {
    let log = EventLog::bundled().unwrap();
    let truth = log.truth(10, |_| true);
    assert_eq!((log.len(), truth.impressions, truth.reach), (6091, 6091, 2048));
    let expected = [0.3574, 0.2144, 0.1499, 0.0840, 0.0610, 0.0342, 0.0342, 0.0220, 0.0146, 0.0283];
    for (frequency, expected) in (1..).zip(expected) {
        assert!((truth.frequency[&frequency] - expected).abs() < 5e-5, "{frequency}: {truth:?}");
    }
    let reach: Vec<_> = log
        .publishers()
        .map(|(name, vids)| (name, vids.iter().collect::<std::collections::HashSet<_>>().len()))
        .collect();
    assert_eq!(reach, [("EWR", 957), ("JFK", 703), ("LGA", 832)]);
}

#[test]
fn columns_come_in_any_order_and_more_of_them_are_ignored() {
    let plain = read("event_time,publisher,id\n2013-01-01T05:15:00Z,EWR,N1\n").unwrap();
    let other = read("id,campaign,event_time,publisher\nN1,x,2013-01-01T05:15:00+01:00,EWR\n").unwrap();
    assert_eq!(plain, other);
    assert_eq!(plain.publishers().collect::<Vec<_>>(), [("EWR", &[vid("N1")][..])]);
}

#[test]
fn byte_order_mark_and_crlf_are_no_part_of_the_columns() {
    let log = read("\u{feff}event_time,publisher,id\r\n2013-01-01,EWR,N1\r\n").unwrap();
    assert_eq!(log.publishers().collect::<Vec<_>>(), [("EWR", &[vid("N1")][..])]);
}

#[test]
fn ids_are_any_strings() {
    let ids = ["", " padded ", "a,b", "say \"hi\"", "two\nlines", "ünï→✓", "-1", "null"];
    let mut log = HEADER.to_owned();
    for id in ids {
        log += &format!("2013-01-01 05:15:00,p,\"{}\"\n", id.replace('"', "\"\""));
    }
    let vids: Vec<Vid> = ids.into_iter().map(vid).collect();
    assert_eq!(read(&log).unwrap().publishers().collect::<Vec<_>>(), [("p", vids.as_slice())]);
}

#[test]
fn gzip_is_recognised_by_its_bytes_and_may_have_several_members() {
    let mut bytes = gzip(HEADER.as_bytes());
    bytes.extend(gzip(b"2013-01-01,EWR,N1\n"));
    assert_eq!(EventLog::from_reader("log", bytes.as_slice()).unwrap().len(), 1);

    bytes.truncate(bytes.len() - 9);
    let error = EventLog::from_reader("log", bytes.as_slice()).unwrap_err();
    assert!(matches!(error, EventLogError::Read { .. }), "{error:?}");
}

#[test]
fn truth_is_capped_and_restricted_to_the_sample() {
    let mut log = HEADER.to_owned();
    for (publisher, id, times) in [("p", "a", 2), ("q", "a", 3), ("p", "b", 1), ("q", "c", 2)] {
        log += &format!("2013-01-01,{publisher},{id}\n").repeat(times);
    }
    let log = read(&log).unwrap();
    let truth = log.truth(3, |_| true);
    assert_eq!((truth.impressions, truth.reach), (8, 3));
    assert_eq!(truth.frequency, BTreeMap::from([(1, 1.0 / 3.0), (2, 1.0 / 3.0), (3, 1.0 / 3.0)]));
    assert_eq!(log.truth(1, |_| true).frequency, BTreeMap::from([(1, 1.0)]));

    let sample = log.truth(3, |person| person != vid("b"));
    assert_eq!((sample.reach, sample.frequency[&1], sample.frequency[&3]), (2, 0.0, 0.5));
    assert_eq!(log.truth(2, |_| false).frequency, BTreeMap::from([(1, 0.0), (2, 0.0)]));
}

#[test]
fn errors_name_file_line_and_column() {
    let line2 = |line: &str| message(&format!("{HEADER}{line}\n"));
    assert_eq!(line2("2013-01-01,EWR"), "log.csv:2: 2 fields, but the header has 3");
    assert_eq!(line2("2013-01-01,,N1"), "log.csv:2: column 2 (publisher): empty");
    assert_eq!(
        line2("2013-01-01,p,\"x\ny\"\nnoon,p,a"),
        "log.csv:4: column 1 (event_time): \"noon\" is not a time; write 2013-01-01T05:15:00Z"
    );
    assert_eq!(message(HEADER), "log.csv: no events");
    assert!(message("").starts_with("log.csv:1: no column \"event_time\" in the header []"));
    assert!(message("event_time,publisher\n").contains("no column \"id\""));
    assert_eq!(
        message("id,event_time,publisher,id\n"),
        "log.csv:1: column \"id\" is both column 1 and column 4"
    );
    let bytes = [HEADER.as_bytes(), b"2013-01-01,p,ab\xff\n"].concat();
    let error = EventLog::from_reader("log.csv", bytes.as_slice()).unwrap_err();
    assert_eq!(error.to_string(), "log.csv:2: column 3 (id): not UTF-8 from byte 2 on");
    let missing = EventLog::read(Path::new("/no/such/log.csv")).unwrap_err();
    assert_eq!(missing.to_string(), "/no/such/log.csv: cannot open");
}

#[test]
fn error_about_a_strange_file_is_short() {
    let error = message(&format!("{}\n", "\u{1}strange,".repeat(100_000)));
    assert!(error.len() < 2000, "{} bytes", error.len());
}

proptest! {
    #[test]
    fn hostile_bytes_give_a_log_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400), header: bool, packed: bool) {
        let bytes = if header { [HEADER.as_bytes(), &bytes].concat() } else { bytes };
        let bytes = if packed { gzip(&bytes) } else { bytes };
        if let Ok(log) = EventLog::from_reader("log", bytes.as_slice()) {
            prop_assert!(!log.is_empty());
        }
    }

    #[test]
    fn csv_shaped_input_never_panics(text in "(event_time|publisher|id|[,\"\r\n\\x00]|2013-01-01|[a-zé]){0,60}") {
        let _ = read(&text);
    }

    #[test]
    fn every_id_survives_the_round_trip(ids in proptest::collection::vec(".{0,12}", 1..20)) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(COLUMNS).unwrap();
        for id in &ids {
            writer.write_record(["2013-01-01T00:00:00Z", "p", id]).unwrap();
        }
        let bytes = writer.into_inner().unwrap();
        let log = EventLog::from_reader("log", bytes.as_slice()).unwrap();
        let expected: Vec<Vid> = ids.iter().map(|id| vid(id)).collect();
        prop_assert_eq!(log.publishers().collect::<Vec<_>>(), [("p", expected.as_slice())]);
    }
}

#[test]
fn numbering_people_changes_no_count() -> Result<(), EventLogError> {
    let log = EventLog::bundled()?;
    let numbered = log.numbered(1);
    let people: BTreeSet<Vid> = numbered.publishers().flat_map(|(_, vids)| vids).copied().collect();
    assert!(people.into_iter().eq(1..=2048));
    assert_eq!(numbered.truth(10, |_| true), log.truth(10, |_| true));
    let names = |log: &EventLog| {
        log.publishers().map(|(name, vids)| (name.to_owned(), vids.len())).collect::<Vec<_>>()
    };
    assert_eq!(names(&numbered), names(&log));
    Ok(())
}
