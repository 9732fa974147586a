//! Durations as upstream's flags write them: `5m`, `1h30m`, `500ms`.

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// There is nothing to read.
    #[error("a duration is a series of numbers with units, such as 1h30m")]
    Empty,
    /// A part has no number or a unit that is not known.
    #[error("`{0}` is not a number followed by one of d, h, m, s, ms, ns")]
    Part(String),
    /// The sum is beyond what can be counted.
    #[error("the duration is too long")]
    TooLong,
    /// Zero, where a duration is needed.
    #[error("the duration must not be zero")]
    Zero,
}

/// Reads concatenated `<integer><unit>` parts, the units being d, h, m, s, ms and ns. Upstream skips what it cannot
/// read, so that `abc` is zero; here it is refused.
///
/// # Errors
/// If any of `text` is not such a part, or the sum overflows.
///
/// ```
/// use std::time::Duration;
/// use halo_duchy_shell::config::parse_duration;
///
/// assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
/// assert!(parse_duration("5 minutes").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    let mut sum = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let unit_len = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let malformed = || DurationError::Part(rest.chars().take(20).collect());
        if number.is_empty() {
            return Err(malformed());
        }
        let number: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
        let seconds = |unit: u64| number.checked_mul(unit).map(Duration::from_secs);
        let part = match unit {
            "d" => seconds(24 * 60 * 60),
            "h" => seconds(60 * 60),
            "m" => seconds(60),
            "s" => seconds(1),
            "ms" => Some(Duration::from_millis(number)),
            "ns" => Some(Duration::from_nanos(number)),
            _ => return Err(malformed()),
        };
        sum = part.and_then(|part| sum.checked_add(part)).ok_or(DurationError::TooLong)?;
        rest = next;
    }
    Ok(sum)
}

/// As [`parse_duration`], for locks and times to live, which make no sense at zero.
///
/// # Errors
/// As [`parse_duration`], and if the duration is zero.
pub fn parse_positive_duration(text: &str) -> Result<Duration, DurationError> {
    let duration = parse_duration(text)?;
    if duration.is_zero() { Err(DurationError::Zero) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_strings_are_read() {
        for (text, milliseconds) in [
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("180d", 15_552_000_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("2000000ns", 2),
            ("1m1m", 120_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn leftovers_are_refused() {
        for text in
            ["abc", "5", "m", "5m ", " 5m", "1h 30m", "5x", "5mx", "-5m", "1.5h", "5m3", "５m", "5us", "5M"]
        {
            assert!(matches!(parse_duration(text), Err(DurationError::Part(_))), "{text}");
        }
        assert_eq!(parse_duration(""), Err(DurationError::Empty));
        for text in ["99999999999999999999s", "18446744073709551615d", "18446744073709551615s1s"] {
            assert_eq!(parse_duration(text), Err(DurationError::TooLong), "{text}");
        }
    }

    #[test]
    fn zero_is_refused_where_it_makes_no_sense() {
        assert_eq!(parse_positive_duration("0m0s"), Err(DurationError::Zero));
        assert_eq!(parse_positive_duration("1ns"), Ok(Duration::from_nanos(1)));
    }
}
