//! A duchy whose keys are in a token.

use std::fs;

use rustls_pki_types::PrivatePkcs8KeyDer;

use crate::fleet::{Extras, Fleet, Part};
use crate::settings::{Noise, Protocol, Settings};
use crate::softhsm::SoftHsm;
use crate::{PEOPLE, PUBLISHERS, REACH_AND_FREQUENCY, events};

const DUCHY: &str = "worker1";

/// Every handshake of worker1's seven processes and every signature of its mill is made by the token, and no file has its
/// keys.
#[test]
fn a_whole_measurement_with_keys_in_a_token() {
    let folder = tempfile::tempdir().expect("a directory");
    let Some(hsm) = SoftHsm::create(folder.path()) else { return };
    let (tls, consent) = (format!("{DUCHY}_tls.key"), format!("{DUCHY}_cs_private.der"));
    let swaps = vec![
        (format!("/{tls}"), format!("--tls-key-uri={}", hsm.uri("tls"))),
        (format!("/{consent}"), format!("--consent-signaling-private-key-uri={}", hsm.uri("consent"))),
    ];
    let environment = vec![("SOFTHSM2_CONF", hsm.config().display().to_string())];
    let extras = Extras {
        swaps,
        environment,
        without: vec![Part::HmssMill],
        prepare: Some(Box::new(move |pki| {
            let (tls, consent) = (pki.join(tls), pki.join(consent));
            hsm.import("tls", 1, &fs::read_to_string(&tls).expect("a key"));
            let der = fs::read(&consent).expect("a key");
            let key = rcgen::KeyPair::try_from(&PrivatePkcs8KeyDer::from(der)).expect("a key");
            hsm.import("consent", 2, &key.serialize_pem());
            for file in [tls, consent] {
                fs::remove_file(file).expect("in the token now");
            }
        })),
        ..Extras::default()
    };
    let settings = Settings { protocol: Protocol::Llv2, noise: Noise::DiscreteGaussian };
    let mut fleet = Fleet::start_with(extras, settings, &events(), &PUBLISHERS, None);
    let result = fleet.watch(&fleet.create(0, REACH_AND_FREQUENCY));
    let reach = result["reach"].as_f64().expect("a reach");
    assert!((reach - PEOPLE).abs() <= settings.largest_error(PEOPLE), "{result}");
    assert_eq!(fleet.kingdom("violations", &[]), [serde_json::Value::Null; 0]);
    assert!(!fleet.whole_logs().contains(crate::softhsm::PIN), "the PIN is told to nobody");
    fleet.stop();
}
