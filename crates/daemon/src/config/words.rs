//! Spans of time and sizes as people write them, and back without loss.

const SPANS: [(&str, u64); 5] = [("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads `90s`, `30m`, `12h`, `7d`, `2w` as seconds.
pub(crate) fn span(text: &str) -> Result<u64, String> {
    scaled(text, &SPANS).ok_or_else(|| "it is a number and one of s, m, h, d, w, like 7d".to_owned())
}

/// Reads `512B`, `10MB`, `4GiB` as bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    scaled(text, &SIZES).ok_or_else(|| "it is a number and a unit, like 20GB or 4GiB".to_owned())
}

/// The shortest text that reads as these seconds.
pub(crate) fn span_text(seconds: u64) -> String {
    // Days: a week is seldom meant.
    unscaled(seconds, &SPANS[1..])
}

/// The shortest text that reads as these bytes.
pub(crate) fn size_text(bytes: u64) -> String {
    unscaled(bytes, &SIZES)
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

fn unscaled(number: u64, units: &[(&str, u64)]) -> String {
    let fits = units.iter().filter(|(_, scale)| number != 0 && number.is_multiple_of(*scale));
    let (unit, scale) = fits.min_by_key(|(_, scale)| number / scale).unwrap_or(&units[units.len() - 1]);
    format!("{}{unit}", number / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for seconds in [0, 1, 59, 60, 90, 3600, 86_400, 604_800, 604_801, u64::MAX] {
            assert_eq!(span(&span_text(seconds)), Ok(seconds));
            assert_eq!(size(&size_text(seconds)), Ok(seconds));
        }
        assert_eq!((span_text(600), size_text(20_000_000_000)), ("10m".to_owned(), "20GB".to_owned()));
        assert_eq!(size("4GiB"), Ok(4 << 30));
        assert_eq!(size("10 MB"), Ok(10_000_000));
    }

    #[test]
    fn what_is_no_span_or_size_is_refused() {
        for bad in ["", "7", "d", "-1d", "7y", "99999999999999999999w", "é", "1.5h", " 7d"] {
            assert!(span(bad).is_err(), "{bad}");
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
