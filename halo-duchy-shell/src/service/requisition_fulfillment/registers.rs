//! Checks an encrypted sketch while it arrives: it must be whole registers of points of the computation's group.
//!
//! Upstream accepts any bytes, and the measurement fails when a mill reads them, when nobody can tell any more whose
//! they were. Here the data provider is told at once, and may try again.
//!
//! A sketch has a register for each index that somebody of the audience falls on, or two where keys in conflict are
//! flagged; more than that is nobody's sketch, and would only be work for three duchies.
//!
//! A sketch without registers is a sketch: nobody of that data provider's audience is in the sample.

use bytes::{Bytes, BytesMut};
use halo_crypto::group::DecodePointError;
use halo_crypto::{Group, P256, Ristretto255};

/// Points in a register of Liquid Legions v2: the ciphertexts of index, key and count, of two points each.
const POINTS_PER_REGISTER: usize = 6;
/// Points in a register of reach-only Liquid Legions v2: the ciphertext of the index.
const POINTS_PER_REACH_ONLY_REGISTER: usize = 2;
/// Points that are decoded together: some milliseconds of work.
const BATCH_POINTS: usize = 768;

/// What is wrong with a sketch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistersError {
    /// The last register is not whole.
    #[error("the body of {length} bytes is not a whole number of registers of {register} bytes")]
    Length {
        /// Bytes received.
        length: u64,
        /// Bytes of one register.
        register: usize,
    },
    /// There are more registers than a sketch of the computation can have.
    #[error("the body has more than {limit} registers, twice the {} of a sketch", limit / 2)]
    Count {
        /// How many there may be.
        limit: u64,
    },
    /// A ciphertext is not one of the group.
    #[error("point {point} of register {register} is not a valid encoding")]
    Point {
        /// The register's index.
        register: u64,
        /// The point's index within the register.
        point: usize,
    },
}

/// Decodes points to nothing but the answer whether they are valid.
type Decode = fn(&[u8]) -> Result<(), DecodePointError>;

/// The check of one sketch.
#[derive(Debug)]
pub struct Registers {
    points_per_register: usize,
    register_length: usize,
    decode: Decode,
    /// Registers that there may be.
    limit: u64,
    length: u64,
    /// Registers decoded.
    checked: u64,
    /// What has not been decoded yet, from a register's first byte on.
    pending: BytesMut,
}

impl Registers {
    /// For a sketch of Liquid Legions v2 of `size` registers, encrypted in the group with the id `curve_id`; `None` if it
    /// is not one of ours.
    pub fn of_curve(curve_id: i64, size: u64) -> Option<Self> {
        Self::of_points(curve_id, size, POINTS_PER_REGISTER)
    }

    /// The same for a sketch of reach-only Liquid Legions v2.
    pub fn reach_only_of_curve(curve_id: i64, size: u64) -> Option<Self> {
        Self::of_points(curve_id, size, POINTS_PER_REACH_ONLY_REGISTER)
    }

    fn of_points(curve_id: i64, size: u64, points_per_register: usize) -> Option<Self> {
        match curve_id {
            P256::CURVE_ID => Some(Self::new::<P256>(size, points_per_register)),
            Ristretto255::CURVE_ID => Some(Self::new::<Ristretto255>(size, points_per_register)),
            _ => None,
        }
    }

    fn new<G: Group>(size: u64, points_per_register: usize) -> Self {
        let decode = |bytes: &[u8]| {
            let mut points = vec![G::Point::default(); bytes.len() / G::POINT_LENGTH];
            G::decode(bytes, &mut points)
        };
        Self {
            points_per_register,
            register_length: points_per_register * G::POINT_LENGTH,
            decode,
            limit: size.saturating_mul(2),
            length: 0,
            checked: 0,
            pending: BytesMut::new(),
        }
    }

    /// Takes the next bytes, which may end anywhere in a register. Returns registers that are due to be checked.
    ///
    /// # Errors
    /// [`RegistersError::Count`] with the first byte too many.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Option<Batch>, RegistersError> {
        self.length += chunk.len() as u64;
        if self.length > self.limit.saturating_mul(self.register_length as u64) {
            return Err(RegistersError::Count { limit: self.limit });
        }
        self.pending.extend_from_slice(chunk);
        let batch = BATCH_POINTS / self.points_per_register * self.register_length;
        Ok(if self.pending.len() < batch { None } else { self.batch() })
    }

    /// Ends the sketch. Returns the last registers to be checked.
    ///
    /// # Errors
    /// If the last register is not whole.
    pub fn finish(mut self) -> Result<Option<Batch>, RegistersError> {
        if !self.pending.len().is_multiple_of(self.register_length) {
            return Err(RegistersError::Length { length: self.length, register: self.register_length });
        }
        Ok(self.batch())
    }

    /// The whole registers among what is pending.
    fn batch(&mut self) -> Option<Batch> {
        let registers = self.pending.len() / self.register_length;
        let bytes = self.pending.split_to(registers * self.register_length).freeze();
        let first = self.checked;
        self.checked += registers as u64;
        (registers > 0).then_some(Batch {
            bytes,
            first,
            points_per_register: self.points_per_register,
            decode: self.decode,
        })
    }
}

/// Whole registers to be decoded, on a thread that may be busy for a while.
#[derive(Debug)]
pub struct Batch {
    bytes: Bytes,
    first: u64,
    points_per_register: usize,
    decode: Decode,
}

impl Batch {
    /// Decodes every point.
    ///
    /// # Errors
    /// [`RegistersError::Point`] for the first that is none.
    pub fn check(&self) -> Result<(), RegistersError> {
        (self.decode)(&self.bytes).map_err(|error| RegistersError::Point {
            register: self.first + (error.index / self.points_per_register) as u64,
            point: error.index % self.points_per_register,
        })
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    /// More than any sketch here.
    const SIZE: u64 = 1000;

    fn sketch<G: Group>(registers: usize) -> Vec<u8> {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let scalars: Vec<_> =
            (0..registers * POINTS_PER_REGISTER).map(|_| G::random_scalar(&mut rng)).collect();
        let points = G::fixed_base_multiples(G::fixed_generator(), &scalars);
        let mut bytes = vec![0; points.len() * G::POINT_LENGTH];
        G::encode(&points, &mut bytes).expect("not the identity");
        bytes
    }

    fn check(curve_id: i64, bytes: &[u8], chunk: usize) -> Result<(), RegistersError> {
        check_with(Registers::of_curve(curve_id, SIZE).expect("a curve of ours"), bytes, chunk)
    }

    fn check_with(mut registers: Registers, bytes: &[u8], chunk: usize) -> Result<(), RegistersError> {
        for chunk in bytes.chunks(chunk) {
            registers.push(chunk)?.map_or(Ok(()), |batch| batch.check())?;
        }
        registers.finish()?.map_or(Ok(()), |batch| batch.check())
    }

    #[test]
    fn sketches_pass_however_they_are_cut() {
        for (curve_id, bytes) in [(415, sketch::<P256>(300)), (25519, sketch::<Ristretto255>(300))] {
            for chunk in [7, 197, 32 << 10, usize::MAX] {
                assert_eq!(check(curve_id, &bytes, chunk), Ok(()), "{curve_id} {chunk}");
            }
        }
    }

    #[test]
    fn register_sizes_are_those_of_the_suite() {
        let p256 = sketch::<P256>(2);
        assert_eq!(p256.len(), 2 * 198);
        for length in [1, 197, 199, 2 * 198 - 1] {
            let refused = Err(RegistersError::Length { length: length as u64, register: 198 });
            assert_eq!(check(415, &p256[..length], 50), refused);
        }
        let ristretto = sketch::<Ristretto255>(2);
        assert_eq!(ristretto.len(), 2 * 192);
        let refused = Err(RegistersError::Length { length: 193, register: 192 });
        assert_eq!(check(25519, &ristretto[..193], 50), refused);
        assert_eq!(check(415, b"", 1), Ok(()));
        assert!(Registers::of_curve(0, SIZE).is_none());
    }

    #[test]
    fn a_sketch_has_twice_its_size_at_most() {
        let bytes = sketch::<P256>(7);
        for chunk in [1, 198, 500, usize::MAX] {
            let of_size = |size| Registers::of_curve(415, size).expect("a curve of ours");
            assert_eq!(check_with(of_size(3), &bytes[..6 * 198], chunk), Ok(()));
            let refused = Err(RegistersError::Count { limit: 6 });
            assert_eq!(check_with(of_size(3), &bytes, chunk), refused);
            assert_eq!(check_with(of_size(3), &bytes[..=6 * 198], chunk), refused);
            let reach_only = Registers::reach_only_of_curve(415, 10).expect("a curve of ours");
            assert_eq!(check_with(reach_only, &bytes, chunk), Err(RegistersError::Count { limit: 20 }));
            assert_eq!(check_with(of_size(u64::MAX), &bytes, chunk), Ok(()));
        }
    }

    #[test]
    fn points_off_the_curve_are_named() {
        for (register, point) in [(0, 0), (127, 5), (128, 0), (299, 3)] {
            let mut bytes = sketch::<P256>(300);
            // x = 2^256 - 1 is not below the field's prime.
            let start = register * 198 + point * 33;
            bytes[start + 1..start + 33].fill(0xff);
            let refused = Err(RegistersError::Point { register: register as u64, point });
            assert_eq!(check(415, &bytes, 1000), refused);
        }
        let zero = vec![0; 192];
        assert_eq!(
            check(25519, &zero, 192),
            Err(RegistersError::Point { register: 0, point: 0 }),
            "the identity hides nothing"
        );
    }

    #[test]
    fn reach_only_registers_are_single_ciphertexts() {
        // 300 registers of three ciphertexts are 900 of one.
        let bytes = sketch::<P256>(300);
        let reach_only = || Registers::reach_only_of_curve(415, SIZE).expect("a curve of ours");
        for chunk in [7, 65, 32 << 10, usize::MAX] {
            assert_eq!(check_with(reach_only(), &bytes[..899 * 66], chunk), Ok(()));
        }
        let refused = Err(RegistersError::Length { length: 65, register: 66 });
        assert_eq!(check_with(reach_only(), &bytes[..65], 9), refused);
        for (register, point) in [(0, 1), (383, 1), (384, 0), (899, 1)] {
            let mut bytes = bytes.clone();
            let start = register * 66 + point * 33;
            bytes[start + 1..start + 33].fill(0xff);
            let refused = Err(RegistersError::Point { register: register as u64, point });
            assert_eq!(check_with(reach_only(), &bytes, 1000), refused);
        }
        let ristretto = Registers::reach_only_of_curve(25519, SIZE).expect("a curve of ours");
        assert_eq!(check_with(ristretto, &sketch::<Ristretto255>(5)[..64 * 7], 100), Ok(()));
        assert!(Registers::reach_only_of_curve(0, SIZE).is_none());
    }
}
