//! Same-key aggregation: the registers of one id become one tuple that says, encrypted, whether their keys are all
//! the same, and what their counts add up to (llv2.md §B4; Ghazi et al., "Estimating unique counts and frequency
//! histograms in a distributed setting", 2021).
//!
//! With keys K₀ … K₍ₘ₋₁₎ and counts C₀ … of a group, D and B encryptions of the destroyed and of the
//! blinded-histogram key, and every r fresh:
//!
//! ```text
//! a     = Enc(0) + Σ rᵢ·(Kᵢ − K₀)      zero iff all keys are equal
//! b     = r'·(D − K₀ + a)              zero iff they are all the destroyed key
//! c     = r''·(B − K₀ + a)             zero iff they are all the blinded-histogram key
//! count = Σ Cᵢ + r·a                   the sum if all keys are equal, else random
//! ```

use std::ops::Range;

use halo_crypto::Group;
use halo_crypto::elgamal::{Ciphertext, Ciphertexts, EncryptionKey, SecretKey};
use halo_crypto::parallel::Executor;
use halo_crypto::prg::StreamSeed;

use super::constants::{BLINDED_HISTOGRAM_NOISE_KEY, DESTROYED_REGISTER_KEY};
use super::{Layout, open_ids};
use crate::kernel::KernelError;

/// Which registers have the same id.
pub(crate) struct Groups {
    /// Numbers of registers, those of a group one after the other.
    order: Vec<usize>,
    /// Where in `order` each group is.
    groups: Vec<Range<usize>>,
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
    let ids: Vec<&[u8]> = ids.chunks_exact(G::POINT_LENGTH).collect();
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_unstable_by_key(|register| (ids[*register], *register));
    let mut start = 0;
    let groups = order
        .chunk_by(|left, right| ids[*left] == ids[*right])
        .map(|group| {
            let range = start..start + group.len();
            start = range.end;
            range
        })
        .filter(|group| group.len() <= largest)
        .collect();
    Ok(Groups { order, groups })
}

/// Merges each group into a flag-count tuple, in the order of the groups.
pub(crate) fn merge_groups<G: Group>(
    field: &'static str,
    registers: &[u8],
    Groups { order, groups }: &Groups,
    composite: &EncryptionKey<G>,
    streams: &StreamSeed,
    executor: &Executor,
) -> Result<Vec<u8>, KernelError> {
    let mut rng = streams.stream("same-key aggregation constants", 0);
    let constants = Constants {
        destroyed: composite.encrypt_one(&G::hash_one(DESTROYED_REGISTER_KEY), &mut rng),
        blinded_histogram: composite.encrypt_one(&G::hash_one(BLINDED_HISTOGRAM_NOISE_KEY), &mut rng),
    };
    let length = Layout::FLAG_COUNT_TUPLE.length::<G>();
    let mut tuples = vec![0; groups.len() * length];
    executor.for_each_chunk(groups, 1, &mut tuples, length, |chunk, groups, tuples| {
        let members = Members::gather(field, registers, order, groups)?;
        let mut rng = streams.stream("same-key aggregation", chunk);
        let merged = members.merge(composite, &constants, &mut rng);
        let [flag_a, flag_b, flag_c] = &merged.flags;
        for (ciphertexts, column) in [
            (flag_a, Layout::FLAGS[0]),
            (flag_b, Layout::FLAGS[1]),
            (flag_c, Layout::FLAGS[2]),
            (&merged.counts, Layout::TUPLE_COUNT),
        ] {
            // An error names the first register of the group, not the tuple.
            Layout::FLAG_COUNT_TUPLE
                .encode::<G>(field, 0, ciphertexts, tuples, column)
                .map_err(|error| error.renumbered(|tuple| order[groups[tuple].start]))?;
        }
        Ok::<_, KernelError>(())
    })?;
    Ok(tuples)
}

/// The two keys that flags compare with, encrypted once for all groups.
struct Constants<G: Group> {
    destroyed: Ciphertext<G>,
    blinded_histogram: Ciphertext<G>,
}

/// The keys and counts of some groups.
struct Members<G: Group> {
    /// The first register of each group: its key, and the sum of the group's counts.
    first_keys: Ciphertexts<G>,
    counts: Ciphertexts<G>,
    /// Kᵢ − K₀ of the other registers, and which group each belongs to.
    differences: Ciphertexts<G>,
    group_of_difference: Vec<usize>,
}

struct Merged<G: Group> {
    flags: [Ciphertexts<G>; 3],
    counts: Ciphertexts<G>,
}

impl<G: Group> Members<G> {
    fn gather(
        field: &'static str,
        registers: &[u8],
        order: &[usize],
        groups: &[Range<usize>],
    ) -> Result<Self, KernelError> {
        let length = Layout::REGISTER.length::<G>();
        let numbers: Vec<usize> = groups.iter().flat_map(|group| &order[group.clone()]).copied().collect();
        let bytes: Vec<u8> = numbers
            .iter()
            .flat_map(|number| &registers[number * length..(number + 1) * length])
            .copied()
            .collect();
        let decode = |column| {
            Layout::REGISTER
                .decode::<G>(field, 0, &bytes, column)
                .map_err(|error| error.renumbered(|member| numbers[member]))
        };
        let (keys, counts) = (decode(Layout::KEY)?, decode(Layout::COUNT)?);

        let group_of: Vec<usize> =
            groups.iter().enumerate().flat_map(|(index, group)| vec![index; group.len()]).collect();
        let is_first = |member: usize| member == 0 || group_of[member] != group_of[member - 1];
        let (firsts, others): (Vec<usize>, Vec<usize>) =
            (0..numbers.len()).partition(|member| is_first(*member));
        let group_of_difference: Vec<usize> = others.iter().map(|member| group_of[*member]).collect();

        let select = |from: &Ciphertexts<G>, members: &[usize]| -> Ciphertexts<G> {
            members.iter().map(|member| from.get(*member)).collect()
        };
        let first_keys = select(&keys, &firsts);
        let mut differences = select(&keys, &others);
        differences.sub(&select(&first_keys, &group_of_difference));
        let mut sums = select(&counts, &firsts);
        add_to_groups(&mut sums, &select(&counts, &others), &group_of_difference);
        Ok(Self { first_keys, counts: sums, differences, group_of_difference })
    }

    fn merge<R: rand_core::CryptoRng>(
        mut self,
        composite: &EncryptionKey<G>,
        constants: &Constants<G>,
        rng: &mut R,
    ) -> Merged<G> {
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
        let mut distance = flag_a.clone();
        distance.sub(&self.first_keys);
        let [flag_b, flag_c] = [&constants.destroyed, &constants.blinded_histogram].map(|key| {
            let mut flag = distance.clone();
            flag.add_ciphertext(key);
            flag.scale_by_fresh(rng);
            flag
        });
        Merged { flags: [flag_a, flag_b, flag_c], counts }
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
