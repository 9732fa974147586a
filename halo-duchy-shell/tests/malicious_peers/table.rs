//! What a duchy may send instead, and what comes of it: the table of `docs/threat-model.md`.

use std::collections::BTreeMap;

use halo_crypto::{Group, P256, Ristretto255};
use halo_duchy_shell::kingdom::config::{LiquidLegionsSettings, Protocol, ShareShuffleSettings};
use halo_duchy_shell::proto::system::computation::mpc_protocol_config::NoiseMechanism;
use halo_duchy_shell::protocol_stages::PeerMessage;
use halo_protocols::proto::protocol::honest_majority_share_shuffle::shuffle_phase_input::SecretSeed;
use halo_protocols::proto::protocol::honest_majority_share_shuffle::{
    AggregationPhaseInput, ShufflePhaseInput,
};
use halo_protocols::{hmss, llv2, reach_only_llv2};
use prost::Message as _;

use crate::relay::Held;
use crate::world::DUCHIES;

/// Bytes of a point of P-256.
const POINT: usize = 33;
const CIPHERTEXT: usize = 2 * POINT;
/// A register of Liquid Legions v2: an id, a key and a count.
const REGISTER: usize = 3 * CIPHERTEXT;
/// Flags and a count.
const TUPLE: usize = 4 * CIPHERTEXT;
/// A register of the reach-only protocol.
const REACH_ONLY_REGISTER: usize = CIPHERTEXT;

/// Messages that honest duchies have sent before.
#[derive(Default)]
pub struct Seen {
    /// By sender and kind: the newest.
    bodies: BTreeMap<(String, String), Vec<u8>>,
    /// How many changed messages were told from the first.
    pub changes: usize,
}

impl Seen {
    pub fn note(&mut self, held: &Held, kind: PeerMessage) {
        self.bodies.insert((held.sender.clone(), format!("{kind:?}")), held.body.clone());
    }

    /// The newest message of a kind that was not `body`.
    fn other(&self, kind: impl Into<PeerMessage>, body: &[u8]) -> Option<Vec<u8>> {
        let kind = format!("{:?}", kind.into());
        let found = self.bodies.iter().find(|((_, of), other)| *of == kind && other.as_slice() != body);
        found.map(|(_, body)| body.clone())
    }
}

/// What is sent for an honest body; `None` if it cannot be made of that.
pub type Change = fn(&[u8], &Seen) -> Option<Vec<u8>>;

/// What comes of it.
pub enum Comes {
    /// The computation fails for this reason, and a record of this event names the sender, or one whose name begins so.
    Refused { event: &'static str, reason: &'static str, named: Option<&'static str> },
    /// The computation fails for this reason, and nobody can tell whose doing it is.
    Fails { reason: &'static str },
    /// Nobody notices: there is a result.
    Unnoticed,
}

/// One message that is not what it should be.
pub struct Deviation {
    pub what: &'static str,
    /// The first of these that can be changed is.
    pub messages: Vec<PeerMessage>,
    /// The duchy that it is to, if not any.
    pub receiver: Option<&'static str>,
    pub change: Change,
    pub comes: Comes,
}

impl Deviation {
    fn to(self, receiver: &'static str) -> Self {
        Self { receiver: Some(receiver), ..self }
    }

    fn or(mut self, message: impl Into<PeerMessage>) -> Self {
        self.messages.push(message.into());
        self
    }
}

const fn refused(reason: &'static str) -> Comes {
    Comes::Refused { event: "payload.refused", reason, named: None }
}

fn deviation(what: &'static str, message: impl Into<PeerMessage>, change: Change, comes: Comes) -> Deviation {
    Deviation { what, messages: vec![message.into()], receiver: None, change, comes }
}

/// `body` with `bytes` at `start`.
fn with(body: &[u8], start: usize, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = body.to_vec();
    body.get_mut(start..start + bytes.len())?.copy_from_slice(bytes);
    Some(body)
}

/// 33 bytes that begin with `tag`; `x` is that of no point of P-256 for some small numbers.
fn point(tag: u8, x: [u8; 32]) -> [u8; POINT] {
    let mut point = [tag; POINT];
    point[1..].copy_from_slice(&x);
    point
}

/// The right form, but there is no such point.
fn off_curve() -> [u8; POINT] {
    let candidates = (1_u8..=u8::MAX).map(|last| {
        let mut x = [0; 32];
        x[31] = last;
        point(2, x)
    });
    let mut candidates = candidates.filter(|bytes| P256::decode(bytes, &mut [P256::identity()]).is_err());
    candidates.next().expect("half of all x are of no point")
}

fn cut(body: &[u8], _: &Seen) -> Option<Vec<u8>> {
    body.split_last().map(|(_, rest)| rest.to_vec())
}

fn identity(body: &[u8], _: &Seen) -> Option<Vec<u8>> {
    with(body, 0, &[0; POINT])
}

fn no_point(body: &[u8], _: &Seen) -> Option<Vec<u8>> {
    with(body, 0, &off_curve())
}

/// x is not below the field's prime.
fn not_reduced(body: &[u8], _: &Seen) -> Option<Vec<u8>> {
    with(body, 0, &point(2, [0xff; 32]))
}

fn tag(body: &[u8], _: &Seen) -> Option<Vec<u8>> {
    with(body, 0, &[4])
}

/// Every record is the first.
fn all_alike(body: &[u8], record: usize) -> Option<Vec<u8>> {
    Some(body.get(..record)?.repeat(body.len() / record))
}

/// `body` with its ciphertext of this number where another is.
fn reused(body: &[u8], number: usize, at: usize) -> Option<Vec<u8>> {
    with(body, at, body.get(number * CIPHERTEXT..)?.get(..CIPHERTEXT)?)
}

/// The first register's id is its key and its count, too.
fn id_for_all(body: &[u8], _: &Seen) -> Option<Vec<u8>> {
    reused(&reused(body, 0, CIPHERTEXT)?, 0, 2 * CIPHERTEXT)
}

/// In each ciphertext, of two points of `point` bytes, the second is what `half` makes of the first.
fn related_halves(body: &[u8], point: usize, half: fn(&mut [u8])) -> Option<Vec<u8>> {
    let mut body = body.to_vec();
    for ciphertext in body.chunks_exact_mut(2 * point) {
        let (first, second) = ciphertext.split_at_mut(point);
        second.copy_from_slice(first);
        half(second);
    }
    Some(body)
}

fn equal_halves(body: &[u8], _: &Seen) -> Option<Vec<u8>> {
    related_halves(body, POINT, |_| ())
}

/// The other y that belongs to x.
fn opposite_halves(body: &[u8], _: &Seen) -> Option<Vec<u8>> {
    related_halves(body, POINT, |half| half[0] ^= 1)
}

fn sketch_settings() -> LiquidLegionsSettings {
    LiquidLegionsSettings {
        decay_rate: 2.0,
        sketch_size: 400,
        noise_mechanism: NoiseMechanism::None,
        ..LiquidLegionsSettings::default()
    }
}

pub fn liquid_legions_settings() -> Protocol {
    Protocol::LiquidLegionsV2(sketch_settings())
}

pub fn liquid_legions() -> Vec<Deviation> {
    use llv2::Message::{
        ExecutionPhaseOneInput as One, ExecutionPhaseThreeInput as Three, ExecutionPhaseTwoInput as Two,
        SetupPhaseInput as Setup,
    };
    // Registers of setup are mixed before anybody computes with them: the aggregator hands on what is wrong.
    const HANDED_ON: Comes = Comes::Refused {
        event: "payload.refused",
        reason: "EXECUTION_PHASE_ONE: combined_register_vector, record ",
        named: Some("duchies/aggregator"),
    };
    // A tuple whose flags say nothing counts for reach alone: there is nobody left to have been seen any number of times.
    const NOTHING_COUNTED: Comes = Comes::Fails { reason: "neither actual data nor effective noise" };
    vec![
        deviation("a point off the curve", Setup, no_point, HANDED_ON),
        deviation(
            "the identity as a count",
            Setup,
            |body, _| with(body, 2 * CIPHERTEXT, &[0; POINT]),
            HANDED_ON,
        ),
        deviation("a byte less", Setup, cut, refused("SETUP_PHASE: combined_register_vector: ")),
        deviation("the identity", One, identity, refused("combined_register_vector, record 0, ciphertext 0")),
        deviation(
            "the identity as a key's second half",
            One,
            |body, _| with(body, CIPHERTEXT + POINT, &[0; POINT]),
            refused("combined_register_vector, record 0, ciphertext 1"),
        ),
        deviation(
            "a point off the curve",
            One,
            no_point,
            refused("combined_register_vector, record 0, ciphertext 0"),
        ),
        deviation(
            "x above the prime",
            One,
            not_reduced,
            refused("combined_register_vector, record 0, ciphertext 0"),
        ),
        deviation("another tag", One, tag, refused("combined_register_vector, record 0, ciphertext 0")),
        deviation("a byte less", One, cut, refused("bytes are not divisible into records of 198")),
        deviation("the identity", Two, identity, refused("flag_count_tuples, record 0, ciphertext 0")),
        deviation(
            "the identity as a count",
            Two,
            |body, _| with(body, TUPLE - CIPHERTEXT, &[0; POINT]),
            refused("flag_count_tuples, record 0, ciphertext 3"),
        ),
        deviation("a byte less", Two, cut, refused("bytes are not divisible into records of 264")),
        deviation(
            "the identity",
            Three,
            identity,
            refused("same_key_aggregator_matrix, record 0, ciphertext 0"),
        ),
        deviation("a point off the curve", Three, no_point, refused("same_key_aggregator_matrix, record 0")),
        deviation("a byte less", Three, cut, refused("bytes are not divisible into records of 66")),
        deviation("one register for all", Setup, |body, _| all_alike(body, REGISTER), Comes::Unnoticed),
        deviation("a register less", Setup, |body, _| Some(body.get(REGISTER..)?.to_vec()), Comes::Unnoticed),
        deviation(
            "a register twice",
            One,
            |body, _| Some([body, body.get(..REGISTER)?].concat()),
            Comes::Unnoticed,
        ),
        deviation("no register", Setup, |_, _| Some(Vec::new()), Comes::Unnoticed),
        deviation(
            "another's or another computation's payload",
            Setup,
            |body, seen| seen.other(Setup, body),
            Comes::Unnoticed,
        ),
        deviation("another stage's payload", One, |body, seen| seen.other(Setup, body), Comes::Unnoticed),
        deviation(
            "another stage's payload",
            Two,
            |body, seen| {
                // Four registers are as long as three tuples.
                let registers = seen.other(One, body)?;
                Some(registers.get(..registers.len() / (4 * REGISTER) * (4 * REGISTER))?.to_vec())
            },
            NOTHING_COUNTED,
        ),
        deviation("another stage's payload", Three, |body, seen| seen.other(Two, body), Comes::Unnoticed),
        deviation("equal halves", One, equal_halves, Comes::Unnoticed),
        deviation("opposite halves", One, opposite_halves, Comes::Unnoticed),
        deviation("equal halves for the aggregator", One, equal_halves, Comes::Unnoticed).to(DUCHIES[0]),
        deviation("opposite halves for the aggregator", One, opposite_halves, Comes::Unnoticed)
            .to(DUCHIES[0]),
        deviation("equal halves", Two, equal_halves, NOTHING_COUNTED),
        deviation("opposite halves", Two, opposite_halves, NOTHING_COUNTED),
        deviation("equal halves", Three, equal_halves, Comes::Unnoticed),
        deviation("opposite halves", Three, opposite_halves, Comes::Unnoticed),
        deviation("an id for all of a register", One, id_for_all, Comes::Unnoticed),
        deviation("an id for all of a register, for the aggregator", One, id_for_all, Comes::Unnoticed)
            .to(DUCHIES[0]),
        deviation(
            "a register twice, for the aggregator",
            One,
            |body, _| Some([body, body.get(..REGISTER)?].concat()),
            Comes::Unnoticed,
        )
        .to(DUCHIES[0]),
        deviation("a flag for another", Two, |body, _| reused(body, 0, 2 * CIPHERTEXT), Comes::Unnoticed),
        deviation("a cell for another", Three, |body, _| reused(body, 0, CIPHERTEXT), Comes::Unnoticed),
    ]
}

pub fn ristretto255_settings() -> Protocol {
    let curve = i32::try_from(Ristretto255::CURVE_ID).expect("a small number");
    Protocol::LiquidLegionsV2(LiquidLegionsSettings { elliptic_curve_id: curve, ..sketch_settings() })
}

pub fn ristretto255() -> Vec<Deviation> {
    use llv2::Message::ExecutionPhaseOneInput as One;
    const RECORD: &str = "combined_register_vector, record 0, ciphertext 0";
    vec![
        deviation("the identity", One, |body, _| with(body, 0, &[0; 32]), refused(RECORD)),
        // Not below the prime, so that the same element would have two encodings.
        deviation("no canonical encoding", One, |body, _| with(body, 0, &[0xff; 32]), refused(RECORD)),
        // Of the two square roots, the other.
        deviation("a negative encoding", One, |body, _| with(body, 0, &[body.first()? | 1]), refused(RECORD)),
        deviation("a byte less", One, cut, refused("bytes are not divisible into records of 192")),
        deviation("equal halves", One, |body, _| related_halves(body, 32, |_| ()), Comes::Unnoticed),
    ]
}

pub fn reach_only_settings() -> Protocol {
    Protocol::ReachOnlyLiquidLegionsV2(sketch_settings())
}

/// Where the ciphertext of the excessive noise begins, behind the registers.
fn excessive_noise(body: &[u8]) -> Option<usize> {
    body.len().checked_sub(CIPHERTEXT)
}

/// `registers` without their noise ciphertext, with that of `body`, which opens to a number.
fn with_own_noise(registers: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    Some([registers.get(..excessive_noise(registers)?)?, body.get(excessive_noise(body)?..)?].concat())
}

/// `body`, of which `change` has changed nothing but the noise ciphertext.
fn changed_noise(body: &[u8], seen: &Seen, change: Change) -> Option<Vec<u8>> {
    let (registers, noise) = body.split_at_checked(excessive_noise(body)?)?;
    Some([registers, &change(noise, seen)?].concat())
}

pub fn reach_only() -> Vec<Deviation> {
    use reach_only_llv2::Message::{ExecutionPhaseInput as Execution, SetupPhaseInput as Setup};
    const LENGTH: &str = "bytes, which are not registers and a ciphertext of 66";
    const REGISTERS: &str = "combined_register_vector, record 0, ciphertext 0";
    const NOISE: &str = "serialized_excessive_noise_ciphertext, record ";
    // Where there is no noise, no other number than 0 is possible.
    const NO_SUCH_NUMBER: Comes = Comes::Fails { reason: "EXECUTION_PHASE: noise_parameters is missing" };
    let handed_on = Comes::Refused {
        event: "payload.refused",
        reason: "EXECUTION_PHASE: combined_register_vector, record ",
        named: Some("duchies/aggregator"),
    };
    vec![
        deviation("the identity", Setup, identity, handed_on),
        deviation("a byte less", Setup, cut, refused(LENGTH)),
        deviation(
            "noise off the curve",
            Setup,
            |body, seen| changed_noise(body, seen, no_point),
            refused(NOISE),
        ),
        deviation(
            "the identity for noise",
            Setup,
            |body, seen| changed_noise(body, seen, identity),
            refused(NOISE),
        ),
        deviation("nothing at all", Setup, |_, _| Some(Vec::new()), refused(LENGTH)),
        deviation("the identity", Execution, identity, refused(REGISTERS)),
        deviation("another tag", Execution, tag, refused(REGISTERS)),
        deviation("a byte less", Execution, cut, refused(LENGTH)),
        deviation(
            "the identity for noise",
            Execution,
            |body, seen| changed_noise(body, seen, identity),
            refused(NOISE),
        ),
        deviation(
            "a register less",
            Setup,
            |body, _| Some(body.get(REACH_ONLY_REGISTER..)?.to_vec()),
            Comes::Unnoticed,
        ),
        deviation(
            "another's or another computation's payload",
            Setup,
            |body, seen| with_own_noise(&seen.other(Setup, body)?, body),
            Comes::Unnoticed,
        ),
        deviation(
            "another stage's payload",
            Execution,
            |body, seen| seen.other(Setup, body),
            Comes::Unnoticed,
        ),
        deviation(
            "equal halves",
            Execution,
            |body, seen| with_own_noise(&equal_halves(body, seen)?, body),
            Comes::Unnoticed,
        ),
        deviation(
            "opposite halves",
            Execution,
            |body, seen| with_own_noise(&opposite_halves(body, seen)?, body),
            Comes::Unnoticed,
        ),
        deviation(
            "equal halves of noise",
            Execution,
            |body, seen| changed_noise(body, seen, equal_halves),
            NO_SUCH_NUMBER,
        ),
        deviation(
            "opposite halves of noise",
            Execution,
            |body, seen| changed_noise(body, seen, opposite_halves),
            NO_SUCH_NUMBER,
        ),
        deviation(
            "a register for noise",
            Execution,
            |body, _| reused(body, 0, excessive_noise(body)?),
            NO_SUCH_NUMBER,
        ),
    ]
}

pub fn share_shuffle_settings() -> Protocol {
    let [aggregator, first, second] = DUCHIES.map(str::to_owned);
    Protocol::HonestMajorityShareShuffle(ShareShuffleSettings {
        noise_mechanism: NoiseMechanism::None,
        ..ShareShuffleSettings::of([first, second], aggregator)
    })
}

/// What a length of 2 GiB is in a message.
const TWO_GIB: [u8; 5] = [0x80, 0x80, 0x80, 0x80, 0x08];

/// `body`, whose first field announces 2 GiB.
fn endless_field(body: &[u8], _: &Seen) -> Option<Vec<u8>> {
    Some([body.get(..1)?, &TWO_GIB, body.get(2..)?].concat())
}

fn shuffle_input(body: &[u8], change: impl FnOnce(&mut ShufflePhaseInput)) -> Option<Vec<u8>> {
    let mut input = ShufflePhaseInput::decode(body).ok()?;
    change(&mut input);
    Some(input.encode_to_vec())
}

/// A random seed alone may be read as values; seeds of requisitions may not.
fn passes_on_seeds(body: &Vec<u8>) -> bool {
    ShufflePhaseInput::decode(body.as_slice()).is_ok_and(|input| !input.secret_seeds.is_empty())
}

/// Which data providers have sent this worker what the other needs, if any, is chance.
fn seeds(body: &[u8], change: impl FnOnce(&mut Vec<SecretSeed>)) -> Option<Vec<u8>> {
    let mut input = ShufflePhaseInput::decode(body).ok()?;
    if input.secret_seeds.is_empty() {
        return None;
    }
    change(&mut input.secret_seeds);
    Some(input.encode_to_vec())
}

pub fn share_shuffle() -> Vec<Deviation> {
    use hmss::Message::{
        AggregationPhaseInput as Share, ShufflePhaseInputOne as One, ShufflePhaseInputTwo as Two,
    };
    vec![
        deviation(
            "bytes that are no message",
            One,
            |_, _| Some(vec![0xff; 10]),
            refused("is no ShufflePhaseInput"),
        ),
        deviation(
            "a seed that is too short",
            One,
            |body, _| shuffle_input(body, |input| input.peer_random_seed.truncate(47)),
            refused("cannot have 47 bytes"),
        ),
        deviation(
            "a value outside the ring",
            Share,
            |body, _| with(body, 2, &[127]),
            refused("value 0 is not below the modulus 127"),
        ),
        deviation(
            "a value less",
            Share,
            |body, _| {
                let mut body = body.to_vec();
                *body.get_mut(1)? -= 1;
                body.remove(2);
                Some(body)
            },
            refused("99 values, expected 100"),
        ),
        deviation("a length beyond the end", One, endless_field, refused("is no ShufflePhaseInput")),
        deviation("a length beyond the end", Share, endless_field, refused("is no AggregationPhaseInput")),
        deviation(
            "another number of registers",
            Share,
            |body, _| {
                let mut input = AggregationPhaseInput::decode(body).ok()?;
                input.register_count += 1;
                input.combined_frequency_vectors.push(1);
                Some(input.encode_to_vec())
            },
            Comes::Fails { reason: "the workers' vectors are of " },
        ),
        deviation(
            "a number of registers that its values are not",
            Share,
            |body, _| {
                let mut input = AggregationPhaseInput::decode(body).ok()?;
                input.register_count += 1;
                Some(input.encode_to_vec())
            },
            refused("100 values, expected 101"),
        ),
        deviation(
            "a number of registers that no vector has",
            Share,
            |body, _| {
                let mut input = AggregationPhaseInput::decode(body).ok()?;
                input.register_count = 1 << 40;
                Some(input.encode_to_vec())
            },
            refused("registers with noise: "),
        ),
        deviation(
            "a seed that no requisition has",
            One,
            |body, _| seeds(body, |seeds| seeds[0].requisition_id = "another".into()),
            refused("requisition another is none of this computation"),
        )
        .or(Two),
        deviation(
            "a seed of another number of registers",
            One,
            |body, _| seeds(body, |seeds| seeds[0].register_count = 1 << 40),
            refused("registers, expected"),
        )
        .or(Two),
        deviation(
            "a seed that was altered",
            One,
            |body, _| seeds(body, |seeds| *seeds[0].secret_seed_ciphertext.last_mut().expect("bytes") ^= 1),
            Comes::Refused {
                event: "consent.refused",
                reason: "requisition ",
                named: Some("dataProviders/"),
            },
        )
        .or(Two),
        deviation(
            "a seed twice",
            One,
            |body, _| seeds(body, |seeds| seeds.push(seeds[0].clone())),
            refused("has sent two shares"),
        )
        .or(Two),
        deviation(
            "far more seeds than requisitions",
            One,
            |body, _| seeds(body, |seeds| seeds.resize(1000, seeds[0].clone())),
            refused("the blob is larger than 131072 bytes"),
        )
        .or(Two),
        deviation(
            "another stage's payload",
            One,
            |body, seen| seen.other(Share, body),
            refused("is no ShufflePhaseInput"),
        ),
        deviation(
            "the receiver's own random seed",
            Two,
            |body, seen| {
                let other = ShufflePhaseInput::decode(&*seen.other(One, body)?).ok()?;
                shuffle_input(body, |input| input.peer_random_seed.clone_from(&other.peer_random_seed))
            },
            refused("is this worker's own"),
        ),
        deviation(
            "another stage's payload",
            Share,
            |body, seen| seen.other(One, body).filter(passes_on_seeds).or_else(|| seen.other(Two, body)),
            refused("is no AggregationPhaseInput"),
        ),
        deviation(
            "a field that nobody knows",
            Two,
            |body, _| Some([body, &[0xfa, 0x3f, 1, 7]].concat()),
            Comes::Unnoticed,
        ),
        deviation(
            "a field that nobody knows",
            Share,
            |body, _| Some([body, &[0xfa, 0x3f, 1, 7]].concat()),
            Comes::Unnoticed,
        ),
    ]
}
