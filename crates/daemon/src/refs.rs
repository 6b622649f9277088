//! The words for a state of a workspace: `WS@REF`.
//!
//! Two steps, on two sides of the socket. The command reads the words ([`Reference::parse`]), since only it knows the
//! time zone of who types them. The daemon finds the state among the snapshots ([`resolve`]). Invariant: words that
//! fit two snapshots are refused with the candidates; nothing is guessed. docs/semantics.md has the rules.

use crate::protocol::{Moment, Target};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Zoned};
use serde::{Deserialize, Serialize};
use weald_engine::Snapshot;
use weald_model::{Code, Fault, SnapshotId, Timestamp};

/// Fewest digits of an id that stand for it.
const PREFIX_DIGITS_MIN: usize = 4;
/// Digits of a whole id.
const ID_DIGITS: usize = 16;
/// Candidates that a message lists.
const LISTED_MAX: usize = 8;

/// A state of a workspace, as it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spot {
    /// The workspace.
    pub target: Target,
    /// Which of its states; the present when missing.
    pub reference: Option<Reference>,
}

/// What stands behind the `@`, read but not yet found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// As it was typed, for messages.
    pub text: String,
    /// What it says.
    pub meaning: Meaning,
}

/// What a reference says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// `@0`, `@{now}`: as it is.
    Present,
    /// A number of snapshots back, a part of an id, a tag, or a note's text; the snapshots decide.
    Word(String),
    /// The state at a moment.
    Time {
        /// Seconds since 1970.
        secs: i64,
        /// Nanoseconds within the second.
        nanos: u32,
    },
    /// The state after a record of the workspace's own log.
    Record(u64),
}

/// A state that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// The present.
    Present,
    /// A snapshot's.
    Snapshot(&'a Snapshot),
    /// That of a moment.
    Time(Timestamp),
    /// That after a record of the own log.
    Record(u64),
}

impl Reference {
    /// Reads what stands behind the `@`. `now` carries the time zone in which bare times are meant.
    pub fn parse(text: &str, now: &Zoned) -> Result<Self, Fault> {
        let meaning = match text.strip_prefix('{').map(|inner| inner.strip_suffix('}')) {
            Some(Some(inner)) => braced(inner.trim(), now)?,
            Some(None) => return Err(unreadable(text, "the closing `}` is missing")),
            None if text.is_empty() => return Err(unreadable(text, "nothing stands behind the `@`")),
            None => word(text),
        };
        Ok(Self { text: text.to_owned(), meaning })
    }
}

/// Reads a moment, in the words of `@{…}`.
pub fn time_of(text: &str, now: &Zoned) -> Result<Moment, Fault> {
    match braced(text.trim(), now) {
        Ok(Meaning::Time { secs, nanos }) => Ok(Moment { secs, nanos }),
        Ok(Meaning::Present) => Ok(Moment { secs: now.timestamp().as_second(), nanos: 0 }),
        _ => Err(Fault::new(Code::BadRequest, format!("`{}` is no moment of the past", text.escape_debug()))
            .hint("write 5m ago, 10:30, 2026-11-21, 2026-11-21T10:00")),
    }
}

fn word(text: &str) -> Meaning {
    if text == "0" { Meaning::Present } else { Meaning::Word(text.to_owned()) }
}

/// Reads what stands between the braces: `op N`, a number of snapshots, or a moment.
fn braced(inner: &str, now: &Zoned) -> Result<Meaning, Fault> {
    if let Some(number) = inner.strip_prefix("op") {
        let number = number.trim();
        let record: Option<u64> = number.parse().ok().filter(|record| *record > 0);
        return record.map(Meaning::Record).ok_or_else(|| {
            unreadable(inner, "`op` is followed by the number of an operation, like `op 1234`")
        });
    }
    if !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(word(inner));
    }
    match inner {
        "now" => Ok(Meaning::Present),
        "yesterday" => {
            ago(Span::new().days(1), now).ok_or_else(|| unreadable(inner, "there is no such time"))
        }
        _ => moment(inner, now),
    }
}

fn moment(inner: &str, now: &Zoned) -> Result<Meaning, Fault> {
    let read = span(inner, now).or_else(|| instant(inner)).or_else(|| civil(inner, now));
    let meaning = read.ok_or_else(|| unreadable(inner, "that is no time"))?;
    let Meaning::Time { secs, nanos } = meaning else { return Ok(meaning) };
    let asked = (secs, i64::from(nanos));
    if asked > (now.timestamp().as_second(), i64::from(now.timestamp().subsec_nanosecond())) {
        return Err(unreadable(inner, "that is still to come"));
    }
    Ok(meaning)
}

/// `5m ago`, `2 hours ago`, `1h30m ago`; the `ago` may be left out, since nothing is kept of the future.
fn span(inner: &str, now: &Zoned) -> Option<Meaning> {
    let bare = inner.strip_suffix("ago").unwrap_or(inner).trim_end();
    let span: Span = bare.parse().ok()?;
    // "P1D" and the like are spans to a machine, not what anybody types; a date is none.
    let positive = !span.is_negative() && bare.starts_with(|c: char| c.is_ascii_digit());
    if positive { ago(span, now) } else { None }
}

fn ago(span: Span, now: &Zoned) -> Option<Meaning> {
    // Days are as long as the calendar has them where the caller is.
    span.total((jiff::Unit::Second, SpanRelativeTo::from(now))).ok()?;
    Some(time(now.checked_sub(span).ok()?.timestamp()))
}

/// A moment with its offset: `2026-11-21T10:00:00Z`, `2026-11-21T10:00+01:00`.
fn instant(inner: &str) -> Option<Meaning> {
    inner.parse::<jiff::Timestamp>().ok().map(time)
}

/// Local times: `2026-11-21T10:00`, `2026-11-21 10:00:30`, `2026-11-21`, `10:00` (the last one there was).
fn civil(inner: &str, now: &Zoned) -> Option<Meaning> {
    let zone = now.time_zone();
    if inner.contains(':') && !inner.contains('-') {
        let clock: Time = inner.parse().ok()?;
        let today = now.date().to_datetime(clock);
        let at = local(today, zone)?;
        return Some(time(if at > now.timestamp() { local(today.yesterday().ok()?, zone)? } else { at }));
    }
    if inner.contains(':') {
        return local(inner.parse().ok()?, zone).map(time);
    }
    let date: Date = inner.parse().ok()?;
    local(date.to_datetime(Time::midnight()), zone).map(time)
}

fn local(at: DateTime, zone: &TimeZone) -> Option<jiff::Timestamp> {
    at.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp())
}

fn time(at: jiff::Timestamp) -> Meaning {
    // jiff counts nanoseconds of times before 1970 downwards; `Timestamp` counts them upwards.
    let nanos = at.subsec_nanosecond();
    let borrow = i64::from(nanos < 0);
    let nanos = if nanos < 0 { nanos + 1_000_000_000 } else { nanos };
    Meaning::Time { secs: at.as_second() - borrow, nanos: u32::try_from(nanos).unwrap_or(0) }
}

fn unreadable(text: &str, why: &str) -> Fault {
    Fault::new(Code::UnknownState, format!("`{}` names no state: {why}", text.escape_debug()))
        .hint("use @N, a snapshot's id, tag or note, @{5m ago}, @{10:30}, @{2026-11-21T10:00} or @{op 1234}")
}

/// Finds the state among the snapshots of a workspace, which come oldest first. `name` is the workspace's.
pub(crate) fn resolve<'a>(
    reference: Option<&Reference>,
    name: &str,
    snapshots: &'a [Snapshot],
) -> Result<Found<'a>, Fault> {
    let Some(reference) = reference else { return Ok(Found::Present) };
    match &reference.meaning {
        Meaning::Present => Ok(Found::Present),
        Meaning::Time { secs, nanos } => Ok(Found::Time(Timestamp { secs: *secs, nanos: *nanos })),
        Meaning::Record(record) => Ok(Found::Record(*record)),
        Meaning::Word(word) => {
            let fits = candidates(word, snapshots);
            match fits.as_slice() {
                [one] => Ok(Found::Snapshot(&snapshots[*one])),
                [] => Err(unknown(word, name, snapshots)),
                _ => Err(ambiguous(word, name, snapshots, &fits)),
            }
        }
    }
}

/// The snapshots a word may mean, as places in the list: those of the strictest reading that fits any.
fn candidates(word: &str, snapshots: &[Snapshot]) -> Vec<usize> {
    let all = || 0..snapshots.len();
    let digits = word.to_ascii_lowercase();
    if let Some(id) = SnapshotId::from_hex(&digits)
        && let Some(at) = all().find(|at| snapshots[*at].id == id)
    {
        return vec![at];
    }
    let back = nth_back(word, snapshots.len());
    if word.len() < PREFIX_DIGITS_MIN && back.is_some() {
        return back.into_iter().collect();
    }
    let is_prefix = (PREFIX_DIGITS_MIN..ID_DIGITS).contains(&digits.len());
    let named = all().filter(|at| {
        let snapshot = &snapshots[*at];
        Some(*at) == back
            || is_prefix && snapshot.id.to_string().starts_with(&digits)
            || snapshot.tags.iter().any(|tag| tag == word)
    });
    let named: Vec<usize> = named.collect();
    if !named.is_empty() {
        return named;
    }
    let noted: Vec<usize> = all().filter(|at| snapshots[*at].note == word).collect();
    if !noted.is_empty() {
        return noted;
    }
    let part = word.to_lowercase();
    all().filter(|at| snapshots[*at].note.to_lowercase().contains(&part)).collect()
}

/// `1` is the last one.
fn nth_back(word: &str, count: usize) -> Option<usize> {
    if !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let back: usize = word.parse().ok().filter(|back| *back > 0)?;
    count.checked_sub(back)
}

fn unknown(word: &str, name: &str, snapshots: &[Snapshot]) -> Fault {
    let word = word.escape_debug();
    let fault = |message: String| Fault::new(Code::UnknownState, message);
    if snapshots.is_empty() {
        return fault(format!("`{name}` has no snapshot, so `@{word}` is none")).hint(format!(
            "take one with: weald snapshot {name}; or name a moment, like '{name}@{{5m ago}}'"
        ));
    }
    let newest: Vec<usize> = (0..snapshots.len()).rev().take(LISTED_MAX).collect();
    let count = snapshots.len();
    let intro = match count {
        1 => "it has one".to_owned(),
        _ if count > LISTED_MAX => format!("the last of its {count} are"),
        _ => format!("it has {count}"),
    };
    fault(format!("`{name}` has no snapshot `@{word}`; {intro}:{}", listed(snapshots, &newest)))
        .hint(format!("weald history {name}"))
}

fn ambiguous(word: &str, name: &str, snapshots: &[Snapshot], fits: &[usize]) -> Fault {
    let newest: Vec<usize> = fits.iter().rev().copied().take(LISTED_MAX).collect();
    let more = match fits.len().saturating_sub(LISTED_MAX) {
        0 => String::new(),
        more => format!("\nand {more} more"),
    };
    let message = format!(
        "`@{}` may be any of {} snapshots of `{name}`:{}{more}",
        word.escape_debug(),
        fits.len(),
        listed(snapshots, &newest)
    );
    let one = snapshots[newest[0]].id;
    Fault::new(Code::AmbiguousState, message).hint(format!("use the id, like {name}@{one}"))
}

/// A line for each: how far back, id, note, tags.
fn listed(snapshots: &[Snapshot], places: &[usize]) -> String {
    let line = |at: &usize| {
        let snapshot = &snapshots[*at];
        let mut line = format!("\n@{}  {}", snapshots.len() - at, snapshot.id);
        let note = words_for(snapshot);
        if !note.is_empty() {
            line.push_str(&format!("  {}", note.escape_debug()));
        }
        for tag in &snapshot.tags {
            line.push_str(&format!("  [{}]", tag.escape_debug()));
        }
        line
    };
    places.iter().map(line).collect()
}

/// Its note, else why it was taken.
fn words_for(snapshot: &Snapshot) -> String {
    if snapshot.note.is_empty() { snapshot.occasion.as_str().to_owned() } else { snapshot.note.clone() }
}

/// Reads words in every place where they may stand for a state.
#[cfg(feature = "fuzzing")]
pub fn fuzz(text: &str) {
    let now = jiff::Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC).saturating_add(Span::new().days(20_000));
    if let Ok(Reference { meaning: Meaning::Time { secs, .. }, .. }) = Reference::parse(text, &now) {
        assert!(secs <= now.timestamp().as_second(), "nothing is kept of the future");
    }
    let _ = time_of(text, &now);
}

#[cfg(test)]
mod tests;
