//! Every way to name a state, and every way to name none.

use super::*;
use weald_engine::{Occasion, Point};
use weald_model::WorkspaceId;

/// Saturday, 2026-11-21 10:00:00 in a zone one hour ahead of UTC.
fn now() -> Zoned {
    "2026-11-21T10:00:00+01:00[+01:00]".parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    let time: jiff::Timestamp = text.parse().unwrap();
    Timestamp { secs: time.as_second(), nanos: u32::try_from(time.subsec_nanosecond()).unwrap() }
}

fn snapshot(id: u64, note: &str, tags: &[&str]) -> Snapshot {
    Snapshot {
        id: SnapshotId(id),
        point: Point { log: WorkspaceId(1), seq: id & 0xff },
        time: Timestamp::from_secs(0),
        parent: None,
        note: note.to_owned(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        occasion: Occasion::Asked,
        seal: None,
    }
}

/// Oldest first.
fn some() -> Vec<Snapshot> {
    vec![
        snapshot(0xabcd_0000_0000_0001, "before the storm", &["v1", "good"]),
        snapshot(0xabcd_1111_0000_0002, "Storm", &["v2"]),
        snapshot(0x1234_5678_0000_0003, "", &["good"]),
        snapshot(0xfade_0000_0000_0004, "a storm in a teacup", &[]),
    ]
}

#[track_caller]
fn meaning(text: &str) -> Meaning {
    Reference::parse(text, &now()).unwrap().meaning
}

#[track_caller]
fn moment_of(text: &str) -> Timestamp {
    match meaning(text) {
        Meaning::Time { secs, nanos } => Timestamp { secs, nanos },
        other => panic!("{text} is {other:?}"),
    }
}

fn find(text: &str, snapshots: &[Snapshot]) -> Result<u64, Fault> {
    let reference = Reference::parse(text, &now()).unwrap();
    resolve(Some(&reference), "ws", snapshots).map(|found| match found {
        Found::Snapshot(snapshot) => snapshot.id.0 & 0xff,
        other => panic!("{text} is {other:?}"),
    })
}

#[track_caller]
fn refused(text: &str, snapshots: &[Snapshot]) -> Fault {
    find(text, snapshots).unwrap_err()
}

#[test]
fn numbers_count_back_from_the_last() {
    let some = some();
    for (text, id) in [("1", 4), ("2", 3), ("4", 1), ("{3}", 2), ("01", 4)] {
        assert_eq!(find(text, &some), Ok(id), "{text}");
    }
    assert_eq!(meaning("0"), Meaning::Present);
    assert_eq!(meaning("{now}"), Meaning::Present);
    assert_eq!(refused("5", &some).code, Code::UnknownState);
}

#[test]
fn an_id_or_four_digits_of_it_name_a_snapshot() {
    let some = some();
    for (text, id) in [
        ("abcd000000000001", 1),
        ("ABCD000000000001", 1),
        ("abcd1", 2),
        ("1234", 3),
        ("123456780000000", 3),
        ("FADE", 4),
    ] {
        assert_eq!(find(text, &some), Ok(id), "{text}");
    }
    assert_eq!(refused("abcd", &some).code, Code::AmbiguousState);
    assert_eq!(refused("fad", &some).code, Code::UnknownState);
    assert_eq!(refused("abcd2", &some).code, Code::UnknownState);
    assert_eq!(refused("abcd000000000002", &some).code, Code::UnknownState);
    assert_eq!(refused("abcd0000000000010", &some).code, Code::UnknownState);
}

#[test]
fn digits_that_count_back_and_begin_an_id_are_ambiguous() {
    let mut many: Vec<Snapshot> = (0..1300).map(|n| snapshot(0xffff_0000_0000_0000 | n, "", &[])).collect();
    many[7].id = SnapshotId(0x1234_0000_0000_0007);
    let fault = refused("1234", &many);
    assert_eq!(fault.code, Code::AmbiguousState);
    assert!(
        fault.message.contains("1234000000000007") && fault.message.contains("@1234"),
        "{}",
        fault.message
    );
    // Fewer digits than an id needs only count.
    assert_eq!(find("123", &many), Ok(u64::from(1300_u16 - 123) & 0xff));
    assert_eq!(find("1299", &many), Ok(1));
}

#[test]
fn a_tag_goes_before_a_note_and_a_whole_note_before_a_part() {
    let some = some();
    for (text, id) in
        [("v1", 1), ("v2", 2), ("Storm", 2), ("teacup", 4), ("BEFORE", 1), ("before the storm", 1)]
    {
        assert_eq!(find(text, &some), Ok(id), "{text}");
    }
    // Part of three notes, in any case, and of one tag in none.
    assert_eq!(refused("storm", &some).code, Code::AmbiguousState);
    assert_eq!(refused("V1", &some).code, Code::UnknownState);
}

#[test]
fn a_tag_on_two_snapshots_lists_both_newest_first() {
    let fault = refused("good", &some());
    assert_eq!(fault.code, Code::AmbiguousState);
    assert_eq!(
        fault.message,
        "`@good` may be any of 2 snapshots of `ws`:\n@2  1234567800000003  asked  [good]\n@4  abcd000000000001  \
         before the storm  [v1]  [good]"
    );
    assert_eq!(fault.hint.as_deref(), Some("use the id, like ws@1234567800000003"));
}

#[test]
fn what_is_unknown_lists_what_there_is() {
    let fault = refused("nonsense", &some());
    assert_eq!(fault.code, Code::UnknownState);
    assert!(
        fault.message.starts_with("`ws` has no snapshot `@nonsense`; it has 4:\n@1  fade"),
        "{}",
        fault.message
    );
    assert_eq!(fault.hint.as_deref(), Some("weald history ws"));
    let fault = refused("1", &[]);
    assert!(fault.message.contains("has no snapshot") && fault.hint.unwrap().contains("weald snapshot ws"));
    let many: Vec<Snapshot> = (0..100).map(|n| snapshot(n, "", &[])).collect();
    let fault = refused("nonsense", &many);
    assert!(
        fault.message.contains("the last of its 100 are") && fault.message.lines().count() == 1 + LISTED_MAX
    );
}

#[test]
fn spans_count_back_from_now() {
    for (text, time) in [
        ("{5m ago}", "2026-11-21T08:55:00Z"),
        ("{ 5m ago }", "2026-11-21T08:55:00Z"),
        ("{5m}", "2026-11-21T08:55:00Z"),
        ("{90s ago}", "2026-11-21T08:58:30Z"),
        ("{2 hours ago}", "2026-11-21T07:00:00Z"),
        ("{1h30m ago}", "2026-11-21T07:30:00Z"),
        ("{3 days ago}", "2026-11-18T09:00:00Z"),
        ("{1w ago}", "2026-11-14T09:00:00Z"),
        ("{1mo ago}", "2026-10-21T09:00:00Z"),
        ("{250ms ago}", "2026-11-21T08:59:59.75Z"),
        ("{yesterday}", "2026-11-20T09:00:00Z"),
    ] {
        assert_eq!(moment_of(text), at(time), "{text}");
    }
}

#[test]
fn bare_times_are_local_and_offsets_are_obeyed() {
    for (text, time) in [
        ("{2026-11-21T09:00}", "2026-11-21T08:00:00Z"),
        ("{2026-11-21 09:00}", "2026-11-21T08:00:00Z"),
        ("{2026-11-21T09:00:30.5}", "2026-11-21T08:00:30.5Z"),
        ("{2026-11-20}", "2026-11-19T23:00:00Z"),
        ("{2026-11-21T08:30:00Z}", "2026-11-21T08:30:00Z"),
        ("{2026-11-21T08:30Z}", "2026-11-21T08:30:00Z"),
        ("{2026-11-21T08:30+02:00}", "2026-11-21T06:30:00Z"),
        ("{09:59}", "2026-11-21T08:59:00Z"),
        // Not yet today, so it was yesterday.
        ("{10:01}", "2026-11-20T09:01:00Z"),
        ("{1969-12-31T23:59:59.5Z}", "1969-12-31T23:59:59Z"),
    ] {
        let found = moment_of(text);
        if text.contains("1969") {
            assert_eq!(found, Timestamp { secs: -1, nanos: 500_000_000 });
        } else {
            assert_eq!(found, at(time), "{text}");
        }
    }
}

#[test]
fn records_are_named_by_number() {
    assert_eq!(meaning("{op 1234}"), Meaning::Record(1234));
    assert_eq!(meaning("{op1}"), Meaning::Record(1));
}

#[test]
fn what_is_no_reference_says_why() {
    for (text, why) in [
        ("", "nothing stands behind"),
        ("{", "closing `}`"),
        ("{5m ago", "closing `}`"),
        ("{}", "no time"),
        ("{op}", "number of an operation"),
        ("{op 0}", "number of an operation"),
        ("{op -1}", "number of an operation"),
        ("{op 99999999999999999999}", "number of an operation"),
        ("{in 5m}", "no time"),
        ("{-5m}", "no time"),
        ("{soon}", "no time"),
        ("{25:00}", "no time"),
        ("{2026-13-01}", "no time"),
        ("{2026-11-21T10:01}", "still to come"),
        ("{2099-01-01}", "still to come"),
        ("{99999999999999 years ago}", "no time"),
        ("{\u{1b}[31m}", "no time"),
    ] {
        let fault = Reference::parse(text, &now()).unwrap_err();
        assert_eq!(fault.code, Code::UnknownState, "{text}");
        assert!(fault.message.contains(why), "{text}: {}", fault.message);
        assert!(!fault.message.contains('\u{1b}'));
    }
}

#[test]
fn no_word_breaks_anything() {
    let some = some();
    for text in ["é", "\u{202e}", "9999999999999999999999999", "0000", "{{}}", "@", "}", "storm\0"] {
        if let Ok(reference) = Reference::parse(text, &now()) {
            let _ = resolve(Some(&reference), "ws", &some);
        }
    }
}

#[test]
fn without_a_reference_the_present_is_meant() {
    assert_eq!(resolve(None, "ws", &some()), Ok(Found::Present));
}
