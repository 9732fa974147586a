//! The machine that everything runs on: its processes, which die and stand still, its dice, and the record of what
//! happened.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::service::Routes;

use super::checker::Checker;
use super::plan::{Fault, Plan, below, stream, unit};
use crate::changes::Changes;
use crate::clock::{Clock, SystemClock, Timestamp};

/// No honest run has so many events: whoever comes so far runs in circles.
const MAXIMUM_EVENTS: usize = 400_000;

/// Clones are the same machine.
#[derive(Clone)]
pub struct Machine(Arc<Shared>);

struct Shared {
    plan: Plan,
    started: Instant,
    dice: Mutex<ChaCha20Rng>,
    trace: Mutex<Trace>,
    checker: Mutex<Checker>,
    faults: Mutex<BTreeMap<Fault, u64>>,
    servers: Mutex<BTreeMap<String, Server>>,
    deaths: mpsc::UnboundedSender<String>,
    /// Until when the Kingdom is away.
    kingdom_back: Changes<Instant>,
}

/// Where calls to an address go.
#[derive(Clone)]
pub struct Server {
    pub process: Process,
    pub routes: Routes,
}

/// What happened, line by line.
#[derive(Default)]
struct Trace {
    hash: Sha256,
    lines: Vec<String>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Machine")
    }
}

/// Nothing that panics under a lock is half done.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    /// The machine of a plan. It tells `deaths` the names of the processes that die.
    pub fn new(plan: Plan, deaths: mpsc::UnboundedSender<String>) -> Self {
        let now = Instant::now();
        Self(Arc::new(Shared {
            started: now,
            dice: stream(plan.seed, 2).into(),
            plan,
            trace: Mutex::default(),
            checker: Mutex::default(),
            faults: Mutex::default(),
            servers: Mutex::default(),
            deaths,
            kingdom_back: Changes::new(now),
        }))
    }

    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// What watches the invariants.
    pub fn checker(&self) -> MutexGuard<'_, Checker> {
        locked(&self.0.checker)
    }

    /// How often each fault has happened.
    pub fn faults(&self) -> BTreeMap<Fault, u64> {
        locked(&self.0.faults).clone()
    }

    /// Records an event.
    pub fn note(&self, event: fmt::Arguments<'_>) {
        let line = format!("{:>9} {event}", self.0.started.elapsed().as_millis());
        let mut trace = locked(&self.0.trace);
        trace.hash.update(line.as_bytes());
        trace.hash.update(b"\n");
        trace.lines.push(line);
    }

    /// The digest of all that has happened.
    pub fn digest(&self) -> String {
        hex::encode(&locked(&self.0.trace).hash.clone().finalize()[..8])
    }

    /// Everything that has happened.
    pub fn lines(&self) -> Vec<String> {
        std::mem::take(&mut locked(&self.0.trace).lines)
    }

    /// Whether more has happened than can in a run that comes to an end.
    pub fn overran(&self) -> bool {
        locked(&self.0.trace).lines.len() > MAXIMUM_EVENTS
    }

    /// A number in `0..bound`.
    pub fn below(&self, bound: u64) -> u64 {
        below(&mut *locked(&self.0.dice), bound)
    }

    /// A duration below `bound`, in milliseconds.
    pub fn moment(&self, bound: Duration) -> Duration {
        Duration::from_millis(self.below(bound.as_millis() as u64 + 1))
    }

    /// Whether nothing goes wrong any more.
    pub fn is_quiet(&self) -> bool {
        self.0.started.elapsed() >= self.plan().quiet_after
    }

    /// Whether a fault happens at this opportunity.
    pub fn strikes(&self, fault: Fault) -> bool {
        let rate = self.plan().rate(fault);
        if rate == 0.0 || self.is_quiet() || unit(&mut *locked(&self.0.dice)) >= rate {
            return false;
        }
        *locked(&self.0.faults).entry(fault).or_default() += 1;
        self.note(format_args!("FAULT {}", fault.name()));
        true
    }

    /// Serves `routes` at `address`.
    pub fn listen(&self, address: String, process: &Process, routes: Routes) {
        locked(&self.0.servers).insert(address, Server { process: process.clone(), routes });
    }

    /// Who serves at `address`, if anybody does.
    pub fn server(&self, address: &str) -> Option<Server> {
        locked(&self.0.servers).get(address).filter(|server| server.process.is_alive()).cloned()
    }

    /// Takes the Kingdom away for so long.
    pub fn take_kingdom_away(&self, duration: Duration) {
        self.0.kingdom_back.update(|back| *back = Instant::now() + duration);
    }

    /// Whether the Kingdom is there.
    pub fn kingdom_is_there(&self) -> bool {
        self.0.kingdom_back.value() <= Instant::now()
    }

    /// Completes when the Kingdom goes away.
    pub async fn kingdom_leaves(&self) {
        self.0.kingdom_back.wait_for(|back| back > Instant::now()).await;
    }
}

/// A process from its start to its death. Clones are the same process.
#[derive(Clone)]
pub struct Process(Arc<Running>);

struct Running {
    name: String,
    machine: Machine,
    mortal: bool,
    dead: Changes<bool>,
    stands_still_until: Mutex<Instant>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Process").field(&self.0.name).finish()
    }
}

impl Process {
    /// Starts a process.
    pub fn start(machine: &Machine, name: impl Into<String>, mortal: bool) -> Self {
        Self(Arc::new(Running {
            name: name.into(),
            machine: machine.clone(),
            mortal,
            dead: Changes::new(false),
            stands_still_until: Instant::now().into(),
            tasks: Mutex::default(),
        }))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn machine(&self) -> &Machine {
        &self.0.machine
    }

    pub fn is_alive(&self) -> bool {
        !self.0.dead.value()
    }

    /// Completes when the process dies.
    pub async fn death(&self) {
        self.0.dead.wait_for(|dead| dead).await;
    }

    /// Runs a task that dies with the process.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let handle = tokio::spawn(task);
        let mut tasks = locked(&self.0.tasks);
        tasks.retain(|task| !task.is_finished());
        tasks.push(handle.abort_handle());
        handle
    }

    /// What lies between two effects: here the process may die or stand still. Whatever a task of a dead process does
    /// next, it does not come past this.
    pub async fn point(&self) {
        self.pass().await;
        if self.0.mortal {
            if self.machine().strikes(Fault::Crash) {
                self.die();
            } else if self.machine().strikes(Fault::Pause) {
                let pause = self.machine().moment(self.machine().plan().lock * 3);
                *locked(&self.0.stands_still_until) = Instant::now() + pause;
                self.machine().note(format_args!("{} stands still for {pause:?}", self.name()));
            }
        }
        self.pass().await;
    }

    /// Waits for as long as the process stands still; for ever if it is dead.
    pub async fn pass(&self) {
        loop {
            if !self.is_alive() || self.machine().overran() {
                std::future::pending::<()>().await;
            }
            let until = *locked(&self.0.stands_still_until);
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    /// Ends the process, which has no chance to do anything about it.
    pub fn die(&self) {
        if !self.is_alive() {
            return;
        }
        self.0.dead.update(|dead| *dead = true);
        self.machine().note(format_args!("{} dies", self.name()));
        for task in locked(&self.0.tasks).drain(..) {
            task.abort();
        }
        // Nobody hears of it any more when the run is over.
        let _ = self.machine().0.deaths.send(self.name().to_owned());
    }
}

/// A duchy's clock, which can be set.
#[derive(Debug, Default)]
pub struct DuchyClock(Mutex<i64>);

impl DuchyClock {
    /// Sets the clock forward, or back, by so many milliseconds.
    pub fn step(&self, millis: i64) {
        *locked(&self.0) += millis;
    }
}

impl Clock for DuchyClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(SystemClock.now().millis() + *locked(&self.0))
    }
}

/// Sets clocks and takes the Kingdom away, from time to time.
pub async fn weather(machine: Machine, clocks: Vec<Arc<DuchyClock>>) {
    const LONGEST_OUTAGE: Duration = Duration::from_secs(180);
    const LARGEST_STEP: Duration = Duration::from_secs(20 * 60);
    while !machine.is_quiet() {
        sleep(machine.moment(Duration::from_secs(60))).await;
        if machine.strikes(Fault::KingdomAway) {
            machine.take_kingdom_away(machine.moment(LONGEST_OUTAGE));
        }
        if machine.strikes(Fault::ClockStep) {
            let index = machine.below(clocks.len() as u64) as usize;
            let step = machine.moment(LARGEST_STEP).as_millis() as i64;
            let step = if machine.below(2) == 0 { step } else { -step };
            machine.note(format_args!("the clock of duchy {index} is set by {step} ms"));
            clocks[index].step(step);
        }
    }
}
