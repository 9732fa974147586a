//! How what the Kingdom remembers is written to its database: as JSON, in which messages and bytes are base64 and
//! numbers of enumerations are numbers.

/// Bytes.
pub mod bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A message, as its bytes.
pub mod message {
    use prost::Message;
    use serde::de::Error;
    use serde::{Deserializer, Serializer};

    pub fn serialize<M: Message, S: Serializer>(message: &M, serializer: S) -> Result<S::Ok, S::Error> {
        super::bytes::serialize(&message.encode_to_vec(), serializer)
    }

    pub fn deserialize<'de, M: Message + Default, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<M, D::Error> {
        M::decode(super::bytes::deserialize(deserializer)?.as_slice()).map_err(D::Error::custom)
    }
}

/// A message that may be missing.
pub mod optional_message {
    use prost::Message;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize, Serialize)]
    struct Present<M>(
        #[serde(with = "super::message")]
        #[serde(bound(serialize = "M: Message", deserialize = "M: Message + Default"))]
        M,
    );

    pub fn serialize<M: Message + Clone, S: Serializer>(
        message: &Option<M>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        message.clone().map(Present).serialize(serializer)
    }

    pub fn deserialize<'de, M: Message + Default, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<M>, D::Error> {
        Ok(Option::deserialize(deserializer)?.map(|Present(message)| message))
    }
}

/// A value of an enumeration.
pub mod number {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<E: Copy + Into<i32>, S: Serializer>(
        value: &E,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32((*value).into())
    }

    pub fn deserialize<'de, E: TryFrom<i32>, D: Deserializer<'de>>(deserializer: D) -> Result<E, D::Error> {
        let number = i32::deserialize(deserializer)?;
        E::try_from(number).map_err(|_| D::Error::custom(format!("{number} is no value of the enumeration")))
    }
}
