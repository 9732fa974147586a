//! [`Instructions`]: plain loops over long vectors, compiled for the widest registers that the processor has.
//!
//! A loop is written once, as a [`Task`], for the compiler to make vectors of. What it computes is exact, so it is the
//! same whatever it was compiled for.
#![expect(unsafe_code, reason = "instructions that not every processor has")]

use super::{Backend, Task};

/// What a loop may be compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// Registers of 512 bits, selection of bytes within them, and fused products of `f64`.
    Avx512,
    /// Registers of 256 bits and fused products of `f64`.
    Avx2,
    /// What every processor of the target has.
    Baseline,
}

impl Instructions {
    /// All of them, the widest first.
    const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Baseline];

    /// The widest that the processor has; no wider ones than those of the backend that was forced.
    pub(crate) fn active() -> Self {
        let allowed = match Backend::active() {
            Backend::Ifma => &Self::ALL[..],
            Backend::Avx2 => &Self::ALL[1..],
            Backend::Portable => &Self::ALL[2..],
        };
        allowed.iter().copied().find(|instructions| instructions.are_available()).unwrap_or(Self::Baseline)
    }

    /// Those that this processor has.
    #[cfg(test)]
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|instructions| instructions.are_available())
    }

    #[cfg(target_arch = "x86_64")]
    fn are_available(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        match self {
            Self::Avx512 => {
                Self::Avx2.are_available()
                    && has!("avx512f")
                    && has!("avx512bw")
                    && has!("avx512dq")
                    && has!("avx512vl")
                    && has!("avx512vbmi2")
            }
            Self::Avx2 => has!("avx2") && has!("bmi1") && has!("fma") && has!("popcnt"),
            Self::Baseline => true,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn are_available(self) -> bool {
        self == Self::Baseline
    }

    /// Makes sure that the processor has them, before something runs that needs them.
    pub(super) fn require(self) {
        assert!(self.are_available(), "the processor has no {self:?}");
    }

    /// Runs a loop compiled for them.
    pub(crate) fn run(self, task: impl Task) {
        self.require();
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: The function needs what `Avx512` stands for, and the processor has it.
            Self::Avx512 => unsafe { x86_64::run_avx512(task) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: The function needs what `Avx2` stands for, and the processor has it.
            Self::Avx2 => unsafe { x86_64::run_avx2(task) },
            _ => task.run(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::Task;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub(super) fn run_avx512(task: impl Task) {
        task.run();
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn run_avx2(task: impl Task) {
        task.run();
    }
}

/// Asks the processor to fetch an element that is going to be swapped. Without effect where there is no such element,
/// and on processors for which Rust has no such instruction.
#[inline(always)]
pub(crate) fn prefetch<T>(elements: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let element = elements.as_ptr().wrapping_add(index);
        // SAFETY: It is a hint that has no effect a program could see, and fails for no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(element.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (elements, index);
}
