//! Requests to valgrind, by the instructions that it watches for (valgrind's manual, "The Client Request mechanism"). To
//! a processor they do nothing.
#![expect(unsafe_code, reason = "the request is a sequence of instructions")]

use std::arch::asm;

/// `VALGRIND_COUNT_ERRORS`
const COUNT_ERRORS: u64 = 0x1201;
/// `RUNNING_ON_VALGRIND`
const RUNNING_ON_VALGRIND: u64 = 0x1001;
/// `VG_USERREQ__MAKE_MEM_UNDEFINED` of Memcheck
const MAKE_UNDEFINED: u64 = 0x4d43_0001;
/// `VG_USERREQ__MAKE_MEM_DEFINED` of Memcheck
const MAKE_DEFINED: u64 = 0x4d43_0002;

fn request(number: u64, first: u64, second: u64) -> u64 {
    let arguments = [number, first, second, 0, 0, 0];
    let mut result = 0_u64;
    // SAFETY: The rotations of `rdi` add up to two full turns, and `rbx` is exchanged with itself. Valgrind, if it runs,
    // reads the six arguments and sets `rdx`; what the requests above do to memory does not show to the program.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") result,
            inout("rdi") 0_u64 => _,
        );
    }
    result
}

/// Whether the program runs under valgrind.
pub fn is_running() -> bool {
    request(RUNNING_ON_VALGRIND, 0, 0) != 0
}

/// How many errors it found so far.
pub fn errors() -> u64 {
    request(COUNT_ERRORS, 0, 0)
}

/// Takes the values for secrets from here on.
pub fn hide<T>(values: &[T]) {
    request(MAKE_UNDEFINED, values.as_ptr().expose_provenance() as u64, size_of_val(values) as u64);
}

/// Takes the values for public from here on.
pub fn reveal<T>(values: &[T]) {
    request(MAKE_DEFINED, values.as_ptr().expose_provenance() as u64, size_of_val(values) as u64);
}
