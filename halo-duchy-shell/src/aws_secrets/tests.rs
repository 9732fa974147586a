//! Against a fake of `GetSecretValue`, which checks the call as AWS documents it, its signature included.

use object_store::StaticCredentialProvider;
use object_store::aws::AwsCredential;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const REGION: &str = "us-west-2";
const KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const NAME: &str = "halo/worker1-db";

/// A request as it came.
struct Received {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Received {
    async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let end = loop {
            stream.read_buf(&mut bytes).await.expect("a request");
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).expect("text");
        let mut lines = head.lines();
        let line = lines.next().expect("a request line").to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').expect("a header");
            (name.to_lowercase(), value.trim().to_owned())
        };
        let mut received =
            Self { line, headers: lines.map(header).collect(), body: bytes[end + 4..].to_vec() };
        let length: usize = received.header("content-length").parse().expect("a length");
        while received.body.len() < length {
            stream.read_buf(&mut received.body).await.expect("a body");
        }
        received
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
            .unwrap_or_default()
    }

    /// What `Authorization` has to say, by "Create a signed AWS API request" of AWS's IAM guide.
    fn expected_authorization(&self) -> String {
        let signed = "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token;x-amz-target";
        let headers: String =
            signed.split(';').map(|name| format!("{name}:{}\n", self.header(name))).collect();
        let hash = hex::encode(Sha256::digest(&self.body));
        assert_eq!(self.header("x-amz-content-sha256"), hash);
        let canonical = format!("POST\n/\n\n{headers}\n{signed}\n{hash}");
        let time = self.header("x-amz-date");
        let scope = format!("{}/{REGION}/secretsmanager/aws4_request", &time[..8]);
        let to_sign =
            format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(&canonical)));
        let first = hmac(format!("AWS4{KEY}").as_bytes(), &time.as_bytes()[..8]);
        let key = [REGION, "secretsmanager", "aws4_request"]
            .iter()
            .fold(first, |key, part| hmac(&key, part.as_bytes()));
        let signature = hex::encode(hmac(&key, to_sign.as_bytes()));
        format!("AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders={signed}, Signature={signature}")
    }
}

/// RFC 2104, for keys of up to 64 bytes.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let pad =
        |with: u8| -> Vec<u8> { (0..64).map(|n| key.get(n).copied().unwrap_or_default() ^ with).collect() };
    let inner = Sha256::digest([&pad(0x36)[..], message].concat());
    Sha256::digest([&pad(0x5c)[..], &inner].concat()).to_vec()
}

/// Asks a fake service that answers so.
async fn ask(status: &str, answer: &str) -> Result<DatabaseUser, SecretError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let response =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}", answer.len());
    let fake = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let received = Received::read(&mut stream).await;
        stream.write_all(response.as_bytes()).await.expect("answered");
        received
    });
    let credential =
        AwsCredential { key_id: "AKID".into(), secret_key: KEY.into(), token: Some("session".into()) };
    let credentials = Arc::new(StaticCredentialProvider::new(credential));
    let manager = SecretsManager::new(REGION, Some(endpoint), Some(credentials)).expect("a client");
    let answered = manager.database_user(NAME).await;
    let received = fake.await.expect("the fake");
    assert_eq!(received.line, "POST / HTTP/1.1");
    assert_eq!(received.header("content-type"), "application/x-amz-json-1.1");
    assert_eq!(received.header("x-amz-target"), "secretsmanager.GetSecretValue");
    assert_eq!(received.header("x-amz-security-token"), "session");
    assert_eq!(received.header("authorization"), received.expected_authorization());
    let body: serde_json::Value = serde_json::from_slice(&received.body).expect("JSON");
    assert_eq!(body, serde_json::json!({ "SecretId": NAME }));
    answered
}

fn answer(secret: &str) -> String {
    serde_json::json!({ "ARN": "arn", "Name": NAME, "SecretString": secret, "VersionStages": ["AWSCURRENT"] })
        .to_string()
}

#[tokio::test]
async fn the_user_and_password_of_a_secret_are_read() {
    let secret = r#"{"username":"duchy","password":"p\"@:/?","engine":"postgres","port":5432}"#;
    let user = ask("200 OK", &answer(secret)).await.expect("a secret");
    assert_eq!((user.username.as_str(), user.password.as_str()), ("duchy", "p\"@:/?"));
    assert!(!format!("{user:?}").contains("p\\\""), "{user:?}");
}

#[tokio::test]
async fn a_refusal_is_told_in_the_words_of_the_service() {
    let answer =
        r#"{"__type":"com.amazonaws.secretsmanager#ResourceNotFoundException","Message":"no such secret"}"#;
    let refused = ask("400 Bad Request", answer).await.expect_err("refused").to_string();
    assert!(refused.ends_with("400 Bad Request, ResourceNotFoundException no such secret"), "{refused}");
}

#[tokio::test]
async fn a_secret_of_another_kind_is_refused_and_not_shown() {
    for secret in ["hunter2", "{}", r#"{"username":"duchy"}"#, r#"["hunter2"]"#] {
        let error = ask("200 OK", &answer(secret)).await.expect_err("no user");
        assert!(matches!(error, SecretError::Malformed) && !error.to_string().contains("hunter2"), "{error}");
    }
    let binary = ask("200 OK", r#"{"SecretBinary":"AAAA"}"#).await;
    assert!(matches!(binary, Err(SecretError::Malformed)), "{binary:?}");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_told() {
    let credential = AwsCredential { key_id: "AKID".into(), secret_key: KEY.into(), token: None };
    let credentials = Arc::new(StaticCredentialProvider::new(credential));
    let manager = SecretsManager::new(REGION, Some("http://127.0.0.1:1".into()), Some(credentials));
    let unreachable = manager.expect("a client").database_user(NAME).await;
    assert!(matches!(unreachable, Err(SecretError::Unreachable(_))), "{unreachable:?}");
}

#[test]
fn a_region_is_not_just_any_text() {
    for region in ["", "us-west-2.example.com/", "US-WEST-2"] {
        assert!(matches!(SecretsManager::new(region, None, None), Err(SecretError::Region(_))), "{region}");
    }
}
