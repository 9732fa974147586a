//! The libraries of tokens. A process initialises each once, and may have to do so again when its token was away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};

use super::Pkcs11Error;
use super::pin::Pin;

/// A library is not begun anew more often than this: whoever asks in between is told what the last one brought.
const PAUSE: Duration = Duration::from_secs(1);

/// A library that is loaded, which keys share.
pub(super) struct Module {
    path: PathBuf,
    state: RwLock<State>,
    /// By the serial number of a token, the PIN that it did not take. Tokens lock themselves after a few wrong ones, whoever
    /// of this process tries them: a key that is opened again, as when files are read again, must not.
    refused: Mutex<BTreeMap<String, Pin>>,
}

/// What whoever calls the library holds for as long as the call takes.
pub(super) struct State {
    library: Pkcs11,
    /// How often it was begun. Sessions and objects of another time mean nothing, or something else.
    generation: u64,
    begun: Instant,
}

impl State {
    pub(super) fn library(&self) -> &Pkcs11 {
        &self.library
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}

impl Module {
    /// The library at `path`, loaded if it is not yet.
    pub(super) fn load(path: &Path) -> Result<Arc<Self>, Pkcs11Error> {
        static LOADED: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());
        super::check_program()?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = loaded.get(path) {
            return Ok(Arc::clone(module));
        }
        let refused = |error: cryptoki::error::Error| Pkcs11Error::Library {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let library = Pkcs11::new(path).map_err(refused)?;
        begin(&library).map_err(refused)?;
        let state = State { library, generation: 0, begun: Instant::now() };
        let module =
            Arc::new(Self { path: path.to_owned(), state: RwLock::new(state), refused: Mutex::default() });
        loaded.insert(path.to_owned(), Arc::clone(&module));
        Ok(module)
    }

    /// The library, for one call. It is not begun anew meanwhile.
    pub(super) fn enter(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the token with this serial number has refused the PIN, and no other since.
    pub(super) fn has_refused(&self, token: &str, pin: &Pin) -> bool {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).get(token) == Some(pin)
    }

    /// The token with this serial number has refused the PIN.
    pub(super) fn remember_refused(&self, token: String, pin: Pin) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(token, pin);
    }

    /// Begins the library anew, unless that has happened since the generation `seen`. All sessions are gone then: some
    /// libraries find a token again in no other way.
    pub(super) fn begin_anew(&self, seen: u64) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.generation != seen || state.begun.elapsed() < PAUSE {
            return;
        }
        // If one fails, so do the calls that follow, which say what is wrong.
        if let Err(error) = state.library.clone().finalize() {
            tracing::debug!(module = %self.path.display(), %error, "the PKCS #11 library does not end");
        }
        if let Err(error) = begin(&state.library) {
            tracing::warn!(module = %self.path.display(), %error, "the PKCS #11 library does not begin");
        }
        state.generation += 1;
        state.begun = Instant::now();
    }
}

fn begin(library: &Pkcs11) -> Result<(), cryptoki::error::Error> {
    library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
}
