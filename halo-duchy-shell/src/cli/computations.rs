//! `halo-duchy computations`: what an operator sees of computations, and can do about them.
//!
//! It works on the store, as `halo-duchy store` does: the internal API knows nothing of attempts that are over, and that of
//! `serve` is reached by nobody else. What it writes is guarded as what any process of the duchy writes: by the version
//! that was read, so that a mill whose work is taken away writes nothing more.

mod table;

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::CliError;
use super::options::{DuchyOptions, KingdomOptions, StoreOptions};
use super::process::Process;
use crate::client::CallPolicy;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::parse_duration;
use crate::console::{Diagnosis, Selection, State, between, brief, described, summarized, utc};
use crate::mill::stage_attempt;
use crate::platform;
use crate::proto::internal::computation_details::CompletedReason;
use crate::proto::system::computation_participant::Failure;
use crate::protocol_stages::{Protocol, ProtocolStage};
use crate::store::{GivenBack, Order, Record, Store, StoreError};
use crate::system_api::SystemApi;
use crate::tls::TlsFiles;

/// Who gives work back and fails computations here, for others to read.
const OPERATOR: &str = "operator";
/// How long the Kingdom may take for a call. Whether to try again is the operator's to say.
const KINGDOM_PATIENCE: Duration = Duration::from_secs(15);
/// How often a computation is ended that changes meanwhile.
const ENDS: usize = 5;

/// What to do about computations.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum ComputationsCommand {
    /// List computations: where each is, its attempts, who works on it, what went wrong.
    List(ListOptions),
    /// Show all about one computation, what it waits for and what to do about it.
    Show(ShowOptions),
    /// Let a mill claim a computation's stage at once: one whose next attempt is delayed, or whose lease ran out.
    Retry(RetryOptions),
    /// Fail a computation: at the Kingdom, and with it for all duchies, and here.
    Fail(Box<FailOptions>),
}

/// The flags of `computations list`.
#[derive(Args, Clone, Debug)]
pub(super) struct ListOptions {
    #[command(flatten)]
    store: Box<StoreOptions>,
    /// Only computations in this state. May be repeated. Default: those that are not over.
    #[arg(long = "state", value_name = "STATE", value_enum)]
    states: Vec<State>,
    /// Also computations that are over.
    #[arg(long, conflicts_with = "states")]
    all: bool,
    /// Only computations by this protocol. May be repeated.
    #[arg(long = "protocol", value_name = "PROTOCOL", value_enum)]
    protocols: Vec<ProtocolName>,
    /// Only computations in this stage, such as SETUP_PHASE. May be repeated.
    #[arg(long = "stage", value_name = "STAGE", value_parser = stage_name)]
    stages: Vec<&'static str>,
    /// Only computations created longer ago.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    older_than: Option<Duration>,
    /// In which order.
    #[arg(long, value_name = "ORDER", value_enum, default_value = "oldest")]
    sort: Sort,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Leave out so many at first: the next page.
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: u32,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    watch: WatchOptions,
}

/// The flags of `computations show`.
#[derive(Args, Clone, Debug)]
pub(super) struct ShowOptions {
    /// The computation's global id.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    store: Box<StoreOptions>,
    /// Id of this duchy, to tell whose messages it waits for.
    #[arg(long, value_name = "ID")]
    duchy_name: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    watch: WatchOptions,
}

/// Looking again and again.
#[derive(Args, Clone, Copy, Debug)]
struct WatchOptions {
    /// Look again after this time, until told to stop; `show` also stops when the computation is over.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "2s", value_parser = parse_duration, conflicts_with = "json")]
    watch: Option<Duration>,
}

/// The flags of `computations retry`.
#[derive(Args, Clone, Debug)]
pub(super) struct RetryOptions {
    /// The computation's global id.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    store: Box<StoreOptions>,
    /// Also take the work from a mill whose lease has not run out. It notices, stops, and writes nothing more.
    #[arg(long)]
    force: bool,
}

/// The flags of `computations fail`.
#[derive(Args, Clone, Debug)]
pub(super) struct FailOptions {
    /// The computation's global id.
    #[arg(value_name = "ID")]
    id: String,
    /// Why, for the other parties to read, in the Kingdom's log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    store: Box<StoreOptions>,
    #[command(flatten)]
    duchy: DuchyOptions,
    #[command(flatten)]
    tls: TlsFiles,
    #[command(flatten)]
    kingdom: KingdomOptions,
    /// Also if a mill works on it, and also if the Kingdom cannot be told.
    #[arg(long)]
    force: bool,
}

/// A protocol, as flags name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProtocolName {
    /// Liquid Legions v2: reach and frequency.
    Llv2,
    /// Reach-only Liquid Legions v2.
    RoLlv2,
    /// Honest-majority share shuffle: reach and frequency.
    Hmss,
}

/// An order, as a flag names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// The oldest first.
    Oldest,
    /// The newest first.
    Newest,
    /// Those first that have not changed for longest.
    Unchanged,
    /// Those first that changed last.
    Changed,
}

impl From<ProtocolName> for Protocol {
    fn from(name: ProtocolName) -> Self {
        match name {
            ProtocolName::Llv2 => Self::LiquidLegionsV2,
            ProtocolName::RoLlv2 => Self::ReachOnlyLiquidLegionsV2,
            ProtocolName::Hmss => Self::HonestMajorityShareShuffle,
        }
    }
}

impl From<Sort> for Order {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::Oldest => Self::OldestFirst,
            Sort::Newest => Self::NewestFirst,
            Sort::Unchanged => Self::LongestUnchangedFirst,
            Sort::Changed => Self::LastChangedFirst,
        }
    }
}

/// The name of a stage of any protocol.
fn stage_name(text: &str) -> Result<&'static str, String> {
    let mut names = Protocol::ALL.into_iter().flat_map(Protocol::stages).map(ProtocolStage::name);
    names
        .find(|name| name.eq_ignore_ascii_case(text))
        .ok_or_else(|| "no protocol has such a stage".to_owned())
}

impl ComputationsCommand {
    pub(super) fn run(&self) -> Result<(), CliError> {
        Process::tool().run(async {
            match self {
                Self::List(options) => options.list().await,
                Self::Show(options) => options.show().await,
                Self::Retry(options) => options.retry().await,
                Self::Fail(options) => options.fail().await,
            }
        })
    }
}

impl WatchOptions {
    /// Shows `text`, in place of what a terminal shows if it is looked at again and again.
    fn print(self, text: &str) {
        const CLEAR: &str = "\u{1b}[H\u{1b}[2J";
        let clear = self.watch.is_some() && std::io::stdout().is_terminal();
        print!("{}{text}", if clear { CLEAR } else { "" });
        // If nobody reads it any more, there is nothing to be done about it here.
        let _ = std::io::stdout().flush();
    }

    /// Waits until it is time to look again; whether it comes.
    async fn again(self) -> bool {
        let Some(pause) = self.watch else { return false };
        tokio::time::sleep(pause).await;
        true
    }
}

impl ListOptions {
    async fn list(&self) -> Result<(), CliError> {
        let store = self.store.open_existing().await?;
        loop {
            let now = SystemClock.now();
            let found = self.selection(now).find(&*store, now).await?;
            if self.json {
                for record in &found.records {
                    println!("{}", serde_json::to_string(&summarized(record, now))?);
                }
                return Ok(());
            }
            self.watch.print(&table::list(&found.records, now));
            if found.more {
                let next = self.skip as usize + found.records.len();
                eprintln!("There may be more: --skip={next}");
            }
            if !self.watch.again().await {
                return Ok(());
            }
        }
    }

    fn selection(&self, now: Timestamp) -> Selection {
        let states = match (self.all, self.states.as_slice()) {
            (true, _) => State::ALL.to_vec(),
            (false, []) => State::ALL.into_iter().filter(|state| !state.is_end()).collect(),
            (false, states) => states.to_vec(),
        };
        let mut selection = Selection {
            states,
            order: self.sort.into(),
            limit: self.limit as usize,
            skip: self.skip as usize,
            ..Selection::default()
        };
        let protocols: Vec<Protocol> = self.protocols.iter().copied().map(Into::into).collect();
        selection.stages.retain(|stage| {
            (protocols.is_empty() || protocols.contains(&stage.protocol()))
                && (self.stages.is_empty() || self.stages.contains(&stage.name()))
        });
        if let Some(age) = self.older_than {
            let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            selection.created_before = Timestamp::from_millis(now.millis().saturating_sub(age));
        }
        selection
    }
}

impl ShowOptions {
    async fn show(&self) -> Result<(), CliError> {
        let store = self.store.open_existing().await?;
        loop {
            let record = store.record(&self.id).await?;
            let (duchy, now) = (self.duchy_name.as_deref(), SystemClock.now());
            if self.json {
                println!("{}", serde_json::to_string(&described(&record, duchy, now))?);
                return Ok(());
            }
            self.watch.print(&table::show(&record, duchy, now));
            if State::of(&record, now).is_end() || !self.watch.again().await {
                return Ok(());
            }
        }
    }
}

impl RetryOptions {
    async fn retry(&self) -> Result<(), CliError> {
        let store = self.store.open_existing().await?;
        let record = store.record(&self.id).await?;
        let now = SystemClock.now();
        let state = State::of(&record, now);
        let allowed = match state {
            State::Delayed | State::Expired => true,
            State::Running => self.force,
            _ => false,
        };
        if !allowed {
            let Diagnosis { waits_for, next } = Diagnosis::of(&record, None, now);
            let why = match state {
                State::Running => "a mill works on it (--force takes it from it)",
                State::Queued => "any mill may claim it already",
                _ => "there is nothing for a mill to do",
            };
            return Err(self.refused(format!("{why}. It waits for {waits_for}. {next}")));
        }
        // The version is the one that the record was read with: whoever changed it meanwhile is not disturbed.
        let computation = store.get(&self.id).await?;
        if computation.version != record.updated.millis() {
            return Err(self.refused("it has just changed: look at it again".to_owned()));
        }
        let owner = computation.lock_owner.clone().unwrap_or_default();
        let given_back = GivenBack::Interrupted("given back by an operator");
        store.enqueue(&computation.guard(), &owner, Duration::ZERO, given_back).await?;
        println!(
            "{} can be claimed: a mill's next look for work begins attempt {} at {}",
            self.id,
            computation.attempt + 1,
            computation.stage.name()
        );
        Ok(())
    }

    fn refused(&self, why: String) -> CliError {
        CliError::Computation { id: self.id.clone(), why }
    }
}

impl FailOptions {
    async fn fail(&self) -> Result<(), CliError> {
        let store = self.store.open_existing().await?;
        let record = store.record(&self.id).await?;
        let now = SystemClock.now();
        match State::of(&record, now) {
            State::Running if !self.force => {
                let owner = record.lock_owner.unwrap_or_default();
                let until = record.lock_expiration.map(|end| brief_until(now, end)).unwrap_or_default();
                return Err(
                    self.refused(format!("{owner} works on it ({until}): --force fails it all the same"))
                );
            }
            State::Succeeded | State::Canceled => {
                return Err(self.refused("it is over, and has not failed".to_owned()));
            }
            _ => {}
        }
        let told = self.tell_kingdom(&*store).await;
        if let (Err(error), false) = (&told, self.force) {
            let why = format!("nothing has changed, since the Kingdom is not told: {}", error.report());
            return Err(self.refused(why));
        }
        self.end(&*store).await?;
        match told {
            Ok(()) => println!("{} has failed, here and at the Kingdom", self.id),
            Err(error) => println!(
                "{} has failed here only. The other duchies go on until the Kingdom hears of it: {}. Run this command again \
                 when it can be reached, or have its operator fail computations/{}/participants/{}",
                self.id,
                error.report(),
                self.id,
                self.duchy.duchy_name
            ),
        }
        Ok(())
    }

    async fn tell_kingdom(&self, store: &dyn Store) -> Result<(), CliError> {
        let token = store.get(&self.id).await?.into();
        let channel = self.kingdom.channel(&self.tls.load()?)?;
        let kingdom = SystemApi::new(&self.duchy.duchy_name, channel, CallPolicy::once(KINGDOM_PATIENCE));
        let failure = Failure {
            participant_child_reference_id: OPERATOR.to_owned(),
            error_message: format!("{}: {}", self.duchy.duchy_name, self.why()),
            error_time: Some(platform::time().into()),
            stage_attempt: Some(stage_attempt(&token)),
        };
        kingdom.fail(&self.id, failure).await.map_err(|status| CliError::KingdomRefuses(Box::new(status)))
    }

    fn why(&self) -> String {
        format!("failed by an operator: {}", self.reason)
    }

    /// Ends the computation here, whatever others do to it meanwhile: the herald may be quicker.
    async fn end(&self, store: &dyn Store) -> Result<(), CliError> {
        let mut ends = 0;
        loop {
            ends += 1;
            let computation = store.get(&self.id).await?;
            match store.finish(&computation.guard(), CompletedReason::Failed, &self.why()).await {
                Err(StoreError::VersionMismatch { .. } | StoreError::LockOwnerMismatch { .. })
                    if ends < ENDS => {}
                ended => return ended.map(drop).map_err(CliError::from),
            }
        }
    }

    fn refused(&self, why: String) -> CliError {
        CliError::Computation { id: self.id.clone(), why }
    }
}

fn brief_until(now: Timestamp, end: Timestamp) -> String {
    format!("until {}, in {}", utc(end), brief(between(now, end)))
}

/// How long ago it was created.
fn age(record: &Record, now: Timestamp) -> String {
    brief(between(record.created, now))
}
