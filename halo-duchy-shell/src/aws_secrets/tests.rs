//! Against a fake of `GetSecretValue`, which checks the call as AWS documents it, its signature included.

use super::*;
use crate::cloud::testing::FakeService;
use crate::cloud::testing::aws::{credentials, require_call};

const REGION: &str = "us-west-2";
const NAME: &str = "halo/worker1-db";

/// Asks a fake service that answers so.
async fn ask(status: u16, answer: &str) -> Result<DatabaseUser, SecretError> {
    let answer = answer.to_owned();
    let fake = FakeService::start(move |_| (status, answer.clone())).await;
    let manager = Aws::new(&SECRETS_MANAGER, REGION, Some(fake.endpoint.clone()), Some(credentials()));
    let answered = user_in(&manager.expect("a client"), NAME).await;
    let [received] = &fake.received()[..] else { panic!("not one call") };
    require_call(received, REGION, "secretsmanager", "secretsmanager.GetSecretValue");
    assert_eq!(received.json(), serde_json::json!({ "SecretId": NAME }));
    answered
}

fn answer(secret: &str) -> String {
    serde_json::json!({ "ARN": "arn", "Name": NAME, "SecretString": secret, "VersionStages": ["AWSCURRENT"] })
        .to_string()
}

#[tokio::test]
async fn the_user_and_password_of_a_secret_are_read() {
    let secret = r#"{"username":"duchy","password":"p\"@:/?","engine":"postgres","port":5432}"#;
    let user = ask(200, &answer(secret)).await.expect("a secret");
    assert_eq!((user.username.as_str(), user.password.as_str()), ("duchy", "p\"@:/?"));
    assert!(!format!("{user:?}").contains("p\\\""), "{user:?}");
}

#[tokio::test]
async fn a_refusal_is_told_in_the_words_of_the_service() {
    let answer =
        r#"{"__type":"com.amazonaws.secretsmanager#ResourceNotFoundException","Message":"no such secret"}"#;
    let refused = ask(400, answer).await.expect_err("refused").to_string();
    assert!(refused.ends_with("400 Bad Request, ResourceNotFoundException no such secret"), "{refused}");
}

#[tokio::test]
async fn a_secret_of_another_kind_is_refused_and_not_shown() {
    for secret in ["hunter2", "{}", r#"{"username":"duchy"}"#, r#"["hunter2"]"#] {
        let error = ask(200, &answer(secret)).await.expect_err("no user");
        assert!(matches!(error, SecretError::Malformed) && !error.to_string().contains("hunter2"), "{error}");
    }
    let binary = ask(200, r#"{"SecretBinary":"AAAA"}"#).await;
    assert!(matches!(binary, Err(SecretError::Malformed)), "{binary:?}");
}
