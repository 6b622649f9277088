//! Numbers and times as people write them.

/// `3 days ago`, `in 2 hours`, `just now`. `seconds` is how long ago it was.
pub(crate) fn ago(seconds: i64) -> String {
    match seconds {
        -59..=9 => "just now".to_owned(),
        i64::MIN..=-60 => format!("in {}", span(seconds.unsigned_abs())),
        _ => format!("{} ago", span(seconds.unsigned_abs())),
    }
}

/// The largest unit of a span of time, rounded down.
fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 7] = [
        (31_557_600, "year"),
        (2_629_800, "month"),
        (604_800, "week"),
        (86_400, "day"),
        (3_600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let (unit, word) = UNITS.into_iter().find(|(unit, _)| seconds >= *unit).unwrap_or((1, "second"));
    count(seconds / unit, word)
}

/// `1 commit`, `12 commits`.
pub(crate) fn count(number: u64, word: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {word}{plural}", grouped(number))
}

/// `12,345`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `27.8 MB`: decimal units, three digits.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut at = 0;
    // 999.5 would be rounded to 1000 of the smaller unit.
    while value >= 999.5 && at + 1 < UNITS.len() {
        value /= 1000.0;
        at += 1;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {}", UNITS[at])
}

/// Reads `90s`, `30m`, `12h`, `7d`, `2w` as seconds.
pub(crate) fn parse_age(text: &str) -> Result<u64, String> {
    let bad = || "an age is a number and one of s, m, h, d, w, like 7d".to_owned();
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        Some('w') => 604_800,
        _ => return Err(bad()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| bad())?;
    number.checked_mul(unit).ok_or_else(bad)
}

/// A path with the home directory written as `~`.
pub(crate) fn tilde(path: &str) -> String {
    let home = std::env::var("HOME").unwrap_or_default();
    match path.strip_prefix(home.trim_end_matches('/')) {
        Some(rest) if home.len() > 1 && rest.starts_with('/') => format!("~{rest}"),
        _ => path.to_owned(),
    }
}

/// Text from outside, made safe for a terminal: control characters become `�`.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_use_the_largest_unit() {
        let day = 86_400;
        for (seconds, text) in [
            (0, "just now"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (3 * day, "3 days ago"),
            (13 * day, "1 week ago"),
            (400 * day, "1 year ago"),
            (-7200, "in 2 hours"),
            (i64::MIN, "in 292271023045 years"),
        ] {
            assert_eq!(ago(seconds).replace(',', ""), text);
        }
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (27_800_000, "27.8 MB"),
            (555_700_000, "556 MB"),
            (999_999, "1.00 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            ["0", "999", "1,000", "1,234,567"],
            [0, 999, 1000, 1_234_567].map(grouped).each_ref().map(|s| s.as_str())
        );
        assert_eq!((count(1, "commit"), count(2, "commit")), ("1 commit".to_owned(), "2 commits".to_owned()));
    }

    #[test]
    fn ages_are_read_with_their_unit() {
        assert_eq!(parse_age("7d"), Ok(604_800));
        assert_eq!(parse_age("0s"), Ok(0));
        for bad in ["", "7", "d", "-1d", "7y", "99999999999999999999w", "é"] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(harmless("a\x1b[31mb\u{9b}"), "a\u{fffd}[31mb\u{fffd}");
    }
}
