//! The arithmetic below [`P256`](crate::P256): which implementation does it, and the types they share.
//!
//! A [`Backend`] works on whole slices. Points and field elements have one form in memory for all of them; a backend
//! converts to its own on the way in and out. What it brings is a vector of field elements (`vector`); the
//! algorithms above that are written once.

use std::sync::OnceLock;

use p256::Scalar;
use subtle::Choice;

pub(crate) use self::field::FieldElement;
pub use self::fixed_base::FixedBase;
use self::fixed_base::Tables;
pub(crate) use self::instructions::{Instructions, prefetch};
use self::offset::Offset;
pub use self::point::Point;
pub(crate) use self::selection::select;
pub(crate) use self::vector::Task;

/// Instantiates the operations on batches for a vector, in functions that enable what its instructions need.
macro_rules! entry_points {
    ($vector:ty, $tables:path $(, $attribute:meta)*) => {
        $(#[$attribute])*
        pub(super) fn add(left: &mut [$crate::backend::Point], right: impl Fn(usize) -> $crate::backend::Point) {
            $crate::backend::multiplication::add::<$vector>(left, right);
        }

        $(#[$attribute])*
        pub(super) fn scale(points: &mut [$crate::backend::Point], scalar: &p256::Scalar) {
            $crate::backend::multiplication::scale::<$vector>(points, scalar);
        }

        $(#[$attribute])*
        pub(super) fn scale_each(points: &mut [$crate::backend::Point], scalars: &[p256::Scalar]) {
            $crate::backend::multiplication::scale_each::<$vector>(points, scalars);
        }

        $(#[$attribute])*
        pub(super) fn several_multiples(
            points: &[$crate::backend::Point],
            scalars: &[p256::Scalar],
            out: &mut [$crate::backend::Point],
        ) {
            $crate::backend::comb::several_multiples::<$vector>(points, scalars, out);
        }

        $(#[$attribute])*
        pub(super) fn double_scale(
            left: &mut [$crate::backend::Point],
            left_scalar: &p256::Scalar,
            right: &[$crate::backend::Point],
            right_scalar: &p256::Scalar,
            offset: &$crate::backend::offset::Offset,
        ) {
            $crate::backend::multiplication::double_scale::<$vector>(left, left_scalar, right, right_scalar, offset);
        }

        $(#[$attribute])*
        pub(super) fn add_fixed_base_multiples(
            points: &mut [$crate::backend::Point],
            base: &$crate::backend::fixed_base::Multiples<$vector>,
            scalars: &[p256::Scalar],
        ) {
            $crate::backend::multiplication::add_fixed_base_multiples::<$vector>(points, base, scalars);
        }

        $(#[$attribute])*
        pub(super) fn fixed_base(base: &$crate::backend::Point) -> $crate::backend::FixedBase {
            $crate::backend::FixedBase($tables($crate::backend::fixed_base::Multiples::new(base)))
        }

        $(#[$attribute])*
        pub(super) fn decompress(candidates: &[($crate::backend::FieldElement, subtle::Choice)], out: &mut [Option<$crate::backend::Point>]) {
            $crate::backend::multiplication::decompress::<$vector>(candidates, out);
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
mod batch;
mod comb;
mod digits;
mod divsteps;
mod field;
mod fixed_base;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod instructions;
mod inversion;
mod mask;
mod multiplication;
mod offset;
mod point;
mod portable;
#[cfg(any(test, target_arch = "x86_64"))]
mod radix29;
#[cfg(any(test, target_arch = "x86_64"))]
mod radix52;
mod recoding;
mod roots;
mod selection;
mod table;
mod vector;

/// An implementation of P-256. All give the same results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// Eight elements in step, by the AVX-512 IFMA instructions of x86-64 processors.
    Ifma,
    /// Four elements in step, by the AVX2 instructions of x86-64 processors.
    Avx2,
    /// Plain Rust, for any processor.
    Portable,
}

/// The backend of this process, once chosen.
static ACTIVE: OnceLock<Backend> = OnceLock::new();

impl Backend {
    /// All backends, from the most to the least preferred.
    pub const ALL: [Self; 3] = [Self::Ifma, Self::Avx2, Self::Portable];

    /// The name by which options call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ifma => "ifma",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Whether this processor has what the backend needs.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Ifma => ifma::is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => std::arch::is_x86_feature_detected!("avx2"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Ifma | Self::Avx2 => false,
            Self::Portable => true,
        }
    }

    /// The backend that computes for this process: the one that was forced, else the most preferred available one.
    #[must_use]
    pub fn active() -> Self {
        #[cfg(test)]
        if let Some(backend) = tests::overridden() {
            return backend;
        }
        *ACTIVE.get_or_init(|| {
            Self::ALL.into_iter().find(|backend| backend.is_available()).unwrap_or(Self::Portable)
        })
    }

    /// Lets this backend compute for the whole process. To be called before anything else in this crate, by programs
    /// that let a person choose, such as by the variable `HALO_BACKEND`.
    ///
    /// # Errors
    /// [`BackendError`] if the processor lacks it, or if another is already in use.
    pub fn force(self) -> Result<(), BackendError> {
        if !self.is_available() {
            return Err(BackendError::Unavailable(self));
        }
        match *ACTIVE.get_or_init(|| self) {
            active if active == self => Ok(()),
            active => Err(BackendError::InUse { wanted: self, active }),
        }
    }
}

impl core::fmt::Display for Backend {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(self.name())
    }
}

impl core::str::FromStr for Backend {
    type Err = BackendError;

    fn from_str(name: &str) -> Result<Self, BackendError> {
        Self::ALL
            .into_iter()
            .find(|backend| backend.name() == name)
            .ok_or_else(|| BackendError::Unknown(name.to_owned()))
    }
}

/// Why a backend cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// No backend has the name.
    #[error("there is no backend {0:?}")]
    Unknown(String),
    /// The processor lacks instructions that the backend needs.
    #[error("this processor cannot run the backend {0}")]
    Unavailable(Backend),
    /// The choice comes too late.
    #[error("the backend {wanted} was asked for, but {active} is in use")]
    InUse {
        /// The backend that was to be forced.
        wanted: Backend,
        /// The one that computes.
        active: Backend,
    },
}

/// Calls an operation of a backend.
macro_rules! dispatch {
    ($backend:expr, $operation:ident($($argument:expr),*)) => {
        match $backend {
            #[cfg(target_arch = "x86_64")]
            Backend::Ifma => {
                assert!(Backend::Ifma.is_available(), "the processor has no AVX-512 IFMA");
                // SAFETY: The function needs what makes the backend available, and the processor has it.
                unsafe { ifma::$operation($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 => {
                assert!(Backend::Avx2.is_available(), "the processor has no AVX2");
                // SAFETY: The function needs AVX2, and the processor has it.
                unsafe { avx2::$operation($($argument),*) }
            }
            #[cfg(not(target_arch = "x86_64"))]
            Backend::Ifma | Backend::Avx2 => unreachable!("it is not available"),
            Backend::Portable => portable::$operation($($argument),*),
        }
    };
}

/// The operations on batches. See [`Group`](crate::Group) for what they do.
#[expect(unsafe_code, reason = "functions that use instructions which not every processor has")]
impl Backend {
    pub(crate) fn add(self, left: &mut [Point], right: impl Fn(usize) -> Point) {
        dispatch!(self, add(left, right));
    }

    pub(crate) fn scale(self, points: &mut [Point], scalar: &Scalar) {
        dispatch!(self, scale(points, scalar));
    }

    pub(crate) fn scale_each(self, points: &mut [Point], scalars: &[Scalar]) {
        dispatch!(self, scale_each(points, scalars));
    }

    /// `out[j·n + i] = scalars[j·n + i] · points[i]` for the `n` points.
    pub(crate) fn several_multiples(self, points: &[Point], scalars: &[Scalar], out: &mut [Point]) {
        dispatch!(self, several_multiples(points, scalars, out));
    }

    pub(crate) fn double_scale(
        self,
        left: &mut [Point],
        left_scalar: &Scalar,
        right: &[Point],
        right_scalar: &Scalar,
        generator: &FixedBase,
    ) {
        let offset =
            Offset::new(generator, (left, left_scalar), (right, right_scalar), multiplication::DOUBLINGS);
        dispatch!(self, double_scale(left, left_scalar, right, right_scalar, &offset));
    }

    pub(crate) fn fixed_base(self, base: &Point) -> FixedBase {
        dispatch!(self, fixed_base(base))
    }

    /// For each pair of an `x` and whether `y` is odd, which are public: the point, if there is one.
    pub(crate) fn decompress(self, candidates: &[(FieldElement, Choice)], out: &mut [Option<Point>]) {
        dispatch!(self, decompress(candidates, out));
    }
}

/// `points[i] += scalars[i] · base`, by the backend that the base was prepared for.
#[expect(unsafe_code, reason = "functions that use instructions which not every processor has")]
pub(crate) fn add_fixed_base_multiples(points: &mut [Point], base: &FixedBase, scalars: &[Scalar]) {
    match &base.0 {
        #[cfg(target_arch = "x86_64")]
        Tables::Ifma(multiples) => {
            assert!(Backend::Ifma.is_available(), "the processor has no AVX-512 IFMA");
            // SAFETY: The function needs what makes the backend available, and the processor has it.
            unsafe { ifma::add_fixed_base_multiples(points, multiples, scalars) }
        }
        #[cfg(target_arch = "x86_64")]
        Tables::Avx2(multiples) => {
            assert!(Backend::Avx2.is_available(), "the processor has no AVX2");
            // SAFETY: The function needs AVX2, and the processor has it.
            unsafe { avx2::add_fixed_base_multiples(points, multiples, scalars) }
        }
        Tables::Portable(multiples) => portable::add_fixed_base_multiples(points, multiples, scalars),
    }
}

#[cfg(test)]
pub(crate) mod tests;
