//! Where a duchy's computations are. What depends on the kind of database is chosen here, and nowhere else: a further one
//! has a variant, a line in `from_str`, and an arm of each `match`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

use super::migrations::Schema;
#[cfg(feature = "postgres")]
use super::postgres::{self, PostgresAddress, PostgresStore};
#[cfg(feature = "spanner")]
use super::spanner::{self, SpannerOptions, SpannerStore};
use super::sqlite;
use super::tables::{Sink, Source};
use super::transfer::TransferError;
use super::{SqliteStore, Store, StoreError};
use crate::clock::Clock;

/// What names and passwords in an address are not written with as they are.
pub(crate) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for values of parameters, most of which are paths.
pub(crate) const RESERVED_IN_VALUES: &AsciiSet = &RESERVED.remove(b'/');

/// A duchy's database.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreAddress {
    /// An SQLite file, written `sqlite:FILE`.
    Sqlite(PathBuf),
    /// A PostgreSQL database, written as [`PostgresAddress`] says.
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresAddress>),
    /// A Cloud Spanner database, written as [`SpannerAddress`](spanner::SpannerAddress) says.
    #[cfg(feature = "spanner")]
    Spanner(SpannerOptions),
}

/// Text that names no database that this program can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is for no kind of database. What follows the kind is not shown: it may hold a password.
    #[error("{0:?} is no kind of database: sqlite:FILE, postgres://… or spanner://projects/… is expected")]
    Scheme(String),
    /// It is for a kind of database that this program was built without.
    #[error("this program was built without {scheme}: build it with the feature {feature}")]
    Feature {
        /// The kind of database.
        scheme: &'static str,
        /// The feature of the crate.
        feature: &'static str,
    },
    /// It names no file.
    #[error("{0:?} is not of the form sqlite:FILE")]
    Sqlite(String),
    /// It names no PostgreSQL database.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(#[from] postgres::AddressError),
    /// It names no Cloud Spanner database.
    #[cfg(feature = "spanner")]
    #[error(transparent)]
    Spanner(#[from] spanner::AddressError),
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The SQLite file.
    #[error("{path}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlite::OpenError,
    },
    /// The PostgreSQL database.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(#[from] postgres::OpenError),
    /// The Cloud Spanner database.
    #[cfg(feature = "spanner")]
    #[error(transparent)]
    Spanner(#[from] spanner::OpenError),
}

impl OpenError {
    /// Says of which file an error is.
    pub(super) fn of_file(path: &Path) -> impl FnOnce(sqlite::OpenError) -> Self {
        |source| Self::Sqlite { path: path.to_owned(), source }
    }
}

impl FromStr for StoreAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.split_once(':') {
            // By two slashes a host would follow elsewhere, by three a path: only the file itself is taken.
            Some(("sqlite", file)) if !file.is_empty() && !file.starts_with("//") => {
                Ok(Self::Sqlite(file.into()))
            }
            Some(("sqlite", _)) => Err(AddressError::Sqlite(text.to_owned())),
            #[cfg(feature = "postgres")]
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(Box::new(text.parse()?))),
            #[cfg(not(feature = "postgres"))]
            Some(("postgres" | "postgresql", _)) => {
                Err(AddressError::Feature { scheme: "PostgreSQL", feature: "postgres" })
            }
            #[cfg(feature = "spanner")]
            Some(("spanner", _)) => {
                Ok(Self::Spanner(SpannerOptions { address: text.parse()?, emulator_host: None }))
            }
            #[cfg(not(feature = "spanner"))]
            Some(("spanner", _)) => {
                Err(AddressError::Feature { scheme: "Cloud Spanner", feature: "spanner" })
            }
            Some((scheme, _)) => Err(AddressError::Scheme(scheme.to_owned())),
            None => Err(AddressError::Scheme(text.to_owned())),
        }
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            #[cfg(feature = "spanner")]
            Self::Spanner(SpannerOptions { address, .. }) => address.fmt(f),
            #[cfg(feature = "postgres")]
            Self::Postgres(address) => address.fmt(f),
        }
    }
}

impl StoreAddress {
    /// Opens the database. An SQLite file is created if need be and its schema brought up to date; another database
    /// exists and has the schema of this program ([`Self::migrate`]).
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>, OpenError> {
        match self {
            Self::Sqlite(path) => {
                Ok(Arc::new(SqliteStore::open(path, clock).map_err(OpenError::of_file(path))?))
            }
            #[cfg(feature = "spanner")]
            Self::Spanner(options) => {
                if let Some(host) = &options.emulator_host {
                    tracing::warn!("{self} is on an emulator at {host}, which is for development only");
                }
                Ok(Arc::new(SpannerStore::open(options, clock).await?))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(address) => Ok(Arc::new(PostgresStore::open(address, clock).await?)),
        }
    }

    /// As [`Self::open`], but an SQLite file must exist, too: for whoever wants to see what is in a database.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_existing(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>, OpenError> {
        match self {
            Self::Sqlite(path) => {
                let opened = SqliteStore::open_existing(path, clock);
                Ok(Arc::new(opened.map_err(OpenError::of_file(path))?))
            }
            #[cfg(any(feature = "postgres", feature = "spanner"))]
            _ => self.open(clock).await,
        }
    }

    /// The schema of the database, which is not changed.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn schema(&self) -> Result<Schema, OpenError> {
        match self {
            Self::Sqlite(path) => SqliteStore::schema(path).map_err(OpenError::of_file(path)),
            #[cfg(feature = "spanner")]
            Self::Spanner(options) => Ok(SpannerStore::schema(options).await?),
            #[cfg(feature = "postgres")]
            Self::Postgres(address) => Ok(PostgresStore::schema(address).await?),
        }
    }

    /// Brings the schema of the database up to date, be it empty, ours or upstream's.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn migrate(&self) -> Result<(), OpenError> {
        match self {
            Self::Sqlite(path) => SqliteStore::migrate(path).map_err(OpenError::of_file(path)),
            #[cfg(feature = "spanner")]
            Self::Spanner(options) => Ok(SpannerStore::migrate(options).await?),
            #[cfg(feature = "postgres")]
            Self::Postgres(address) => Ok(PostgresStore::migrate(address).await?),
        }
    }

    /// As [`Self::migrate`]; but on a Spanner emulator, which starts without, instance and database are made first where
    /// there are none.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn set_up(&self) -> Result<(), OpenError> {
        match self {
            Self::Sqlite(_) => self.migrate().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => self.migrate().await,
            #[cfg(feature = "spanner")]
            Self::Spanner(options) => Ok(SpannerStore::set_up(options).await?),
        }
    }

    /// The same database on a Spanner emulator at this host and port, if it is one of Cloud Spanner and the host is not
    /// empty.
    #[must_use]
    #[cfg_attr(not(feature = "spanner"), allow(unused_variables, reason = "no address is of Cloud Spanner"))]
    pub fn on_emulator(self, host: &str) -> Self {
        match self {
            #[cfg(feature = "spanner")]
            Self::Spanner(options) if !host.is_empty() => {
                Self::Spanner(SpannerOptions { emulator_host: Some(host.to_owned()), ..options })
            }
            other => other,
        }
    }

    /// The file's directory, if the database is a file.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => path.parent(),
            #[cfg(feature = "spanner")]
            Self::Spanner(_) => None,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => None,
        }
    }

    /// A database beside this one for a duchy of several: `FILE` with `-{duchy}` before its extension, or another
    /// database with `-{duchy}` behind its name.
    ///
    /// # Errors
    /// [`AddressError`] if no database can have that name.
    pub fn of_duchy(&self, duchy: &str) -> Result<Self, AddressError> {
        match self {
            Self::Sqlite(path) => {
                let name = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_owned();
                let mut file = name(path.file_stem());
                file.push(format!("-{duchy}"));
                let file = Path::new(&file).with_added_extension(name(path.extension()));
                Ok(Self::Sqlite(path.with_file_name(file)))
            }
            #[cfg(feature = "spanner")]
            Self::Spanner(SpannerOptions { address, emulator_host }) => {
                let address = format!("{address}-{duchy}").parse()?;
                Ok(Self::Spanner(SpannerOptions { address, emulator_host: emulator_host.clone() }))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(address) => Ok(Self::Postgres(Box::new(address.beside(duchy)?))),
        }
    }

    /// Gives all rows to `sink`, as one transaction sees them.
    pub(super) async fn export<S: Sink + 'static>(&self, mut sink: S) -> Result<S, TransferError> {
        match self {
            Self::Sqlite(path) => {
                let path = path.clone();
                blocking(move || SqliteStore::export(&path, &mut sink).map(|()| sink)).await
            }
            #[cfg(feature = "spanner")]
            Self::Spanner(options) => SpannerStore::export(options, &mut sink).await.map(|()| sink),
            #[cfg(feature = "postgres")]
            Self::Postgres(address) => PostgresStore::export(address, &mut sink).await.map(|()| sink),
        }
    }

    /// Writes all rows of `source` into the database, which must have none.
    pub(super) async fn import<S: Source + 'static>(&self, mut source: S) -> Result<S, TransferError> {
        match self {
            Self::Sqlite(path) => {
                let path = path.clone();
                blocking(move || SqliteStore::import(&path, &mut source).map(|()| source)).await
            }
            #[cfg(feature = "spanner")]
            Self::Spanner(options) => SpannerStore::import(options, &mut source).await.map(|()| source),
            #[cfg(feature = "postgres")]
            Self::Postgres(address) => PostgresStore::import(address, &mut source).await.map(|()| source),
        }
    }
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StoreError::Unavailable(error.into()).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in ["sqlite:duchy.db", "sqlite:/var/lib/halo/worker1.sqlite", "sqlite:../a:b"] {
            assert_eq!(text.parse::<StoreAddress>().expect("an address").to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_is_expected() {
        for (text, scheme) in
            [("", ""), ("a.db", "a.db"), ("mysql://me:secret@h/d", "mysql"), ("Sqlite:x", "Sqlite")]
        {
            assert_eq!(text.parse::<StoreAddress>(), Err(AddressError::Scheme(scheme.to_owned())));
        }
        for text in ["sqlite:", "sqlite://duchy.db", "sqlite:///duchy.db"] {
            assert_eq!(text.parse::<StoreAddress>(), Err(AddressError::Sqlite(text.to_owned())));
        }
    }

    #[cfg(not(feature = "spanner"))]
    #[test]
    fn a_feature_that_is_off_is_named() {
        let error =
            "spanner://projects/p/instances/i1/databases/d1".parse::<StoreAddress>().expect_err("off");
        assert!(error.to_string().contains("the feature spanner"), "{error}");
    }

    #[cfg(feature = "spanner")]
    #[test]
    fn spanners_addresses_are_its_own() {
        let text = "spanner://projects/p/instances/i1/databases/d1";
        assert_eq!(text.parse::<StoreAddress>().expect("an address").to_string(), text);
        let wrong = "spanner://projects/p".parse::<StoreAddress>();
        assert!(matches!(wrong, Err(AddressError::Spanner(_))), "{wrong:?}");
    }

    #[test]
    fn duchies_beside_one_another_have_databases_of_their_own() {
        let of = |text: &str, duchy: &str| {
            text.parse::<StoreAddress>().and_then(|address| address.of_duchy(duchy)).map(|it| it.to_string())
        };
        assert_eq!(
            of("sqlite:/tmp/demo.sqlite", "worker1").as_deref(),
            Ok("sqlite:/tmp/demo-worker1.sqlite")
        );
        assert_eq!(of("sqlite:demo", "worker1").as_deref(), Ok("sqlite:demo-worker1"));
        #[cfg(feature = "spanner")]
        {
            let demo = "spanner://projects/p/instances/i1/databases/demo";
            assert_eq!(of(demo, "worker1"), Ok(format!("{demo}-worker1")));
            assert!(of(demo, "a-duchy-of-a-very-long-name").is_err(), "longer than Spanner's names may be");
        }
    }
}
