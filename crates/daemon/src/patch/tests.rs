//! Patches as `git diff` writes them.

use super::*;

fn file(text: &str) -> Option<Side> {
    Some(Side { mode: 0o100_644, bytes: Some(text.as_bytes().to_vec()) })
}

fn text(path: &str, old: Option<&Side>, new: Option<&Side>) -> String {
    String::from_utf8(patch(path.as_bytes(), old, new).text).unwrap()
}

#[test]
fn changes_far_apart_are_two_hunks() {
    let numbers = |change: &[u32]| -> String {
        (1..=30).map(|n| if change.contains(&n) { format!("{n}!\n") } else { format!("{n}\n") }).collect()
    };
    let (old, new) = (file(&numbers(&[])), file(&numbers(&[1, 8, 25])));
    assert_eq!(
        text("f", old.as_ref(), new.as_ref()),
        "diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1,11 +1,11 @@\n-1\n+1!\n 2\n 3\n 4\n 5\n 6\n 7\n-8\n+8!\n 9\n 10\n \
         11\n@@ -22,7 +22,7 @@\n 22\n 23\n 24\n-25\n+25!\n 26\n 27\n 28\n"
    );
    assert_eq!(patch(b"f", old.as_ref(), new.as_ref()).lines, Some(LineCounts { added: 3, removed: 3 }));
}

#[test]
fn a_missing_line_end_is_told() {
    assert_eq!(
        text("f", file("a\nb").as_ref(), file("a\nb\n").as_ref()),
        "diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n"
    );
}

#[test]
fn new_removed_and_empty_files_have_their_modes() {
    assert_eq!(
        text("n", None, file("x\n").as_ref()),
        "diff --git a/n b/n\nnew file mode 100644\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+x\n"
    );
    assert_eq!(
        text("n", file("x\ny\n").as_ref(), None),
        "diff --git a/n b/n\ndeleted file mode 100644\n--- a/n\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-x\n-y\n"
    );
    assert_eq!(text("e", None, file("").as_ref()), "diff --git a/e b/e\nnew file mode 100644\n");
}

#[test]
fn a_file_that_became_a_link_is_removed_and_added() {
    let link = Some(Side { mode: 0o120_000, bytes: Some(b"to".to_vec()) });
    assert_eq!(
        text("f", file("x\n").as_ref(), link.as_ref()),
        "diff --git a/f b/f\ndeleted file mode 100644\n--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\ndiff --git a/f \
         b/f\nnew file mode 120000\n--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+to\n\\ No newline at end of file\n"
    );
}

#[test]
fn modes_alone_and_binary_content_are_told_without_lines() {
    let program = Some(Side { mode: 0o100_755, bytes: Some(b"x\n".to_vec()) });
    assert_eq!(
        text("f", file("x\n").as_ref(), program.as_ref()),
        "diff --git a/f b/f\nold mode 100644\nnew mode 100755\n"
    );
    assert_eq!(text("f", file("x\n").as_ref(), file("x\n").as_ref()), "", "other times, nothing git keeps");
    let made = patch(b"f", file("x\n").as_ref(), file("\0").as_ref());
    assert_eq!(made.lines, None);
    assert!(made.text.ends_with(b"\nBinary files a/f and b/f differ\n"));
    let large = Some(Side { mode: 0o100_644, bytes: None });
    assert!(patch(b"f", large.as_ref(), large.as_ref()).text.ends_with(b"differ\n"));
}

#[test]
fn special_bytes_in_paths_are_quoted() {
    assert_eq!(quoted(b"a/", b"plain file"), b"a/plain file");
    assert_eq!(quoted(b"a/", "tab\t\"\\\n\u{e9}\x1b".as_bytes()), br#""a/tab\t\"\\\n\303\251\033""#);
}
