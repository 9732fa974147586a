//! The names of keys in tokens, as RFC 7512 has them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::{percent_decode_str, utf8_percent_encode};

/// The longest URI that is read, in bytes.
const MAXIMUM_BYTES: usize = 4096;

/// What a URI may have unescaped in every place, of RFC 3986's reserved characters; less than RFC 7512 allows.
const ESCAPED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A key, the token that it is in, the library that reaches the token, and where the PIN is: RFC 7512's
/// `pkcs11:token=…;object=…;id=…?module-path=…&pin-source=file:…`.
///
/// ```
/// use halo_duchy_shell::pkcs11::Pkcs11Uri;
///
/// let uri = "pkcs11:token=duchy;object=tls?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/pin";
/// let uri: Pkcs11Uri = uri.parse()?;
/// assert_eq!(uri.object(), Some("tls"));
/// # Ok::<_, halo_duchy_shell::pkcs11::UriError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pkcs11Uri {
    token: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
    serial: Option<String>,
    slot: Option<u64>,
    object: Option<String>,
    id: Option<Vec<u8>>,
    #[cfg_attr(not(feature = "pkcs11"), allow(dead_code, reason = "nobody looks for the key"))]
    kind: Option<ObjectKind>,
    module: PathBuf,
    pin: PathBuf,
}

/// The class of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ObjectKind {
    /// A private key, which signs.
    PrivateKey,
    /// A secret key, which seals.
    SecretKey,
}

/// Why a URI was refused. No error has a value of the URI: one may be a PIN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// It is another URI, or none.
    #[error(
        "a key in a token is named by pkcs11:token=LABEL;object=LABEL?module-path=FILE&pin-source=file:FILE"
    )]
    Scheme,
    /// It is longer than any that means something.
    #[error("the URI has {0} bytes, more than {MAXIMUM_BYTES}")]
    Length(usize),
    /// It has the PIN itself.
    #[error(
        "pin-value would show the PIN to everybody who may list processes: write it to a file that only the duchy \
         reads, and name that by pin-source=file:FILE"
    )]
    PinValue,
    /// An attribute has no value.
    #[error("the attribute `{0}` has no value")]
    NoValue(&'static str),
    /// An attribute comes twice.
    #[error("the attribute `{0}` comes twice")]
    Duplicate(&'static str),
    /// An attribute that is not known, and might narrow down which key is meant.
    #[error("the {0}th attribute is none that is known here")]
    Unknown(usize),
    /// A value is not as the attribute wants it.
    #[error("the value of `{0}` is not {1}")]
    Malformed(&'static str, &'static str),
    /// There is a name of a library in place of a path.
    #[error(
        "module-name is searched for in places that differ from machine to machine: give module-path=FILE"
    )]
    ModuleName,
    /// Something is missing without which no key is found.
    #[error("{0} is missing: {1}")]
    Missing(&'static str, &'static str),
}

/// The attributes that are known. The names of errors are from here: a URI's own could be anything.
const KNOWN: [&str; 12] = [
    "token",
    "manufacturer",
    "model",
    "serial",
    "slot-id",
    "object",
    "id",
    "type",
    "module-path",
    "module-name",
    "pin-source",
    "pin-value",
];
/// So many of them come before the question mark.
const IN_PATH: usize = 8;

impl FromStr for Pkcs11Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        if text.len() > MAXIMUM_BYTES {
            return Err(UriError::Length(text.len()));
        }
        let scheme = text.split_at_checked("pkcs11:".len());
        let (_, rest) =
            scheme.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("pkcs11:")).ok_or(UriError::Scheme)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = path.split(';').filter(|part| !part.is_empty()).map(|part| (part, &KNOWN[..IN_PATH]));
        let query = query.split('&').filter(|part| !part.is_empty()).map(|part| (part, &KNOWN[IN_PATH..]));
        let mut seen = Vec::new();
        let mut uri = Self::default();
        for (index, (part, known)) in path.chain(query).enumerate() {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = known.iter().find(|known| **known == name).ok_or(UriError::Unknown(index + 1))?;
            if seen.contains(name) {
                return Err(UriError::Duplicate(name));
            }
            seen.push(*name);
            uri.set(name, value)?;
        }
        uri.check()
    }
}

impl Pkcs11Uri {
    fn set(&mut self, name: &'static str, value: &str) -> Result<(), UriError> {
        match name {
            "pin-value" => return Err(UriError::PinValue),
            "module-name" => return Err(UriError::ModuleName),
            _ => {}
        }
        let bytes = decode(value).ok_or(UriError::Malformed(name, "percent-encoded"))?;
        if bytes.is_empty() {
            return Err(UriError::NoValue(name));
        }
        if name == "id" {
            self.id = Some(bytes);
            return Ok(());
        }
        let text = String::from_utf8(bytes).map_err(|_| UriError::Malformed(name, "UTF-8"))?;
        match name {
            "token" => self.token = Some(text),
            "manufacturer" => self.manufacturer = Some(text),
            "model" => self.model = Some(text),
            "serial" => self.serial = Some(text),
            "slot-id" => {
                self.slot = Some(text.parse().map_err(|_| UriError::Malformed(name, "a decimal number"))?);
            }
            "object" => self.object = Some(text),
            "type" => {
                self.kind = Some(match text.as_str() {
                    "private" => ObjectKind::PrivateKey,
                    "secret-key" => ObjectKind::SecretKey,
                    _ => return Err(UriError::Malformed(name, "`private` or `secret-key`")),
                });
            }
            "module-path" => self.module = absolute(name, &text)?,
            _ => self.pin = absolute(name, text.strip_prefix("file:").unwrap_or(&text))?,
        }
        Ok(())
    }

    /// Whether it says enough.
    fn check(self) -> Result<Self, UriError> {
        if self.object.is_none() && self.id.is_none() {
            return Err(UriError::Missing("object", "the label of the key, or its `id`"));
        }
        if self.module.as_os_str().is_empty() {
            return Err(UriError::Missing("module-path", "the file of the token's PKCS #11 library"));
        }
        if self.pin.as_os_str().is_empty() {
            return Err(UriError::Missing("pin-source", "file: and the file that has the user's PIN"));
        }
        Ok(self)
    }

    /// The label of the key.
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }

    /// The identifier of the key.
    pub fn id(&self) -> Option<&[u8]> {
        self.id.as_deref()
    }

    /// The file of the library.
    pub fn module(&self) -> &std::path::Path {
        &self.module
    }

    /// The file that has the PIN.
    pub fn pin(&self) -> &std::path::Path {
        &self.pin
    }
}

#[cfg(feature = "pkcs11")]
impl Pkcs11Uri {
    /// Whether it may name an object of this class.
    pub(super) fn may_be(&self, kind: ObjectKind) -> bool {
        self.kind.is_none_or(|own| own == kind)
    }

    /// Whether the token in the slot `slot` is the one that it names.
    pub(super) fn is_of(&self, slot: u64, token: &cryptoki::slot::TokenInfo) -> bool {
        let is = |own: &Option<String>, found: &str| own.as_deref().is_none_or(|own| own == found);
        is(&self.token, token.label())
            && is(&self.manufacturer, token.manufacturer_id())
            && is(&self.model, token.model())
            && is(&self.serial, token.serial_number())
            && self.slot.is_none_or(|own| own == slot)
    }
}

impl fmt::Display for Pkcs11Uri {
    /// The URI without where the PIN is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pkcs11:")?;
        let texts = [
            ("token", &self.token),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("serial", &self.serial),
            ("object", &self.object),
        ];
        let mut separator = "";
        for (name, value) in texts.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            write!(f, "{separator}{name}={}", utf8_percent_encode(value, ESCAPED))?;
            separator = ";";
        }
        if let Some(slot) = self.slot {
            write!(f, "{separator}slot-id={slot}")?;
            separator = ";";
        }
        if let Some(id) = &self.id {
            write!(f, "{separator}id=")?;
            id.iter().try_for_each(|byte| write!(f, "%{byte:02X}"))?;
        }
        Ok(())
    }
}

/// What is percent-encoded; `None` if a percent sign does not begin two digits.
fn decode(value: &str) -> Option<Vec<u8>> {
    let mut escapes = value.split('%').skip(1);
    let sound =
        escapes.all(|rest| rest.get(..2).is_some_and(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit())));
    sound.then(|| percent_decode_str(value).collect())
}

/// An absolute path: what a relative one means depends on where a process was started.
fn absolute(name: &'static str, text: &str) -> Result<PathBuf, UriError> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(UriError::Malformed(name, "an absolute path")) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const REST: &str = "?module-path=/lib/p11.so&pin-source=file:/run/pin";

    fn parse(path: &str) -> Result<Pkcs11Uri, UriError> {
        format!("{path}{REST}").parse()
    }

    #[test]
    fn keys_are_named() {
        let uri = parse("pkcs11:token=The%20Token;object=a%3Bb;id=%01%ff;type=private;serial=42;slot-id=7");
        let uri = uri.expect("sound");
        assert_eq!(uri.token.as_deref(), Some("The Token"));
        assert_eq!(uri.object(), Some("a;b"));
        assert_eq!(uri.id(), Some(&[1, 0xff][..]));
        assert_eq!((uri.module(), uri.pin()), (Path::new("/lib/p11.so"), Path::new("/run/pin")));
        let told = "pkcs11:token=The%20Token;serial=42;object=a%3Bb;slot-id=7;id=%01%FF";
        assert_eq!(uri.to_string(), told, "without the file of the PIN");
        let again = parse(told).expect("sound");
        assert_eq!(Pkcs11Uri { kind: uri.kind, ..again }, uri);
        // A path is a path with or without its scheme.
        let bare: Pkcs11Uri =
            "PKCS11:id=%01?pin-source=/run/pin&module-path=/lib/p11.so".parse().expect("sound");
        assert_eq!(bare.pin(), Path::new("/run/pin"));
    }

    #[test]
    fn a_pin_is_never_taken_from_a_flag_nor_repeated() {
        for uri in [
            "pkcs11:object=a?module-path=/lib/p11.so&pin-value=1234",
            "pkcs11:object=a?pin-value=1234&pin-source=file:/run/pin&module-path=/lib/p11.so",
        ] {
            let refused = uri.parse::<Pkcs11Uri>().expect_err("a PIN");
            assert_eq!(refused, UriError::PinValue);
            assert!(!format!("{refused} {refused:?}").contains("1234"));
        }
        // Misspelt, it is not told either.
        let refused = "pkcs11:object=a?pin_value=1234".parse::<Pkcs11Uri>().expect_err("unknown");
        assert_eq!(refused, UriError::Unknown(2));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (path, error) in [
            ("file:/key", UriError::Scheme),
            ("pkcs11", UriError::Scheme),
            ("pkcs11:token=a", UriError::Missing("object", "the label of the key, or its `id`")),
            ("pkcs11:object=a;object=b", UriError::Duplicate("object")),
            ("pkcs11:object=", UriError::NoValue("object")),
            ("pkcs11:object", UriError::NoValue("object")),
            ("pkcs11:object=a;x-vendor=1", UriError::Unknown(2)),
            ("pkcs11:object=a;pin-source=/run/pin", UriError::Unknown(2)),
            ("pkcs11:object=%4", UriError::Malformed("object", "percent-encoded")),
            ("pkcs11:object=%zz", UriError::Malformed("object", "percent-encoded")),
            ("pkcs11:object=%ff", UriError::Malformed("object", "UTF-8")),
            ("pkcs11:object=a;type=cert", UriError::Malformed("type", "`private` or `secret-key`")),
            ("pkcs11:object=a;slot-id=-1", UriError::Malformed("slot-id", "a decimal number")),
        ] {
            assert_eq!(parse(path), Err(error), "{path}");
        }
        for (query, error) in [
            (
                "pin-source=/run/pin",
                UriError::Missing("module-path", "the file of the token's PKCS #11 library"),
            ),
            ("module-path=/a", UriError::Missing("pin-source", "file: and the file that has the user's PIN")),
            ("module-path=a.so", UriError::Malformed("module-path", "an absolute path")),
            ("module-name=softhsm2", UriError::ModuleName),
            ("module-path=/a&pin-source=%7Cpin-tool", UriError::Malformed("pin-source", "an absolute path")),
        ] {
            assert_eq!(format!("pkcs11:object=a?{query}").parse::<Pkcs11Uri>(), Err(error), "{query}");
        }
        let long = format!("pkcs11:object={}", "a".repeat(MAXIMUM_BYTES));
        assert_eq!(long.parse::<Pkcs11Uri>(), Err(UriError::Length(MAXIMUM_BYTES + 14)));
    }
}
