//! Loads and stores under a mask, in the machine code of this program.
//!
//! That the time of one does not depend on its mask is promised by no manufacturer. Choices by secrets are computed by bits, so
//! that the compiler makes none; valgrind shows that for the backends that it can run, and this for all.
#![expect(unsafe_code, reason = "the leak that is to be found")]

use std::arch::x86_64::{__m512i, _mm512_mask_storeu_epi64};
use std::hint::black_box;

/// Stores under a mask, on purpose.
#[target_feature(enable = "avx512f")]
#[inline(never)]
fn leaks(mask: u8, words: __m512i, out: &mut [i64; 8]) {
    // SAFETY: It writes up to 64 bytes, aligned or not.
    unsafe { _mm512_mask_storeu_epi64(out.as_mut_ptr(), mask, words) };
}

/// How the function that leaks is called by the linker, in part.
pub const LEAKS: &str = "machine_code5leaks";

/// Has the function that leaks be part of the program, where nothing calls it.
pub fn keep_what_leaks() {
    black_box(leaks as unsafe fn(u8, __m512i, &mut [i64; 8]));
}

/// Each instruction that reads or writes memory under a mask, with its function, of what `objdump` prints.
pub fn masked_accesses(disassembly: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut function = "";
    disassembly.lines().filter_map(move |line| match line.strip_suffix(">:") {
        Some(header) => {
            function = header.split_once('<').map_or(header, |(_, name)| name);
            None
        }
        None => is_masked_access(line).then_some((function, line.trim())),
    })
}

fn is_masked_access(line: &str) -> bool {
    let instruction = line.split('#').next().unwrap_or(line);
    // By a mask register, or by a vector. A broadcast is how a word gets into a lane of which the number is fixed.
    let by_register = instruction.contains("{%k") && !instruction.contains("vpbroadcast");
    (by_register || instruction.contains("maskmov")) && instruction.contains('(')
}

#[test]
fn masked_accesses_are_told_from_other_instructions() {
    let accesses = [
        "   1ace:\tvmovdqa64 %zmm18,-0x140(%rdx){%k1}",
        "   1ad8:\tvmovdqa64 -0x9c0(%rdx,%r14,8),%zmm16{%k3}",
        "   1ae2:\tvmovdqa64 -0x240(%r12),%zmm0{%k2}{z}",
        "   1aec:\tvpermq (%rbx),%zmm7,%zmm9{%k1}",
        "   1af6:\tvpmaskmovq %ymm0,%ymm1,(%rdi)",
    ];
    let others = [
        "   2ace:\tvmovdqa64 %zmm1,%zmm4{%k1}",
        "   2ad4:\tvmovdqa64 %zmm1,0x40(%rdx)",
        "   2ade:\tvpcmpeqq (%rdi),%zmm0,%k1",
        "   2ae8:\tvpbroadcastq 0x600(%rsp),%zmm4{%k1}",
        "   2af2:\tvpaddq %zmm1,%zmm2,%zmm3{%k1}        # 2b00 <operator()>",
    ];
    let disassembly = format!(
        "00001ac0 <accesses>:\n{}\n\n00002ac0 <others>:\n{}\n",
        accesses.join("\n"),
        others.join("\n")
    );
    let found: Vec<_> = masked_accesses(&disassembly).collect();
    assert_eq!(found, accesses.map(|line| ("accesses", line.trim())));
}
