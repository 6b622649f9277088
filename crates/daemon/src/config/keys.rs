//! The settings there are: name, bounds, default, meaning.
//!
//! Invariant: a default is within its bounds. Names are `table.field` of the file and never change their meaning.

use super::words;
use toml_edit::Item;
use weald_model::{Code, Fault};

/// What a setting may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// true or false.
    Switch,
    /// A number up to this one.
    Count(u64),
    /// A span of time within these seconds, as text like `10m`.
    Span(u64, u64),
    /// A size in bytes, as text like `10GB`.
    Size,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Switch(bool),
    Count(u64),
    Span(u64),
    Size(u64),
    Choice(&'static str),
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: Value,
    pub(crate) about: &'static str,
}

const MINUTE: u64 = 60;
const DAY: u64 = 86_400;
const YEAR: u64 = 366 * DAY;

/// Bytes that are to stay free: a build or two, so that work goes on while somebody makes room.
pub(crate) const FREE_BYTES_MIN: u64 = 2_000_000_000;

/// All settings, in the order they are shown.
pub(crate) const KEYS: &[Key] = &[
    Key {
        name: "snapshots.automatic",
        kind: Kind::Switch,
        default: Value::Switch(true),
        about: "take snapshots of workspaces that change",
    },
    Key {
        name: "snapshots.every",
        kind: Kind::Span(1, YEAR),
        default: Value::Span(10 * MINUTE),
        about: "while a workspace changes, one so often",
    },
    Key {
        name: "snapshots.quiet",
        kind: Kind::Span(1, YEAR),
        default: Value::Span(MINUTE),
        about: "and one when nothing has changed for so long",
    },
    Key {
        name: "snapshots.keep_last",
        kind: Kind::Count(1_000_000),
        default: Value::Count(20),
        about: "of the automatic ones keep the newest so many",
    },
    Key {
        name: "snapshots.keep_hourly",
        kind: Kind::Count(1_000_000),
        default: Value::Count(48),
        about: "and the newest of each hour, for so many hours",
    },
    Key {
        name: "snapshots.keep_daily",
        kind: Kind::Count(1_000_000),
        default: Value::Count(60),
        about: "and the newest of each day, for so many days; tagged and asked-for ones always stay",
    },
    Key {
        name: "snapshots.seal",
        kind: Kind::Switch,
        default: Value::Switch(true),
        about: "seal snapshots in the background: one hash for all they show, equal content kept once",
    },
    Key {
        name: "gc.background",
        kind: Kind::Switch,
        default: Value::Switch(true),
        about: "give back by itself what no state that stays needs, and thin automatic snapshots",
    },
    Key {
        name: "gc.every",
        kind: Kind::Span(1, YEAR),
        default: Value::Span(60 * MINUTE),
        about: "while something changes, look for it so often",
    },
    Key {
        name: "fetch.prefetch",
        kind: Kind::Switch,
        default: Value::Switch(true),
        about: "fetch the content of workspaces made from URLs before it is read, in the background",
    },
    Key {
        name: "fetch.prefetch_max",
        kind: Kind::Size,
        default: Value::Size(20_000_000_000),
        about: "of each repository so much at most; the rest comes when it is read",
    },
    Key {
        name: "fetch.pack",
        kind: Kind::Switch,
        default: Value::Switch(true),
        about: "copy content of repositories into packs in the order of paths, in the background: reads cost less",
    },
    Key {
        name: "fetch.pack_min",
        kind: Kind::Count(1 << 24),
        default: Value::Count(1_000),
        about: "of trees with so many files at least",
    },
    Key {
        name: "fetch.pack_max",
        kind: Kind::Size,
        default: Value::Size(4_000_000_000),
        about: "and not beyond so much disk for all of them",
    },
    Key {
        name: "git.ipc",
        kind: Kind::Switch,
        default: Value::Switch(true),
        about: "new workspaces: git asks over its own IPC what changed where it can (git 2.55), not by a program",
    },
    Key {
        name: "mount.transport",
        kind: Kind::Choice(&["auto", "dev", "io_uring"]),
        default: Value::Choice("auto"),
        about: "how busy mounts talk to the kernel, from the daemon's next start: auto is dev (`/dev/fuse`)",
    },
    Key {
        name: "mount.birth_times",
        kind: Kind::Switch,
        default: Value::Switch(false),
        about: "tell when files were made (statx), from the next mount: costs a request for each file looked at",
    },
    Key {
        name: "disk.free_min",
        kind: Kind::Size,
        default: Value::Size(FREE_BYTES_MIN),
        about: "with less free on the disk, what can be made again and nobody uses goes by itself",
    },
    Key {
        name: "history.window",
        kind: Kind::Span(0, 100 * YEAR),
        default: Value::Span(7 * DAY),
        about: "every moment of this last time can be had back",
    },
    Key {
        name: "history.bytes",
        kind: Kind::Size,
        default: Value::Size(20_000_000_000),
        about: "unless a workspace wrote more content than this in it",
    },
];

/// The setting of a name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

impl Key {
    /// Table and field in the file.
    pub(crate) fn parts(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').expect("a name has one dot")
    }

    /// Reads a value as people type it.
    pub(crate) fn parse(&self, text: &str) -> Result<Value, Fault> {
        let value = match self.kind {
            Kind::Switch => match text {
                "true" | "on" | "yes" => Ok(Value::Switch(true)),
                "false" | "off" | "no" => Ok(Value::Switch(false)),
                _ => Err("it is true or false".to_owned()),
            },
            Kind::Count(_) => text.parse().map(Value::Count).map_err(|_| "it is a number".to_owned()),
            Kind::Span(..) => words::span(text).map(Value::Span),
            Kind::Size => words::size(text).map(Value::Size),
            Kind::Choice(words) => choice(words, text),
        };
        value.and_then(|value| self.check(value)).map_err(|why| {
            let text = text.escape_debug();
            Fault::new(Code::BadRequest, format!("`{text}` is no value for {}: {why}", self.name)).hint(
                format!(
                    "weald config {} {}",
                    self.name,
                    self.default.to_json().to_string().trim_matches('"')
                ),
            )
        })
    }

    /// Reads a value from the file.
    pub(crate) fn read(&self, item: &Item) -> Result<Value, String> {
        let value = match self.kind {
            Kind::Switch => Value::Switch(item.as_bool().ok_or("it is true or false")?),
            Kind::Count(_) => {
                let number = item.as_integer().and_then(|number| u64::try_from(number).ok());
                Value::Count(number.ok_or("it is a number")?)
            }
            Kind::Span(..) => Value::Span(words::span(item.as_str().ok_or("it is text like \"10m\"")?)?),
            Kind::Size => Value::Size(words::size(item.as_str().ok_or("it is text like \"10GB\"")?)?),
            Kind::Choice(words) => choice(words, item.as_str().unwrap_or_default())?,
        };
        self.check(value)
    }

    fn check(&self, value: Value) -> Result<Value, String> {
        match self.kind {
            Kind::Count(most) if value.number() > most => Err(format!("it is at most {most}")),
            Kind::Span(least, most) if !(least..=most).contains(&value.number()) => {
                Err(format!("it is between {} and {}", words::span_text(least), words::span_text(most)))
            }
            _ => Ok(value),
        }
    }
}

impl Value {
    /// True for a switch that is on.
    pub(crate) fn is_on(self) -> bool {
        self == Value::Switch(true)
    }

    /// The word of a choice.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Value::Choice(word) => word,
            _ => "",
        }
    }

    /// The number, the seconds or the bytes.
    pub(crate) fn number(self) -> u64 {
        match self {
            Value::Switch(on) => u64::from(on),
            Value::Choice(_) => 0,
            Value::Count(number) | Value::Span(number) | Value::Size(number) => number,
        }
    }

    /// As in the file.
    pub(crate) fn to_toml(self) -> toml_edit::Value {
        match self {
            Value::Switch(on) => on.into(),
            Value::Count(number) => i64::try_from(number).unwrap_or(i64::MAX).into(),
            Value::Span(seconds) => words::span_text(seconds).into(),
            Value::Size(bytes) => words::size_text(bytes).into(),
            Value::Choice(word) => word.into(),
        }
    }

    /// As in `--json`, and after `weald config KEY`.
    pub(crate) fn to_json(self) -> serde_json::Value {
        match self {
            Value::Switch(on) => on.into(),
            Value::Count(number) => number.into(),
            Value::Span(seconds) => words::span_text(seconds).into(),
            Value::Size(bytes) => words::size_text(bytes).into(),
            Value::Choice(word) => word.into(),
        }
    }
}

/// The word that was meant.
fn choice(words: &[&'static str], text: &str) -> Result<Value, String> {
    let found = words.iter().find(|word| **word == text);
    found.map(|word| Value::Choice(word)).ok_or_else(|| format!("it is one of {}", words.join(", ")))
}
