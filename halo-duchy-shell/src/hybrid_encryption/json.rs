//! Keysets as Tink writes them in JSON (`JsonKeysetWriter`): the same messages, names in lower camel case, enumerations
//! by name, the key material in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::tink;

const STATUSES: [(&str, i32); 4] = [("UNKNOWN_STATUS", 0), ("ENABLED", 1), ("DISABLED", 2), ("DESTROYED", 3)];
const MATERIALS: [(&str, i32); 5] = [
    ("UNKNOWN_KEYMATERIAL", 0),
    ("SYMMETRIC", 1),
    ("ASYMMETRIC_PRIVATE", 2),
    ("ASYMMETRIC_PUBLIC", 3),
    ("REMOTE", 4),
];
const PREFIXES: [(&str, i32); 6] = [
    ("UNKNOWN_PREFIX", 0),
    ("TINK", 1),
    ("LEGACY", 2),
    ("RAW", 3),
    ("CRUNCHY", 4),
    ("WITH_ID_REQUIREMENT", 5),
];

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Keyset {
    #[serde(default)]
    primary_key_id: u32,
    #[serde(default)]
    key: Vec<Key>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    key_data: KeyData,
    status: String,
    #[serde(default)]
    key_id: u32,
    output_prefix_type: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyData {
    type_url: String,
    value: String,
    key_material_type: String,
}

/// Key material.
impl Drop for KeyData {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

fn number(names: &[(&str, i32)], name: &str) -> Option<i32> {
    names.iter().find_map(|(known, number)| (*known == name).then_some(*number))
}

fn name(names: &[(&str, i32)], number: i32) -> String {
    let name = names.iter().find_map(|(name, known)| (*known == number).then_some(*name));
    name.unwrap_or(names[0].0).to_owned()
}

/// `None` if the text is not a keyset.
pub fn parse(text: &[u8]) -> Option<tink::Keyset> {
    let keyset: Keyset = serde_json::from_slice(text).ok()?;
    let mut parsed = tink::Keyset { primary_key_id: keyset.primary_key_id, key: Vec::new() };
    for key in &keyset.key {
        let Some(key) = parse_key(key) else {
            super::wipe(&mut parsed);
            return None;
        };
        parsed.key.push(key);
    }
    Some(parsed)
}

fn parse_key(key: &Key) -> Option<tink::Key> {
    Some(tink::Key {
        status: number(&STATUSES, &key.status)?,
        key_id: key.key_id,
        output_prefix_type: number(&PREFIXES, &key.output_prefix_type)?,
        key_data: Some(tink::KeyData {
            type_url: key.key_data.type_url.clone(),
            key_material_type: number(&MATERIALS, &key.key_data.key_material_type)?,
            // Last, as nothing after it may fail without wiping it.
            value: STANDARD.decode(&key.key_data.value).ok()?,
        }),
    })
}

pub fn print(keyset: &tink::Keyset) -> String {
    let keys = keyset.key.iter().filter_map(|key| {
        let data = key.key_data.as_ref()?;
        Some(Key {
            key_data: KeyData {
                type_url: data.type_url.clone(),
                value: STANDARD.encode(&data.value),
                key_material_type: name(&MATERIALS, data.key_material_type),
            },
            status: name(&STATUSES, key.status),
            key_id: key.key_id,
            output_prefix_type: name(&PREFIXES, key.output_prefix_type),
        })
    });
    let keyset = Keyset { primary_key_id: keyset.primary_key_id, key: keys.collect() };
    // Strings and numbers only: there is nothing that JSON cannot say.
    serde_json::to_string(&keyset).unwrap_or_default()
}
