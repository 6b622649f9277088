//! The settings of a home: one TOML file, `config.toml`, read anew each time it is needed.
//!
//! Invariants: a setting that is not in the file has its default; an unknown key or a value out of bounds refuses the
//! whole file, so that a misspelt limit never means "no limit"; a change keeps comments and order, and the file is
//! replaced whole. Read next: [`KEYS`], the settings there are; `keeper` and `gc`, which go by them.

use crate::report::Setting;
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, TableLike};
use weald_model::{Code, Fault};
use weald_store::disk::HostDisk;
use weald_store::publish::publish;

mod keys;
pub(crate) mod words;

pub(crate) use keys::{FREE_BYTES_MIN, KEYS};
use keys::{Key, Value};

/// The file's name in the home.
const FILE_NAME: &str = "config.toml";
/// Longest file in bytes that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The settings as they are in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Automatic snapshots are taken.
    pub(crate) automatic: bool,
    /// Seconds between two of them while a workspace changes.
    pub(crate) every_secs: u64,
    /// Seconds without a change after which one is taken.
    pub(crate) quiet_secs: u64,
    /// Which automatic snapshots are kept.
    pub(crate) keep: Keep,
    /// Snapshots are sealed.
    pub(crate) seal: bool,
    /// Content behind URLs is fetched before it is read.
    pub(crate) prefetch: bool,
    /// Bytes of a clone after which that ends.
    pub(crate) prefetch_bytes_max: u64,
    /// Content of bases is copied into content packs.
    pub(crate) pack: bool,
    /// Files of a base for that, at least.
    pub(crate) pack_files_min: u64,
    /// Bytes that all content packs may take.
    pub(crate) pack_bytes_max: u64,
    /// Git asks over its own IPC what changed, where it can.
    pub(crate) ipc: bool,
    /// Busy mounts are served over io_uring, too.
    pub(crate) rings: bool,
    /// Mounts tell when files were made.
    pub(crate) birth_times: bool,
    /// What nobody needs is given back by itself.
    pub(crate) gc: bool,
    /// Seconds between two looks for it.
    pub(crate) gc_every_secs: u64,
    /// Bytes that are to stay free on the disk.
    pub(crate) free_bytes_min: u64,
    /// Seconds in which every moment can be had back.
    pub(crate) window_secs: u64,
    /// Bytes of written content for each workspace after which that is cut short.
    pub(crate) window_bytes: u64,
}

/// How many automatic snapshots stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keep {
    /// The newest.
    pub(crate) last: u64,
    /// Of each hour the newest, for so many hours that have one.
    pub(crate) hourly: u64,
    /// Of each day the newest, for so many days that have one.
    pub(crate) daily: u64,
}

/// The file of a home.
pub(crate) struct ConfigFile {
    home: PathBuf,
}

impl ConfigFile {
    /// Takes the home. Touches nothing.
    pub(crate) fn new(home: &Path) -> Self {
        Self { home: home.to_owned() }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.home.join(FILE_NAME)
    }

    /// The settings in force.
    pub(crate) fn read(&self) -> Result<Config, Fault> {
        let document = self.document()?;
        let value = |name: &str| -> Result<Value, Fault> {
            let key = keys::find(name).ok_or_else(|| unknown(name))?;
            self.value(&document, key)
        };
        Ok(Config {
            automatic: value("snapshots.automatic")?.is_on(),
            every_secs: value("snapshots.every")?.number(),
            quiet_secs: value("snapshots.quiet")?.number(),
            keep: Keep {
                last: value("snapshots.keep_last")?.number(),
                hourly: value("snapshots.keep_hourly")?.number(),
                daily: value("snapshots.keep_daily")?.number(),
            },
            seal: value("snapshots.seal")?.is_on(),
            prefetch: value("fetch.prefetch")?.is_on(),
            prefetch_bytes_max: value("fetch.prefetch_max")?.number(),
            pack: value("fetch.pack")?.is_on(),
            pack_files_min: value("fetch.pack_min")?.number(),
            pack_bytes_max: value("fetch.pack_max")?.number(),
            ipc: value("git.ipc")?.is_on(),
            rings: value("mount.transport")?.word() == "io_uring",
            birth_times: value("mount.birth_times")?.is_on(),
            gc: value("gc.background")?.is_on(),
            gc_every_secs: value("gc.every")?.number(),
            free_bytes_min: value("disk.free_min")?.number(),
            window_secs: value("history.window")?.number(),
            window_bytes: value("history.bytes")?.number(),
        })
    }

    /// All settings, or one.
    pub(crate) fn show(&self, name: Option<&str>) -> Result<Vec<Setting>, Fault> {
        let document = self.document()?;
        let chosen: Vec<&Key> = match name {
            Some(name) => vec![keys::find(name).ok_or_else(|| unknown(name))?],
            None => KEYS.iter().collect(),
        };
        chosen.into_iter().map(|key| self.setting(&document, key)).collect()
    }

    /// Sets a value, or with None goes back to the default. The file is made when there is none.
    pub(crate) fn set(&self, name: &str, text: Option<&str>) -> Result<Setting, Fault> {
        let key = keys::find(name).ok_or_else(|| unknown(name))?;
        let value = text.map(|text| key.parse(text)).transpose()?;
        let mut document = self.document()?;
        let (table, field) = key.parts();
        match value {
            None => {
                if let Some(table) = document.get_mut(table).and_then(Item::as_table_like_mut) {
                    table.remove(field);
                }
            }
            Some(value) => {
                let table = document.entry(table).or_insert_with(toml_edit::table);
                let table = table.as_table_like_mut().ok_or_else(|| self.bad("it is no table"))?;
                put(table, field, value.to_toml());
            }
        }
        let bytes = document.to_string();
        let disk = HostDisk::new(&self.home);
        publish(&disk, &self.home, &self.home, FILE_NAME, bytes.as_bytes())
            .map_err(|error| Fault::host(&format!("writing {}", self.path().display()), &error))?;
        self.setting(&document, key)
    }

    fn setting(&self, document: &DocumentMut, key: &Key) -> Result<Setting, Fault> {
        let value = self.value(document, key)?;
        Ok(Setting {
            key: key.name.to_owned(),
            value: value.to_json(),
            default: key.default.to_json(),
            is_set: found(document, key).is_some(),
            about: key.about.to_owned(),
        })
    }

    fn value(&self, document: &DocumentMut, key: &Key) -> Result<Value, Fault> {
        match found(document, key) {
            None => Ok(key.default),
            Some(item) => key.read(item).map_err(|why| self.bad(&format!("{}: {why}", key.name))),
        }
    }

    /// Reads the file.
    fn document(&self) -> Result<DocumentMut, Fault> {
        let path = self.path();
        let host = |error: std::io::Error| Fault::host(&format!("reading {}", path.display()), &error);
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(DocumentMut::new()),
            Err(error) => return Err(host(error)),
            Ok(data) if data.len() > FILE_BYTES_MAX => return Err(self.bad("it is longer than 1 MiB")),
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => self.bad("it is not UTF-8"),
            _ => host(error),
        })?;
        self.parsed(&text)
    }

    /// Reads what is in the file and checks all of it.
    pub(crate) fn parsed(&self, text: &str) -> Result<DocumentMut, Fault> {
        let document: DocumentMut =
            text.parse().map_err(|error: toml_edit::TomlError| self.bad(error.to_string().trim_end()))?;
        for (table, item) in document.iter() {
            let Some(fields) = item.as_table_like() else { return Err(self.bad_key(table)) };
            for (field, _) in fields.iter() {
                let name = format!("{table}.{field}");
                keys::find(&name).ok_or_else(|| self.bad_key(&name))?;
            }
        }
        for key in KEYS {
            self.value(&document, key)?;
        }
        Ok(document)
    }

    fn bad_key(&self, name: &str) -> Fault {
        let fault = unknown(name);
        Fault { message: format!("{}: {}", self.path().display(), fault.message), ..fault }
    }

    fn bad(&self, why: &str) -> Fault {
        Fault::new(Code::BadConfig, format!("{} cannot be used: {why}", self.path().display()))
            .hint("put it right, or take it away to have all defaults; `weald config` shows what there is")
    }
}

fn found<'a>(document: &'a DocumentMut, key: &Key) -> Option<&'a Item> {
    let (table, field) = key.parts();
    document.get(table)?.as_table_like()?.get(field)
}

/// Replaces a value and keeps the comments around it.
fn put(table: &mut dyn TableLike, field: &str, mut value: toml_edit::Value) {
    if let Some(old) = table.get(field).and_then(Item::as_value) {
        *value.decor_mut() = old.decor().clone();
    }
    table.insert(field, Item::Value(value));
}

fn unknown(name: &str) -> Fault {
    let nearest = KEYS.iter().map(|key| key.name).max_by(|a, b| {
        let likeness = |other: &str| strsim::jaro_winkler(name, other);
        likeness(a).total_cmp(&likeness(b))
    });
    let fault = Fault::new(Code::UnknownSetting, format!("there is no setting `{}`", name.escape_debug()));
    match nearest {
        Some(nearest) => fault.hint(format!("did you mean `{nearest}`? `weald config` shows all")),
        None => fault,
    }
}

#[cfg(test)]
mod tests;
