//! Envelopes between us and Tink's Go library, by the program in `tink/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use halo_duchy_shell::hybrid_encryption::{
    HybridEncryptionError, KeyEncryptionKey, PrivateKeyset, PublicKeyset, Scheme,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::skipped;

const FORMATS: [&str; 2] = ["binary", "json"];

/// What upstream's parties have, with and without prefix.
const TEMPLATES: [&str; 3] = [
    "DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_AES_256_GCM",
    "DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_AES_256_GCM_RAW",
    "ECIES_P256_HKDF_HMAC_SHA256_AES128_GCM",
];

/// What Tink could make, but no party of upstream does.
const REFUSED_TEMPLATES: [&str; 3] = [
    "DHKEM_X25519_HKDF_SHA256_HKDF_SHA256_AES_128_GCM",
    "DHKEM_P256_HKDF_SHA256_HKDF_SHA256_AES_256_GCM",
    "ECIES_P256_HKDF_HMAC_SHA256_AES128_CTR_HMAC_SHA256",
];

#[derive(Default, Serialize)]
struct Request {
    operation: &'static str,
    format: &'static str,
    template: &'static str,
    keyset: String,
    data: String,
    context: String,
}

#[derive(Deserialize)]
struct Answer {
    data: String,
    public: String,
    error: String,
}

impl Answer {
    fn data(&self) -> Vec<u8> {
        assert_eq!(self.error, "");
        hex::decode(&self.data).expect("hexadecimal")
    }
}

/// The program, built once per machine and version outside the clone; `None` if it cannot be built here.
fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(|| build().map_err(|reason| skipped("tink-go", &reason)).ok()).as_deref()
}

/// `Err` with the reason if Go or the module cannot be had. A program that does not compile is a mistake.
fn build() -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/tink");
    let mut version = Sha256::new();
    for file in ["go.mod", "go.sum", "main.go"] {
        version.update(std::fs::read(source.join(file)).expect("in the repository"));
    }
    let version = &hex::encode(version.finalize())[..16];
    let program = cache()?.join(format!("tink-go-{version}")).join("tink");
    if program.exists() {
        return Ok(program);
    }
    let go = |arguments: &[&str]| {
        // Another toolchain could not be downloaded everywhere.
        Command::new("go").args(arguments).current_dir(&source).env("GOTOOLCHAIN", "local").output()
    };
    let download = go(&["mod", "download"]).map_err(|error| format!("the command go: {error}"))?;
    if !download.status.success() {
        return Err(format!("go mod download: {}", String::from_utf8_lossy(&download.stderr).trim()));
    }
    // Another process that builds the same must not see half a program.
    let folder = program.parent().expect("in a folder");
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let partial = folder.join(format!("tink-{}", std::process::id()));
    let built = go(&["build", "-o", &partial.to_string_lossy(), "."]).expect("go was there before");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    std::fs::rename(&partial, &program).map_err(|error| error.to_string())?;
    Ok(program)
}

/// The folder of `.ci/lib.sh`.
fn cache() -> Result<PathBuf, String> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    Ok(cache.ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("halo-duchy"))
}

fn ask(program: &Path, requests: &[Request]) -> Vec<Answer> {
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("just built");
    serde_json::to_writer(child.stdin.take().expect("piped"), requests).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    let answers: Vec<Answer> = serde_json::from_slice(&output.stdout).expect("answers");
    assert_eq!(answers.len(), requests.len());
    answers
}

fn generate(template: &'static str, format: &'static str) -> Request {
    Request { operation: "generate", format, template, ..Request::default() }
}

fn plaintexts() -> [Vec<u8>; 3] {
    [Vec::new(), b"reach 1234".to_vec(), vec![7; 100_000]]
}

#[test]
fn tink_opens_what_we_seal_under_our_keys() {
    let Some(program) = program() else { return };
    let mut rng = UnwrapErr(SysRng);
    for scheme in [Scheme::Hpke, Scheme::Ecies] {
        let keyset = PrivateKeyset::generate(scheme, &mut rng);
        for (format, serialised) in
            [("binary", keyset.to_bytes().to_vec()), ("json", keyset.to_json().as_bytes().to_vec())]
        {
            let requests = plaintexts().map(|plaintext| {
                let sealed = keyset.public().encrypt(&plaintext, &mut rng).expect("a sound key");
                let (keyset, data) = (hex::encode(&serialised), hex::encode(sealed));
                Request { operation: "decrypt", format, keyset, data, ..Request::default() }
            });
            let answers = ask(program, &requests);
            for (answer, plaintext) in answers.iter().zip(plaintexts()) {
                assert_eq!(answer.data(), plaintext, "{scheme:?} {format}");
            }
        }
    }
}

#[test]
fn we_open_what_tink_seals_under_our_keys_unless_it_is_meant_for_elsewhere() {
    let Some(program) = program() else { return };
    for scheme in [Scheme::Hpke, Scheme::Ecies] {
        let keyset = PrivateKeyset::generate(scheme, &mut UnwrapErr(SysRng));
        let public = keyset.public();
        for (format, serialised) in [("binary", public.to_bytes()), ("json", public.to_json().into_bytes())] {
            let request = |plaintext: Vec<u8>, context: &str| Request {
                operation: "encrypt",
                format,
                keyset: hex::encode(&serialised),
                data: hex::encode(plaintext),
                context: hex::encode(context),
                ..Request::default()
            };
            let answers = ask(program, &plaintexts().map(|plaintext| request(plaintext, "")));
            for (answer, plaintext) in answers.iter().zip(plaintexts()) {
                assert_eq!(*keyset.decrypt(&answer.data()).expect("ours"), plaintext, "{scheme:?} {format}");
            }
            let elsewhere = ask(program, &plaintexts().map(|plaintext| request(plaintext, "elsewhere")));
            for answer in elsewhere {
                assert_eq!(
                    keyset.decrypt(&answer.data()).expect_err("another context"),
                    HybridEncryptionError::Open
                );
            }
        }
    }
}

#[test]
fn tinks_keysets_serve_both_ways() {
    let Some(program) = program() else { return };
    let mut rng = UnwrapErr(SysRng);
    for format in FORMATS {
        let generated = ask(program, &TEMPLATES.map(|template| generate(template, format)));
        for (answer, template) in generated.iter().zip(TEMPLATES) {
            let private = PrivateKeyset::parse_file(&answer.data()).expect(template);
            let public = hex::decode(&answer.public).expect("hexadecimal");
            let public = PublicKeyset::parse_file(&public).expect(template);
            assert_eq!(private.public(), public, "{template}");
            let sealed = public.encrypt(b"reach 1234", &mut rng).expect("a sound key");
            let request = |operation, keyset: &str, data: &[u8]| Request {
                operation,
                format,
                keyset: keyset.to_owned(),
                data: hex::encode(data),
                ..Request::default()
            };
            let requests = [
                request("decrypt", &answer.data, &sealed),
                request("encrypt", &answer.public, b"reach 5678"),
            ];
            let [opened, sealed] = &ask(program, &requests)[..] else { panic!("two answers") };
            assert_eq!(opened.data(), b"reach 1234", "{template} {format}");
            assert_eq!(*private.decrypt(&sealed.data()).expect(template), b"reach 5678");
        }
    }
}

#[test]
fn other_schemes_are_refused_by_name() {
    let Some(program) = program() else { return };
    for format in FORMATS {
        let generated = ask(program, &REFUSED_TEMPLATES.map(|template| generate(template, format)));
        for (answer, template) in generated.iter().zip(REFUSED_TEMPLATES) {
            let private = PrivateKeyset::parse_file(&answer.data()).expect_err(template);
            let public = hex::decode(&answer.public).expect("hexadecimal");
            let public = PublicKeyset::parse_file(&public).expect_err(template);
            for refused in [private, public] {
                assert!(
                    matches!(refused, HybridEncryptionError::UnsupportedKey { .. }),
                    "{template}: {refused}"
                );
            }
        }
    }
}

/// What an operator may have made for `--key-encryption-key-file`.
const KEY_TEMPLATES: [&str; 3] = ["AES128_GCM", "AES256_GCM", "AES256_GCM_RAW"];

#[test]
fn encrypted_keysets_are_read_both_ways() {
    let Some(program) = program() else { return };
    let mut rng = UnwrapErr(SysRng);
    let keyset = PrivateKeyset::generate(Scheme::Hpke, &mut rng);
    let clear = keyset.to_bytes();
    let own = KeyEncryptionKey::generate_keyset(&mut rng).to_vec();
    for format in FORMATS {
        let generated = ask(program, &KEY_TEMPLATES.map(|template| generate(template, format)));
        let mut keys: Vec<_> = generated.iter().map(Answer::data).collect();
        if format == "binary" {
            keys.push(own.clone());
        }
        for key in keys {
            let request = |operation, data: &[u8]| Request {
                operation,
                format,
                keyset: hex::encode(&key),
                data: hex::encode(data),
                ..Request::default()
            };
            let parsed = KeyEncryptionKey::parse_file(&key).expect("AES-GCM");
            let sealed = keyset.seal(&parsed, &mut rng).expect("a sound key");
            let requests = [request("read_encrypted", &sealed), request("write_encrypted", &clear)];
            let [read, written] = &ask(program, &requests)[..] else { panic!("two answers") };
            assert_eq!(read.data(), *clear, "{format}");
            let opened = PrivateKeyset::unseal(&written.data(), &parsed).expect("Tink's");
            assert_eq!(opened.to_bytes(), clear, "{format}");
        }
    }
    let other = ask(program, &[generate("AES128_CTR_HMAC_SHA256", "binary")]);
    let refused = KeyEncryptionKey::parse_file(&other[0].data()).expect_err("another kind of key");
    assert!(matches!(refused, HybridEncryptionError::UnsupportedKey { .. }), "{refused}");
}
