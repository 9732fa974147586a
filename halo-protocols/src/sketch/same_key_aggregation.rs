//! Same-key aggregation: the registers of one id become one tuple that says, encrypted, whether their keys are all the
//! same, and what their counts add up to (docs/protocols/llv2.md#execution-phase-one-join; Ghazi et al., "Estimating
//! unique counts and frequency histograms in a distributed setting", 2021).
//!
//! With keys K₀ … K₍ₘ₋₁₎ and counts C₀ … of a group, D and B the destroyed and the blinded-histogram key, and every r
//! fresh:
//!
//! ```text
//! a     = Enc(0) + Σ rᵢ·(Kᵢ − K₀)      zero iff all keys are equal
//! b     = r'·(K₀ − a − D)              zero iff they are all the destroyed key
//! c     = r'·(K₀ − a − B) + Enc(0)     zero iff they are all the blinded-histogram key
//! count = Σ Cᵢ + r·a                   the sum if all keys are equal, else random
//! ```
//!
//! Upstream encrypts D and B, computes `r'·(D − K₀ + a)`, and takes another factor for c. The sign is lost in the random
//! factor, and that constants need no encryption is argued at [`Ciphertexts::equality_tests`]: here `a` brings a fresh
//! nonce of its own besides. That both flags may share a factor is argued at
//! [`Ciphertexts::equality_tests_by_one_factor`]: keys, D and B are hashed to the group, and flags are opened by the
//! aggregator alone, who draws the factors here, and who could compute `D − K₀` from an opened b whatever factor c has.
//! Of a group of one, which most are in a sketch without noise, only these flags take a multiplication by a secret
//! factor: one for both.

use std::iter;

use halo_crypto::Group;
use halo_crypto::elgamal::{Ciphertexts, Constant, EncryptionKey, SecretKey};
use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;

use super::constants::{BLINDED_HISTOGRAM_NOISE_KEY, DESTROYED_REGISTER_KEY};
use super::sort::sorted_numbers;
use super::{Layout, open_ids};
use crate::kernel::KernelError;

/// Which registers have the same id.
pub(crate) struct Groups {
    /// Numbers of registers, those of a group one after the other.
    order: Vec<u32>,
    groups: Vec<Members>,
}

/// Where in the order a group's registers are.
#[derive(Clone, Copy)]
struct Members {
    first: u32,
    count: u32,
}

impl Members {
    fn of(self, order: &[u32]) -> &[u32] {
        &order[self.first as usize..][..self.count as usize]
    }
}

impl Groups {
    /// How many groups there are.
    pub(crate) fn len(&self) -> usize {
        self.groups.len()
    }
}

/// Opens the ids with the last key and groups the registers by them. Groups larger than `largest` are left out.
pub(crate) fn group_by_id<G: Group>(
    field: &'static str,
    registers: &[u8],
    key: &SecretKey<G>,
    largest: usize,
    executor: &Executor,
) -> Result<Groups, KernelError> {
    let ids = open_ids::<G>(field, registers, Layout::REGISTER, key, executor)?;
    let length = G::POINT_LENGTH;
    let order: Vec<u32> = sorted_numbers(&ids, length, executor).collect();
    let id = |register: u32| &ids[register as usize * length..][..length];
    let mut first = 0;
    let groups = order
        .chunk_by(|left, right| id(*left) == id(*right))
        .map(|registers| {
            let members = Members { first, count: registers.len() as u32 };
            first += members.count;
            members
        })
        .filter(|members| members.count as usize <= largest)
        .collect();
    Ok(Groups { order, groups })
}

/// Merges each group into a flag-count tuple and appends the tuples, in the order of the groups.
pub(crate) fn merge_groups<G: Group>(
    field: &'static str,
    registers: &[u8],
    Groups { order, groups }: &Groups,
    composite: &EncryptionKey<G>,
    streams: &StreamSeed,
    executor: &Executor,
    tuples: &mut Vec<u8>,
) -> Result<(), KernelError> {
    let destroyed = G::fixed_base(&G::hash_one(DESTROYED_REGISTER_KEY));
    let blinded_histogram = G::fixed_base(&G::hash_one(BLINDED_HISTOGRAM_NOISE_KEY));
    let constants = [Constant::new(&destroyed, 1), Constant::new(&blinded_histogram, 1)];
    let layout = Layout::FLAG_COUNT_TUPLE;
    let given = tuples.len();
    tuples.resize(given + groups.len() * layout.length::<G>(), 0);
    executor.for_each_chunk(groups, 1, &mut tuples[given..], layout.length::<G>(), |chunk, groups, tuples| {
        let gathered = Gathered::<G>::new(field, registers, order, groups)?;
        let mut rng = streams.stream("same-key aggregation", chunk);
        let merged = gathered.merge(composite, &constants, &mut rng);
        for (index, ciphertexts) in merged.iter().enumerate() {
            // An error names the first register of the group, not the tuple.
            layout
                .encode::<G>(field, 0, ciphertexts, tuples, layout.column(index))
                .map_err(|error| error.renumbered(|tuple| groups[tuple].of(order)[0] as usize))?;
        }
        Ok::<_, KernelError>(())
    })
}

/// The keys and counts of some groups.
struct Gathered<G: Group> {
    /// The key of each group's first register, and the sum of the group's counts.
    first_keys: Ciphertexts<G>,
    counts: Ciphertexts<G>,
    /// Kᵢ − K₀ of the other registers, and which group each belongs to.
    differences: Ciphertexts<G>,
    group_of_difference: Vec<usize>,
}

impl<G: Group> Gathered<G> {
    fn new(
        field: &'static str,
        registers: &[u8],
        order: &[u32],
        groups: &[Members],
    ) -> Result<Self, KernelError> {
        // First the first register of every group, so that their ciphertexts are a batch of their own, then the others.
        let firsts = groups.iter().map(|group| group.of(order)[0]);
        let others = groups.iter().flat_map(|group| &group.of(order)[1..]).copied();
        let numbers: Vec<usize> = firsts.chain(others).map(|register| register as usize).collect();
        let group_of_difference: Vec<usize> = (0..)
            .zip(groups)
            .flat_map(|(index, group)| iter::repeat_n(index, group.count as usize - 1))
            .collect();

        let bytes = Layout::REGISTER.gather::<G>(registers, numbers.iter().copied());
        let decode = |column| {
            let decoded = Layout::REGISTER.decode::<G>(field, 0, &bytes, column);
            let mut firsts = decoded.map_err(|error| error.renumbered(|member| numbers[member]))?;
            let others = firsts.split_off(groups.len());
            Ok::<_, KernelError>((firsts, others))
        };
        let (first_keys, mut differences) = decode(Layout::KEY)?;
        let (mut counts, other_counts) = decode(Layout::COUNT)?;
        differences.sub(&group_of_difference.iter().map(|group| first_keys.get(*group)).collect());
        add_to_groups(&mut counts, &other_counts, &group_of_difference);
        Ok(Self { first_keys, counts, differences, group_of_difference })
    }

    /// The columns of the tuples: flags a, b and c, and the count.
    fn merge<R: rand_core::CryptoRng>(
        mut self,
        composite: &EncryptionKey<G>,
        constants: &[Constant<'_, G>; 2],
        rng: &mut R,
    ) -> Vec<Ciphertexts<G>> {
        self.differences.scale_by_fresh(rng);
        let mut flag_a = Ciphertexts::of_messages(&vec![G::identity(); self.first_keys.len()]);
        add_to_groups(&mut flag_a, &self.differences, &self.group_of_difference);

        // r·a is zero plus a nonce for a group of one, so only larger groups need the multiplication. The counts
        // get a nonce of their own below, in place of r times that of a.
        let mut larger = self.group_of_difference;
        larger.dedup();
        let mut blinds: Ciphertexts<G> = larger.iter().map(|group| flag_a.get(*group)).collect();
        blinds.scale_by_fresh(rng);
        let mut counts = self.counts;
        add_to_groups(&mut counts, &blinds, &larger);
        composite.re_randomize(&mut counts, rng);

        composite.re_randomize(&mut flag_a, rng);
        let mut keys = self.first_keys;
        keys.sub(&flag_a);
        let mut tuple = vec![flag_a];
        tuple.extend(keys.equality_tests_by_one_factor(constants, composite, rng));
        tuple.push(counts);
        tuple
    }
}

/// Adds each addend to the ciphertext of its group. A group may have several, one behind the other.
fn add_to_groups<G: Group>(totals: &mut Ciphertexts<G>, addends: &Ciphertexts<G>, groups: &[usize]) {
    let (totals_u, totals_e) = totals.halves_mut();
    let (addends_u, addends_e) = addends.halves();
    // One addend of every group at a time, so that each round is a batch.
    let mut round: Vec<usize> = Vec::new();
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    for addend in 0..groups.len() {
        let depth =
            if addend > 0 && groups[addend] == groups[addend - 1] { round[addend - 1] + 1 } else { 0 };
        round.push(depth);
        if rounds.len() <= depth {
            rounds.push(Vec::new());
        }
        rounds[depth].push(addend);
    }
    for addends in rounds {
        for (totals, all) in [(&mut *totals_u, addends_u), (&mut *totals_e, addends_e)] {
            let mut sums: Vec<G::Point> = addends.iter().map(|addend| totals[groups[*addend]]).collect();
            let values: Vec<G::Point> = addends.iter().map(|addend| all[*addend]).collect();
            G::add(&mut sums, &values);
            for (addend, sum) in addends.iter().zip(sums) {
                totals[groups[*addend]] = sum;
            }
        }
    }
}
