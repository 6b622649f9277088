//! Names that are refused, and names that only look as if.

use super::*;

fn refused(name: &[u8]) -> bool {
    why_hostile(name, TreeKind::File).is_some()
}

#[test]
fn names_no_file_can_have_are_refused() {
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'a'; 256]] {
        assert!(refused(name), "{name:?}");
    }
    assert!(!refused(&[b'a'; 255]));
}

#[test]
fn disguises_of_dot_git_are_refused() {
    for name in [
        ".git",
        ".GIT",
        ".Git",
        ".git.",
        ".git ",
        ".git . .",
        ".git:x",
        ".GIT::$INDEX_ALLOCATION",
        "git~1",
        "GIT~1",
        "git~1 .",
        "git~1:a",
        ".g\u{200c}it",
        "\u{feff}.git",
        ".git\u{206f}",
        ".\u{202a}GIT",
        "a\\.git",
        "a\\git~1",
        ".git\\x",
        "a\\.git\\b",
    ] {
        assert!(refused(name.as_bytes()), "{name:?}");
    }
    assert!(refused(b".git\xff"), "git takes bad UTF-8 for the end");
}

#[test]
fn names_that_only_resemble_dot_git_are_fine() {
    for name in [
        ".gitignore",
        ".gitmodules",
        ".gitattributes",
        "git",
        "git~2",
        "git~10",
        ".git2",
        ".gi",
        "..git",
        " .git",
        "x.git",
        ".git-",
        "...",
        "git~1x",
        ".g\u{fc}t",
        "a\\b",
        "\u{200c}",
        "~",
    ] {
        assert!(!refused(name.as_bytes()), "{name:?}");
    }
    assert!(!refused(b"\xff\xfe"));
}

#[test]
fn dot_gitmodules_must_not_be_a_symbolic_link() {
    for name in [
        ".gitmodules",
        ".GITMODULES",
        ".gitmodules .",
        ".gitmodules:x",
        "gitmod~1",
        "GITMOD~4",
        "gi7eba~1",
        "gi7eb~12",
        "gi~12345",
        "~1234567",
        ".git\u{200d}modules",
        "x\\.gitmodules",
    ] {
        assert!(why_hostile(name.as_bytes(), TreeKind::Symlink).is_some(), "{name:?}");
        assert!(!refused(name.as_bytes()), "{name:?}");
    }
    for name in ["gitmod~5", "gi7eba~0", "gi7ebx~1", "gitmod~", ".gitmodule", "gi7eba~1x"] {
        assert!(why_hostile(name.as_bytes(), TreeKind::Symlink).is_none(), "{name:?}");
    }
}
