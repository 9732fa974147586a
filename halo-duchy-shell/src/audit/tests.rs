use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tonic::Code;

use super::log::AuditError;
use super::rpc::refusal;
use super::*;
use crate::proto::{api, internal, system};

/// A log of `records` failures, between its beginning and, if `closed`, its end.
fn log(path: &Path, records: usize, closed: bool) -> Hash {
    let log = AuditLog::open(path, "llv2-mill", "worker1").expect("a log");
    for index in 0..records {
        let entry = Entry::new(Event::ComputationFailed, Outcome::Failed);
        let entry = entry.computation(&format!("c{index}")).reason("\"no\"\n");
        log.append(entry).expect("recorded");
    }
    if closed {
        log.close().expect("closed");
    }
    log.head()
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    (folder, path)
}

fn check(path: &Path) -> Result<FileSummary, VerifyError> {
    Ok(verify(&[path.to_owned()], &Expected::default())?.remove(0))
}

/// The line and what is wrong with it.
fn fault(path: &Path) -> (u64, Fault) {
    match check(path) {
        Err(VerifyError::Line { line, fault, .. }) => (line, fault),
        other => panic!("no fault in a line: {other:?}"),
    }
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).expect("text").lines().map(str::to_owned).collect()
}

fn write(path: &Path, lines: &[String]) {
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).expect("written");
}

#[test]
fn a_log_is_as_it_was_written_also_over_restarts() {
    let (_folder, path) = folder();
    log(&path, 3, true);
    let head = log(&path, 2, false);
    let summary = check(&path).expect("untouched");
    assert_eq!((summary.records, summary.torn, summary.head), (8, 0, head));
    assert!(summary.first <= summary.last && summary.first.starts_with("20"), "{summary:?}");
    let first = &lines(&path)[1];
    assert!(
        first.contains(r#""process":"llv2-mill","duchy":"worker1","event":"computation.failed""#),
        "{first}"
    );
    assert!(first.contains(r#""computation":"c0","outcome":"failed","reason":"\"no\"\n""#), "{first}");
}

#[test]
fn every_alteration_is_found_at_its_line() {
    let (_folder, path) = folder();
    log(&path, 6, true);
    let sound = lines(&path);
    for line in 0..sound.len() {
        let text = sound[line].as_bytes();
        // The line's number, a letter of the event, the last digit of the digest.
        for at in [7, text.len() / 2, text.len() - 3] {
            let mut changed = sound.clone();
            let mut bytes = text.to_vec();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            changed[line] = String::from_utf8(bytes).expect("ASCII");
            write(&path, &changed);
            assert_eq!(fault(&path), (line as u64 + 1, Fault::Altered), "line {line}, byte {at}");
        }
    }
    write(&path, &sound);
    check(&path).expect("as it was");
}

#[test]
fn what_is_removed_repeated_or_moved_is_found() {
    let (_folder, path) = folder();
    log(&path, 6, true);
    let sound = lines(&path);
    let mut removed = sound.clone();
    removed.remove(3);
    write(&path, &removed);
    assert_eq!(fault(&path), (4, Fault::Sequence { expected: 3, found: 4 }));
    let mut beginning = sound.clone();
    beginning.remove(0);
    write(&path, &beginning);
    assert_eq!(fault(&path), (1, Fault::NoBeginning(1)));
    let mut moved = sound.clone();
    moved.swap(2, 3);
    write(&path, &moved);
    assert_eq!(fault(&path), (3, Fault::Sequence { expected: 2, found: 3 }));
    let mut repeated = sound.clone();
    repeated.insert(4, sound[3].clone());
    write(&path, &repeated);
    assert_eq!(fault(&path), (5, Fault::Sequence { expected: 4, found: 3 }));
    // The numbers fit, but it is another log's record.
    let (_other_folder, other) = folder();
    log(&other, 6, true);
    let mut grafted = sound.clone();
    grafted[4] = lines(&other)[4].clone();
    write(&path, &grafted);
    assert_eq!(fault(&path), (5, Fault::Chain));
}

#[test]
fn an_end_that_is_cut_off_is_found_by_a_hash_noted_down() {
    let (_folder, path) = folder();
    let head = log(&path, 3, true);
    let expected = Expected { hashes: vec![head], ..Expected::default() };
    let paths = [path.clone()];
    verify(&paths, &expected).expect("whole");
    let sound = lines(&path);
    write(&path, &sound[..sound.len() - 1]);
    check(&path).expect("nothing shows by itself");
    let missing = verify(&paths, &expected).expect_err("cut off");
    assert!(matches!(missing, VerifyError::Missing(hash) if hash == head), "{missing}");
    // In the middle of a line.
    let text = fs::read(&path).expect("bytes");
    fs::write(&path, &text[..text.len() - 20]).expect("written");
    assert_eq!(fault(&path), (sound.len() as u64 - 1, Fault::Torn));
}

#[test]
fn a_line_that_a_crash_cut_off_stays_and_is_recorded() {
    for cut in [1, 20, 200] {
        let (_folder, path) = folder();
        log(&path, 3, false);
        let text = fs::read(&path).expect("bytes");
        fs::write(&path, &text[..text.len() - cut]).expect("written");
        let before = text.iter().filter(|byte| **byte == b'\n').count() as u64;
        log(&path, 1, true);
        let summary = check(&path).expect("explained");
        // A record that only lacks the end of its line is whole.
        let torn = u64::from(cut > 1);
        assert_eq!((summary.torn, summary.records), (torn, before + 3), "{cut} bytes");
        if cut == 1 {
            continue;
        }
        let mut explained = lines(&path);
        let line = before as usize;
        assert!(explained[line].contains(r#""event":"log.torn","#), "{}", explained[line]);
        // What was cut off cannot be replaced, nor can the explanation be dropped.
        explained[line - 1].push('x');
        write(&path, &explained);
        assert_eq!(fault(&path), (before, Fault::Altered));
    }
}

#[test]
fn an_altered_last_line_is_not_gone_on_from() {
    let (_folder, path) = folder();
    log(&path, 2, true);
    let mut altered = lines(&path);
    let last = altered.last_mut().expect("a line");
    *last = last.replace("log.closed", "log.opened");
    write(&path, &altered);
    let refused = AuditLog::open(&path, "llv2-mill", "worker1").expect_err("altered");
    assert!(matches!(refused, AuditError::Altered(_)), "{refused}");
    assert_eq!(lines(&path), altered, "nothing is added");
}

/// By somebody who knows how lines are digested, and would have the next number be none.
#[test]
fn a_number_that_no_process_comes_to_is_not_gone_on_from() {
    let (_folder, path) = folder();
    log(&path, 0, true);
    let last = lines(&path).pop().expect("a line");
    let (digested, _) = last.rsplit_once(",\"hash\":").expect("a digest");
    for seq in [u64::MAX, u64::MAX - 1] {
        let digested = digested.replace("\"seq\":1,", &format!("\"seq\":{seq},"));
        assert!(digested.contains(&seq.to_string()));
        let hash = Hash::of(format!("{digested}}}").as_bytes());
        write(&path, &[format!("{digested},\"hash\":\"{hash}\"}}")]);
        let refused = AuditLog::open(&path, "llv2-mill", "worker1").expect_err("forged");
        assert!(matches!(refused, AuditError::Altered(_)), "{refused}");
        assert_eq!(fault(&path), (1, Fault::Altered));
    }
}

#[test]
fn a_file_is_of_one_process() {
    let (_folder, path) = folder();
    let first = AuditLog::open(&path, "herald", "worker1").expect("a log");
    let second = AuditLog::open(&path, "llv2-mill", "worker1").expect_err("taken");
    assert!(matches!(second, AuditError::Locked(_)), "{second}");
    first.close().expect("closed");
}

#[test]
fn a_file_moved_away_is_followed_by_one_that_goes_on_with_it() {
    let (folder, path) = folder();
    let log = AuditLog::open(&path, "herald", "worker1").expect("a log");
    let older = folder.path().join("audit.log.1");
    fs::rename(&path, &older).expect("moved");
    log.append(Entry::new(Event::KeyReloaded, Outcome::Done)).expect("recorded");
    log.close().expect("closed");
    let files = [older.clone(), path.clone()];
    let summaries = verify(&files, &Expected::default()).expect("one log");
    assert_eq!(summaries.iter().map(|file| file.records).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(fault(&path), (1, Fault::NoBeginning(1)), "alone");
    let after = Expected { after: Some(summaries[0].head), ..Expected::default() };
    verify(std::slice::from_ref(&path), &after).expect("its beginning is known");
    let reversed = verify(&[path, older], &after).expect("the older one begins a log");
    assert_eq!(reversed.len(), 2);
}

#[test]
fn what_others_provoke_does_not_fill_the_disk() {
    let (_folder, path) = folder();
    let log = AuditLog::open(&path, "herald", "worker1").expect("a log");
    for _ in 0..2_000 {
        log.append(Entry::new(Event::ConnectionRefused, Outcome::Refused)).expect("taken");
    }
    log.append(Entry::new(Event::KeyUsed, Outcome::Done)).expect("recorded");
    log.close().expect("closed");
    let lines = lines(&path);
    let refused = lines.iter().filter(|line| line.contains("connection.refused")).count();
    assert_eq!(refused, 600);
    let left_out = lines.iter().find(|line| line.contains("log.limited")).expect("counted");
    assert!(left_out.contains(r#""details":{"records":1400}"#), "{left_out}");
    check(&path).expect("sound");
}

/// 2,000 connections of nobody knows whom, and as many calls with a certificate of no known party.
#[test]
fn a_flood_of_strangers_hides_nothing_of_known_parties() {
    let (_folder, path) = folder();
    let log = AuditLog::open(&path, "herald", "worker1").expect("a log");
    let refused = |event, principal: &str| {
        log.append(Entry::new(event, Outcome::Refused).principal(principal)).expect("taken");
    };
    for index in 0..2_000 {
        refused(Event::ConnectionRefused, &format!("ip:192.0.2.{}", index % 256));
        refused(Event::CallerUnknown, &format!("akid:{index:08x}"));
    }
    refused(Event::CallerRefused, "dataProviders/news");
    refused(Event::PayloadChanged, "duchies/worker2");
    log.close().expect("closed");
    let lines = lines(&path);
    let count = |told: &str| lines.iter().filter(|line| line.contains(told)).count();
    assert_eq!(count(r#""event":"caller.refused","principal":"dataProviders/news""#), 1);
    assert_eq!(count(r#""event":"payload.changed","principal":"duchies/worker2""#), 1);
    assert_eq!((count("connection.refused"), count("caller.unknown")), (600, 600));
    let limited: Vec<_> = lines.iter().filter(|line| line.contains("log.limited")).collect();
    // Told as records come, of whoever it was.
    let left_out = |by: &str| {
        let of = |line: &&&String| line.contains(&format!(r#""principal":"{by}""#));
        let records = limited.iter().filter(of).map(|line| {
            let (_, records) = line.split_once(r#""details":{"records":"#).expect("a number");
            records.split('}').next().and_then(|number| number.parse::<u32>().ok()).expect("a number")
        });
        records.sum::<u32>()
    };
    assert_eq!((left_out("ip:"), left_out("akid:")), (1_400, 1_400));
    check(&path).expect("sound");
}

#[test]
fn what_could_not_be_written_is_told_once_it_can() {
    let (folder, path) = folder();
    let log = AuditLog::open(&path, "herald", "worker1").expect("a log");
    let older = folder.path().join("audit.log.1");
    fs::rename(&path, &older).expect("moved");
    // Somebody's file in the place of the log, which is not written over.
    fs::write(&path, "not a log\n").expect("written");
    for _ in 0..3 {
        let lost = log.append(Entry::new(Event::KeyUsed, Outcome::Done)).expect_err("no place to write to");
        assert!(matches!(lost, AuditError::NotEmpty(_)), "{lost}");
    }
    fs::remove_file(&path).expect("removed");
    log.append(Entry::new(Event::ResultSent, Outcome::Done)).expect("recorded");
    log.close().expect("closed");
    let found = lines(&path);
    assert!(found[0].contains(r#""event":"log.lost""#), "{}", found[0]);
    assert!(found[0].contains(r#""outcome":"failed","reason":"","details":{"records":3}"#), "{}", found[0]);
    assert!(found[1].contains("result.sent"), "{}", found[1]);
    assert_eq!(found.iter().filter(|line| line.contains("log.lost")).count(), 1);
    verify(&[older, path], &Expected::default()).expect("one log");
}

#[test]
fn long_texts_are_cut() {
    let (_folder, path) = folder();
    let log = AuditLog::open(&path, "herald", "worker1").expect("a log");
    let long = "é".repeat(100_000);
    let entry = Entry::new(Event::PayloadRefused, Outcome::Refused).reason(&long).principal(&long);
    log.append(entry.detail("rpc", long.as_str())).expect("recorded");
    log.close().expect("closed");
    assert!(lines(&path).iter().all(|line| line.len() < 3_000));
    check(&path).expect("sound");
}

#[test]
fn noise_of_two_stages_from_one_seed_is_found() {
    let noise = |computation: &str, stage: &str| {
        let entry = Entry::new(Event::NoiseAdded, Outcome::Done).computation(computation);
        entry.detail("stage", stage).detail("seed", "5eed")
    };
    for (second, sound) in [
        (noise("a", "SETUP_PHASE"), true),
        (noise("a", "EXECUTION_PHASE_ONE"), false),
        (noise("b", "SETUP_PHASE"), false),
        (noise("a", "SETUP_PHASE").duchy("worker2"), false),
    ] {
        let (_folder, path) = folder();
        let log = AuditLog::open(&path, "llv2-mill", "worker1").expect("a log");
        log.append(noise("a", "SETUP_PHASE")).expect("recorded");
        log.append(second).expect("recorded");
        match check(&path) {
            Ok(_) => assert!(sound),
            Err(VerifyError::Line { line, fault, .. }) => {
                assert_eq!((line, fault, sound), (3, Fault::ReusedSeed, false));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn lines_of_others_are_refused() {
    let (_folder, path) = folder();
    fs::write(&path, "not a log\n").expect("written");
    assert_eq!(fault(&path), (1, Fault::Altered));
    let mut file = fs::File::create(&path).expect("a file");
    file.write_all(&vec![b'a'; 1 << 20]).expect("written");
    assert_eq!(fault(&path), (1, Fault::TooLong));
    fs::write(&path, [0xff, 0xfe, b'\n']).expect("written");
    assert_eq!(fault(&path), (1, Fault::Altered));
    fs::write(&path, "").expect("written");
    assert_eq!(check(&path).expect("empty").records, 0);
    assert!(matches!(check(Path::new("/no/such/file")), Err(VerifyError::Read { .. })));
}

#[test]
fn refusals_that_matter_are_told_from_the_others() {
    let control = system::computation_control_server::SERVICE_NAME;
    let fulfillment = api::requisition_fulfillment_server::SERVICE_NAME;
    let computations = internal::computations_server::SERVICE_NAME;
    for (service, method, code, event) in [
        (computations, "ClaimWork", Code::Unauthenticated, Some(Event::CallerUnknown)),
        (computations, "ClaimWork", Code::PermissionDenied, Some(Event::CallerRefused)),
        (computations, "ClaimWork", Code::FailedPrecondition, None),
        (control, "AdvanceComputation", Code::AlreadyExists, Some(Event::PayloadChanged)),
        (control, "AdvanceComputation", Code::InvalidArgument, Some(Event::PayloadRefused)),
        (control, "AdvanceComputation", Code::Unavailable, None),
        (control, "AdvanceComputation", Code::Ok, None),
        // A peer that asks before the computation is there.
        (control, "GetComputationStage", Code::NotFound, None),
        (fulfillment, "FulfillRequisition", Code::FailedPrecondition, Some(Event::RequisitionRefused)),
        (fulfillment, "FulfillRequisition", Code::Internal, None),
    ] {
        assert_eq!(refusal(service, method, code), event, "{service}/{method}: {code:?}");
    }
}
