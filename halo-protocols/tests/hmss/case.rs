//! A recorded computation.

use std::collections::BTreeMap;
use std::path::PathBuf;

use halo_protocols::hmss::MeasurementKind;
use prost::Message;
use serde_json::Value;

pub const CASES: [&str; 10] = [
    "hmss_rf_gaussian",
    "hmss_rf_geometric",
    "hmss_rf_no_noise",
    "hmss_rf_no_noise_20000",
    "hmss_rf_one_provider_tiny",
    "hmss_rf_power_of_two_modulus",
    "hmss_ro_gaussian",
    "hmss_ro_geometric",
    "hmss_ro_no_noise",
    "hmss_ro_no_noise_small_prime",
];

pub struct Case {
    pub name: String,
    folder: PathBuf,
    manifest: Value,
}

/// One call of a method.
pub struct Stage {
    pub method: String,
    pub actor: String,
    /// How the manifest says the response is to be compared.
    pub check: String,
    request: Vec<u8>,
    response: Vec<u8>,
}

impl Stage {
    pub fn request_bytes(&self) -> &[u8] {
        &self.request
    }

    pub fn request<M: Message + Default>(&self) -> M {
        M::decode(self.request.as_slice()).unwrap()
    }

    pub fn response<M: Message + Default>(&self) -> M {
        M::decode(self.response.as_slice()).unwrap()
    }
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

    pub fn kind(&self) -> MeasurementKind {
        if self.name.starts_with("hmss_ro_") {
            MeasurementKind::ReachOnly
        } else {
            MeasurementKind::ReachAndFrequency
        }
    }

    pub fn has_noise(&self) -> bool {
        self.manifest["parameters"]["noise_mechanism"] != "none"
    }

    pub fn modulus(&self) -> u32 {
        self.manifest["parameters"]["ring_modulus"].as_u64().unwrap() as u32
    }

    pub fn maximum_frequency(&self) -> u32 {
        self.manifest["parameters"]["maximum_frequency"].as_u64().unwrap() as u32
    }

    pub fn width(&self) -> f64 {
        double(&self.manifest["parameters"]["vid_sampling_interval_width_float32"])
    }

    /// A worker's seed, or what both have in common.
    pub fn random_seed(&self, of: &str) -> Vec<u8> {
        hex::decode(self.manifest["random_seeds"][of].as_str().unwrap()).unwrap()
    }

    /// The stages whose method's name ends so, in their order.
    pub fn stages_of(&self, method: &str) -> Vec<Stage> {
        let text = |stage: &Value, key: &str| stage[key].as_str().unwrap().to_owned();
        let file = |stage: &Value, key: &str| std::fs::read(self.folder.join(text(stage, key))).unwrap();
        let stages = self.manifest["stages"].as_array().unwrap().iter();
        stages
            .map(|stage| Stage {
                method: text(stage, "method"),
                actor: text(stage, "actor"),
                check: text(stage, "check"),
                request: file(stage, "request"),
                response: file(stage, "response"),
            })
            .filter(|stage| stage.method.ends_with(method))
            .collect()
    }

    /// An integer that the manifest expects under this name.
    pub fn expected(&self, name: &str) -> i64 {
        self.manifest["expected"][name].as_i64().unwrap()
    }

    /// The frequency distribution that the manifest expects under this name; empty for reach alone.
    pub fn expected_distribution(&self, name: &str) -> BTreeMap<i64, f64> {
        let Some(expected) = self.manifest["expected"].get(name) else { return BTreeMap::new() };
        let shares = expected.as_object().unwrap().iter();
        shares.map(|(frequency, share)| (frequency.parse().unwrap(), double(share))).collect()
    }
}

fn double(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}
