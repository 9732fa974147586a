//! [`product`] and [`square`] of [`Radix29`](super::super::radix29) in assembly.
//!
//! They compute what the model in the tests of [`radix29`](super::super::radix29) does, to the bit; the bounds are proven
//! there. The order is another: a row for each limb of the first factor, rather than a column for each limb of the result.
//! With nine sums, the limb, a multiplier, a mask and two constants, a row needs fourteen of the sixteen registers. The
//! compiler moves operations so far that it runs out of registers, in either order: of its 400 instructions 120 only move
//! words to memory or back, and a product that waits for the one before takes a third more time.
//!
//! Row `i` adds the products of limb `i` to columns `i` to `i + 8`. Column `i` is complete then: its low 29 bits are the
//! multiplier `m`, the rest is carried to column `i + 1`, and `m·(p + 1)` goes to columns `i + 3`, `i + 6`, `i + 7` and
//! `i + 8`. Column `c` is in register `c mod 9`, which column `c - 9` has just left.
//!
//! # Constant time
//! No instruction here takes a time that depends on its operands, and nothing branches.

use core::arch::asm;
use core::arch::x86_64::__m256i;

use super::Limbs;

/// The bits of a word that a limb has, and the limbs 7 and 8 of `p + 1`.
#[repr(C, align(32))]
struct Constants([[u64; 4]; 3]);

static CONSTANTS: Constants = Constants([[(1 << 29) - 1; 4], [(1 << 29) - (1 << 21); 4], [(1 << 24) - 1; 4]]);

// Registers 0 to 8 are columns, 9 is the limb of a row (for squares 12 is twice the limb), 10 and 11 are scratch, 13 is the
// multiplier, 14 and 15 are the limbs 7 and 8 of `p + 1`; the mask is read from memory.

/// Reads the limb of a row.
macro_rules! load {
    ($factor:literal, $limb:literal) => {
        concat!("vmovdqu ymm9, [{", $factor, "} + 32*", $limb, "]\n")
    };
}

/// `register += addend`
macro_rules! add {
    ($register:literal, $addend:literal) => {
        concat!("vpaddq ymm", $register, ", ymm", $register, ", ymm", $addend, "\n")
    };
}

/// Separates the low 29 bits of a column, into the register `low`, from the rest, which stays.
macro_rules! split {
    ($column:literal, $low:literal) => {
        concat!(
            concat!("vpand ymm", $low, ", ymm", $column, ", [{constants}]\n"),
            concat!("vpsrlq ymm", $column, ", ymm", $column, ", 29\n"),
        )
    };
}

/// `column = limb·factor[j]`
macro_rules! set_product {
    ($column:literal, $limb:literal, $factor:literal, $j:literal) => {
        concat!("vpmuludq ymm", $column, ", ymm", $limb, ", [{", $factor, "} + 32*", $j, "]\n")
    };
}

/// `column += limb·factor[j]`
macro_rules! add_product {
    ($column:literal, $limb:literal, $factor:literal, $j:literal) => {
        concat!(set_product!(10, $limb, $factor, $j), add!($column, 10))
    };
}

/// Ends column `c0`: carries, and adds the multiple of the modulus that clears it.
macro_rules! reduce {
    ($c0:literal $c1:literal $c2:literal $c3:literal $c4:literal $c5:literal $c6:literal $c7:literal $c8:literal) => {
        concat!(
            split!($c0, 13),
            add!($c1, $c0),
            "vpsllq ymm10, ymm13, 9\n",
            add!($c3, 10),
            "vpsllq ymm11, ymm13, 18\n",
            add!($c6, 11),
            "vpmuludq ymm10, ymm13, ymm14\n",
            add!($c7, 10),
            "vpmuludq ymm11, ymm13, ymm15\n",
            add!($c8, 11),
        )
    };
}

/// The first row, which has no columns to add to: limb 0 of the factor is multiplied by register 9, the others by the
/// register `others`.
macro_rules! first_row {
    ($factor:literal, $others:literal) => {
        concat!(
            set_product!(0, 9, $factor, 0),
            set_product!(1, $others, $factor, 1),
            set_product!(2, $others, $factor, 2),
            set_product!(3, $others, $factor, 3),
            set_product!(4, $others, $factor, 4),
            set_product!(5, $others, $factor, 5),
            set_product!(6, $others, $factor, 6),
            set_product!(7, $others, $factor, 7),
            set_product!(8, $others, $factor, 8),
            reduce!(0 1 2 3 4 5 6 7 8),
        )
    };
}

/// A further row of a product.
macro_rules! row {
    ($limb:literal: $c0:literal $c1:literal $c2:literal $c3:literal $c4:literal $c5:literal $c6:literal $c7:literal $c8:literal) => {
        concat!(
            load!("left", $limb),
            add_product!($c0, 9, "right", 0),
            add_product!($c1, 9, "right", 1),
            add_product!($c2, 9, "right", 2),
            add_product!($c3, 9, "right", 3),
            add_product!($c4, 9, "right", 4),
            add_product!($c5, 9, "right", 5),
            add_product!($c6, 9, "right", 6),
            add_product!($c7, 9, "right", 7),
            // Here column `limb + 8` begins.
            set_product!($c8, 9, "right", 8),
            reduce!($c0 $c1 $c2 $c3 $c4 $c5 $c6 $c7 $c8),
        )
    };
}

/// A row of a square but the first and the last: the square of the limb, where it has a column, and twice its products
/// with the limbs above it, `column: limb`; the highest column begins.
macro_rules! square_row {
    (
        $limb:literal, square $own:literal, products $($column:literal: $j:literal),* and $last:literal,
        columns $($c:literal)*
    ) => {
        concat!(
            load!("element", $limb),
            "vpaddq ymm12, ymm9, ymm9\n",
            add_product!($own, 9, "element", $limb),
            $(add_product!($column, 12, "element", $j),)*
            set_product!($last, 12, "element", 8),
            reduce!($($c)*),
        )
    };
}

/// Writes a limb of the result, and carries to the next column.
macro_rules! limb {
    ($limb:literal: $column:literal, $next:literal) => {
        concat!(
            split!($column, 10),
            concat!("vmovdqu [{out} + 32*", $limb, "], ymm10\n"),
            add!($next, $column),
        )
    };
}

/// The columns 9 to 17: the result.
macro_rules! result {
    () => {
        concat!(
            limb!(0: 0, 1),
            limb!(1: 1, 2),
            limb!(2: 2, 3),
            limb!(3: 3, 4),
            limb!(4: 4, 5),
            limb!(5: 5, 6),
            limb!(6: 6, 7),
            split!(7, 10),
            "vmovdqu [{out} + 32*7], ymm10\n",
            "vmovdqu [{out} + 32*8], ymm7\n",
        )
    };
}

/// Runs the lines, which may use the constants, `out` and the named operands, and tells the compiler what they change.
macro_rules! run {
    ($out:expr, $($name:ident = $pointer:expr),+; $($lines:expr,)+) => {
        asm!(
            "vmovdqa ymm14, [{constants} + 32]",
            "vmovdqa ymm15, [{constants} + 64]",
            $($lines,)+
            $($name = in(reg) $pointer,)+
            constants = in(reg) CONSTANTS.0.as_ptr(),
            out = in(reg) $out,
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
            out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nostack, preserves_flags),
        )
    };
}

/// `*out = left·right/R`, where `out` may be a factor too.
///
/// # Safety
/// The pointers must be valid for nine aligned words of 32 bytes, to be read (`left`, `right`) and written (`out`), and the
/// processor must have AVX2.
#[target_feature(enable = "avx2")]
#[inline(never)]
unsafe fn multiply(left: *const __m256i, right: *const __m256i, out: *mut __m256i) {
    // SAFETY: The lines read nine words each from `left` and `right` and the three of the constants, and write nine to
    // `out` after the last reading; they use the registers that are named as changed, no stack and no flags.
    unsafe {
        run!(out, left = left, right = right;
            load!("left", 0),
            first_row!("right", 9),
            row!(1: 1 2 3 4 5 6 7 8 0),
            row!(2: 2 3 4 5 6 7 8 0 1),
            row!(3: 3 4 5 6 7 8 0 1 2),
            row!(4: 4 5 6 7 8 0 1 2 3),
            row!(5: 5 6 7 8 0 1 2 3 4),
            row!(6: 6 7 8 0 1 2 3 4 5),
            row!(7: 7 8 0 1 2 3 4 5 6),
            row!(8: 8 0 1 2 3 4 5 6 7),
            result!(),
        );
    }
}

/// `*out = element²/R`, where `out` may be the element.
///
/// # Safety
/// As for [`multiply`].
#[target_feature(enable = "avx2")]
#[inline(never)]
unsafe fn multiply_by_itself(element: *const __m256i, out: *mut __m256i) {
    // SAFETY: As in `multiply`, with one factor.
    unsafe {
        run!(out, element = element;
            load!("element", 0),
            "vpaddq ymm12, ymm9, ymm9",
            first_row!("element", 12),
            square_row!(1, square 2, products 3: 2, 4: 3, 5: 4, 6: 5, 7: 6, 8: 7 and 0, columns 1 2 3 4 5 6 7 8 0),
            square_row!(2, square 4, products 5: 3, 6: 4, 7: 5, 8: 6, 0: 7 and 1, columns 2 3 4 5 6 7 8 0 1),
            square_row!(3, square 6, products 7: 4, 8: 5, 0: 6, 1: 7 and 2, columns 3 4 5 6 7 8 0 1 2),
            square_row!(4, square 8, products 0: 5, 1: 6, 2: 7 and 3, columns 4 5 6 7 8 0 1 2 3),
            square_row!(5, square 1, products 2: 6, 3: 7 and 4, columns 5 6 7 8 0 1 2 3 4),
            square_row!(6, square 3, products 4: 7 and 5, columns 6 7 8 0 1 2 3 4 5),
            square_row!(7, square 5, products and 6, columns 7 8 0 1 2 3 4 5 6),
            load!("element", 8),
            set_product!(7, 9, "element", 8),
            reduce!(8 0 1 2 3 4 5 6 7),
            result!(),
        );
    }
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn product(left: &Limbs, right: &Limbs, out: &mut Limbs) {
    // SAFETY: The pointers are to arrays of nine words, and the processor has AVX2.
    unsafe { multiply(left.as_ptr(), right.as_ptr(), out.as_mut_ptr()) };
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn product_assign(left: &mut Limbs, right: &Limbs) {
    let left = left.as_mut_ptr();
    // SAFETY: As in `product`.
    unsafe { multiply(left, right.as_ptr(), left) };
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn square(element: &Limbs, out: &mut Limbs) {
    // SAFETY: As in `product`.
    unsafe { multiply_by_itself(element.as_ptr(), out.as_mut_ptr()) };
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn square_assign(element: &mut Limbs) {
    let element = element.as_mut_ptr();
    // SAFETY: As in `product`.
    unsafe { multiply_by_itself(element, element) };
}
