//! Whole measurements by processes of the operating system, one for each part of each duchy, started with upstream's
//! flags: a Kingdom, three duchies of six processes each, three data providers and a measurement consumer. All that
//! they share is certificates and, within a duchy, its database and blobs.

#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod demo;
mod fleet;

use fleet::{Fleet, Part, Settings};

/// People 0..60 saw `news` once, 40..100 `video` twice, 90..110 `radio` once: 110 people.
fn events() -> String {
    let mut log = String::from("event_time,publisher,id\n");
    let mut impressions = |publisher: &str, people: std::ops::Range<u32>, times: usize| {
        for person in people {
            log.extend(std::iter::repeat_n(format!("2026-11-01,{publisher},person-{person}\n"), times));
        }
    };
    impressions("news", 0..60, 1);
    impressions("video", 40..100, 2);
    impressions("radio", 90..110, 1);
    log
}

const PUBLISHERS: [&str; 3] = ["news", "video", "radio"];
const PEOPLE: f64 = 110.0;

#[test]
fn ten_measurements_at_once_by_separate_processes() {
    let mut fleet = Fleet::start(&Settings::LLV2, &events(), &PUBLISHERS);
    let metrics: [&[&str]; 2] = [
        &["--reach"],
        &[
            "--reach-and-frequency",
            "--frequency-privacy-epsilon=1",
            "--frequency-privacy-delta=1e-5",
            "--max-frequency=3",
        ],
    ];
    let names: Vec<String> = (0..10).map(|index| fleet.create(index, metrics[index % 2])).collect();
    for name in &names {
        let result = fleet.watch(name);
        let reach = result["reach"].as_f64().expect("a reach");
        assert!((reach - PEOPLE).abs() <= 4.0 * Settings::LLV2.standard_deviation(PEOPLE), "{result}");
    }
    // Told to stop, every process ends in order.
    for part in Part::ALL {
        fleet.stop(part);
    }
}
