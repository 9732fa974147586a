//! Looks for bytes in a text, however they may have been written there.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// So many bytes of a secret in a row are found.
const WINDOW: usize = 12;

/// All that a text may say.
pub struct Told(HashSet<[u8; WINDOW]>);

impl Told {
    /// Takes in a text as it is, and what stands in it in hexadecimal or base64, of either alphabet, wherever that begins.
    pub fn by(text: &[u8]) -> Self {
        let mut told = Self(HashSet::new());
        told.add(text);
        for run in text.split(|byte| !byte.is_ascii_hexdigit()) {
            for start in 0..2.min(run.len()) {
                let even = (run.len() - start) / 2 * 2;
                told.add(&hex::decode(&run[start..start + even]).expect("digits"));
            }
        }
        let alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
        for run in text.split(|byte| !alphabet(byte)) {
            let standard: Vec<u8> = run
                .iter()
                .map(|byte| match byte {
                    b'-' => b'+',
                    b'_' => b'/',
                    other => *other,
                })
                .collect();
            for start in 0..4.min(standard.len()) {
                let whole = (standard.len() - start) / 4 * 4;
                told.add(&STANDARD_NO_PAD.decode(&standard[start..start + whole]).expect("the alphabet"));
            }
        }
        told
    }

    fn add(&mut self, bytes: &[u8]) {
        self.0
            .extend(bytes.windows(WINDOW).map(|window| <[u8; WINDOW]>::try_from(window).expect("its size")));
    }

    /// Whether a part of `secret` is told.
    pub fn tells(&self, secret: &[u8]) -> bool {
        assert!(secret.len() >= WINDOW, "too short to be looked for");
        secret.windows(WINDOW).any(|window| self.0.contains(window))
    }
}

#[test]
fn secrets_are_found_however_they_are_written() {
    let secret: Vec<u8> = (0..32u8).map(|byte| byte.wrapping_mul(37).wrapping_add(11)).collect();
    let base64 = STANDARD_NO_PAD.encode(&secret);
    let url = base64.replace('+', "-").replace('/', "_");
    for text in
        [hex::encode(&secret), hex::encode_upper(&secret), format!("a{}", hex::encode(&secret)), base64, url]
    {
        let text = format!("{{\"reason\":\"x{text}\"}}");
        assert!(Told::by(text.as_bytes()).tells(&secret), "{text}");
    }
    assert!(Told::by(&[b"{\"", &secret[5..20], b"\"}"].concat()).tells(&secret));
    assert!(!Told::by(hex::encode([7; 64]).as_bytes()).tells(&secret));
}
