//! Bytes as pairs of hex digits in text, and as they are elsewhere.

use serde::{Deserialize, Deserializer, Serializer, de};

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
    if !out.is_human_readable() {
        return out.serialize_bytes(bytes);
    }
    out.serialize_str(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    if !from.is_human_readable() {
        return Vec::deserialize(from);
    }
    let text = String::deserialize(from)?;
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let byte = |&[high, low]: &[u8; 2]| Some(digit(high)? << 4 | digit(low)?);
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    bytes.filter(|_| rest.is_empty()).ok_or_else(|| de::Error::custom("bytes are pairs of hex digits"))
}

/// 32 of them.
pub(crate) mod key {
    use super::{Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(key: &[u8; 32], out: S) -> Result<S::Ok, S::Error> {
        super::serialize(key, out)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let bytes = super::deserialize(from)?;
        bytes.try_into().map_err(|_| de::Error::custom("a key and a hash have 64 hex digits"))
    }
}
