//! Keys in a token of SoftHSM's. Where a token is, its library is told by a variable of the process, so each test runs
//! itself again in a process of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::consent::{ConsentError, Signer};
use crate::pki::{Pki, PkiSpec};
use crate::reload::Reloader;
use crate::signature::{KeyKind, SignatureAlgorithm, SignatureError};
use crate::tls::{TlsError, TlsFiles};

#[path = "../../tests/servers/softhsm.rs"]
mod softhsm;

use softhsm::SoftHsm;

/// Where the process that a test runs itself in finds what was prepared for it.
const FOLDER: &str = "HALO_TEST_TOKEN";

/// In the first process, makes a token, has `prepare` put keys into it, and runs the test of this name again. In that
/// second process, what it does is told by the return of token and folder.
fn token(test: &str, prepare: impl FnOnce(&SoftHsm, &Path)) -> Option<(SoftHsm, PathBuf)> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let folder = PathBuf::from(folder);
        let library = std::fs::read_to_string(folder.join("library")).expect("prepared");
        return Some((SoftHsm::at(&folder, Path::new(&library)), folder));
    }
    let folder = tempfile::tempdir().expect("a directory");
    let hsm = SoftHsm::create(folder.path())?;
    std::fs::write(folder.path().join("library"), hsm.library().as_os_str().as_encoded_bytes())
        .expect("a file");
    prepare(&hsm, folder.path());
    let again = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", &format!("pkcs11::tests::{test}"), "--nocapture"])
        .env("SOFTHSM2_CONF", hsm.config())
        .env(FOLDER, folder.path())
        .output()
        .expect("this program");
    let told = String::from_utf8_lossy(&again.stdout);
    assert!(
        again.status.success() && told.contains("1 passed"),
        "{told}{}",
        String::from_utf8_lossy(&again.stderr)
    );
    None
}

/// OpenSSL's.
fn rsa_key() -> KeyPair {
    let der = &include_bytes!("../../tests/vectors/consent/rsa_private.der")[..];
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der), &rcgen::PKCS_RSA_SHA256)
        .expect("a key")
}

/// A certificate of `key`, in DER.
fn certificate(key: &KeyPair) -> Vec<u8> {
    CertificateParams::new(["localhost".to_owned()])
        .expect("a name")
        .self_signed(key)
        .expect("signed")
        .der()
        .to_vec()
}

fn uri(hsm: &SoftHsm, label: &str) -> Pkcs11Uri {
    hsm.uri(label).parse().expect("a URI")
}

fn write(folder: &Path, name: &str, content: &[u8]) {
    std::fs::write(folder.join(name), content).expect("a file");
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).expect("a file")
}

#[test]
fn keys_of_both_kinds_sign_consent() {
    let prepared = token("keys_of_both_kinds_sign_consent", |hsm, folder| {
        hsm.import("rsa", 3, &rsa_key().serialize_pem());
        write(folder, "rsa", include_bytes!("../../tests/vectors/consent/rsa_cert.der"));
        for (id, label, algorithm) in
            [(1, "p256", &PKCS_ECDSA_P256_SHA256), (2, "p384", &PKCS_ECDSA_P384_SHA384)]
        {
            let key = KeyPair::generate_for(algorithm).expect("a key");
            hsm.import(label, id, &key.serialize_pem());
            write(folder, label, &certificate(&key));
        }
        // Two keys of one name: the certificate says which is meant.
        for (id, name) in [(7, "first"), (8, "second")] {
            let key = KeyPair::generate().expect("a key");
            hsm.import("both", id, &key.serialize_pem());
            write(folder, name, &certificate(&key));
        }
    });
    let Some((hsm, folder)) = prepared else { return };
    for (label, algorithm) in
        [("rsa", SignatureAlgorithm::RsaSha256), ("p256", SignatureAlgorithm::EcdsaSha256)]
    {
        let signer = Signer::in_token(read(&folder, label), &uri(&hsm, label)).expect("its key");
        for data in [&b"data"[..], b"", &[7; 100_000]] {
            let signature = signer.sign(data).expect("signed");
            assert_eq!(signature.algorithm_oid, algorithm.oid());
            let certificate = crate::x509::parse(signer.certificate()).expect("a certificate");
            crate::consent::verify(&certificate, data, &signature.bytes, &signature.algorithm_oid)
                .expect("right");
        }
    }
    let signer = Signer::in_token(read(&folder, "p256"), &uri(&hsm, "p256")).expect("its key");
    assert!(matches!(
        signer.sign_with(SignatureAlgorithm::EcdsaSha384, b""),
        Err(ConsentError::Sign(SignatureError::UnsupportedAlgorithm(_)))
    ));
    for name in ["first", "second"] {
        Signer::in_token(read(&folder, name), &uri(&hsm, "both")).expect("one of them");
    }
    // A certificate of another key, a key that is not there, and one of a kind that is not supported.
    let refused = |certificate, label| match Signer::in_token(read(&folder, certificate), &uri(&hsm, label)) {
        Err(ConsentError::Token(error)) => error,
        other => panic!("{other:?}"),
    };
    let other = refused("first", "p256");
    assert!(matches!(other, Pkcs11Error::OtherKey { found: 1, .. }) && !other.is_transient(), "{other}");
    let missing = refused("first", "nobody");
    assert!(matches!(missing, Pkcs11Error::NoKey(_)) && !missing.is_transient(), "{missing}");
    assert!(matches!(refused("p384", "p384"), Pkcs11Error::Unsuitable { .. }));
    let kind = hsm.uri("p256").replace("object=", "type=secret-key;object=").parse().expect("a URI");
    assert!(matches!(
        Signer::in_token(read(&folder, "p256"), &kind),
        Err(ConsentError::Token(Pkcs11Error::Unsuitable { .. }))
    ));
    // All threads at once, more than there are sessions.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..20).for_each(|_| drop(signer.sign(b"data").expect("signed"))));
        }
    });
}

#[test]
fn a_wrong_pin_is_tried_once() {
    let prepared = token("a_wrong_pin_is_tried_once", |hsm, folder| {
        let key = KeyPair::generate().expect("a key");
        hsm.import("key", 1, &key.serialize_pem());
        write(folder, "certificate", &certificate(&key));
        write(folder, "pin", b"wrong");
    });
    let Some((hsm, folder)) = prepared else { return };
    let open = || Signer::in_token(read(&folder, "certificate"), &uri(&hsm, "key"));
    match open() {
        Err(ConsentError::Token(error @ Pkcs11Error::PinRefused { .. })) => {
            assert!(!error.is_transient() && !format!("{error} {error:?}").contains("wrong"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    // Another key of the token's, as when files are read again, does not try it either.
    let again = open().expect_err("refused").to_string();
    assert!(again.contains("it was refused before"), "{again}");
    std::fs::remove_file(folder.join("pin")).expect("there");
    assert!(matches!(open(), Err(ConsentError::Token(Pkcs11Error::Pin { .. }))));
    write(&folder, "pin", softhsm::PIN.as_bytes());
    open().expect("the right PIN");
}

#[test]
fn a_token_that_comes_back_is_found_again() {
    let prepared = token("a_token_that_comes_back_is_found_again", |hsm, folder| {
        let key = KeyPair::generate().expect("a key");
        hsm.import("key", 1, &key.serialize_pem());
        write(folder, "certificate", &certificate(&key));
        hsm.import_aes("seal", 2, &[9; 32]);
    });
    let Some((hsm, folder)) = prepared else { return };
    let signer = Signer::in_token(read(&folder, "certificate"), &uri(&hsm, "key")).expect("its key");
    let sealing = SealingKey::open_key(&uri(&hsm, "seal")).expect("a key");
    let sealed = sealing.seal(b"secret", b"").expect("sealed");
    for _ in 0..2 {
        signer.sign(b"data").expect("signed");
        hsm.take_away();
        for _ in 0..3 {
            let away = signer.sign(b"data").expect_err("away");
            assert!(away.is_transient(), "{away}");
        }
        let away = sealing.open(&sealed, b"").expect_err("away");
        assert!(away.is_transient(), "{away}");
        hsm.put_back();
        // The library is not begun anew more often than once a second.
        let begun = std::time::Instant::now();
        while signer.sign(b"data").is_err() {
            assert!(begun.elapsed().as_secs() < 60, "the token is not found");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        assert_eq!(sealing.open(&sealed, b"").expect("its own").as_slice(), b"secret");
    }
}

#[test]
fn what_is_sealed_is_opened_by_the_same_key_and_data_alone() {
    use aes_gcm::aead::{Aead, Payload};
    use aes_gcm::{Aes256Gcm, KeyInit, Nonce};

    const KEY: [u8; 32] = [5; 32];
    let prepared = token("what_is_sealed_is_opened_by_the_same_key_and_data_alone", |hsm, _| {
        hsm.import_aes("seal", 1, &KEY);
        hsm.import_aes("other", 2, &[6; 32]);
        hsm.import_aes("short", 3, &[5; 16]);
        hsm.import_aes("seal-too", 4, &KEY);
    });
    let Some((hsm, _)) = prepared else { return };
    let open = |label| SealingKey::open_key(&uri(&hsm, label));
    let key = open("seal").expect("a key");
    for length in [0, 1, 16, 1000, MAXIMUM_PLAINTEXT_BYTES] {
        let plaintext = vec![3; length];
        let sealed = key.seal(&plaintext, b"computation 1").expect("sealed");
        assert_eq!(sealed.len(), 12 + length + 16);
        assert_eq!(key.open(&sealed, b"computation 1").expect("its own").as_slice(), plaintext);
        // As any other implementation of AES-GCM has it.
        let nonce = Nonce::try_from(&sealed[..12]).expect("12 bytes");
        let payload = Payload { msg: &sealed[12..], aad: b"computation 1" };
        let opened = Aes256Gcm::new(&KEY.into()).decrypt(&nonce, payload).expect("AES-GCM");
        assert_eq!(opened, plaintext);
    }
    let sealed = key.seal(b"secret", b"a").expect("sealed");
    assert_ne!(sealed, key.seal(b"secret", b"a").expect("sealed"), "nonces differ");
    let other = open("other").expect("a key");
    let mut refused = vec![
        other.open(&sealed, b"a"),
        key.open(&sealed, b"b"),
        key.open(&sealed, b""),
        key.open(&sealed[..27], b"a"),
        key.open(b"", b"a"),
        key.open(&vec![0; MAXIMUM_PLAINTEXT_BYTES + 29], b"a"),
    ];
    for at in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        refused.push(key.open(&altered, b"a"));
    }
    for refused in refused {
        assert!(matches!(refused, Err(Pkcs11Error::Open)), "{refused:?}");
    }
    assert!(matches!(key.seal(&vec![0; MAXIMUM_PLAINTEXT_BYTES + 1], b""), Err(Pkcs11Error::Length(_))));
    assert!(matches!(open("short"), Err(Pkcs11Error::Unsuitable { .. })));
    assert!(matches!(open("nobody"), Err(Pkcs11Error::NoKey(_))));
}

#[test]
fn a_tls_key_serves_and_calls() {
    let prepared = token("a_tls_key_serves_and_calls", |hsm, folder| {
        let pki = Pki::create(&PkiSpec::default(), &folder.join("pki")).expect("keys");
        let pem = |party: &str| std::fs::read_to_string(pki.tls_key(party)).expect("a key");
        hsm.import("worker1", 1, &pem("worker1"));
        // One of RSA.
        let root = |end: &str| {
            std::fs::read_to_string(folder.join(format!("pki/worker2_root.{end}"))).expect("a file")
        };
        let key = KeyPair::from_pem(&root("key")).expect("a key");
        let issuer = Issuer::from_ca_cert_pem(&root("pem"), key).expect("a root");
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&rsa_key(), &issuer).expect("a certificate");
        std::fs::write(pki.tls("worker2").cert, leaf.pem()).expect("a file");
        hsm.import("worker2", 2, &rsa_key().serialize_pem());
        for party in ["worker1", "worker2"] {
            std::fs::remove_file(pki.tls_key(party)).expect("in the token now");
        }
    });
    let Some((hsm, folder)) = prepared else { return };
    let pki = Pki::at(&folder.join("pki"));
    let files = |party: &str, label: &str| TlsFiles {
        key: None,
        key_uri: Some(Ok(uri(&hsm, label))),
        ..pki.tls(party)
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    runtime.block_on(async {
        let server = files("worker1", "worker1").load().expect("its key");
        let client = files("worker2", "worker2").load().expect("its key");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let acceptor = TlsAcceptor::from(server.server());
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let stream = acceptor.accept(stream).await.expect("trusted");
            stream.get_ref().1.peer_certificates().expect("presented")[0].to_vec()
        });
        let stream = TcpStream::connect(address).await.expect("listening");
        let name = "localhost".try_into().expect("a name");
        let stream = TlsConnector::from(client.client()).connect(name, stream).await.expect("trusted");
        let presented = stream.get_ref().1.peer_certificates().expect("presented")[0].to_vec();
        assert_eq!(presented, leaf(&pki, "worker1"));
        assert_eq!(serving.await.expect("served"), leaf(&pki, "worker2"));
    });
    // The certificate of one and the key of the other; then the right certificate comes, and the key with it.
    let mixed = files("worker1", "worker2").load().expect_err("another's key");
    assert!(matches!(mixed, TlsError::Token(Pkcs11Error::NoKey(_))), "{mixed}");
    let own = folder.join("cert");
    std::fs::copy(pki.tls("worker1").cert, &own).expect("a copy");
    let named = TlsFiles { cert: own.clone(), ..files("worker1", "worker1") };
    let tls = named.load().expect("its key");
    let before = tls.authority().expect("a root");
    let mut reloader = Reloader::new(std::time::Duration::from_secs(1)).tls(&named, &tls);
    reloader.check();
    std::fs::copy(pki.tls("worker2").cert, &own).expect("a copy");
    reloader.check();
    assert_eq!(tls.authority().expect("a root"), before, "refused, for its key has not that label");
    let own = leaf(&pki, "worker2");
    let public = crate::x509::parse(&own).expect("a certificate");
    let key = SigningKey::open(&uri(&hsm, "worker2"), public.public_key()).expect("its key");
    assert_eq!(key.kind(), KeyKind::Rsa);
}

/// The certificate of `party` for TLS, in DER.
fn leaf(pki: &Pki, party: &str) -> Vec<u8> {
    let pem = std::fs::read(pki.tls(party).cert).expect("a file");
    x509_parser::pem::parse_x509_pem(&pem).expect("PEM").1.contents
}

#[test]
fn a_key_in_a_token_encrypts_other_keys() {
    use crate::key_encryption::testing::keeps_its_promises;
    use crate::key_encryption::{KeyUri, OpenKeyError};

    let prepared = token("a_key_in_a_token_encrypts_other_keys", |hsm, _| hsm.import_aes("kek", 1, &[7; 32]));
    let Some((hsm, _)) = prepared else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let opened = KeyUri::Token(Box::new(uri(&hsm, "kek"))).open().expect("a key");
    assert!(opened.file.is_none() && opened.key.name().starts_with("pkcs11:"), "{}", opened.key.name());
    runtime.block_on(keeps_its_promises(&*opened.key));
    let missing = KeyUri::Token(Box::new(uri(&hsm, "other"))).open().expect_err("no key");
    assert!(matches!(missing, OpenKeyError::Token(Pkcs11Error::NoKey(_))), "{missing:?}");
    hsm.take_away();
    let away = runtime.block_on(opened.key.encrypt(b"a data key", b"")).expect_err("away");
    assert!(away.class().may_pass(), "{away}");
}

#[test]
fn libraries_that_are_none_are_refused() {
    let folder = tempfile::tempdir().expect("a directory");
    let library = folder.path().join("library.so");
    write(folder.path(), "library.so", b"not a library");
    for module in [library, folder.path().join("nowhere.so")] {
        let uri = format!("pkcs11:object=a?module-path={}&pin-source=/pin", module.display());
        let refused = SealingKey::open_key(&uri.parse().expect("a URI")).expect_err("no library");
        assert!(matches!(&refused, Pkcs11Error::Library { path, .. } if *path == module), "{refused}");
        assert!(!refused.is_transient());
    }
}
