//! Consent checks that need no certificate: did every data provider agree, and is its data where it should be.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::llv2::Evidence;

/// SHA-256 of a nonce as 8 big-endian bytes, the form in which a measurement lists it.
pub fn nonce_hash(nonce: u64) -> [u8; 32] {
    Sha256::digest(nonce.to_be_bytes()).into()
}

/// What is wrong with the evidence, one line for each finding; empty if nothing is.
pub fn findings(evidence: &Evidence) -> Vec<String> {
    let mut findings = Vec::new();
    let listed: BTreeSet<&[u8]> = evidence.nonce_hashes.iter().map(Vec::as_slice).collect();
    let mut revealed = BTreeSet::new();
    for requisition in &evidence.requisitions {
        let id = &requisition.requisition;
        match requisition.nonce {
            None => findings.push(format!("requisition {id}: its nonce is not known")),
            Some(nonce) => {
                let hash = nonce_hash(nonce);
                if !listed.contains(hash.as_slice()) {
                    findings.push(format!("requisition {id}: its nonce is not one the measurement lists"));
                }
                if !revealed.insert(hash) {
                    findings.push(format!("requisition {id}: its nonce is another requisition's too"));
                }
            }
        }
        if requisition.fulfilled_here && !requisition.data_present {
            findings.push(format!("requisition {id}: fulfilled at this duchy, but its data is not here"));
        }
    }
    if evidence.requisitions.len() != evidence.nonce_hashes.len() {
        findings.push(format!(
            "{} requisitions, but the measurement lists {} nonces",
            evidence.requisitions.len(),
            evidence.nonce_hashes.len()
        ));
    }
    findings.extend(evidence.refused_signatures.iter().cloned());
    findings
}
