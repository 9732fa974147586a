//! Where a database is, and how it is reached.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::{percent_decode_str, utf8_percent_encode};
use rustls_pki_types::ServerName;

use super::password::{Password, PasswordSource};
use crate::config::{DurationError, is_this_machine, parse_positive_duration};
use crate::store::address::{RESERVED, RESERVED_IN_VALUES};

#[cfg(test)]
mod tests;

/// What PostgreSQL keeps of a name, in bytes: the rest is cut.
const LONGEST_NAME: usize = 63;
/// PostgreSQL's own.
const DEFAULT_PORT: u16 = 5432;
/// Few transactions run at a time in a process, and a server has 100 connections for all unless it is told otherwise.
const DEFAULT_CONNECTIONS: u16 = 8;
/// None of the statements takes a second with 10,000 computations.
const DEFAULT_STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// A PostgreSQL database, written `postgres://USER@HOST[:PORT]/DATABASE[?PARAMETER=VALUE&…]` with all names
/// percent-encoded, or `postgres://USER@[:PORT]/DATABASE?host=/DIRECTORY` for the socket in a directory.
///
/// The parameters:
/// - `password_file=FILE`, `password_env=VARIABLE` or `password_secret=REGION/NAME`, of AWS Secrets Manager (feature
///   `aws-secrets`): where the password is. It can also stand behind the user (`USER:PASSWORD@`), where everybody on the
///   machine can read it.
/// - `sslmode`: `verify-full`, the default, or `disable`, the default for the loopback interface and sockets.
/// - `sslrootcert=FILE`: the authorities that the server's certificate must come from, in PEM, instead of the machine's.
/// - `connections=N`: the most connections of a process, 1 to 1000 (8).
/// - `statement_timeout=DURATION`: how long the server works on one statement (`30s`).
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresAddress {
    pub(super) host: Host,
    pub(super) user: String,
    pub(super) password: PasswordSource,
    pub(super) database: String,
    pub(super) encryption: Encryption,
    pub(super) connections: u16,
    pub(super) statement_timeout: Duration,
}

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Tcp { name: String, port: u16 },
    Socket { directory: PathBuf, port: u16 },
}

/// How the connection is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    /// Not at all.
    Off,
    /// By TLS to a server whose certificate is for the host, from the authorities in a file or those of the machine.
    Verified { roots: Option<PathBuf> },
}

/// Text that names no PostgreSQL database. The text itself is never shown: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It has another form.
    #[error("not of the form postgres://USER@HOST[:PORT]/DATABASE[?PARAMETER=VALUE&...]")]
    Form,
    /// A part is missing or cannot be what it should.
    #[error("{what}: {rule}")]
    Part {
        /// Which.
        what: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// There is no such parameter.
    #[error(
        "no parameter is called {0:?}; there are host, password_file, password_env, password_secret, sslmode, \
         sslrootcert, connections and statement_timeout"
    )]
    UnknownParameter(String),
    /// A parameter is there twice.
    #[error("the parameter {0} is there twice")]
    RepeatedParameter(&'static str),
    /// The statement timeout is no duration.
    #[error("statement_timeout")]
    StatementTimeout(#[source] DurationError),
}

const PARAMETERS: [&str; 8] = [
    "host",
    "password_file",
    "password_env",
    "password_secret",
    "sslmode",
    "sslrootcert",
    "connections",
    "statement_timeout",
];

impl PostgresAddress {
    /// The database beside this one with `-{suffix}` behind its name.
    ///
    /// # Errors
    /// [`AddressError::Part`] if the name is longer than PostgreSQL's are.
    pub(in crate::store) fn beside(&self, suffix: &str) -> Result<Self, AddressError> {
        let database = format!("{}-{suffix}", self.database);
        if database.len() > LONGEST_NAME {
            return Err(AddressError::Part { what: "database", rule: "at most 63 bytes" });
        }
        Ok(Self { database, ..self.clone() })
    }
}

impl Host {
    fn is_on_this_machine(&self) -> bool {
        match self {
            Self::Socket { .. } => true,
            Self::Tcp { name, .. } => is_this_machine(name),
        }
    }
}

impl FromStr for PostgresAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let (base, parameters) = split_once_or(rest.ok_or(AddressError::Form)?, '?');
        let (authority, database) = base.split_once('/').ok_or(AddressError::Form)?;
        let (credentials, place) = authority.rsplit_once('@').ok_or(AddressError::Form)?;
        // What should have been encoded belongs to something else, perhaps to a password.
        if database.contains(['/', '@']) {
            return Err(AddressError::Form);
        }
        let (user, password) = credentials
            .split_once(':')
            .map_or((credentials, None), |(user, password)| (user, Some(password)));
        let mut parameters = Parameters::parse(parameters)?;
        let host = host(place, parameters.take("host"))?;
        let encryption = encryption(&host, parameters.take("sslmode"), parameters.take("sslrootcert"))?;
        Ok(Self {
            host,
            user: name("user", user)?,
            password: password_source(
                password,
                parameters.take("password_file"),
                parameters.take("password_env"),
                parameters.take("password_secret"),
            )?,
            database: name("database", database)?,
            encryption,
            connections: connections(parameters.take("connections"))?,
            statement_timeout: statement_timeout(parameters.take("statement_timeout"))?,
        })
    }
}

/// What is before the separator and after it, where nothing is if there is none.
fn split_once_or(text: &str, separator: char) -> (&str, &str) {
    text.split_once(separator).unwrap_or((text, ""))
}

/// Parameters by their names.
struct Parameters(BTreeMap<&'static str, String>);

impl Parameters {
    fn parse(text: &str) -> Result<Self, AddressError> {
        let mut parameters = BTreeMap::new();
        for one in text.split('&').filter(|one| !one.is_empty()) {
            let (key, value) = split_once_or(one, '=');
            let known = PARAMETERS.iter().find(|known| **known == key);
            let &known = known.ok_or_else(|| AddressError::UnknownParameter(key.into()))?;
            if parameters.insert(known, name(known, value)?).is_some() {
                return Err(AddressError::RepeatedParameter(known));
            }
        }
        Ok(Self(parameters))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }
}

/// Decodes a name.
fn name(what: &'static str, text: &str) -> Result<String, AddressError> {
    let rule = "text without control characters, percent-encoded, not empty";
    let decoded = percent_decode_str(text).decode_utf8().ok();
    let decoded = decoded.filter(|name| !name.is_empty() && !name.contains(char::is_control));
    decoded.map(Into::into).ok_or(AddressError::Part { what, rule })
}

fn host(place: &str, directory: Option<String>) -> Result<Host, AddressError> {
    let wrong = |rule| AddressError::Part { what: "host", rule };
    let (name, port) = match place.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (place, None),
    };
    let port = match port.map(str::parse) {
        None => DEFAULT_PORT,
        Some(Ok(port)) if port > 0 => port,
        Some(_) => return Err(AddressError::Part { what: "port", rule: "1 to 65535" }),
    };
    if let Some(directory) = directory {
        return match name.is_empty() && Path::new(&directory).is_absolute() {
            true => Ok(Host::Socket { directory: directory.into(), port }),
            false => Err(wrong("a directory, where there is no host before it")),
        };
    }
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    // An IPv6 address has brackets, and nothing else has.
    let is_v6 = bare.parse::<std::net::Ipv6Addr>().is_ok();
    if ServerName::try_from(bare).is_err() || is_v6 == (bare == name) {
        return Err(wrong("a DNS name or an IP address, of version 6 in brackets"));
    }
    Ok(Host::Tcp { name: bare.into(), port })
}

fn encryption(host: &Host, mode: Option<String>, roots: Option<String>) -> Result<Encryption, AddressError> {
    let wrong = |rule| AddressError::Part { what: "sslmode", rule };
    let verified = match mode.as_deref() {
        None => roots.is_some() || !host.is_on_this_machine(),
        Some("verify-full") => true,
        Some("disable") => false,
        Some(_) => return Err(wrong("verify-full or disable: nothing in between keeps anybody out")),
    };
    match (verified, roots) {
        (false, None) => Ok(Encryption::Off),
        (false, Some(_)) => Err(wrong("there is nothing for sslrootcert to verify")),
        (true, _) if matches!(host, Host::Socket { .. }) => Err(wrong("there is no TLS on a socket")),
        (true, roots) => Ok(Encryption::Verified { roots: roots.map(Into::into) }),
    }
}

fn password_source(
    given: Option<&str>,
    file: Option<String>,
    variable: Option<String>,
    secret: Option<String>,
) -> Result<PasswordSource, AddressError> {
    match (given, file, variable, secret) {
        (None, None, None, None) => Ok(PasswordSource::None),
        (Some(password), None, None, None) => {
            Ok(PasswordSource::Given(Password::new(percent_decode_str(password).collect::<Vec<_>>())))
        }
        (None, Some(path), None, None) => Ok(PasswordSource::File(path.into())),
        (None, None, Some(name), None) => Ok(PasswordSource::Variable(name)),
        (None, None, None, Some(place)) => secret_in(&place),
        _ => Err(AddressError::Part { what: "password", rule: "from one source only" }),
    }
}

#[cfg(feature = "aws-secrets")]
fn secret_in(place: &str) -> Result<PasswordSource, AddressError> {
    match place.split_once('/') {
        Some((region, name)) if !region.is_empty() && !name.is_empty() => {
            Ok(PasswordSource::Secret { region: region.to_owned(), name: name.to_owned() })
        }
        _ => Err(AddressError::Part { what: "password_secret", rule: "REGION/NAME" }),
    }
}

#[cfg(not(feature = "aws-secrets"))]
fn secret_in(_: &str) -> Result<PasswordSource, AddressError> {
    let rule = "this program was built without the feature `aws-secrets`";
    Err(AddressError::Part { what: "password_secret", rule })
}

fn connections(text: Option<String>) -> Result<u16, AddressError> {
    match text.as_deref().map(str::parse) {
        None => Ok(DEFAULT_CONNECTIONS),
        Some(Ok(connections @ 1..=1000)) => Ok(connections),
        Some(_) => Err(AddressError::Part { what: "connections", rule: "1 to 1000" }),
    }
}

fn statement_timeout(text: Option<String>) -> Result<Duration, AddressError> {
    let Some(text) = text else { return Ok(DEFAULT_STATEMENT_TIMEOUT) };
    let timeout = parse_positive_duration(&text).map_err(AddressError::StatementTimeout)?;
    match timeout.as_millis() {
        1..=0x7fff_ffff => Ok(timeout),
        _ => Err(AddressError::Part { what: "statement_timeout", rule: "1ms to 24d" }),
    }
}

/// Without a password that it was given.
impl fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = |name| utf8_percent_encode(name, RESERVED);
        let mut parameters = Vec::new();
        write!(f, "postgres://{}@", encoded(&self.user))?;
        let (Host::Tcp { port, .. } | Host::Socket { port, .. }) = &self.host;
        match &self.host {
            Host::Tcp { name, .. } if name.contains(':') => write!(f, "[{name}]")?,
            Host::Tcp { name, .. } => f.write_str(name)?,
            Host::Socket { directory, .. } => parameters.push(("host", directory.display().to_string())),
        }
        if *port != DEFAULT_PORT {
            write!(f, ":{port}")?;
        }
        write!(f, "/{}", encoded(&self.database))?;
        match &self.password {
            PasswordSource::None | PasswordSource::Given(_) => {}
            PasswordSource::File(path) => parameters.push(("password_file", path.display().to_string())),
            PasswordSource::Variable(name) => parameters.push(("password_env", name.clone())),
            #[cfg(feature = "aws-secrets")]
            PasswordSource::Secret { region, name } => {
                parameters.push(("password_secret", format!("{region}/{name}")));
            }
        }
        match (&self.encryption, self.host.is_on_this_machine()) {
            (Encryption::Off, false) => parameters.push(("sslmode", "disable".into())),
            (Encryption::Verified { roots: None }, true) => {
                parameters.push(("sslmode", "verify-full".into()))
            }
            (Encryption::Verified { roots: Some(path) }, _) => {
                parameters.push(("sslrootcert", path.display().to_string()));
            }
            _ => {}
        }
        if self.connections != DEFAULT_CONNECTIONS {
            parameters.push(("connections", self.connections.to_string()));
        }
        if self.statement_timeout != DEFAULT_STATEMENT_TIMEOUT {
            parameters.push(("statement_timeout", format!("{}ms", self.statement_timeout.as_millis())));
        }
        for (separator, (name, value)) in std::iter::once('?').chain(std::iter::repeat('&')).zip(&parameters)
        {
            write!(f, "{separator}{name}={}", utf8_percent_encode(value, RESERVED_IN_VALUES))?;
        }
        Ok(())
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresAddress({self})")
    }
}
