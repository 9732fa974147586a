//! Services of AWS that speak its protocol JSON 1.1. Calls are signed by object_store, which finds credentials as it does
//! for S3: variables, a web identity (IAM roles for service accounts), the metadata of a container or of the machine.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::HttpRequestBody;
use serde::Deserialize;
use tonic::codegen::http::{Request, header};
use zeroize::Zeroizing;

use super::{Answer, CloudError, Http, from_environment, shortened};

/// What AWS calls a service.
#[derive(Debug)]
pub(crate) struct Service {
    /// Its name for people.
    pub(crate) name: &'static str,
    /// Its name in host names and signatures.
    pub(crate) id: &'static str,
    /// What its operations' names begin with in `X-Amz-Target`.
    pub(crate) target: &'static str,
    /// The variable by which AWS's libraries are told of another endpoint.
    pub(crate) endpoint: &'static str,
}

/// A service in a region.
#[derive(Debug)]
pub(crate) struct Aws {
    service: &'static Service,
    region: String,
    credentials: AwsCredentialProvider,
    http: Http,
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default, rename = "__type")]
    kind: String,
    #[serde(default, alias = "Message")]
    message: String,
}

impl Aws {
    /// The service as the environment has it.
    pub(crate) fn from_environment(service: &'static Service, region: &str) -> Result<Self, CloudError> {
        Self::new(service, region, from_environment(service.endpoint), None)
    }

    /// At an endpoint other than AWS's, and with other credentials than those found, if given.
    pub(crate) fn new(
        service: &'static Service,
        region: &str,
        endpoint: Option<String>,
        credentials: Option<AwsCredentialProvider>,
    ) -> Result<Self, CloudError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if region.is_empty() || !region.chars().all(allowed) {
            return Err(CloudError::Region(region.to_owned()));
        }
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let usual = format!("https://{}.{region}.{domain}", service.id);
        let http = Http::new(service.name, usual, service.endpoint, endpoint)?;
        let credentials = match credentials {
            Some(credentials) => credentials,
            None => {
                // object_store gives its credentials out through a bucket only. No bucket is ever looked at.
                let builder = AmazonS3Builder::from_env().with_bucket_name("none").with_region(region);
                let bucket = builder.build();
                let missing = |source| CloudError::Credentials { service: service.name, source };
                Arc::clone(bucket.map_err(|error| missing(error.into()))?.credentials())
            }
        };
        Ok(Self { service, region: region.to_owned(), credentials, http })
    }

    /// Calls an operation with this JSON; the JSON that it answers.
    pub(crate) async fn call(
        &self,
        operation: &str,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Zeroizing<Vec<u8>>, CloudError> {
        let service = self.service.name;
        let missing = |source| CloudError::Credentials { service, source };
        let credential = self.credentials.get_credential().await.map_err(|error| missing(error.into()))?;
        let mut request = Request::post(self.http.url("/"))
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", format!("{}.{operation}", self.service.target))
            .body(HttpRequestBody::from(bytes::Bytes::from_owner(body)))
            .map_err(|error| self.http.unreachable(error))?;
        let authorizer = AwsAuthorizer::new(&credential, self.service.id, &self.region);
        authorizer.try_authorize(&mut request, None).map_err(|error| missing(error.into()))?;
        let Answer { status, body } = self.http.execute(request).await?;
        if status.is_success() {
            return Ok(body);
        }
        let Refusal { kind, message } = serde_json::from_slice(&body).unwrap_or_default();
        let kind = kind.rsplit('#').next().unwrap_or_default();
        Err(CloudError::Refused { service, status, kind: shortened(kind), message: shortened(&message) })
    }
}

#[cfg(test)]
mod tests {
    use object_store::StaticCredentialProvider;
    use object_store::aws::AwsCredential;

    use super::*;

    static SERVICE: Service = Service { name: "a service", id: "service", target: "T", endpoint: "VARIABLE" };

    fn service(region: &str, endpoint: Option<&str>) -> Result<Aws, CloudError> {
        let credential = AwsCredential { key_id: "AKID".into(), secret_key: "key".into(), token: None };
        let credentials = Arc::new(StaticCredentialProvider::new(credential));
        Aws::new(&SERVICE, region, endpoint.map(str::to_owned), Some(credentials))
    }

    #[test]
    fn a_region_is_not_just_any_text() {
        for region in ["", "us-west-2.example.com/", "US-WEST-2"] {
            assert!(matches!(service(region, None), Err(CloudError::Region(_))), "{region}");
        }
        let host = |region| service(region, None).expect("a region").http.url("/");
        assert_eq!(host("us-west-2"), "https://service.us-west-2.amazonaws.com/");
        assert_eq!(host("cn-north-1"), "https://service.cn-north-1.amazonaws.com.cn/");
    }

    #[test]
    fn nothing_is_sent_in_the_clear() {
        for endpoint in
            ["https://vpce.example", "http://127.0.0.1:4566", "http://localhost", "http://[::1]:4566/"]
        {
            assert!(service("us-west-2", Some(endpoint)).is_ok(), "{endpoint}");
        }
        for endpoint in
            ["http://vpce.example", "http://127.0.0.1.example", "vpce.example", "ftp://localhost", "\n"]
        {
            let refused = service("us-west-2", Some(endpoint));
            assert!(matches!(refused, Err(CloudError::Endpoint { .. })), "{endpoint}");
        }
    }

    #[tokio::test]
    async fn a_service_that_is_not_there_is_told() {
        let service = service("us-west-2", Some("http://127.0.0.1:1")).expect("a client");
        let error = service.call("Operation", Zeroizing::default()).await.expect_err("nobody there");
        assert!(matches!(error, CloudError::Unreachable { .. }), "{error:?}");
        assert_eq!(error.class(), crate::retry::Class::Transient);
    }
}
