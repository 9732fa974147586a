//! Who calls: the party that a client certificate stands for, and what it may reach.
//!
//! Every entity has its own root certificate authority, so the authority key identifier (AKID) of the client's
//! leaf names the entity: `DuchyCertConfig` lists the duchies by the subject key identifier of their root, and
//! `AuthorityKeyToPrincipalMap` lists everyone else. Neither a name inside a certificate
//! nor a `duchy-identity` header counts.
//!
//! [`Authenticate`] runs before every RPC and leaves a [`Caller`] in the request's extensions; a service asks for
//! it with [`caller`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::audit::{self, Entry, Event, Outcome};
use crate::config::is_valid_id;
use crate::live::Live;
use crate::tls::standing::Standing;

/// The party at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A duchy, by its id.
    Duchy(String),
    /// A data provider, by its resource name `dataProviders/{id}`.
    DataProvider(String),
    /// The Kingdom.
    Kingdom,
    /// A measurement consumer, by its resource name `measurementConsumers/{id}`.
    MeasurementConsumer(String),
}

impl Caller {
    /// The party called `name`: `duchies/{id}`, `dataProviders/{id}`, `measurementConsumers/{id}` or `kingdom`.
    pub fn of_name(name: &str) -> Option<Self> {
        match name.split_once('/') {
            Some((_, id)) if !is_valid_id(id) => None,
            Some(("duchies", id)) => Some(Self::Duchy(id.to_owned())),
            Some(("dataProviders", _)) => Some(Self::DataProvider(name.to_owned())),
            Some(("measurementConsumers", _)) => Some(Self::MeasurementConsumer(name.to_owned())),
            None if name == "kingdom" => Some(Self::Kingdom),
            _ => None,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duchy(id) => write!(f, "duchies/{id}"),
            Self::DataProvider(name) | Self::MeasurementConsumer(name) => f.write_str(name),
            Self::Kingdom => f.write_str("kingdom"),
        }
    }
}

/// The caller that [`Authenticate`] found for `request`.
///
/// # Errors
/// `UNAUTHENTICATED` if there is none.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
pub fn caller<T>(request: &Request<T>) -> Result<&Caller, Status> {
    request.extensions().get().ok_or_else(unauthenticated)
}

/// The id of the calling duchy.
///
/// # Errors
/// `UNAUTHENTICATED` if there is no caller, `PERMISSION_DENIED` if it is not a duchy.
#[allow(clippy::result_large_err, reason = "tonic's error type")]
pub fn calling_duchy<T>(request: &Request<T>) -> Result<&str, Status> {
    match caller(request)? {
        Caller::Duchy(id) => Ok(id),
        _ => Err(Status::permission_denied("only a duchy may call this")),
    }
}

fn unauthenticated() -> Status {
    Status::unauthenticated("the client certificate belongs to no known party")
}

/// The authority key identifier of a connection's client certificate, found once when the connection is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAuthority(pub Arc<[u8]>);

/// Why a set of principals was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrincipalsError {
    /// Two parties have the same authority.
    #[error("authority key identifier {authority} is that of both {first} and {second}")]
    DuplicateAuthority {
        /// The authority key identifier, in hexadecimal.
        authority: String,
        /// The party listed first.
        first: Caller,
        /// The party listed again.
        second: Caller,
    },
    /// An entry without an authority key identifier would stand for certificates without one.
    #[error("{0} has an empty authority key identifier")]
    EmptyAuthority(Caller),
}

/// Which authority key identifier stands for which party.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principals(BTreeMap<Vec<u8>, Caller>);

impl Principals {
    /// Collects pairs of authority key identifier and party.
    ///
    /// # Errors
    /// If an identifier is empty or comes twice.
    pub fn new(entries: impl IntoIterator<Item = (Vec<u8>, Caller)>) -> Result<Self, PrincipalsError> {
        let mut principals = BTreeMap::new();
        for (authority, caller) in entries {
            if authority.is_empty() {
                return Err(PrincipalsError::EmptyAuthority(caller));
            }
            if let Some(first) = principals.get(&authority) {
                return Err(PrincipalsError::DuplicateAuthority {
                    authority: hex::encode(authority),
                    first: Caller::clone(first),
                    second: caller,
                });
            }
            principals.insert(authority, caller);
        }
        Ok(Self(principals))
    }

    /// The party whose root has the key identifier `authority`.
    pub fn get(&self, authority: &[u8]) -> Option<&Caller> {
        self.0.get(authority)
    }
}

/// The principals in force. Clones share one set, which can be replaced while servers run.
#[derive(Clone, Debug, Default)]
pub struct Identities(Live<Principals>);

impl Identities {
    /// Starts with `principals`.
    pub fn new(principals: Principals) -> Self {
        Self(Live::new(principals))
    }

    /// Puts `principals` in force for all RPCs that start from now on.
    pub fn replace(&self, principals: Principals) {
        self.0.replace(principals);
    }

    /// The principals in force now.
    pub fn current(&self) -> Arc<Principals> {
        self.0.current()
    }
}

/// Turns the client certificate's authority into the request's [`Caller`]; for a whole server, by
/// `Server::layer(InterceptorLayer::new(..))`.
#[derive(Clone, Debug)]
pub struct Authenticate {
    identities: Identities,
    only: Option<Caller>,
}

impl Authenticate {
    /// Lets every known party through; each RPC decides what it may do.
    pub fn new(identities: Identities) -> Self {
        Self { identities, only: None }
    }

    /// Waits until the root of a client, whose key identifier is `authority`, is not trusted any more, and records it.
    pub(crate) async fn until_revoked(self, standing: Standing, authority: Arc<[u8]>) {
        standing.revoked().await;
        let principal = name(&self.identities.current(), &authority);
        tracing::info!(%principal, "cut a connection: the root of its certificate is not trusted any more");
        Entry::new(Event::ConnectionRefused, Outcome::Refused)
            .principal(&principal)
            .reason("the root of the certificate is not trusted any more: the open connection is cut")
            .record();
    }

    /// Lets only `caller` through: for the internal servers of a duchy, which only the duchy itself may call.
    pub fn only(identities: Identities, caller: Caller) -> Self {
        Self { identities, only: Some(caller) }
    }

    /// Whether calls of whoever has this authority get through.
    pub(crate) fn admits(&self, authority: &[u8]) -> bool {
        let principals = self.identities.current();
        let caller = principals.get(authority);
        caller.is_some_and(|caller| self.only.as_ref().is_none_or(|only| only == caller))
    }

    /// Whether nobody but one party gets through.
    pub(crate) const fn admits_one(&self) -> bool {
        self.only.is_some()
    }
}

impl Interceptor for Authenticate {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let principals = self.identities.current();
        let authority =
            request.extensions().get::<PeerAuthority>().filter(|authority| !authority.0.is_empty());
        let authority = authority.ok_or_else(unauthenticated)?;
        let caller = principals.get(&authority.0);
        audit::name_principal(|| name(&principals, &authority.0));
        // A trusted root has vouched for the caller, so it is somebody, and nobody but one may call.
        if let Some(only) = self.only.as_ref().filter(|only| Some(*only) != caller) {
            return Err(Status::permission_denied(format!("only {only} may call this server")));
        }
        let caller = caller.ok_or_else(unauthenticated)?.clone();
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

/// What whoever has this authority is called in the audit log.
fn name(principals: &Principals, authority: &[u8]) -> String {
    match principals.get(authority) {
        Some(caller) => caller.to_string(),
        None => format!("akid:{}", hex::encode(authority)),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn identities() -> Identities {
        let principals = Principals::new([
            (vec![1], Caller::Duchy("worker1".into())),
            (vec![2], Caller::DataProvider("dataProviders/1".into())),
        ]);
        Identities::new(principals.expect("distinct authorities"))
    }

    fn request(authority: &[u8]) -> Request<()> {
        let mut request = Request::new(());
        request.extensions_mut().insert(PeerAuthority(authority.into()));
        request
    }

    #[test]
    fn authority_decides_who_calls() {
        let mut authenticate = Authenticate::new(identities());
        let duchy = authenticate.call(request(&[1])).expect("known");
        assert_eq!(caller(&duchy).expect("present"), &Caller::Duchy("worker1".into()));
        assert_eq!(calling_duchy(&duchy).expect("a duchy"), "worker1");
        let provider = authenticate.call(request(&[2])).expect("known");
        assert_eq!(calling_duchy(&provider).expect_err("not a duchy").code(), Code::PermissionDenied);
    }

    #[test]
    fn unknown_or_missing_authority_is_unauthenticated() {
        let mut authenticate = Authenticate::new(identities());
        for unknown in [request(&[3]), request(&[]), Request::new(())] {
            assert_eq!(authenticate.call(unknown).expect_err("unknown").code(), Code::Unauthenticated);
        }
        assert_eq!(caller(&Request::new(())).expect_err("no caller").code(), Code::Unauthenticated);
    }

    #[test]
    fn names_are_told_and_read() {
        for name in ["duchies/a_1", "dataProviders/B-2", "measurementConsumers/3", "kingdom"] {
            assert_eq!(Caller::of_name(name).expect("a party").to_string(), name);
        }
        for name in ["", "Kingdom", "duchies", "duchies/", "duchies/a/b", "dataProviders/a b", "models/1"] {
            assert_eq!(Caller::of_name(name), None, "{name}");
        }
    }

    #[test]
    fn headers_do_not_identify() {
        let mut forged = Request::new(());
        forged.metadata_mut().insert("duchy-identity", "worker1".parse().expect("ASCII"));
        let refused = Authenticate::new(identities()).call(forged).expect_err("a header proves nothing");
        assert_eq!(refused.code(), Code::Unauthenticated);
    }

    #[test]
    fn restricted_server_refuses_other_parties() {
        let mut authenticate = Authenticate::only(identities(), Caller::Duchy("worker1".into()));
        assert!(authenticate.call(request(&[1])).is_ok());
        for (other, code) in [
            (request(&[2]), Code::PermissionDenied),
            (request(&[3]), Code::PermissionDenied),
            (request(&[]), Code::Unauthenticated),
            (Request::new(()), Code::Unauthenticated),
        ] {
            assert_eq!(authenticate.call(other).expect_err("another party").code(), code);
        }
    }

    #[test]
    fn replaced_principals_apply_to_clones() {
        let identities = identities();
        let mut authenticate = Authenticate::new(identities.clone());
        identities.replace(Principals::default());
        assert_eq!(authenticate.call(request(&[1])).expect_err("gone").code(), Code::Unauthenticated);
    }

    #[test]
    fn ambiguous_authorities_are_refused() {
        let worker1 = Caller::Duchy("worker1".into());
        let worker2 = Caller::Duchy("worker2".into());
        assert_eq!(
            Principals::new([(vec![0xab], worker1.clone()), (vec![0xab], worker2.clone())]),
            Err(PrincipalsError::DuplicateAuthority {
                authority: "ab".into(),
                first: worker1.clone(),
                second: worker2
            })
        );
        assert_eq!(
            Principals::new([(vec![], worker1.clone())]),
            Err(PrincipalsError::EmptyAuthority(worker1))
        );
    }
}
