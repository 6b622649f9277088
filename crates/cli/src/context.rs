//! Where this call stands: home, mount root, working directory, and how to reach the daemon.

use crate::progress::Bar;
use serde::de::DeserializeOwned;
use std::env;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use weald_daemon::protocol::{Line, Request, Target};
use weald_daemon::refs::{Reference, Spot};
use weald_daemon::{launch, ssh_agent};
use weald_model::{Code, Fault};

/// The facts of one call.
pub(crate) struct Context {
    /// Print JSON.
    pub(crate) json: bool,
    /// Where everything is kept.
    pub(crate) home: PathBuf,
    mount_root: PathBuf,
}

impl Context {
    /// Reads the environment.
    pub(crate) fn new(json: bool) -> Result<Self, Fault> {
        let home = match env_path("WEALD_HOME") {
            Some(path) => path,
            None => match env_path("XDG_DATA_HOME").filter(|path| path.is_absolute()) {
                Some(data) => data.join("weald"),
                None => user_home("WEALD_HOME")?.join(".local/share/weald"),
            },
        };
        let mount_root = match env_path("WEALD_MOUNT") {
            Some(path) => path,
            None => user_home("WEALD_MOUNT")?.join("weald"),
        };
        Ok(Self { json, home: absolute(&home)?, mount_root: absolute(&mount_root)? })
    }

    /// The directory of mount points, as the daemon wants it.
    pub(crate) fn mount_root(&self) -> Result<String, Fault> {
        text(&self.mount_root)
    }

    /// Asks the daemon, starting it when none answers, with a progress bar for long work.
    pub(crate) fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, Fault> {
        // This process must not count as somebody who stands in the workspace.
        let _ = env::set_current_dir("/");
        ssh_agent::offer(&self.home);
        let mut bar = Bar::new(!self.json);
        let answer =
            launch::ask(&self.home, &request, &mut |title, done, total| bar.show(title, done, total));
        bar.finish();
        answer
    }

    /// Asks the daemon for what comes in lines; `tell` says false when it wants nothing more.
    pub(crate) fn converse<T: DeserializeOwned>(
        &self,
        request: Request,
        tell: &mut dyn FnMut(Line) -> bool,
    ) -> Result<Option<T>, Fault> {
        let _ = env::set_current_dir("/");
        launch::converse(&self.home, &request, tell)
    }

    /// The workspace that is meant: by name, else by where the caller stands.
    pub(crate) fn target(&self, name: Option<String>) -> Target {
        if name.is_some() {
            return Target { name, directory: None, device: None };
        }
        let directory = env::current_dir().ok();
        Target {
            name: None,
            device: std::fs::metadata(".").ok().map(|meta| meta.dev()),
            directory: directory.map(|path| path.to_string_lossy().into_owned()),
        }
    }

    /// A state as people write it: `WS@REF`, `@REF` for the workspace the caller stands in, `WS` for its present.
    pub(crate) fn spot(&self, text: &str) -> Result<Spot, Fault> {
        let Some((name, reference)) = text.split_once('@') else {
            return Ok(Spot { target: self.target(Some(text.to_owned())), reference: None });
        };
        let name = (!name.is_empty()).then(|| name.to_owned());
        let reference = Reference::parse(reference, &jiff::Zoned::now())?;
        Ok(Spot { target: self.target(name), reference: Some(reference) })
    }

    /// Targets for many names; the one the caller stands in when there is none.
    pub(crate) fn targets_or_here(&self, names: Vec<String>) -> Vec<Target> {
        if names.is_empty() {
            return vec![self.target(None)];
        }
        self.targets(names)
    }

    /// Targets for many names, none for none.
    pub(crate) fn targets(&self, names: Vec<String>) -> Vec<Target> {
        names.into_iter().map(|name| self.target(Some(name))).collect()
    }
}

/// A path as absolute text.
pub(crate) fn absolute_text(path: &Path) -> Result<String, Fault> {
    text(&absolute(path)?)
}

fn absolute(path: &Path) -> Result<PathBuf, Fault> {
    std::path::absolute(path)
        .map_err(|error| Fault::new(Code::BadRequest, format!("the path `{}`: {error}", path.display())))
}

fn text(path: &Path) -> Result<String, Fault> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Fault::new(Code::BadRequest, format!("the path `{}` is not UTF-8", path.display()))
            .hint("reach it through a symbolic link with a plain name")
    })
}

fn env_path(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn user_home(instead: &str) -> Result<PathBuf, Fault> {
    env_path("HOME").ok_or_else(|| {
        Fault::new(Code::BadRequest, "HOME is not set").hint(format!("set HOME, or {instead} to a directory"))
    })
}
