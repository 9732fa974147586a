//! Inversion of one element in constant time, by division steps.
//!
//! Bernstein and Yang, "Fast constant-time gcd computation and modular inversion" (ePrint 2019/266), in the variant
//! that starts with `δ = 1/2` (Wuille, "The safegcd implementation in libsecp256k1 explained"), for which 590 steps
//! suffice for numbers of 256 bits. A step looks only at the sign of `δ` and the lowest bit of `g`, so [`STEPS`] of
//! them are made on the lowest words alone, collected in a matrix, which is then applied to the whole numbers.

use super::field::MODULUS;

/// Steps collected in a matrix. Its entries are at most `2^62` in size, and so are the sums of a row's.
const STEPS: u32 = 62;
/// Matrices applied: 620 steps.
const ROUNDS: usize = 10;
const LOW_BITS: i64 = (1 << 62) - 1;

/// A signed number `Σ words[i]·2^(62·i)`, where all words but the highest are in `0..2^62`.
#[derive(Clone, Copy)]
struct Number([i64; 5]);

/// `(f, g)` after [`STEPS`] steps is `(u·f + v·g, q·f + r·g) / 2^62`.
struct Transition {
    u: i64,
    v: i64,
    q: i64,
    r: i64,
}

const P: Number = Number::from_words(MODULUS);

impl Number {
    const fn from_words(words: [u64; 4]) -> Self {
        let [w0, w1, w2, w3] = words;
        let low = LOW_BITS as u64;
        Self([
            (w0 & low) as i64,
            ((w0 >> 62 | w1 << 2) & low) as i64,
            ((w1 >> 60 | w2 << 4) & low) as i64,
            ((w2 >> 58 | w3 << 6) & low) as i64,
            (w3 >> 56) as i64,
        ])
    }

    /// The words of a number in `0..2^256`.
    const fn to_words(self) -> [u64; 4] {
        let [n0, n1, n2, n3, n4] = self.0;
        let (n0, n1, n2, n3, n4) = (n0 as u64, n1 as u64, n2 as u64, n3 as u64, n4 as u64);
        [n0 | n1 << 62, n1 >> 2 | n2 << 60, n2 >> 4 | n3 << 58, n3 >> 6 | n4 << 56]
    }

    /// All ones if the number is negative, else zero.
    const fn sign(&self) -> i64 {
        self.0[4] >> 63
    }

    /// The number plus `p` where `mask` is all ones, then negated where `negate` is.
    fn add_modulus_then_negate(self, mask: i64, negate: i64) -> Self {
        let mut words = self.0;
        let mut carry = 0;
        for (word, modulus) in words.iter_mut().zip(P.0) {
            carry += ((*word + (modulus & mask)) ^ negate) - negate;
            *word = carry & LOW_BITS;
            carry >>= 62;
        }
        // What was carried out of the highest word is its sign.
        words[4] |= carry << 62;
        Self(words)
    }
}

/// Makes [`STEPS`] division steps on the lowest words of `f` and `g`. `zeta` is `-(δ + 1/2)`.
fn divsteps(zeta: &mut i64, f: i64, g: i64) -> Transition {
    let (mut f, mut g) = (f, g);
    let (mut u, mut v, mut q, mut r) = (1i64, 0i64, 0i64, 1i64);
    for _ in 0..STEPS {
        let positive = *zeta >> 63; // δ > 0
        let odd = -(g & 1);
        // If g is odd, add f to it, or subtract it if δ > 0; ...
        g = g.wrapping_add(((f ^ positive).wrapping_sub(positive)) & odd);
        q += ((u ^ positive) - positive) & odd;
        r += ((v ^ positive) - positive) & odd;
        // ... in that last case f becomes what g was.
        let swap = positive & odd;
        *zeta = (*zeta ^ swap) - 1;
        f = f.wrapping_add(g & swap);
        u += q & swap;
        v += r & swap;
        // Halving g is doubling the row of f.
        g >>= 1;
        u <<= 1;
        v <<= 1;
    }
    Transition { u, v, q, r }
}

/// `left·right + sum`
fn multiply_add(sum: i128, left: i64, right: i64) -> i128 {
    sum + i128::from(left) * i128::from(right)
}

impl Transition {
    /// Applies the matrix to `f` and `g`; the divisions are exact.
    fn apply(&self, f: &mut Number, g: &mut Number) {
        let (mut next_f, mut next_g) = (0i128, 0i128);
        for index in 0..5 {
            next_f = multiply_add(multiply_add(next_f, self.u, f.0[index]), self.v, g.0[index]);
            next_g = multiply_add(multiply_add(next_g, self.q, f.0[index]), self.r, g.0[index]);
            if index > 0 {
                f.0[index - 1] = next_f as i64 & LOW_BITS;
                g.0[index - 1] = next_g as i64 & LOW_BITS;
            }
            next_f >>= 62;
            next_g >>= 62;
        }
        f.0[4] = next_f as i64;
        g.0[4] = next_g as i64;
    }

    /// Applies the matrix to `d` and `e` modulo `p`, both in `-2p < d < p` before and after.
    ///
    /// First `p` is added to each that is negative, so that they lie between `-p` and `p` and a row's sum between
    /// `-2^62·p` and `2^62·p`. Then the multiple of `p` below `2^62·p` is subtracted that makes it divisible by
    /// `2^62`. As `1/p = -1 mod 2^62`, that multiple is the negative of the sum's lowest word.
    fn apply_modulo(&self, d: &mut Number, e: &mut Number) {
        let (d_sign, e_sign) = (d.sign(), e.sign());
        let mut d_multiple = (self.u & d_sign) + (self.v & e_sign);
        let mut e_multiple = (self.q & d_sign) + (self.r & e_sign);
        let mut next_d = multiply_add(multiply_add(0, self.u, d.0[0]), self.v, e.0[0]);
        let mut next_e = multiply_add(multiply_add(0, self.q, d.0[0]), self.r, e.0[0]);
        d_multiple -= d_multiple.wrapping_sub(next_d as i64) & LOW_BITS;
        e_multiple -= e_multiple.wrapping_sub(next_e as i64) & LOW_BITS;
        next_d = multiply_add(next_d, P.0[0], d_multiple) >> 62;
        next_e = multiply_add(next_e, P.0[0], e_multiple) >> 62;
        for index in 1..5 {
            next_d = multiply_add(multiply_add(next_d, self.u, d.0[index]), self.v, e.0[index]);
            next_e = multiply_add(multiply_add(next_e, self.q, d.0[index]), self.r, e.0[index]);
            next_d = multiply_add(next_d, P.0[index], d_multiple);
            next_e = multiply_add(next_e, P.0[index], e_multiple);
            d.0[index - 1] = next_d as i64 & LOW_BITS;
            e.0[index - 1] = next_e as i64 & LOW_BITS;
            next_d >>= 62;
            next_e >>= 62;
        }
        d.0[4] = next_d as i64;
        e.0[4] = next_e as i64;
    }
}

/// `1/value mod p` for a number below `p`; zero for zero.
pub(super) fn invert(value: [u64; 4]) -> [u64; 4] {
    // Throughout f = d·value and g = e·value modulo p. In the end g = 0 and f = ±gcd(p, value) = ±1, so ±d is the
    // inverse; if the value is 0, f stays p and d stays 0.
    let (mut f, mut g) = (P, Number::from_words(value));
    let (mut d, mut e) = (Number([0; 5]), Number([1, 0, 0, 0, 0]));
    let mut zeta = -1; // δ = 1/2
    for _ in 0..ROUNDS {
        let transition = divsteps(&mut zeta, f.0[0], g.0[0]);
        transition.apply_modulo(&mut d, &mut e);
        transition.apply(&mut f, &mut g);
    }
    // From -2p < d < p to -p < ±d < p to 0 <= ±d < p.
    let inverse = d.add_modulus_then_negate(d.sign(), f.sign());
    inverse.add_modulus_then_negate(inverse.sign(), 0).to_words()
}
