//! A recorded computation.

use std::path::PathBuf;

use halo_protocols::data_provider::SketchParameters;
use halo_protocols::proto::duchy::{
    DifferentialPrivacyParams, ElGamalKeyPair, ElGamalPublicKey, NoiseMechanism,
};
use halo_protocols::proto::protocol::LiquidLegionsSketchParameters;
use serde_json::Value;

use crate::measurement::{Measurement, Noise};

pub const CASES: [&str; 7] = [
    "llv2_2duchies_no_noise",
    "llv2_3duchies_gaussian",
    "llv2_3duchies_geometric",
    "llv2_3duchies_max_frequency_1",
    "llv2_3duchies_no_noise",
    "llv2_3duchies_one_provider_small",
    "llv2_4duchies_geometric",
];

pub struct Case {
    pub name: String,
    folder: PathBuf,
    manifest: Value,
}

/// One call of a method.
pub struct Stage {
    pub sequence: u64,
    pub method: String,
    pub actor: String,
    /// How the manifest says the response is to be compared.
    pub check: String,
    pub request: Vec<u8>,
    pub response: Vec<u8>,
}

/// One data provider of a case.
pub struct DataProvider {
    /// Position in the ring of the duchy that it fulfils at.
    pub duchy: usize,
    pub impressions: Vec<(i64, u32)>,
}

impl Case {
    pub fn load(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
        let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
        Self { name: name.to_owned(), folder, manifest: serde_json::from_slice(&manifest).unwrap() }
    }

    pub fn all() -> impl Iterator<Item = Self> {
        CASES.into_iter().map(Self::load)
    }

    pub fn stages(&self) -> Vec<Stage> {
        let text = |stage: &Value, key: &str| stage[key].as_str().unwrap().to_owned();
        let file = |stage: &Value, key: &str| std::fs::read(self.folder.join(text(stage, key))).unwrap();
        let stages = self.manifest["stages"].as_array().unwrap();
        stages
            .iter()
            .map(|stage| Stage {
                sequence: stage["seq"].as_u64().unwrap(),
                method: text(stage, "method"),
                actor: text(stage, "actor"),
                check: text(stage, "check"),
                request: file(stage, "request"),
                response: file(stage, "response"),
            })
            .collect()
    }

    /// The stages of one method, in their order.
    pub fn stages_of(&self, method: &str) -> Vec<Stage> {
        self.stages().into_iter().filter(|stage| stage.method == method).collect()
    }

    /// The duchies' key pairs in ring order.
    pub fn key_pairs(&self) -> Vec<ElGamalKeyPair> {
        let mut keys: Vec<&Value> = self.manifest["duchy_keys"].as_array().unwrap().iter().collect();
        keys.sort_by_key(|key| key["ring_position"].as_u64());
        keys.into_iter()
            .map(|key| ElGamalKeyPair {
                secret_key: bytes(&key["secret_key"]),
                public_key: Some(ElGamalPublicKey {
                    generator: bytes(&key["generator"]),
                    element: bytes(&key["element"]),
                }),
            })
            .collect()
    }

    /// Where in the ring a duchy stands.
    pub fn position(&self, duchy: &str) -> usize {
        let keys = self.manifest["duchy_keys"].as_array().unwrap();
        let key = keys.iter().find(|key| key["duchy"] == duchy).unwrap();
        key["ring_position"].as_u64().unwrap() as usize
    }

    /// Where in the ring an actor stands; 0 for those who are no duchy.
    pub fn position_or_zero(&self, actor: &str) -> usize {
        let keys = self.manifest["duchy_keys"].as_array().unwrap();
        if keys.iter().any(|key| key["duchy"] == actor) { self.position(actor) } else { 0 }
    }

    pub fn data_providers(&self) -> Vec<DataProvider> {
        let providers = self.manifest["data_providers"].as_array().unwrap();
        providers
            .iter()
            .map(|provider| DataProvider {
                duchy: self.position(provider["fulfils_at"].as_str().unwrap()),
                impressions: provider["vid_and_impressions"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|pair| (pair[0].as_i64().unwrap(), pair[1].as_u64().unwrap() as u32))
                    .collect(),
            })
            .collect()
    }

    pub fn sketch_parameters(&self) -> SketchParameters {
        let parameters = &self.manifest["parameters"];
        SketchParameters {
            decay_rate: double(&parameters["decay_rate"]),
            size: parameters["sketch_size"].as_i64().unwrap(),
            sampling_indicator_size: parameters["sampling_indicator_size"].as_i64().unwrap(),
            salt: None,
        }
    }

    pub fn measurement(&self) -> Measurement {
        let parameters = &self.manifest["parameters"];
        let privacy = |name: &str| DifferentialPrivacyParams {
            epsilon: double(&parameters[name]["epsilon"]),
            delta: double(&parameters[name]["delta"]),
        };
        let noise = |mechanism: NoiseMechanism| Noise {
            mechanism,
            blind_histogram: privacy("blind_histogram"),
            publisher: privacy("noise_for_publisher_noise"),
            reach: privacy("global_reach_dp_noise"),
            // Reach-only cases have none.
            frequency: if parameters["frequency_noise"].is_null() {
                DifferentialPrivacyParams::default()
            } else {
                privacy("frequency_noise")
            },
        };
        Measurement {
            maximum_frequency: parameters["maximum_frequency"].as_i64().unwrap() as i32,
            total_sketches_count: parameters["data_providers"].as_i64().unwrap() as i32,
            sketch: LiquidLegionsSketchParameters {
                decay_rate: double(&parameters["decay_rate"]),
                size: parameters["sketch_size"].as_i64().unwrap(),
            },
            width: double(&parameters["vid_sampling_interval_width_float32"]) as f32,
            noise: match parameters["noise_mechanism"].as_str().unwrap() {
                "none" => None,
                "gaussian" => Some(noise(NoiseMechanism::DiscreteGaussian)),
                "geometric" => Some(noise(NoiseMechanism::Geometric)),
                other => panic!("noise mechanism {other}"),
            },
        }
    }

    pub fn has_noise(&self) -> bool {
        self.measurement().noise.is_some()
    }

    /// The reach that the manifest expects under this name.
    pub fn expected_reach(&self, name: &str) -> i64 {
        self.manifest["expected"][name].as_i64().unwrap()
    }

    /// The frequency distribution that the manifest expects under this name.
    pub fn expected_distribution(&self, name: &str) -> Vec<(i64, f64)> {
        let expected = self.manifest["expected"][name].as_object().unwrap();
        let mut shares: Vec<(i64, f64)> =
            expected.iter().map(|(frequency, share)| (frequency.parse().unwrap(), double(share))).collect();
        shares.sort_by_key(|(frequency, _)| *frequency);
        shares
    }
}

pub fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn double(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}
