//! The public API's `Certificates`.

use tonic::{Request, Response, Status};

use super::{Kingdom, certificate_name, not_found};
use crate::identity::caller;
use crate::proto::api::certificates_server::Certificates;
use crate::proto::api::{Certificate, GetCertificateRequest};

#[tonic::async_trait]
impl Certificates for Kingdom {
    /// Any party may read any certificate.
    async fn get_certificate(
        &self,
        request: Request<GetCertificateRequest>,
    ) -> Result<Response<Certificate>, Status> {
        caller(&request)?;
        let name = certificate_name("name", &request.get_ref().name)?.to_string();
        let state = self.state();
        match state.records.certificates.get(&name) {
            Some(known) => Ok(Response::new(known.certificate.clone())),
            None if state.config.certificate_errors_unknown => Err(not_found("certificate", name).unknown()),
            None => Err(not_found("certificate", name).into()),
        }
    }
}
