//! Messages as protobuf text, which upstream's configuration files are written in.

use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};

use crate::proto::POOL;

/// How deep messages may lie in one another. Those of a duchy's configuration lie one deep, of a Kingdom's six; the parser
/// calls itself for each.
pub const MAXIMUM_DEPTH: usize = 16;

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
    POOL.get_message_by_name(message).ok_or(TextprotoError::UnknownMessage(message))
}

/// Reads the message with the full name `message`.
///
/// # Errors
/// If `text` is malformed or has unknown fields.
pub fn parse<M: Message + Default>(message: &'static str, text: &str) -> Result<M, TextprotoError> {
    let refused = |reason: String| TextprotoError::Text { message, reason };
    if is_too_deep(text) {
        return Err(refused(format!("more than {MAXIMUM_DEPTH} messages in one another")));
    }
    DynamicMessage::parse_text_format(descriptor(message)?, text)
        .map_err(|error| refused(error.to_string()))?
        .transcode_to()
        .map_err(|error| refused(error.to_string()))
}

/// Whether messages lie deeper in one another than [`MAXIMUM_DEPTH`]. Brackets in strings and comments are none.
fn is_too_deep(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'<' if depth == MAXIMUM_DEPTH => return true,
            b'{' | b'<' => depth += 1,
            b'}' | b'>' => depth = depth.saturating_sub(1),
            b'#' => {
                bytes.find(|byte| *byte == b'\n');
            }
            b'"' | b'\'' => {
                // A string ends with its line at the latest, or the parser refuses it.
                while let Some(next) = bytes.next().filter(|next| *next != byte && *next != b'\n') {
                    if next == b'\\' {
                        bytes.next();
                    }
                }
            }
            _ => {}
        }
    }
    false
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
