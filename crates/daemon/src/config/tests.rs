//! Reading and changing the file.

use super::*;
use serde_json::json;

fn file(text: &str) -> (tempfile::TempDir, ConfigFile) {
    let dir = tempfile::tempdir().unwrap();
    if !text.is_empty() {
        std::fs::write(dir.path().join(FILE_NAME), text).unwrap();
    }
    let file = ConfigFile::new(dir.path());
    (dir, file)
}

#[test]
fn without_a_file_all_is_default_and_within_its_bounds() {
    let (_dir, file) = file("");
    let config = file.read().unwrap();
    assert!(config.automatic);
    assert_eq!((config.every_secs, config.window_secs), (600, 604_800));
    for setting in file.show(None).unwrap() {
        assert_eq!(setting.value, setting.default);
        assert!(!setting.is_set);
        let text = setting.value.as_str().map_or_else(|| setting.value.to_string(), str::to_owned);
        keys::find(&setting.key).unwrap().parse(&text).unwrap();
    }
}

#[test]
fn a_change_keeps_comments_and_other_settings() {
    let text = "# mine\n[snapshots]\nevery = \"5m\" # often\nkeep_last = 3\n";
    let (dir, file) = file(text);
    let setting = file.set("snapshots.every", Some("90s")).unwrap();
    assert_eq!((setting.value, setting.is_set), (json!("90s"), true));
    file.set("history.window", Some("14d")).unwrap();
    let now = std::fs::read_to_string(dir.path().join(FILE_NAME)).unwrap();
    assert_eq!(
        now,
        "# mine\n[snapshots]\nevery = \"90s\" # often\nkeep_last = 3\n\n[history]\nwindow = \"14d\"\n"
    );
    assert_eq!(file.read().unwrap().every_secs, 90);
    let unset = file.set("snapshots.every", None).unwrap();
    assert_eq!((unset.value, unset.is_set), (json!("10m"), false));
    assert_eq!(file.read().unwrap().keep.last, 3);
}

#[test]
fn an_unknown_key_refuses_the_file_and_names_the_nearest() {
    for text in ["[snapshots]\nkeep_lst = 3\n", "every = 1\n", "[snapshot]\nevery = \"1m\"\n"] {
        let (_dir, file) = file(text);
        let fault = file.read().unwrap_err();
        assert_eq!(fault.code, Code::UnknownSetting, "{text}");
    }
    let (_dir, file) = file("");
    let fault = file.set("snapshot.keep_lst", Some("1")).unwrap_err();
    assert!(fault.hint.unwrap().contains("`snapshots.keep_last`"));
}

#[test]
fn a_value_out_of_bounds_is_refused_and_changes_nothing() {
    for (key, value) in [
        ("snapshots.automatic", "maybe"),
        ("snapshots.every", "0s"),
        ("snapshots.keep_last", "-1"),
        ("snapshots.keep_last", "99999999"),
        ("history.window", "7"),
        ("history.bytes", "lots"),
    ] {
        let (dir, file) = file("");
        assert_eq!(file.set(key, Some(value)).unwrap_err().code, Code::BadRequest, "{key} {value}");
        assert!(!dir.path().join(FILE_NAME).exists());
    }
    for text in [
        "[snapshots]\nevery = 5\n",
        "[history]\nwindow = \"x\"\n",
        "nonsense",
        "[snapshots]\nkeep_last = -1\n",
    ] {
        let (_dir, file) = file(text);
        assert_eq!(file.read().unwrap_err().code, Code::BadConfig, "{text}");
        assert_eq!(file.set("snapshots.quiet", Some("5m")).unwrap_err().code, Code::BadConfig, "{text}");
    }
}
