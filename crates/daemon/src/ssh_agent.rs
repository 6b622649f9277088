//! The user's ssh agent, for a daemon that was started from another login.
//!
//! An agent's socket lives as long as the login it belongs to; the daemon lives longer, and fetches over ssh when something
//! is read. So the daemon is told one path for its life (`SSH_AUTH_SOCK`, ssh-agent(1)), a link in the home, and each command lets
//! it lead to the agent it has itself. Invariant: the home is its owner's alone, so nobody else can put an agent there.

use std::path::{Path, PathBuf};

/// The variable that ssh takes the socket from.
const VARIABLE: &str = "SSH_AUTH_SOCK";
/// Name of the link in a home.
const NAME: &str = "ssh-agent";

/// What the daemon of a home has in its environment.
pub(crate) fn variable(home: &Path) -> (&'static str, PathBuf) {
    (VARIABLE, home.join(NAME))
}

/// Lets the link of a home lead to the agent of this process, if it has one. A failure costs what no agent costs, and ssh says so.
pub fn offer(home: &Path) {
    let Some(socket) = std::env::var_os(VARIABLE).map(PathBuf::from) else { return };
    let link = home.join(NAME);
    let is_there = std::fs::read_link(&link).is_ok_and(|now| now == socket);
    if is_there || socket == link || !socket.is_absolute() || !socket.exists() {
        return;
    }
    let new = home.join(format!("tmp-{NAME}-{}", std::process::id()));
    if std::os::unix::fs::symlink(&socket, &new).is_ok() && std::fs::rename(&new, &link).is_err() {
        let _ = std::fs::remove_file(&new);
    }
}
