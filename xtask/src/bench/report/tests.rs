//! What is made of measured values: rows, tables, the picture.

use super::*;

fn summary(values: &[f64]) -> Summary {
    Summary::from(&Sample::new(values.to_vec()).unwrap())
}

fn line(group: &str, what: &str, weald: f64) -> Line {
    Line {
        group: group.to_owned(),
        what: what.to_owned(),
        unit: "ms".to_owned(),
        weald: summary(&[weald]),
        peers: vec![("ext4".to_owned(), summary(&[100.0]))],
        host: None,
        hollow: None,
        target: Target::Ratio(1.1),
        commit: "c0ffee".to_owned(),
    }
}

#[test]
fn a_row_shows_medians_spreads_ratio_and_target() {
    let mut row = line("warm", "work", 0.0);
    row.weald = summary(&[120.0, 110.0, 130.0]);
    row.host = Some((summary(&[90.0]), summary(&[100.0])));
    let cells = table::cells(&row).join("  ");
    assert_eq!(
        cells,
        "work  120 ms (110–130)  ext4: 100 ms  1.20  –  0.90 (90.0 ms : 100 ms)  ratio ≤ 1.1  **no**"
    );
}

#[test]
fn a_target_below_what_the_kernel_takes_by_itself_is_out_of_reach() {
    let with_hollow = |weald, hollow| {
        let mut row = line("churn", "work", weald);
        row.hollow = Some(summary(&[hollow]));
        (row.reached(), table::cells(&row)[4].clone())
    };
    assert_eq!(with_hollow(150.0, 120.0), (Some(Reached::OutOfReach), "1.20 (120 ms)".to_owned()));
    assert_eq!(with_hollow(150.0, 110.0).0, Some(Reached::No));
    // It cannot be the kernel's when the whole takes less.
    assert_eq!(with_hollow(150.0, 160.0).0, Some(Reached::OutOfReach));
    assert_eq!(with_hollow(150.0, 170.0).0, Some(Reached::No));
    let mut noisy = line("churn", "work", 150.0);
    noisy.hollow = Some(summary(&[105.0, 120.0, 190.0]));
    assert_eq!(noisy.reached(), Some(Reached::No), "the quickest run of few came there");
    noisy.weald = summary(&[150.0; 6]);
    noisy.peers[0].1 = summary(&[100.0; 6]);
    noisy.hollow = Some(summary(&[105.0, 112.0, 120.0, 120.0, 120.0, 120.0]));
    assert_eq!(noisy.reached(), Some(Reached::OutOfReach), "one run of many came there");
    noisy.hollow = Some(summary(&[105.0, 109.0, 120.0, 120.0, 120.0, 120.0]));
    assert_eq!(noisy.reached(), Some(Reached::No), "a quarter came there");
    // As odd as it may be.
    assert_eq!(with_hollow(105.0, 120.0).0, Some(Reached::Yes));
    assert_eq!(line("churn", "work", 150.0).reached(), Some(Reached::No));
    let mut absolute = line("create", "work", 150.0);
    absolute.target = Target::AtMost(100.0);
    absolute.hollow = Some(summary(&[120.0]));
    assert_eq!(absolute.reached(), Some(Reached::No));
}

#[test]
fn a_measured_group_takes_the_place_of_its_former_rows() {
    let mut record = Record::default();
    record.take("first".to_owned(), vec![line("warm", "old", 1.0), line("warm", "gone", 1.0)]);
    record.take("second".to_owned(), vec![line("create", "made", 1.0)]);
    record.take("third".to_owned(), vec![line("warm", "old", 2.0)]);
    let kept: Vec<(&str, f64)> =
        record.lines.iter().map(|line| (line.what.as_str(), line.weald.median)).collect();
    assert_eq!(kept, [("made", 1.0), ("old", 2.0)]);
    assert_eq!(record.conditions, "third");
}

#[test]
fn only_what_is_between_the_markers_changes() {
    let (begin, end) =
        ("<!-- measured: written by `cargo xtask bench` -->\n", "<!-- end of what is measured -->\n");
    let once = table::replaced(&format!("a\n{begin}old\n{end}b\n"), "new\n").unwrap();
    assert_eq!(once, format!("a\n{begin}\nnew\n\n{end}b\n"));
    assert!(table::replaced("without markers", "new").is_err());
}

#[test]
fn the_kept_record_is_what_the_document_shows() {
    let record = kept().unwrap();
    let document = std::fs::read_to_string(root().join(DOCUMENT)).unwrap();
    assert_eq!(table::replaced(&document, &table::text(&record)).unwrap(), document);
    let picture = std::fs::read_to_string(root().join(PICTURE)).unwrap();
    assert_eq!(picture, plot::picture(&record.lines));
}

#[test]
fn file_systems_that_could_not_be_had_leave_a_gap() {
    let mut first = line("peers", "work", 50.0);
    first.peers.push(("xfs".to_owned(), summary(&[200.0])));
    let mut second = line("peers", "more work", 50.0);
    second.peers.push(("btrfs".to_owned(), summary(&[300.0])));
    let mut record = Record::default();
    record.take(String::new(), vec![first, second]);
    let text = table::text(&record);
    assert!(text.contains("| what | Weald | ext4 | xfs | btrfs | commit |"), "{text}");
    assert!(text.contains("| work | 50.0 ms | 100 ms | 200 ms | – | c0ffee |"), "{text}");
    assert!(text.contains("| more work | 50.0 ms | 100 ms | – | 300 ms | c0ffee |"), "{text}");
}

#[test]
fn a_picture_has_a_mark_for_each_value_and_no_raw_text() {
    let mut many = line("peers", "a < b & c", 50.0);
    many.peers.push(("xfs".to_owned(), summary(&[200.0])));
    let picture = plot::picture(&[line("warm", "work", 50.0), many]);
    // Three in the first legend, two in the second, and one, two on the lines.
    assert_eq!(picture.matches("<circle").count(), 3 + 2 + 1 + 2);
    let strokes = |picture: &str| picture.matches("stroke-width=\"2\"").count();
    assert_eq!(strokes(&picture), 1);
    let mut work = line("warm", "work", 50.0);
    work.hollow = Some(summary(&[40.0]));
    assert_eq!(strokes(&plot::picture(&[work])), 2);
    assert!(picture.contains("a &lt; b &amp; c"));
}
