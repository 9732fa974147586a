//! Signatures and certificates between us and OpenSSL's command line.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use halo_duchy_shell::consent::{ConsentError, Signer, verify};
use halo_duchy_shell::pki::{Pki, PkiSpec};
use halo_duchy_shell::signature::SignatureAlgorithm;
use halo_duchy_shell::x509::{self, TrustedRoots};
use tempfile::TempDir;

use crate::skipped;

/// Names of keys, with what makes OpenSSL generate them.
const KEYS: [(&str, &[&str]); 4] = [
    ("p256", &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ("p384", &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
    ("p521", &["EC", "-pkeyopt", "ec_paramgen_curve:P-521"]),
    ("rsa", &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
];

const EC_ALGORITHMS: [(SignatureAlgorithm, &str); 3] = [
    (SignatureAlgorithm::EcdsaSha256, "-sha256"),
    (SignatureAlgorithm::EcdsaSha384, "-sha384"),
    (SignatureAlgorithm::EcdsaSha512, "-sha512"),
];
const RSA_ALGORITHMS: [(SignatureAlgorithm, &str); 3] = [
    (SignatureAlgorithm::RsaSha256, "-sha256"),
    (SignatureAlgorithm::RsaSha384, "-sha384"),
    (SignatureAlgorithm::RsaSha512, "-sha512"),
];

struct Openssl {
    folder: TempDir,
}

impl Openssl {
    fn new() -> Option<Self> {
        match Command::new("openssl").arg("version").output() {
            Ok(output) if output.status.success() => {
                Some(Self { folder: tempfile::tempdir().expect("a folder") })
            }
            Ok(output) => {
                skipped("openssl-cli", &format!("openssl version: {}", output.status));
                None
            }
            Err(error) => {
                skipped("openssl-cli", &format!("the command openssl: {error}"));
                None
            }
        }
    }

    fn try_run(&self, arguments: &[&str]) -> Output {
        Command::new("openssl")
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .expect("found before")
    }

    fn run(&self, arguments: &[&str]) {
        let output = self.try_run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect(name);
    }

    /// `{name}.key`, in PKCS #8.
    fn key(&self, name: &str, kind: &[&str]) {
        let key = format!("{name}.key");
        self.run(&[&["genpkey", "-out", &key, "-algorithm"], kind].concat());
    }

    /// `{name}.pem`: a root with the key of that name.
    fn root(&self, name: &str, signing: &[&str]) {
        let (key, pem, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name} root"));
        let request = ["req", "-x509", "-new", "-days", "2", "-key", &key, "-out", &pem, "-subj", &subject];
        let extensions =
            ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"];
        self.run(&[&request[..], &extensions, signing].concat());
    }

    /// `{name}.der`: a certificate for the key of that name, by `issuer`.
    fn leaf(&self, name: &str, issuer: &str, signing: &[&str]) {
        let (key, subject) = (format!("{name}.key"), format!("/CN={name}"));
        self.run(&["req", "-new", "-key", &key, "-out", "leaf.csr", "-subj", &subject]);
        let extensions = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
                          subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";
        self.write("leaf.ext", extensions.as_bytes());
        let (ca, ca_key, der) = (format!("{issuer}.pem"), format!("{issuer}.key"), format!("{name}.der"));
        let request = ["x509", "-req", "-in", "leaf.csr", "-days", "1", "-extfile", "leaf.ext"];
        let by = ["-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial", "-outform", "DER", "-out", &der];
        self.run(&[&request[..], &by, signing].concat());
    }
}

fn algorithms(key: &str) -> [(SignatureAlgorithm, &'static str); 3] {
    if key == "rsa" { RSA_ALGORITHMS } else { EC_ALGORITHMS }
}

#[test]
fn messages_signed_by_either_verify_by_the_other() {
    let Some(openssl) = Openssl::new() else { return };
    let data = b"what everyone agreed to";
    openssl.write("data", data);
    openssl.key("ca", KEYS[0].1);
    openssl.root("ca", &["-sha256"]);
    for (name, kind) in KEYS {
        openssl.key(name, kind);
        openssl.leaf(name, "ca", &["-sha256"]);
        let (key, der) = (format!("{name}.key"), format!("{name}.der"));
        openssl.run(&["pkey", "-in", &key, "-pubout", "-out", "public.pem"]);
        let signer = Signer::load(&openssl.path(&der), &openssl.path(&key)).expect("PKCS #8 in PEM");
        let certificate = openssl.read(&der);
        let certificate = x509::parse(&certificate).expect("a certificate");
        for (algorithm, digest) in algorithms(name) {
            openssl.run(&["dgst", digest, "-sign", &key, "-out", "theirs", "data"]);
            let theirs = openssl.read("theirs");
            assert_eq!(verify(&certificate, data, &theirs, &algorithm.oid()), Ok(()), "{name} {digest}");
            assert!(verify(&certificate, b"other", &theirs, &algorithm.oid()).is_err(), "{name} {digest}");

            openssl.write("ours", &signer.sign_with(algorithm, data).expect("suits the key").bytes);
            openssl.run(&["dgst", digest, "-verify", "public.pem", "-signature", "ours", "data"]);
        }
        assert_eq!(signer.sign(data).expect("signed").algorithm_oid, algorithms(name)[0].0.oid());
    }
}

#[test]
fn certificates_by_every_algorithm_are_believed() {
    let Some(openssl) = Openssl::new() else { return };
    openssl.key("leaf", KEYS[0].1);
    let pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"];
    let mut cases = vec![("ed25519", &["ED25519"][..], vec![])];
    for (name, kind) in KEYS {
        cases.extend(algorithms(name).map(|(_, digest)| (name, kind, vec![digest])));
    }
    let with_pss = |digest| [&[digest][..], &pss].concat();
    cases.extend(["-sha256", "-sha384", "-sha512"].map(|digest| (KEYS[3].0, KEYS[3].1, with_pss(digest))));
    for (name, kind, signing) in cases {
        if !openssl.path(&format!("{name}.key")).exists() {
            openssl.key(name, kind);
        }
        openssl.root(name, &signing);
        openssl.leaf("leaf", name, &signing);
        let roots = TrustedRoots::from_pem(&openssl.read(&format!("{name}.pem"))).expect("a root");
        let leaf = openssl.read("leaf.der");
        let leaf = x509::parse(&leaf).expect("a certificate");
        let issuer = roots.issuer(&leaf).unwrap_or_else(|error| panic!("{name} {signing:?}: {error}"));
        assert_eq!(roots.verify(&leaf, issuer, SystemTime::now()), Ok(()));
    }
}

#[test]
fn certificates_by_sha1_and_small_keys_are_not() {
    let Some(openssl) = Openssl::new() else { return };
    openssl.key("ca", KEYS[0].1);
    openssl.root("ca", &["-sha256"]);
    let roots = TrustedRoots::from_pem(&openssl.read("ca.pem")).expect("a root");
    openssl.key("leaf", KEYS[0].1);
    openssl.leaf("leaf", "ca", &["-sha1"]);
    let leaf = openssl.read("leaf.der");
    let refused = roots.issuer(&x509::parse(&leaf).expect("a certificate")).expect_err("SHA-1");
    assert!(refused.to_string().contains("1.2.840.10045.4.1"), "{refused}");

    openssl.key("small", &["RSA", "-pkeyopt", "rsa_keygen_bits:1024"]);
    openssl.leaf("small", "ca", &["-sha256"]);
    let refused = Signer::load(&openssl.path("small.der"), &openssl.path("small.key"));
    assert!(matches!(refused, Err(ConsentError::UnsupportedKey)), "{refused:?}");
    openssl.write("data", b"data");
    openssl.run(&["dgst", "-sha256", "-sign", "small.key", "-out", "signature", "data"]);
    let leaf = openssl.read("small.der");
    let refused = verify(
        &x509::parse(&leaf).expect("a certificate"),
        b"data",
        &openssl.read("signature"),
        "1.2.840.113549.1.1.11",
    );
    assert!(refused.expect_err("1024 bits").to_string().contains("RSA of 1024 bits"));
}

#[test]
fn keys_are_read_in_pkcs8_and_in_no_other_form() {
    let Some(openssl) = Openssl::new() else { return };
    openssl.key("ca", KEYS[0].1);
    openssl.root("ca", &["-sha256"]);
    for (name, kind) in KEYS {
        openssl.key(name, kind);
        openssl.leaf(name, "ca", &["-sha256"]);
        let (key, certificate) = (format!("{name}.key"), openssl.path(&format!("{name}.der")));
        openssl.run(&["pkcs8", "-topk8", "-nocrypt", "-in", &key, "-outform", "DER", "-out", "pkcs8.der"]);
        for file in [&key, "pkcs8.der"] {
            Signer::load(&certificate, &openssl.path(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        }
        if name != "rsa" {
            // As Java writes them.
            openssl.run(&["ec", "-in", &key, "-no_public", "-outform", "DER", "-out", "sec1.der"]);
            let from = ["-topk8", "-nocrypt", "-inform", "DER", "-in", "sec1.der"];
            openssl.run(&[&["pkcs8"], &from[..], &["-outform", "DER", "-out", "private.der"]].concat());
            assert!(openssl.read("private.der").len() < openssl.read("pkcs8.der").len() - 60, "{name}");
            Signer::load(&certificate, &openssl.path("private.der"))
                .unwrap_or_else(|error| panic!("{name} without its public half: {error}"));
        }
        // SEC 1 or PKCS #1.
        for (form, file) in [("PEM", "traditional.pem"), ("DER", "traditional.der")] {
            openssl.run(&["pkey", "-in", &key, "-traditional", "-outform", form, "-out", file]);
        }
        let password = ["-passout", "pass:secret"];
        openssl.run(&[&["pkcs8", "-topk8", "-in", &key, "-out", "encrypted.pem"], &password[..]].concat());
        for file in ["traditional.pem", "traditional.der", "encrypted.pem"] {
            let refused = Signer::load(&certificate, &openssl.path(file));
            assert!(matches!(refused, Err(ConsentError::UnsupportedKey)), "{name} {file}: {refused:?}");
        }
    }
}

#[test]
fn our_certificates_are_believed_by_openssl() {
    let Some(openssl) = Openssl::new() else { return };
    let pki = Pki::create(&PkiSpec::default(), &openssl.path("pki")).expect("sound spec");
    for party in ["aggregator", "worker1", "edp1", "mc", "kingdom"] {
        let root = openssl.path("pki").join(format!("{party}_root.pem"));
        let consent = pki.consent_certificate(party);
        openssl.run(&["x509", "-inform", "DER", "-in", text(&consent), "-out", "consent.pem"]);
        for leaf in [text(&pki.tls(party).cert), "consent.pem"] {
            openssl.run(&["verify", "-x509_strict", "-CAfile", text(&root), leaf]);
        }
        let other = openssl.path("pki/worker2_root.pem");
        let verified = openssl.try_run(&["verify", "-CAfile", text(&other), "consent.pem"]);
        assert!(!verified.status.success(), "{party} below another root");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("plain names")
}
