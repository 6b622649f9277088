//! Repositories over ssh: dropbear for each connection, in a mount namespace of its own.
//!
//! The server takes keys from the home of the account that is logged in to, which is root's; there it sees the test's directory
//! in that place. Invariant: nothing outside the test's directory is changed. Only root can make such a namespace.

use crate::server::{Failing, Server, Shared};
use std::io;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

/// What the account's home is in the server's eyes.
const HOME: &str = "home-of-root";
const HOST_KEY: &str = "host-key";

/// Shows the test's directory as root's home, then speaks with the one who connected.
const SERVE: &str =
    r#"mount --bind "$1" "$(getent passwd root | cut -d: -f6)" && exec dropbear -i -s -r "$2""#;

/// Keys that a test may log in with, and the server's own.
pub struct Keys {
    /// The private key of the one who may.
    pub user: PathBuf,
    /// A file of known hosts that names the server.
    pub known_hosts: PathBuf,
}

impl Server {
    /// Serves the repositories below a directory over ssh, as `root`; URLs have the whole path.
    pub fn ssh(root: &Path) -> io::Result<(Self, Keys)> {
        let home = root.join(HOME);
        std::fs::create_dir_all(home.join(".ssh"))?;
        for dir in [home.clone(), home.join(".ssh")] {
            std::fs::set_permissions(dir, PermissionsExt::from_mode(0o700))?;
        }
        let keys = Keys { user: root.join("user-key"), known_hosts: root.join("known-hosts") };
        let host_key = root.join(HOST_KEY);
        run(Command::new("dropbearkey").args(["-t", "ed25519", "-f"]).arg(&host_key))?;
        run(Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "a@example.org", "-f"])
            .arg(&keys.user))?;
        std::fs::copy(keys.user.with_extension("pub"), home.join(".ssh/authorized_keys"))?;
        std::fs::write(
            home.join(".gitconfig"),
            "[safe]\n\tdirectory = *\n[uploadpack]\n\tallowFilter = true\n\tallowAnySHA1InWant = true\n",
        )?;
        let server = Self::start(root, "ssh", answer)?;
        let shown = run(Command::new("dropbearkey").args(["-y", "-f"]).arg(&host_key))?;
        let public = shown.lines().find(|line| line.starts_with("ssh-")).unwrap_or_default();
        let port = server.shared.address.port();
        std::fs::write(&keys.known_hosts, format!("[127.0.0.1]:{port} {public}\n"))?;
        Ok((server, keys))
    }

    /// The URL of a repository below the directory, over ssh.
    pub fn ssh_url(&self, name: &str) -> String {
        format!("ssh://root@{}{}/{name}", self.shared.address, self.shared.root.display())
    }
}

fn run(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))))
}

fn answer(shared: &Shared, stream: &TcpStream) -> io::Result<()> {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    match shared.failing() {
        Failing::Away => return Ok(()),
        Failing::Hanging => {
            shared.hang();
            return Ok(());
        }
        _ => {}
    }
    shared.fetches.fetch_add(1, Ordering::Relaxed);
    let socket = || -> io::Result<Stdio> { Ok(std::os::fd::OwnedFd::from(stream.try_clone()?).into()) };
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--", "sh", "-c", SERVE, "sh"]);
    command.arg(shared.root.join(HOME)).arg(shared.root.join(HOST_KEY));
    command.stdin(socket()?).stdout(socket()?).stderr(Stdio::null());
    command.status().map(drop)
}
