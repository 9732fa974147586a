use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use halo_protocols::hmss;
use halo_protocols::role::Role;

use super::*;
use crate::config::{DuchyDirectory, ProtocolsSetup, load_principals};
use crate::hybrid_encryption::PublicKeyset;
use crate::identity::Caller;
use crate::x509;

fn create(spec: &PkiSpec) -> (tempfile::TempDir, Pki) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let pki = Pki::create(spec, dir.path()).expect("sound spec");
    (dir, pki)
}

#[test]
fn configuration_names_every_party_by_its_root() {
    let (_dir, pki) = create(&PkiSpec::default());
    let directory = DuchyDirectory::load(&pki.duchy_cert_config()).expect("own configuration");
    let principals = load_principals(&directory, Some(&pki.principal_map())).expect("own map");
    for (party, caller) in [
        ("worker1", Caller::Duchy("worker1".into())),
        ("edp2", Caller::DataProvider("dataProviders/edp2".into())),
        ("mc", Caller::MeasurementConsumer("measurementConsumers/mc".into())),
        ("kingdom", Caller::Kingdom),
    ] {
        let tls = pki.tls(party).load().expect("own files");
        let consent = std::fs::read(pki.consent_certificate(party)).expect("written");
        let leaf = x509::parse(&consent).expect("a certificate");
        let roots = tls.roots();
        let issuer = roots.issuer(&leaf).expect("a trusted root");
        assert_eq!(principals.get(issuer), Some(&caller));
    }
}

#[test]
fn certificates_expire_when_told() {
    let (_dir, pki) = create(&PkiSpec { valid_days: 2, ..PkiSpec::default() });
    let consent = std::fs::read(pki.consent_certificate("worker1")).expect("written");
    let leaf = x509::parse(&consent).expect("a certificate");
    let roots = pki.tls("worker1").load().expect("own files").roots().clone();
    let root = roots.issuer(&leaf).expect("a trusted root");
    let day = Duration::from_secs(24 * 60 * 60);
    assert_eq!(roots.verify(&leaf, root, SystemTime::now() + day), Ok(()));
    for outside in [SystemTime::now() + 3 * day, SystemTime::now() - day, SystemTime::UNIX_EPOCH - day] {
        assert!(roots.verify(&leaf, root, outside).is_err(), "{outside:?}");
    }
}

#[test]
fn roles_follow_the_order_of_the_duchies() {
    let duchies = ["a", "b", "c", "d"].map(String::from).to_vec();
    let (_dir, pki) = create(&PkiSpec { duchies, ..PkiSpec::default() });
    let directory = DuchyDirectory::load(&pki.duchy_cert_config()).expect("own configuration");
    let setup = |duchy| {
        let setup = ProtocolsSetup::load(&pki.protocols_setup(duchy), duchy, &directory).expect("own setup");
        let sketch = setup.liquid_legions_v2.expect("all take part");
        assert_eq!(sketch.aggregator, "a");
        (sketch.role, setup.honest_majority_share_shuffle.map(|setup| setup.role))
    };
    assert_eq!(setup("a"), (Role::Aggregator, Some(hmss::Role::Aggregator)));
    assert_eq!(setup("b"), (Role::NonAggregator, Some(hmss::Role::FirstNonAggregator)));
    assert_eq!(setup("c"), (Role::NonAggregator, Some(hmss::Role::SecondNonAggregator)));
    assert_eq!(setup("d"), (Role::NonAggregator, None));
}

#[test]
fn keysets_belong_together() {
    let (_dir, pki) = create(&PkiSpec::default());
    let mut rng = UnwrapErr(SysRng);
    for scheme in [Scheme::Hpke, Scheme::Ecies] {
        let public = std::fs::read(pki.encryption_public("mc", scheme)).expect("written");
        let private = std::fs::read(pki.encryption_private("mc", scheme)).expect("written");
        let sealed =
            PublicKeyset::parse(&public).expect("a keyset").encrypt(b"7", &mut rng).expect("sound key");
        let opened = PrivateKeyset::parse(&private).expect("a keyset").decrypt(&sealed);
        assert_eq!(&opened.expect("own ciphertext")[..], b"7");
    }
}

#[test]
fn only_the_owner_reads_private_keys() {
    let (dir, pki) = create(&PkiSpec::default());
    let mode = |path: &Path| path.metadata().expect("written").permissions().mode() & 0o777;
    for path in [
        dir.path().join("edp1_root.key"),
        pki.tls_key("aggregator"),
        pki.consent_private_key("worker2"),
        pki.encryption_private("mc", Scheme::Hpke),
    ] {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn nothing_is_overwritten() {
    let (dir, pki) = create(&PkiSpec::default());
    let before = std::fs::read(pki.tls_key("aggregator")).expect("written");
    let refused = Pki::create(&PkiSpec::default(), dir.path()).expect_err("files exist");
    assert!(matches!(refused, PkiError::Write { path, .. } if path.ends_with("aggregator_root.pem")));
    assert_eq!(std::fs::read(pki.tls_key("aggregator")).expect("kept"), before);
}

#[test]
fn unusable_specs_are_refused() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let refused = |spec: PkiSpec| Pki::create(&spec, dir.path()).expect_err("unusable");
    let default = PkiSpec::default;
    let ids = |ids: &[&str]| ids.iter().map(|id| String::from(*id)).collect::<Vec<_>>();
    assert!(matches!(refused(PkiSpec { duchies: vec![], ..default() }), PkiError::NoDuchies));
    let spec = PkiSpec { duchies: ids(&["a", "../b"]), ..default() };
    assert!(matches!(refused(spec), PkiError::Id(ConfigError::MalformedName(id)) if id == "../b"));
    let spec = PkiSpec { data_providers: ids(&["worker1"]), ..default() };
    assert!(matches!(refused(spec), PkiError::DuplicateId(id) if id == "worker1"));
    let spec = PkiSpec { measurement_consumer: KINGDOM.into(), ..default() };
    assert!(matches!(refused(spec), PkiError::DuplicateId(_)));
    assert_eq!(dir.path().read_dir().expect("readable").count(), 0, "nothing was written");
    let spec = PkiSpec { hosts: ids(&["höst"]), ..default() };
    assert!(matches!(refused(spec), PkiError::Certificate { party, .. } if party == "aggregator"));
}
