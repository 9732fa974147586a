//! A development Kingdom in plain text (`--insecure-dev`), as upstream's processes have it in tests within one process:
//! callers say who they are in a header, and are believed.

use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::identity::Caller;

/// Names a duchy, by its id.
pub const DUCHY_HEADER: &str = "duchy-identity";

/// Names any other party: `dataProviders/{id}`, `measurementConsumers/{id}`, or `kingdom`.
pub const PRINCIPAL_HEADER: &str = "principal";

/// Believes who a caller says that it is. Takes the place of [`Authenticate`](crate::identity::Authenticate).
///
/// # Errors
/// `UNAUTHENTICATED` if it does not say so, or not in this way.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
pub fn believe(mut request: Request<()>) -> Result<Request<()>, Status> {
    let caller = named(request.metadata()).ok_or_else(|| {
        Status::unauthenticated(format!(
            "either {DUCHY_HEADER} must give a duchy's id, or {PRINCIPAL_HEADER} the name of another party"
        ))
    })?;
    request.extensions_mut().insert(caller);
    Ok(request)
}

fn named(headers: &MetadataMap) -> Option<Caller> {
    let text = |header| {
        let mut values = headers.get_all(header).iter();
        // Whoever gives two names is nobody.
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    let has = |header| headers.contains_key(header);
    match (has(DUCHY_HEADER), has(PRINCIPAL_HEADER)) {
        (true, false) => Caller::of_name(&format!("duchies/{}", text(DUCHY_HEADER)?)),
        (false, true) => {
            Caller::of_name(text(PRINCIPAL_HEADER)?).filter(|caller| !matches!(caller, Caller::Duchy(_)))
        }
        _ => None,
    }
}

/// Says in each call who calls.
#[derive(Clone, Debug)]
pub struct Introduce(pub Caller);

impl Interceptor for Introduce {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let (header, name) = match &self.0 {
            Caller::Duchy(id) => (DUCHY_HEADER, id.clone()),
            other => (PRINCIPAL_HEADER, other.to_string()),
        };
        let value: MetadataValue<Ascii> =
            name.parse().map_err(|_| Status::invalid_argument(format!("{name:?} cannot be a header")))?;
        request.metadata_mut().insert(header, value);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::identity::caller;

    #[test]
    fn callers_are_believed() {
        for name in ["duchies/worker1", "dataProviders/news", "measurementConsumers/shop", "kingdom"] {
            let who = Caller::of_name(name).expect("a name");
            let introduced = Introduce(who.clone()).call(Request::new(())).expect("a header");
            let believed = believe(introduced).expect("known");
            assert_eq!(caller(&believed).expect("present"), &who);
        }
    }

    #[test]
    fn nobody_is_not_believed() {
        let (duchy, principal) = (DUCHY_HEADER, PRINCIPAL_HEADER);
        for headers in [
            &[][..],
            &[(duchy, "")],
            &[(duchy, "worker1/x")],
            &[(duchy, "worker1"), (duchy, "worker2")],
            &[(duchy, "worker1"), (principal, "kingdom")],
            &[(principal, "duchies/worker1")],
            &[(principal, "dataProviders/")],
            &[(principal, "modelProviders/1")],
        ] {
            let mut request = Request::new(());
            for (header, value) in headers {
                request.metadata_mut().append(*header, value.parse().expect("ASCII"));
            }
            let refused = believe(request).expect_err("nobody");
            assert_eq!(refused.code(), Code::Unauthenticated, "{headers:?}");
        }
    }
}
