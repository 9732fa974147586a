//! What a seed decides before the run: what is measured, by how many processes, and how much goes wrong.

use std::time::Duration;

use halo_protocols::llv2::NoisePolicy;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A request does not arrive, and the caller hears of it.
    RequestLost,
    /// A reply does not arrive, and the caller hears of it.
    ReplyLost,
    /// A request does not arrive, and the caller finds out by keepalives.
    Silence,
    /// A message takes up to a minute: others overtake it.
    Delay,
    /// A request arrives twice.
    Duplicate,
    /// A stream breaks off in the middle.
    CutShort,
    /// A process dies and is started again.
    Crash,
    /// A process stands still, often for longer than its lease.
    Pause,
    /// A duchy's clock is set forward or back.
    ClockStep,
    /// A transaction is given up.
    Abort,
    /// A transaction is committed, and its caller hears that it failed.
    CommitUnheard,
    /// A blob is not written.
    BlobUnwritten,
    /// A blob is written, and its writer hears that it failed.
    BlobUnheard,
    /// A blob cannot be read.
    BlobUnread,
    /// The Kingdom does not answer for a while.
    KingdomAway,
    /// A duchy's database is put back to an earlier state, its processes started again.
    Restore,
    /// The service that has the key encryption key does not answer.
    KeyServiceAway,
}

impl Fault {
    /// Everything that can go wrong.
    pub const ALL: [Self; 17] = [
        Self::RequestLost,
        Self::ReplyLost,
        Self::Silence,
        Self::Delay,
        Self::Duplicate,
        Self::CutShort,
        Self::Crash,
        Self::Pause,
        Self::ClockStep,
        Self::Abort,
        Self::CommitUnheard,
        Self::BlobUnwritten,
        Self::BlobUnheard,
        Self::BlobUnread,
        Self::KingdomAway,
        Self::Restore,
        Self::KeyServiceAway,
    ];

    /// As the summary calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestLost => "request lost",
            Self::ReplyLost => "reply lost",
            Self::Silence => "request lost in silence",
            Self::Delay => "message delayed",
            Self::Duplicate => "request duplicated",
            Self::CutShort => "stream cut",
            Self::Crash => "process crashed",
            Self::Pause => "process paused",
            Self::ClockStep => "clock set",
            Self::Abort => "transaction aborted",
            Self::CommitUnheard => "commit not heard of",
            Self::BlobUnwritten => "blob not written",
            Self::BlobUnheard => "blob written, not heard of",
            Self::BlobUnread => "blob not read",
            Self::KingdomAway => "Kingdom away",
            Self::Restore => "database restored",
            Self::KeyServiceAway => "key service away",
        }
    }

    /// Whether it happens by itself from time to time, and not to something that is done.
    const fn is_weather(self) -> bool {
        matches!(self, Self::ClockStep | Self::KingdomAway | Self::Restore)
    }
}

/// How a measurement is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Liquid Legions v2.
    Llv2,
    /// Reach-only Liquid Legions v2.
    ReachOnly,
    /// Honest-majority share shuffle.
    ShareShuffle,
}

/// A measurement to make.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// By which protocol.
    pub kind: Kind,
    /// Whether frequencies are asked for.
    pub frequency: bool,
    /// When it is asked for.
    pub after: Duration,
}

/// What a seed decides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The measurements.
    pub measured: Vec<Measured>,
    /// Per data provider, its people and how often each was reached.
    pub impressions: Vec<Vec<(i64, u32)>>,
    /// Mills of each kind at each duchy.
    pub mills: usize,
    /// How long a lease lasts.
    pub lock: Duration,
    /// From when on nothing more goes wrong.
    pub quiet_after: Duration,
    /// Whether a mill that is started again is the same to the others.
    pub mills_keep_names: bool,
    /// Whether duchies forget computations that have ended.
    pub forget: bool,
    /// Whether computations may go without noise, which is what all of them do.
    pub noise_policy: NoisePolicy,
    /// The probability of each fault at each opportunity.
    pub rates: [f64; Fault::ALL.len()],
}

/// People are numbered from 1 to this.
pub const POPULATION: i64 = 20;

impl Plan {
    /// The plan of `seed`.
    pub fn draw(seed: u64) -> Self {
        let rng = &mut stream(seed, 1);
        let measured = (0..1 + below(rng, 3)).map(|_| {
            let kind = [Kind::Llv2, Kind::ReachOnly, Kind::ShareShuffle][below(rng, 3) as usize];
            let frequency = kind != Kind::ReachOnly && below(rng, 2) == 0;
            Measured { kind, frequency, after: Duration::from_millis(below(rng, 60_000)) }
        });
        let measured = measured.collect();
        let impressions = (0..2 + below(rng, 2)).map(|provider| {
            let mut people = Vec::new();
            for vid in 1..=12 {
                // Somebody is there in any case.
                if (provider == 0 && vid == 1) || below(rng, 2) == 0 {
                    people.push((vid, 1 + below(rng, 3) as u32));
                }
            }
            people
        });
        let impressions = impressions.collect();
        let rates = Fault::ALL.map(|fault| {
            let happens = match fault {
                // It costs nearly every measurement that is under way.
                Fault::Restore => below(rng, 8) == 0,
                _ => below(rng, 2) == 1,
            };
            if happens { 10f64.powf(-1.3 - 2.0 * unit(rng)) } else { 0.0 }
        });
        Self {
            seed,
            measured,
            impressions,
            mills: 1 + below(rng, 2) as usize,
            lock: Duration::from_secs([10, 60, 300][below(rng, 3) as usize]),
            quiet_after: Duration::from_secs(30 + below(rng, 600)),
            mills_keep_names: below(rng, 2) == 0,
            forget: below(rng, 4) == 0,
            noise_policy: NoisePolicy::AllowNone,
            rates,
        }
    }

    /// The same plan, in which nothing goes wrong.
    #[must_use]
    pub fn undisturbed(self) -> Self {
        Self { rates: [0.0; Fault::ALL.len()], ..self }
    }

    /// The same plan, in which `fault` goes wrong with this probability.
    #[must_use]
    pub fn with_rate(mut self, fault: Fault, rate: f64) -> Self {
        self.rates[fault as usize] = rate;
        self
    }

    /// The probability of a fault at an opportunity.
    pub fn rate(&self, fault: Fault) -> f64 {
        let rate = self.rates[fault as usize];
        // There are far fewer opportunities: one in about a minute.
        if fault.is_weather() { rate.sqrt() } else { rate }
    }
}

/// The random choices of a seed for one purpose.
pub fn stream(seed: u64, purpose: u64) -> ChaCha20Rng {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    rng.set_stream(purpose);
    rng
}

/// A number in `0..bound`.
pub fn below(rng: &mut impl Rng, bound: u64) -> u64 {
    // The bias is of no interest here.
    rng.next_u64() % bound
}

/// A number in 0..1.
pub fn unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}
