//! Text: of git, over the control socket, of settings, and what people type.

use weald_daemon::fuzzing;
use weald_git::convert::Pointer;
use weald_git::url;
use weald_model::WorkspaceName;
use weald_store::manifest::names::why_hostile;

/// Pointers of Git LFS, `.git` files, names of branches, progress.
pub(super) fn git(bytes: &[u8]) {
    if let Some(pointer) = Pointer::parse(bytes) {
        let _ = pointer.names(bytes);
    }
    if let Some(path) = weald_git::named_by_git_file(bytes) {
        assert!(!path.as_os_str().is_empty());
    }
    let text = String::from_utf8_lossy(bytes);
    weald_git::fuzzing::said(&text);
    if weald_git::resolve::check_branch(&text).is_ok() {
        assert!(
            !text.starts_with('-') && !text.contains("..") && !text.contains(|c: char| c.is_ascii_control())
        );
    }
    let _ = why_hostile(bytes, weald_model::TreeKind::Symlink);
    if let Ok(name) = WorkspaceName::new(&text) {
        assert!(!name.as_str().contains('/') && !name.as_str().starts_with('-'));
    }
}

pub(super) fn git_seeds() -> Vec<Vec<u8>> {
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 5\n", "ab".repeat(32));
    let texts = [
        pointer.as_str(),
        "gitdir: ../x/.git\n",
        "remote: Counting objects: 100% (3/3), done.",
        "feature/x",
        "a\0b\0",
        "..",
        "a.lock",
        "-x",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Packets that git sends.
pub(super) fn packets(bytes: &[u8]) {
    fuzzing::packets(bytes);
}

pub(super) fn packet_seeds() -> Vec<Vec<u8>> {
    let want = format!("0032want {}\n", "ab".repeat(20));
    let fetch = format!("0012command=fetch\n00010009done\n{want}0000");
    [fetch.as_str(), "0014command=ls-refs\n0000", "0000", "0003", "ffff", "00"]
        .map(|text| text.as_bytes().to_vec())
        .into()
}

/// Lines of JSON.
pub(super) fn control(bytes: &[u8]) {
    fuzzing::control(bytes);
}

pub(super) fn control_seeds() -> Vec<Vec<u8>> {
    let envelope = |request: &str| format!("{{\"version\":1,\"request\":{request}}}\n").into_bytes();
    vec![
        envelope("\"stop\""),
        envelope("\"list\""),
        envelope(r#"{"create":{"source":"/a","name":null,"rev":"main","branch":null,"depth":null,"at":null,"mount_root":"/m","allow_other":false}}"#),
        envelope(r#"{"info":{"name":"a","directory":"/x","device":7}}"#),
        b"\"hearing\"\n{\"progress\":{\"title\":\"t\",\"done\":1,\"total\":2}}\n{\"done\":{\"value\":[1,{}]}}\n".to_vec(),
        b"{\"fault\":{\"fault\":{\"code\":\"W0001\",\"message\":\"m\",\"hint\":null}}}\n".to_vec(),
        br#"{"mounts":[{"workspace":"0000000000000001","path":"/m","mount_id":3,"device":[0,7],"restoring":["7",9]}]}"#.to_vec(),
    ]
}

/// The file of settings.
pub(super) fn config(bytes: &[u8]) {
    fuzzing::config(&String::from_utf8_lossy(bytes));
}

pub(super) fn config_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "[snapshots]\nautomatic = false # why\nevery = \"5m\"\nkeep_last = 3\n",
        "snapshots.seal = true\nhistory = { window = \"7d\", bytes = \"20GB\" }\n",
        "[disk]\nfree_min = \"1GiB\"\n[gc]\nbackground = true\nevery = \"1h\"\n[fetch]\nprefetch = false\n",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// `WS@REF`, moments, anchors, tokens.
pub(super) fn reference(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    weald_daemon::refs::fuzz(&text);
    fuzzing::tokens(&text);
}

pub(super) fn reference_seeds() -> Vec<Vec<u8>> {
    let anchor = format!("0000000000000001:12:{}", "ab".repeat(32));
    let texts = [
        "{5m ago}",
        "{10:30}",
        "{2026-11-21T10:00}",
        "{yesterday}",
        "{op 12}",
        "1",
        "9f3c",
        "{2 hours ago}",
        "{2026-11-21T10:00Z}",
        "weald:base",
        "weald:0000000000000001:7",
        anchor.as_str(),
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The table of converted files.
pub(super) fn conversions(bytes: &[u8]) {
    fuzzing::conversions(bytes);
}

pub(super) fn conversions_seeds() -> Vec<Vec<u8>> {
    let (one, other, pack) = ("01".repeat(20), "02".repeat(20), "03".repeat(32));
    let text = format!(
        r#"{{"version":1,"tree":"{one}","root":"{other}","packs":["{pack}"],"lfs_config":null,"dirs":[{{"id":"{other}","of":"{one}","names":[["a","{one}"]]}}],"files":[{{"id":"{one}","of":"{other}","size":7,"pack":[0,9],"lfs":null}}]}}"#
    );
    vec![text.into_bytes(), br#"{"version":1,"tree":"","root":"","packs":[],"dirs":[],"files":[]}"#.to_vec()]
}

/// URLs: what is usable names no program, and no secret is left once it is masked.
pub(super) fn url(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = (url::is_url(&text), url::mask(&text));
    if url::check_url(&text).is_ok() {
        assert!(!text.starts_with('-') && !text.contains('\n') && !text.starts_with("ext::"));
    }
    let word: String = text.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    let secret = format!("SECRET{word}");
    for around in [
        format!("https://{secret}@host/{word}"),
        format!("https://user{word}:{secret}@host:8080/p"),
        format!("fatal: '{word} http://u:{secret}@h/p?x={secret}' {word}"),
        format!("ssh://{word}x:{secret}@host/p"),
    ] {
        let masked = url::mask(&around);
        assert!(!masked.contains(&secret), "{around} became {masked}");
    }
}

pub(super) fn url_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "https://u:tok@h/p?x=y&z",
        "git@h:p/q",
        "ext::sh -c id",
        "ssh://-oProxyCommand=id/x",
        "file:///x",
        "http://[::1]/p",
        "x 'https://tok@h/p/': not found",
        "../a:b",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
