use std::fmt::Display;
use std::time::{Duration, UNIX_EPOCH};

use halo_duchy_shell::blob::Content;
use halo_duchy_shell::continuation_token::ContinuationToken;
use halo_duchy_shell::key_encryption::KeyUri;
use halo_duchy_shell::kingdom::resource_name::{
    CertificateName, ComputationName, ComputationRequisitionName, ExternalId, MeasurementName,
    ParticipantName, RequisitionName, is_id,
};
use halo_duchy_shell::store::postgres::PostgresAddress;
use halo_duchy_shell::store::spanner::SpannerAddress;

use crate::memory::bounded;

/// Any text as the name of a resource, a continuation token, the key of a blob, the address of a database or the URI of a
/// key.
///
/// There is one way to write a name. What is shown of an address leads to it, and has no password; what is shown of a key
/// names it, but for the way to a token.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    bounded(text.len(), 64, || {
        resources(text);
        token(text);
        blob(text);
        addresses(text);
        keys(text);
    });
}

fn written_alike(name: Option<impl Display>, text: &str) {
    assert!(name.is_none_or(|name| name.to_string() == text), "{text:?} is written in another way");
}

fn resources(text: &str) {
    written_alike(ExternalId::parse(text), text);
    written_alike(ComputationName::parse(text), text);
    written_alike(ParticipantName::parse(text), text);
    written_alike(ComputationRequisitionName::parse(text), text);
    written_alike(MeasurementName::parse(text), text);
    written_alike(RequisitionName::parse(text), text);
    let certificate = CertificateName::parse(text);
    assert!(certificate.as_ref().is_none_or(|name| is_id(&name.certificate)));
    written_alike(certificate, text);
}

fn token(text: &str) {
    let Ok(token) = ContinuationToken::parse(text) else { return };
    assert_eq!(token.as_str(), text);
    assert!(!token.is_older_than(&token));
    let since = Duration::from_secs(1_800_000_000);
    assert!(token.age(UNIX_EPOCH + since) <= since);
}

fn blob(text: &str) {
    if let Some(content) = Content::in_path(text) {
        assert_eq!(Content::in_path(&format!("folder/{content}-0")), Some(content));
    }
}

fn addresses(text: &str) {
    written_alike(text.parse::<SpannerAddress>().ok(), text);
    if let Ok(address) = text.parse::<PostgresAddress>() {
        let shown = address.to_string();
        assert_eq!(format!("{address:?}"), format!("PostgresAddress({shown})"));
        let credentials = shown.strip_prefix("postgres://").and_then(|rest| rest.split('@').next());
        assert!(credentials.is_some_and(|credentials| !credentials.contains(':')), "a password in {shown}");
        let again: PostgresAddress = shown.parse().expect("what is shown is an address");
        assert_eq!(again.to_string(), shown);
    }
}

fn keys(text: &str) {
    match text.parse::<KeyUri>() {
        Ok(KeyUri::Token(uri)) => {
            let whole = format!("{uri}?module-path=/m&pin-source=file:/p");
            let again: KeyUri = whole.parse().expect("what is shown names a key");
            assert_eq!(again.to_string(), uri.to_string());
        }
        // The path of a file may have an empty host before it, or slashes, which are not shown.
        Ok(uri @ KeyUri::File(_)) => assert_eq!(uri.to_string().parse(), Ok(uri)),
        uri => written_alike(uri.ok(), text),
    }
}

/// One of each kind.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let id = ExternalId::from_number(1);
    let content = Content::of(b"registers");
    [
        format!("computations/{id}"),
        format!("computations/{id}/participants/worker1"),
        format!("computations/{id}/requisitions/{id}"),
        format!("measurementConsumers/mc/measurements/{id}"),
        format!("dataProviders/edp1/requisitions/{id}"),
        "duchies/worker1/certificates/c".into(),
        // Three seconds after 1970, the id 1; without padding and with it.
        "CgIIAxAB".into(),
        "CgQIAxAFEAE=".into(),
        format!("worker1/computations/{id}/SETUP_PHASE/1/{content}-0123456789abcdef"),
        "spanner://projects/example.com:p/instances/duchy-1/databases/duchy_1".into(),
        "postgres://duchy:secret@db.example.com:5433/duchy?sslrootcert=/etc/rds.pem&connections=20".into(),
        "postgres://a%40b@/duchy?host=/tmp/a%20b&password_env=PASSWORD&statement_timeout=1500ms".into(),
        "postgres://d@db.example.com/d?password_secret=us-west-2/halo/worker1-db".into(),
        "file:/etc/kek.tink".into(),
        "file:////etc/kek.tink".into(),
        "pkcs11:token=duchy;object=kek;id=%01%ff;slot-id=3?module-path=/usr/lib/p11.so&pin-source=file:/run/pin".into(),
        "gcp-kms://projects/halo/locations/europe-west1/keyRings/duchy/cryptoKeys/kek".into(),
        "aws-kms://arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab".into(),
        "postgresql://duchy@[2001:db8::1]:1/d?password_file=/run/db&sslmode=disable".into(),
    ]
    .map(String::into_bytes)
    .to_vec()
}
