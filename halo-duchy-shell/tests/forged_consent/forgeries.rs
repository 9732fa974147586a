//! What is forged, and how a duchy must put it.

use halo_crypto::{Group, P256};
use halo_duchy_shell::consent::Signer;
use halo_duchy_shell::pki::Pki;
use halo_duchy_shell::proto::api::ElGamalPublicKey;
use halo_duchy_shell::proto::system::computation_participant::RequisitionParams;
use halo_duchy_shell::proto::system::computation_participant::requisition_params::{
    LiquidLegionsV2, Protocol,
};
use halo_duchy_shell::proto::system::{Computation, Requisition};
use prost::Message;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::certificates::{critical, early, expired, genuine, own, posing, sign, unknown};

/// Whose part is forged, to the others only: it is they who must notice.
pub const FORGED: &str = "worker2";

type Apply = Box<dyn Fn(&mut Computation) + Send>;

pub struct Forgery {
    pub what: &'static str,
    /// What the failure must tell.
    pub reason: &'static str,
    pub apply: Apply,
}

fn forgery(what: &'static str, reason: &'static str, apply: Apply) -> Forgery {
    Forgery { what, reason, apply }
}

/// What `duchy` published, if it has.
fn published<'a>(
    computation: &'a mut Computation,
    duchy: &str,
) -> Option<(&'a mut Vec<u8>, &'a mut LiquidLegionsV2)> {
    let end = format!("/participants/{duchy}");
    let mut participants = computation.computation_participants.iter_mut();
    let participant = participants.find(|participant| participant.name.ends_with(&end))?;
    let RequisitionParams { duchy_certificate_der, protocol, .. } =
        participant.requisition_params.as_mut()?;
    match protocol {
        Some(Protocol::LiquidLegionsV2(protocol) | Protocol::ReachOnlyLiquidLegionsV2(protocol)) => {
            Some((duchy_certificate_der, protocol))
        }
        _ => None,
    }
}

/// Changes what the forged duchy published: its certificate, and its key with its signature.
fn publication(change: impl Fn(&mut Vec<u8>, &mut LiquidLegionsV2) + Send + 'static) -> Apply {
    Box::new(move |computation| {
        if let Some((certificate, protocol)) = published(computation, FORGED) {
            change(certificate, protocol);
        }
    })
}

/// The forged duchy's key under a certificate of `signer`, correctly signed.
fn certificate(signer: Signer) -> Apply {
    publication(move |certificate, protocol| {
        *certificate = signer.certificate().to_vec();
        resign(&signer, protocol);
    })
}

/// Another key, correctly signed by the forged duchy.
fn key(pki: &Pki, change: impl Fn(&mut ElGamalPublicKey) + Send + 'static) -> Apply {
    let signer = own(pki, FORGED);
    publication(move |_, protocol| {
        let mut key = ElGamalPublicKey::decode(&protocol.el_gamal_public_key[..]).expect("a key");
        change(&mut key);
        protocol.el_gamal_public_key = key.encode_to_vec();
        resign(&signer, protocol);
    })
}

fn resign(signer: &Signer, protocol: &mut LiquidLegionsV2) {
    let signature = sign(signer, &protocol.el_gamal_public_key);
    protocol.el_gamal_public_key_signature = signature.bytes;
    protocol.el_gamal_public_key_signature_algorithm_oid = signature.algorithm_oid;
}

/// Changes the requisitions once they are fulfilled.
fn requisitions(change: impl Fn(&mut Vec<Requisition>) + Send + 'static) -> Apply {
    Box::new(move |computation| {
        if computation.requisitions.iter().all(|requisition| requisition.nonce != 0) {
            change(&mut computation.requisitions);
        }
    })
}

/// Encodings of a point of the curve that nobody knows the logarithm of.
fn foreign_point() -> Vec<u8> {
    let scalar = P256::random_scalar(&mut ChaCha20Rng::seed_from_u64(1));
    let points = P256::fixed_base_multiples(P256::fixed_generator(), &[scalar]);
    let mut bytes = vec![0; 33];
    P256::encode(&points, &mut bytes).expect("not the identity");
    bytes
}

pub fn all(pki: &Pki) -> Vec<Forgery> {
    let mut all = of_nonces_and_signatures(pki);
    all.extend(of_certificates(pki));
    all.extend(of_keys(pki));
    all
}

pub fn of_nonces_and_signatures(pki: &Pki) -> Vec<Forgery> {
    let mut all = of_nonces();
    all.push(forgery(
        "data that a duchy does not have",
        "fulfilled at this duchy, but its data is not here",
        requisitions(|requisitions| {
            for requisition in requisitions {
                let at = &mut requisition.fulfilling_computation_participant;
                *at = at.replace("/aggregator", "/worker1");
            }
        }),
    ));
    all.extend(of_signatures(pki));
    all
}

pub fn of_nonces() -> Vec<Forgery> {
    vec![
        forgery(
            "a nonce that was not revealed",
            "its nonce is not known",
            requisitions(|requisitions| requisitions[0].nonce = 0),
        ),
        forgery(
            "a nonce that the measurement does not list",
            "its nonce is not one the measurement lists",
            requisitions(|requisitions| requisitions[0].nonce ^= 1),
        ),
        forgery(
            "a nonce that is another requisition's",
            "its nonce is another requisition's too",
            requisitions(|requisitions| requisitions[0].nonce = requisitions[1].nonce),
        ),
    ]
}

fn of_signatures(pki: &Pki) -> Vec<Forgery> {
    let other = own(pki, "worker1");
    let oid = |oid: &'static str| {
        publication(move |_, protocol| protocol.el_gamal_public_key_signature_algorithm_oid = oid.to_owned())
    };
    vec![
        forgery(
            "a signature by another duchy",
            "duchy worker2: the signature is not by the key of the certificate",
            publication(move |_, protocol| resign(&other, protocol)),
        ),
        forgery(
            "a signature cut short",
            "duchy worker2: the signature is not a DER sequence of two integers",
            publication(|_, protocol| protocol.el_gamal_public_key_signature.truncate(60)),
        ),
        forgery(
            "an algorithm that is not accepted",
            "duchy worker2: signatures of the algorithm 1.2.840.113549.1.1.5 are not accepted",
            oid("1.2.840.113549.1.1.5"),
        ),
        forgery(
            "an algorithm for another kind of key",
            "duchy worker2: the algorithm 1.2.840.113549.1.1.11 is not for a key of the kind P-256",
            oid("1.2.840.113549.1.1.11"),
        ),
        forgery(
            "another hash",
            "duchy worker2: the signature is not by the key of the certificate",
            oid("1.2.840.10045.4.3.3"),
        ),
    ]
}

fn of_certificates(pki: &Pki) -> Vec<Forgery> {
    vec![
        forgery(
            "no certificate",
            "duchy worker2: not an X.509 certificate",
            publication(|certificate, _| certificate.clear()),
        ),
        forgery(
            "the certificate of another duchy",
            "duchy worker2: the certificate was issued by the root",
            certificate(own(pki, "worker1")),
        ),
        forgery(
            "a certificate by an unknown root",
            "duchy worker2: no trusted root issued the certificate",
            certificate(unknown()),
        ),
        forgery(
            "a certificate that only names the duchy's root",
            "duchy worker2: the certificate is not signed by the root it names",
            certificate(posing(pki, FORGED)),
        ),
        forgery(
            "an expired certificate",
            "duchy worker2: the certificate expired at",
            certificate(genuine(pki, FORGED, expired)),
        ),
        forgery(
            "a certificate of the future",
            "duchy worker2: the certificate is valid from",
            certificate(genuine(pki, FORGED, early)),
        ),
        forgery(
            "a critical extension",
            "duchy worker2: the certificate has the critical extension 1.2.3.4",
            certificate(genuine(pki, FORGED, critical)),
        ),
    ]
}

fn of_keys(pki: &Pki) -> Vec<Forgery> {
    let replaced = publication(|_, protocol| {
        let mut key = ElGamalPublicKey::decode(&protocol.el_gamal_public_key[..]).expect("a key");
        key.element = foreign_point();
        protocol.el_gamal_public_key = key.encode_to_vec();
    });
    let signer = own(pki, FORGED);
    let copied: Apply = Box::new(move |computation| {
        let Some((_, victim)) = published(computation, "worker1") else { return };
        let key = victim.el_gamal_public_key.clone();
        if let Some((_, protocol)) = published(computation, FORGED) {
            protocol.el_gamal_public_key = key;
            resign(&signer, protocol);
        }
    });
    let renamed: Apply = Box::new(|computation| {
        for participant in &mut computation.computation_participants {
            participant.name = participant.name.replace("/worker2", "/worker9");
        }
    });
    vec![
        forgery(
            "a key that was not signed",
            "duchy worker2: the signature is not by the key of the certificate",
            replaced,
        ),
        forgery(
            "a key off the curve",
            "the published key of worker2 is refused",
            key(pki, |key| key.element[1..].fill(0xff)),
        ),
        forgery("the key of another duchy", "the keys do not combine", copied),
        forgery("a duchy that nobody knows", "duchy worker9 is not in the duchy configuration", renamed),
    ]
}
