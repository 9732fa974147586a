use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose,
};

use super::*;

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params
}

fn root_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn root(params: CertificateParams) -> CertifiedIssuer<'static, KeyPair> {
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("certificate")
}

fn leaf(issuer: &CertifiedIssuer<'_, KeyPair>) -> Vec<u8> {
    let key = KeyPair::generate().expect("key");
    params("leaf").signed_by(&key, issuer).expect("certificate").der().to_vec()
}

fn key_identifier(root: &CertifiedIssuer<'_, KeyPair>) -> Vec<u8> {
    subject_key_identifier(&parse(root.der()).expect("certificate")).expect("present").to_vec()
}

#[test]
fn issuers_are_found_by_key_identifier() {
    let (a, b) = (root(root_params("a")), root(root_params("b")));
    let roots = TrustedRoots::from_pem((a.pem() + &b.pem() + &a.pem()).as_bytes()).expect("two roots");
    assert_eq!(roots.iter().count(), 2);
    let of_a = leaf(&a);
    let of_a = parse(&of_a).expect("certificate");
    assert_eq!(roots.issuer(&of_a).expect("trusted"), key_identifier(&a));
    assert_eq!(roots.verify(&of_a, &key_identifier(&a), SystemTime::now()), Ok(()));
    assert!(matches!(
        roots.verify(&of_a, &key_identifier(&b), SystemTime::now()),
        Err(CertificateError::OtherIssuer { .. })
    ));
    let only_b = TrustedRoots::from_pem(b.pem().as_bytes()).expect("a root");
    assert_eq!(only_b.issuer(&of_a), Err(CertificateError::UnknownIssuer));
}

#[test]
fn another_roots_identifier_in_a_leaf_proves_nothing() {
    let victim = root(root_params("victim"));
    // The attacker's own root has the victim's name and key identifier, so its leaves point to the victim's.
    let mut params = root_params("victim");
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_identifier(&victim));
    let attacker = root(params);
    let roots = TrustedRoots::from_pem(victim.pem().as_bytes()).expect("a root");
    let forged = leaf(&attacker);
    let forged = parse(&forged).expect("certificate");
    assert_eq!(authority_key_identifier(&forged), Some(&key_identifier(&victim)[..]));
    assert_eq!(roots.issuer(&forged), Err(CertificateError::Forged));
    let both = (victim.pem() + &attacker.pem()).into_bytes();
    assert!(matches!(TrustedRoots::from_pem(&both), Err(CertificateError::DuplicateRoot(_))));
}

#[test]
fn only_roots_are_trusted() {
    let issuer = root(root_params("root"));
    let refused = |pem: &str| TrustedRoots::from_pem(pem.as_bytes()).expect_err("no root");
    let key = KeyPair::generate().expect("key");
    let intermediate = root_params("intermediate").signed_by(&key, &issuer).expect("certificate");
    assert!(
        matches!(refused(&intermediate.pem()), CertificateError::NotARoot(name) if name.contains("intermediate"))
    );
    let no_identifier = root(CertificateParams::default());
    assert!(matches!(refused(&no_identifier.pem()), CertificateError::NoKeyIdentifier(_)));
    assert_eq!(refused(""), CertificateError::NoRoots);
    assert_eq!(
        refused("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"),
        CertificateError::MalformedPem
    );
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(refused(garbage), CertificateError::Malformed);
}

#[test]
fn trailing_bytes_are_refused() {
    let mut der = leaf(&root(root_params("root")));
    assert!(parse(&der).is_ok());
    der.push(0);
    assert_eq!(parse(&der).err(), Some(CertificateError::Malformed));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse(&bytes).is_err());
        prop_assert!(TrustedRoots::from_pem(&bytes).is_err());
    }
}

#[test]
fn every_altered_byte_of_what_is_signed_is_noticed() {
    let root = root(root_params("root"));
    let roots = TrustedRoots::from_pem(root.pem().as_bytes()).expect("a root");
    let der = leaf(&root);
    let signed = parse(&der).expect("certificate").tbs_certificate.as_ref().len();
    let header = 4;
    for index in header..header + signed {
        let mut altered = der.clone();
        altered[index] ^= 1;
        let believed = parse(&altered).and_then(|leaf| roots.issuer(&leaf).map(<[u8]>::to_vec));
        assert!(believed.is_err(), "byte {index}");
    }
}

/// A root and a leaf below it, each as `change` makes it.
fn refused_with(
    change_root: impl FnOnce(&mut CertificateParams),
    change_leaf: impl FnOnce(&mut CertificateParams),
) -> CertificateError {
    let mut of_root = root_params("root");
    change_root(&mut of_root);
    let root = root(of_root);
    let roots = TrustedRoots::from_pem(root.pem().as_bytes()).expect("a root");
    let mut of_leaf = params("leaf");
    change_leaf(&mut of_leaf);
    let key = KeyPair::generate().expect("key");
    let leaf = of_leaf.signed_by(&key, &root).expect("certificate");
    let leaf = parse(leaf.der()).expect("certificate");
    let verified = roots.verify(&leaf, &key_identifier(&root), SystemTime::now());
    verified.and_then(|()| verify_data(&leaf, "1.2.840.10045.4.3.2", b"", b"")).expect_err("refused")
}

#[test]
fn chains_are_refused_for_what_is_wrong_with_them() {
    let now = time::OffsetDateTime::now_utc();
    let day = time::Duration::days(1);
    let past = |params: &mut CertificateParams| params.not_after = now - day;
    let future = |params: &mut CertificateParams| params.not_before = now + day;
    let same = |_: &mut CertificateParams| ();
    // All that is left to refuse in a sound chain is the empty signature.
    assert_eq!(refused_with(same, same), SignatureError::Malformed.into());
    assert!(matches!(refused_with(same, past), CertificateError::Expired(_)));
    assert!(matches!(refused_with(past, same), CertificateError::Expired(_)));
    assert!(matches!(refused_with(same, future), CertificateError::NotYetValid(_)));
    assert!(matches!(refused_with(future, same), CertificateError::NotYetValid(_)));
    let critical = |params: &mut CertificateParams| {
        let mut extension = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    };
    assert_eq!(refused_with(same, critical), CertificateError::CriticalExtension("1.2.3.4".into()));
    let encrypts =
        |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    assert_eq!(refused_with(same, encrypts), CertificateError::KeyUsage);

    let signs_nothing = |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::CrlSign];
    assert!(matches!(refused_with(signs_nothing, same), CertificateError::NotAnAuthority(_)));
    let no_authority = |params: &mut CertificateParams| {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages.clear();
        // Not by itself given to what is no authority.
        let id = vec![7; 20];
        params.key_identifier_method = KeyIdMethod::PreSpecified(id.clone());
        let der = [&[4, 20][..], &id].concat();
        params.custom_extensions.push(rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 14], der));
    };
    assert!(matches!(refused_with(no_authority, same), CertificateError::NotAnAuthority(_)));
}
