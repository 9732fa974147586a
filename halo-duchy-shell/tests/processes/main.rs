//! Whole measurements by processes of the operating system, one for each part of each duchy, started with upstream's
//! flags: a Kingdom, three duchies of seven processes each (or of one, `serve`), three data providers and a measurement
//! consumer. All that they share is certificates and, within a duchy, its database and blobs.

#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod collector;
mod computations;
mod data_provider;
mod demo;
#[allow(dead_code, reason = "the tests of reliability have the same fleet, and do more to it")]
mod fleet;
mod kingdom;
mod limits;
mod plaintext;
mod settings;
mod single;
#[cfg(feature = "pkcs11")]
#[path = "../servers/softhsm.rs"]
mod softhsm;
mod store;
mod telemetry;
#[cfg(feature = "pkcs11")]
mod token;
mod warnings;

use fleet::Fleet;
use settings::{Noise, Protocol, Settings};

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

const REACH: &[&str] = &["--reach"];
const REACH_AND_FREQUENCY: &[&str] = &[
    "--reach-and-frequency",
    "--frequency-privacy-epsilon=1",
    "--frequency-privacy-delta=1e-5",
    "--max-frequency=3",
];

/// Asks for as many measurements at once, by the metrics in turn, and stops everybody.
fn measure(settings: Settings, whole: Option<&'static str>, measurements: usize, metrics: &[&[&str]]) {
    let mut fleet = Fleet::start(settings, &events(), &PUBLISHERS, whole);
    let names: Vec<String> =
        (0..measurements).map(|index| fleet.create(index, metrics[index % metrics.len()])).collect();
    for (index, name) in names.iter().enumerate() {
        let result = fleet.watch(name);
        let reach = result["reach"].as_f64().expect("a reach");
        assert!((reach - PEOPLE).abs() <= settings.largest_error(PEOPLE), "{result}");
        let frequencies = result["frequency"].as_object().expect("frequencies").len();
        assert_eq!(frequencies > 0, metrics[index % metrics.len()] == REACH_AND_FREQUENCY, "{result}");
    }
    // Results of the right type, signed and encrypted for the right key, and whatever else the Kingdom looks at.
    assert_eq!(fleet.kingdom("violations", &[]), [serde_json::Value::Null; 0]);
    // Told to stop, every process ends in order.
    fleet.stop();
}

#[test]
fn ten_measurements_at_once_by_separate_processes() {
    let settings = Settings { protocol: Protocol::Llv2, noise: Noise::DiscreteGaussian };
    measure(settings, None, 10, &[REACH, REACH_AND_FREQUENCY]);
}

#[test]
fn ten_reach_only_measurements_at_once() {
    let settings = Settings { protocol: Protocol::ReachOnlyLlv2, noise: Noise::Geometric };
    measure(settings, Some("aggregator"), 10, &[REACH]);
}

#[test]
fn ten_share_shuffles_at_once() {
    let settings = Settings { protocol: Protocol::ShareShuffle, noise: Noise::DiscreteGaussian };
    measure(settings, Some("worker2"), 10, &[REACH, REACH_AND_FREQUENCY]);
}

/// The other noise of each protocol.
#[test]
fn every_protocol_has_two_kinds_of_noise() {
    for (protocol, noise) in [
        (Protocol::Llv2, Noise::Geometric),
        (Protocol::ReachOnlyLlv2, Noise::DiscreteGaussian),
        (Protocol::ShareShuffle, Noise::Geometric),
    ] {
        let metrics: &[&[&str]] = match protocol {
            Protocol::ReachOnlyLlv2 => &[REACH],
            _ => &[REACH_AND_FREQUENCY],
        };
        measure(Settings { protocol, noise }, None, 1, metrics);
    }
}
