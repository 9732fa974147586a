//! A key of a token, with sessions in which it is found.
//!
//! Sessions are kept between calls, since to open one and find the key in it takes several calls to the token. What breaks
//! them is not told apart: whichever error may mean that the token was away leads to new sessions, and if they do not
//! help, to the library begun anew.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};

use super::module::{Module, State};
use super::pin::Pin;
use super::uri::ObjectKind;
use super::{Pkcs11Error, Pkcs11Uri};

/// Calls that one key serves at once; others wait. Tokens have few sessions, and are not faster by more.
const SESSIONS: usize = 4;
/// Attempts at finding a key for the first time, and the pause between them: longer than the library is left as it is.
const FIRST_ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(1100);
/// Objects of one name that are looked at.
const CANDIDATES: usize = 16;

type Result<T> = std::result::Result<T, Pkcs11Error>;

/// Which of the objects that a URI names is the key.
pub(super) type Choose = dyn Fn(&Session, &[ObjectHandle]) -> Result<ObjectHandle> + Send + Sync;

/// A key of a token.
pub(super) struct TokenKey {
    uri: Pkcs11Uri,
    kind: ObjectKind,
    /// Of that kind of object, what it is. Some tokens break when they are asked to use a key for what it is not.
    key_type: KeyType,
    module: Arc<Module>,
    choose: Box<Choose>,
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Opened>,
    in_use: usize,
}

/// A session, and the key in it.
struct Opened {
    session: Session,
    key: ObjectHandle,
    generation: u64,
}

impl TokenKey {
    /// The key that `uri` names, of this kind, and that `choose` takes.
    pub(super) fn open(
        uri: &Pkcs11Uri,
        kind: ObjectKind,
        key_type: KeyType,
        choose: Box<Choose>,
    ) -> Result<Self> {
        super::check_program()?;
        let key = Self {
            uri: uri.clone(),
            kind,
            key_type,
            module: Module::load(uri.module())?,
            choose,
            pool: Mutex::default(),
            returned: Condvar::new(),
        };
        if !uri.may_be(kind) {
            return Err(key.unsuitable("its `type` is that of another kind of key"));
        }
        key.await_token()?;
        Ok(key)
    }

    /// Finds the key for the first time. Others may begin at this moment, as a duchy's processes do together, and a token
    /// does not always show itself to all of them: SoftHSM hides while somebody logs in.
    fn await_token(&self) -> Result<()> {
        let mut attempt = 1;
        loop {
            match self.call(|_, _| Ok(())) {
                Err(error) if error.is_transient() && attempt < FIRST_ATTEMPTS => {
                    tracing::info!(%error, "waiting for the token");
                    off_the_tasks(|| std::thread::sleep(FIRST_PAUSE));
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    pub(super) fn unsuitable(&self, why: &'static str) -> Pkcs11Error {
        Pkcs11Error::Unsuitable { uri: self.uri.to_string(), why }
    }

    /// Has the token do `work` with the key.
    pub(super) fn call<T>(
        &self,
        work: impl Fn(&Session, ObjectHandle) -> std::result::Result<T, Error>,
    ) -> Result<T> {
        off_the_tasks(|| {
            let _turn = self.turn();
            // In a session that was idle, in a new one, and in one of a library that was begun anew.
            let mut attempt = 1;
            loop {
                let state = self.module.enter();
                let generation = state.generation();
                match self.try_once(&state, &work) {
                    Err(error) if error.may_be_lost() && attempt < 3 => self.forget_sessions(generation),
                    done => return done,
                }
                drop(state);
                attempt += 1;
                if attempt == 3 {
                    self.module.begin_anew(generation);
                }
            }
        })
    }

    fn try_once<T>(
        &self,
        state: &State,
        work: &impl Fn(&Session, ObjectHandle) -> std::result::Result<T, Error>,
    ) -> Result<T> {
        let idle = self.lock().idle.pop().filter(|idle| idle.generation == state.generation());
        let opened = idle.map_or_else(|| self.open_session(state), Ok)?;
        match work(&opened.session, opened.key) {
            Ok(done) => {
                self.lock().idle.push(opened);
                Ok(done)
            }
            Err(error) => {
                // It may be in the middle of something.
                let _ = opened.session.close();
                Err(self.failure(error))
            }
        }
    }

    fn open_session(&self, state: &State) -> Result<Opened> {
        let library = state.library();
        let slots = library.get_slots_with_token().map_err(|error| self.failure(error))?;
        let is_it = |slot: &cryptoki::slot::Slot| {
            library.get_token_info(*slot).is_ok_and(|token| self.uri.is_of(u64::from(*slot), &token))
        };
        let slots: Vec<_> = slots.into_iter().filter(is_it).collect();
        let [slot] = slots[..] else {
            return Err(Pkcs11Error::Token { uri: self.uri.to_string(), found: slots.len() });
        };
        // Not one that closes itself: after the library was begun anew, its number could be another session's.
        let session = library.open_ro_session_no_drop(slot).map_err(|error| self.failure(error))?;
        let token = library.get_token_info(slot).map_err(|error| self.failure(error));
        let logged_in = token.and_then(|token| self.log_in(&session, token.serial_number()));
        match logged_in.and_then(|()| self.find(&session)) {
            Ok(key) => Ok(Opened { session, key, generation: state.generation() }),
            Err(error) => {
                let _ = session.close();
                Err(error)
            }
        }
    }

    fn log_in(&self, session: &Session, token: &str) -> Result<()> {
        let path = self.uri.pin();
        let pin = Pin::read(path)?;
        let refused = |reason: String| Pkcs11Error::PinRefused { path: path.to_owned(), reason };
        if self.module.has_refused(token, &pin) {
            return Err(refused("it was refused before, and this process does not try it again".to_owned()));
        }
        match session.login_with_raw(UserType::User, &pin.to_library()) {
            // Another session of this process's has logged in, for all of them.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Error::Pkcs11(
                error @ (RvError::PinIncorrect
                | RvError::PinInvalid
                | RvError::PinLenRange
                | RvError::PinExpired
                | RvError::PinLocked
                | RvError::UserPinNotInitialized),
                _,
            )) => {
                self.module.remember_refused(token.to_owned(), pin);
                Err(refused(error.to_string()))
            }
            Err(error) => Err(self.failure(error)),
        }
    }

    fn find(&self, session: &Session) -> Result<ObjectHandle> {
        let mut template = vec![
            Attribute::Token(true),
            Attribute::Class(match self.kind {
                ObjectKind::PrivateKey => ObjectClass::PRIVATE_KEY,
                ObjectKind::SecretKey => ObjectClass::SECRET_KEY,
            }),
        ];
        template.push(Attribute::KeyType(self.key_type));
        template.extend(self.uri.object().map(|label| Attribute::Label(label.into())));
        template.extend(self.uri.id().map(|id| Attribute::Id(id.into())));
        let found = session.find_objects(&template).map_err(|error| self.failure(error))?;
        match found.len() {
            0 => Err(Pkcs11Error::NoKey(self.uri.to_string())),
            found if found > CANDIDATES => Err(Pkcs11Error::SeveralKeys { uri: self.uri.to_string(), found }),
            _ => (self.choose)(session, &found),
        }
    }

    /// Drops the sessions that are not in use: they are no better than the one that failed.
    fn forget_sessions(&self, generation: u64) {
        for idle in std::mem::take(&mut self.lock().idle) {
            if idle.generation == generation {
                let _ = idle.session.close();
            }
        }
    }

    /// What an error of the library means.
    pub(super) fn failure(&self, error: Error) -> Pkcs11Error {
        failure(&self.uri, error)
    }

    /// Waits for one's turn.
    fn turn(&self) -> Turn<'_> {
        let pool = self.lock();
        let mut pool = self
            .returned
            .wait_while(pool, |pool| pool.in_use >= SESSIONS)
            .unwrap_or_else(PoisonError::into_inner);
        pool.in_use += 1;
        Turn(self)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TokenKey {
    fn drop(&mut self) {
        let state = self.module.enter();
        self.forget_sessions(state.generation());
    }
}

/// One of the calls that a key serves at once.
struct Turn<'a>(&'a TokenKey);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().in_use -= 1;
        self.0.returned.notify_one();
    }
}

impl Pkcs11Error {
    /// Whether new sessions, or a library begun anew, may be the remedy. A key that is not there may be one that the library
    /// does not show after its token was away.
    fn may_be_lost(&self) -> bool {
        self.is_transient() || matches!(self, Self::NoKey(_))
    }
}

/// What an error of the library means for the key that `uri` names.
pub(super) fn failure(uri: &Pkcs11Uri, error: Error) -> Pkcs11Error {
    let uri = uri.to_string();
    let reason = error.to_string();
    let may_pass = matches!(
        error,
        Error::Pkcs11(
            RvError::CryptokiNotInitialized
                | RvError::DeviceError
                | RvError::DeviceMemory
                | RvError::DeviceRemoved
                | RvError::FunctionCanceled
                | RvError::FunctionFailed
                | RvError::GeneralError
                | RvError::HostMemory
                | RvError::KeyHandleInvalid
                | RvError::ObjectHandleInvalid
                | RvError::OperationActive
                | RvError::OperationNotInitialized
                | RvError::SessionClosed
                | RvError::SessionCount
                | RvError::SessionHandleInvalid
                | RvError::SlotIdInvalid
                | RvError::TokenNotPresent
                | RvError::TokenNotRecognized
                | RvError::UserNotLoggedIn,
            _
        )
    );
    if may_pass { Pkcs11Error::Away { uri, reason } } else { Pkcs11Error::Refused { uri, reason } }
}

/// Does what may block without holding up other tasks, where the runtime has another thread for them.
fn off_the_tasks<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
