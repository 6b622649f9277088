//! What went wrong below, in words for people.

use weald_engine::OpenError;
use weald_model::{Code, Errno, Fault};
use weald_store::cas::CasError;
use weald_store::content_packs::ContentPackError;
use weald_store::home::{HomeError, HomeManifestError};
use weald_store::log::LogError;
use weald_store::manifest::ManifestError;
use weald_store::registry::RegistryError;

/// A home that could not be opened.
pub(crate) fn home(error: HomeError) -> Fault {
    match error {
        HomeError::Locked { .. } => {
            Fault::new(Code::DaemonRunning, format!("another daemon owns the home: {error}"))
                .hint("use it, or end it with: weald daemon stop")
        }
        HomeError::ReadOnly { .. } => Fault::new(Code::HomeReadOnly, error.to_string())
            .hint("set WEALD_HOME to a directory you can write"),
        HomeError::Foreign { .. } => Fault::new(Code::NotAllowed, format!("Weald's home {error}"))
            .hint("set WEALD_HOME to a directory of your own"),
        HomeError::Format { .. } => Fault::new(Code::StoreDamaged, error.to_string())
            .hint("use the version of weald that made it, or another WEALD_HOME"),
        HomeError::Io { ref path, error } => Fault::host(&path.display().to_string(), &error),
        HomeError::Log(error) => log("home", &error),
        HomeError::Registry(error) => {
            let is_newer = matches!(error, RegistryError::Version(_));
            let fault = registry(error);
            if is_newer { fault.hint("use the version of weald that wrote it") } else { fault }
        }
    }
}

/// A refused read or write of the registry.
pub(crate) fn registry(error: RegistryError) -> Fault {
    let code = match &error {
        RegistryError::Damaged(_) | RegistryError::Version(_) => Code::StoreDamaged,
        RegistryError::Exists => Code::NameTaken,
        RegistryError::Missing => Code::UnknownWorkspace,
        RegistryError::Sqlite { .. } if error.is_full() => Code::DiskFull,
        RegistryError::Sqlite { .. } => Code::HostIo,
    };
    let is_damaged = matches!(error, RegistryError::Damaged(_));
    let fault = Fault::new(code, error.to_string());
    if is_damaged {
        fault.hint("weald daemon restart makes it anew from what can be read and the logs")
    } else {
        fault
    }
}

/// A workspace that could not be made, forked or opened.
pub(crate) fn open(name: &str, error: &OpenError) -> Fault {
    match error {
        OpenError::Log(error) => log(name, error),
        OpenError::Record(..) => damaged(name, &error.to_string()),
        OpenError::Past(Errno::NotFound) => Fault::new(Code::BadRequest, error.to_string()),
        OpenError::Past(Errno::Stale) => given_back(),
        OpenError::Past(errno) => Fault::new(Code::HostIo, format!("{error} ({errno})")),
        OpenError::Unrooted(..) => Fault::new(Code::LogDamaged, error.to_string())
            .hint(format!("nothing in it was ever durable; remove it with: weald remove {name} --force")),
    }
}

/// A log that could not be read or written.
pub(crate) fn log(name: &str, error: &LogError) -> Fault {
    match error {
        LogError::Io { .. } => match error.errno() {
            Errno::NoSpace | Errno::Quota => disk_full(&error.to_string()),
            Errno::ReadOnly => Fault::new(Code::HomeReadOnly, error.to_string()),
            _ => Fault::new(Code::HostIo, error.to_string()),
        },
        _ => damaged(name, &error.to_string()),
    }
}

fn damaged(name: &str, why: &str) -> Fault {
    Fault::new(Code::LogDamaged, format!("the log of `{name}` is damaged, so it stays closed: {why}")).hint(format!(
        "nothing was changed; bring the file back from a copy, or put it away with: weald remove {name} --force"
    ))
}

fn disk_full(why: &str) -> Fault {
    Fault::new(Code::DiskFull, why.to_owned())
        .hint("free space on that disk, for example with: weald trash empty")
}

/// Content by hash that could not be kept.
pub(crate) fn cas(error: &CasError) -> Fault {
    match error.errno() {
        Errno::NoSpace | Errno::Quota => disk_full(&error.to_string()),
        Errno::ReadOnly => Fault::new(Code::HomeReadOnly, error.to_string()),
        _ => Fault::new(Code::StoreDamaged, error.to_string()),
    }
}

/// Content packs that could not be looked at or removed.
pub(crate) fn content_pack(error: &ContentPackError) -> Fault {
    match error {
        ContentPackError::Io { path, error } => Fault::host(&path.display().to_string(), error),
        ContentPackError::Damaged { .. } | ContentPackError::Version { .. } => {
            Fault::new(Code::StoreDamaged, error.to_string())
                .hint("its source has all that is in it: weald verify --all --heal")
        }
    }
}

/// A manifest that could not be built, kept or opened.
pub(crate) fn manifest(error: &HomeManifestError) -> Fault {
    match error {
        HomeManifestError::Io { path, error } => Fault::host(&path.display().to_string(), error),
        HomeManifestError::Manifest(error) => built(error),
    }
}

/// A manifest that could not be built or is damaged.
pub(crate) fn built(error: &ManifestError) -> Fault {
    match error {
        ManifestError::Hostile { .. } => Fault::new(Code::HostileTree, error.to_string())
            .hint("nothing was made; look at the commit with: git ls-tree -r REV"),
        ManifestError::Source(_) => {
            Fault::new(Code::MissingObject, error.to_string()).hint("run `git fsck` in the source")
        }
        _ => Fault::new(Code::StoreDamaged, error.to_string()),
    }
}

/// A past some of whose content is gone.
pub(crate) fn given_back() -> Fault {
    Fault::new(Code::ContentGivenBack, "that state is outside what is kept, and some of it was given back")
        .hint("what is kept: weald history, and every moment inside `weald config history.window`")
}

/// A file operation of our own in a workspace.
pub(crate) fn errno(doing: &str, error: Errno) -> Fault {
    match error {
        Errno::NoSpace | Errno::Quota => disk_full(&format!("{doing}: {error}")),
        Errno::ReadOnly => Fault::new(Code::HomeReadOnly, format!("{doing}: {error}")),
        Errno::Stale => given_back(),
        _ => Fault::new(Code::HostIo, format!("{doing}: {error}")),
    }
}
