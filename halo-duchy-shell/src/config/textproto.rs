//! Messages as protobuf text, which upstream's configuration files are written in.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use crate::proto::DESCRIPTORS;

/// Why a text is not a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextprotoError {
    /// The text is malformed, or names a field the message lacks.
    #[error("not a `{message}` in protobuf text: {reason}")]
    Text {
        /// The full name of the message.
        message: &'static str,
        /// What is wrong and where.
        reason: String,
    },
    /// The message is not one of ours.
    #[error("no descriptor of `{0}`")]
    UnknownMessage(&'static str),
}

fn descriptor(message: &'static str) -> Result<MessageDescriptor, TextprotoError> {
    static POOL: LazyLock<Option<DescriptorPool>> =
        LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).ok());
    POOL.as_ref()
        .and_then(|pool| pool.get_message_by_name(message))
        .ok_or(TextprotoError::UnknownMessage(message))
}

/// Reads the message with the full name `message`.
///
/// # Errors
/// If `text` is malformed or has unknown fields.
pub fn parse<M: Message + Default>(message: &'static str, text: &str) -> Result<M, TextprotoError> {
    let refused = |reason: String| TextprotoError::Text { message, reason };
    DynamicMessage::parse_text_format(descriptor(message)?, text)
        .map_err(|error| refused(error.to_string()))?
        .transcode_to()
        .map_err(|error| refused(error.to_string()))
}

/// Writes `value`, a message with the full name `message`, one field to a line.
///
/// # Errors
/// If `message` is not the name of the type of `value`.
pub fn print<M: Message>(message: &'static str, value: &M) -> Result<String, TextprotoError> {
    let mut dynamic = DynamicMessage::new(descriptor(message)?);
    dynamic
        .transcode_from(value)
        .map_err(|error| TextprotoError::Text { message, reason: error.to_string() })?;
    let options = prost_reflect::text_format::FormatOptions::new().pretty(true);
    Ok(format!("{}\n", dynamic.to_text_format_with_options(&options)))
}
