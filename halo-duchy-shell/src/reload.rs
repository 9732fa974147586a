//! Configuration files that are read again when they change, without a restart and without cutting connections.
//!
//! Files are compared by their content, not by their times: Kubernetes swaps symbolic links, and secrets are often
//! written in place. Certificate and key change one after the other; between the two they do not match, which is
//! treated as any broken file: it is logged, what was in force stays, and the next change is tried again.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::audit::{Entry, Event, Outcome};
use crate::config::{DuchyDirectory, ProtocolsSetup, load_principals};
use crate::consent::{SigningFiles, SigningIdentity};
use crate::identity::Identities;
use crate::key_encryption::FileKey;
use crate::live::Live;
use crate::shutdown::Shutdown;
use crate::tls::{TlsFiles, TlsIdentity};

/// What the certificate, the key and the roots of connections are called.
pub(crate) const TLS: &str = "TLS";
/// What the key that signs what goes to other parties is called.
const SIGNING: &str = "the consent-signaling key";
/// What the key that other keys are encrypted under is called.
const KEY_ENCRYPTION: &str = "the key encryption key";

type Apply = Box<dyn Fn() -> Result<(), Box<dyn Error + Send + Sync>> + Send>;

/// Files and what is to be done when they change.
#[derive(Debug)]
pub struct Reloader {
    interval: Duration,
    sets: Vec<FileSet>,
}

/// Files that are only of use together.
struct FileSet {
    what: &'static str,
    files: Vec<PathBuf>,
    /// The digest of what was last tried. None at first: a file may have changed since it was read at the start.
    tried: Option<[u8; 32]>,
    /// Why that was refused, if it was. It is tried again even if no file changes: a key in a token may come after its
    /// certificate, or the token be away.
    refused: Option<String>,
    /// Whether they are keys and certificates of this duchy's, or the roots that it trusts.
    has_keys: bool,
    apply: Apply,
}

impl fmt::Debug for FileSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSet")
            .field("what", &self.what)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl FileSet {
    /// An entry of the audit log: the files were read again, with this outcome.
    fn entry(&self, outcome: Outcome) -> Entry {
        let event = if self.has_keys { Event::KeyReloaded } else { Event::ConfigurationReloaded };
        let files: Vec<_> = self.files.iter().map(|file| file.display().to_string()).collect();
        Entry::new(event, outcome).detail("what", self.what).detail("files", files)
    }
}

impl Reloader {
    /// Looks at its files every `interval` once it runs.
    pub fn new(interval: Duration) -> Self {
        Self { interval, sets: Vec::new() }
    }

    /// Calls `apply`, which reads `files` and puts in force what they say, when one of them has changed. If it fails it
    /// must leave everything as it was. `what` names them in logs.
    #[must_use]
    pub fn watch<E: Into<Box<dyn Error + Send + Sync>>>(
        mut self,
        what: &'static str,
        files: impl IntoIterator<Item = impl AsRef<Path>>,
        apply: impl Fn() -> Result<(), E> + Send + 'static,
    ) -> Self {
        let files = files.into_iter().map(|file| file.as_ref().to_owned()).collect();
        self.sets.push(FileSet {
            what,
            files,
            tried: None,
            refused: None,
            has_keys: [TLS, SIGNING, KEY_ENCRYPTION].contains(&what),
            apply: Box::new(move || apply().map_err(Into::into)),
        });
        self
    }

    /// Keeps `identity` as `files` say: for new connections, the certificate, the key and the roots. From now on the
    /// metrics tell when the certificate expires.
    #[must_use]
    pub fn tls(self, files: &TlsFiles, identity: &TlsIdentity) -> Self {
        identity.measure();
        let (source, identity) = (files.clone(), identity.clone());
        self.watch(TLS, files.paths(), move || source.load().map(|newer| identity.replace(&newer)))
    }

    /// Keeps `identities` as the duchy configuration at `duchies` and the principal map at `map` say. A configuration
    /// without `duchy`, which is this one, is refused.
    #[must_use]
    pub fn principals(
        self,
        duchy: &str,
        duchies: &Path,
        map: Option<&Path>,
        identities: &Identities,
    ) -> Self {
        let duchy = duchy.to_owned();
        self.identities(duchies, map, identities, move |path| directory_with(&duchy, path))
    }

    /// As [`Self::principals`], for somebody who is none of the duchies.
    #[must_use]
    pub fn parties(self, duchies: &Path, map: &Path, identities: &Identities) -> Self {
        self.identities(duchies, Some(map), identities, |path| Ok(DuchyDirectory::load(path)?))
    }

    fn identities(
        self,
        duchies: &Path,
        map: Option<&Path>,
        identities: &Identities,
        load: impl Fn(&Path) -> Result<DuchyDirectory, Box<dyn Error + Send + Sync>> + Send + 'static,
    ) -> Self {
        let (directory, others) = (duchies.to_owned(), map.map(Path::to_owned));
        let identities = identities.clone();
        self.watch("the principals", [Some(duchies), map].into_iter().flatten(), move || {
            identities.replace(load_principals(&load(&directory)?, others.as_deref())?);
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        })
    }

    /// Keeps the known duchies as the configuration at `path` says. One without `duchy`, which is this one, is refused.
    #[must_use]
    pub fn directory(self, duchy: &str, path: &Path, known: &Live<DuchyDirectory>) -> Self {
        let (duchy, source, known) = (duchy.to_owned(), path.to_owned(), known.clone());
        self.watch("the duchies", [path], move || {
            known.replace(directory_with(&duchy, &source)?);
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        })
    }

    /// Keeps the roles of `duchy` as the file at `path` and the duchy configuration at `duchies` say.
    #[must_use]
    pub fn setup(self, duchy: &str, path: &Path, duchies: &Path, setup: &Live<ProtocolsSetup>) -> Self {
        let (duchy, setup) = (duchy.to_owned(), setup.clone());
        let (source, directory) = (path.to_owned(), duchies.to_owned());
        self.watch("the protocols' setup", [path, duchies], move || {
            let newer = ProtocolsSetup::load(&source, &duchy, &DuchyDirectory::load(&directory)?)?;
            setup.replace(newer);
            Ok::<_, crate::config::ConfigError>(())
        })
    }

    /// Keeps the consent-signaling key `own` as `files` say. A key, its certificate and the certificate's name change
    /// together or not at all. From now on the metrics tell when the certificate expires.
    #[must_use]
    pub fn signing(self, files: SigningFiles, own: &Live<SigningIdentity>) -> Self {
        let own = own.clone();
        own.current().measure();
        let paths: Vec<_> = files.paths().into_iter().map(Path::to_owned).collect();
        self.watch(SIGNING, paths, move || {
            let newer = files.load()?;
            own.current().may_become(&newer)?;
            newer.measure();
            own.replace(newer);
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        })
    }

    /// Keeps the key encryption key `key` as the keyset in the file at `path` says.
    #[must_use]
    pub fn key_encryption(self, path: &Path, key: &FileKey) -> Self {
        let (source, key) = (path.to_owned(), key.clone());
        self.watch(KEY_ENCRYPTION, [path], move || key.reload(&source))
    }

    /// Looks at the files until told to stop.
    pub async fn run(mut self, shutdown: Shutdown) {
        while shutdown.unless_requested(tokio::time::sleep(self.interval)).await.is_some() {
            self.check();
        }
    }

    /// Looks at the files once.
    pub fn check(&mut self) {
        for set in &mut self.sets {
            let found = digest(&set.files);
            let first = set.tried.is_none();
            if set.tried.replace(found) == Some(found) && set.refused.is_none() {
                continue;
            }
            let applied = (set.apply)().map_err(|error| chain(&*error));
            let before = std::mem::replace(&mut set.refused, applied.as_ref().err().cloned());
            match applied {
                Ok(()) if first => {}
                Ok(()) => {
                    tracing::info!(what = set.what, "configuration files were read again");
                    set.entry(Outcome::Done).record();
                }
                Err(error) if before.as_ref() == Some(&error) => {}
                Err(error) => {
                    set.entry(Outcome::Refused).reason(&error).record();
                    tracing::error!(what = set.what, %error, "changed files are refused; the old values stay");
                }
            }
        }
    }
}

/// The duchies that the configuration at `path` lists, `duchy` among them.
fn directory_with(duchy: &str, path: &Path) -> Result<DuchyDirectory, Box<dyn Error + Send + Sync>> {
    let directory = DuchyDirectory::load(path)?;
    if directory.get(duchy).is_none() {
        return Err(format!("duchy {duchy}, which is this one, is not listed").into());
    }
    Ok(directory)
}

/// A digest of the files' contents; one that cannot be read counts as such.
fn digest(files: &[PathBuf]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in files {
        match std::fs::read(file) {
            Ok(content) => {
                hash.update([1]);
                hash.update(Sha256::digest(zeroize::Zeroizing::new(content).as_slice()));
            }
            Err(_) => hash.update([0]),
        }
    }
    hash.finalize().into()
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
