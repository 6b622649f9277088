//! The machine: FUSE, limits, git. Needs no daemon.

use super::Chart;
use crate::report::{Checkup, Severity};
use std::path::Path;
use std::process::Command;

/// The oldest git that workspaces work with.
const GIT_VERSION_MIN: (u32, u32) = (2, 30);
/// Fewer watches than this are used up by one editor in a large tree.
const WATCHES_MIN: u64 = 65_536;
/// Fewer instances than this are used up by a few tools.
const INSTANCES_MIN: u64 = 128;
/// A mount takes a descriptor or two; a hundred workspaces and their logs need some hundreds.
const FILES_MIN: u64 = 4096;

/// Looks at what every workspace needs of this machine.
pub fn environment() -> Checkup {
    let mut chart = Chart::default();
    fuse(&mut chart);
    if !rustix::process::geteuid().is_root() {
        ordinary_user(&mut chart);
    }
    limits(&mut chart);
    processors(&mut chart);
    git(&mut chart);
    chart.finish()
}

fn fuse(chart: &mut Chart) {
    chart.looked();
    let device = Path::new("/dev/fuse");
    if !device.exists() {
        chart.note("environment", Severity::Error, "/dev/fuse does not exist", "sudo modprobe fuse");
        return;
    }
    chart.looked();
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open(device) {
        chart.note(
            "environment",
            Severity::Error,
            format!("/dev/fuse cannot be opened: {error}"),
            "sudo chmod 666 /dev/fuse; in a container: --device /dev/fuse --cap-add SYS_ADMIN",
        );
    }
}

fn ordinary_user(chart: &mut Chart) {
    chart.looked();
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join("fusermount3").is_file()));
    if !found {
        chart.note(
            "environment",
            Severity::Error,
            "fusermount3 is not there, so only root can mount",
            "sudo apt-get install fuse3",
        );
    }
    chart.looked();
    let conf = std::fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    if !conf.lines().any(|line| line.trim() == "user_allow_other") {
        chart.note(
            "environment",
            Severity::Note,
            "user_allow_other is not set in /etc/fuse.conf, so --allow-other does not work for you",
            "echo user_allow_other | sudo tee -a /etc/fuse.conf",
        );
    }
}

fn limits(chart: &mut Chart) {
    for (name, least, what) in [
        ("max_user_watches", WATCHES_MIN, "watchers of files will miss changes"),
        ("max_user_instances", INSTANCES_MIN, "programs that watch files will fail"),
    ] {
        chart.looked();
        let text = std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).unwrap_or_default();
        let Ok(number) = text.trim().parse::<u64>() else { continue };
        if number < least {
            chart.note(
                "environment",
                Severity::Warning,
                format!("fs.inotify.{name} is {number}, so {what} in large trees"),
                format!("sudo sysctl fs.inotify.{name}={}", least * 8),
            );
        }
    }
    chart.looked();
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if files.maximum.is_some_and(|most| most < FILES_MIN) {
        chart.note(
            "environment",
            Severity::Warning,
            format!("at most {} files may be open: too few for many workspaces", files.maximum.unwrap_or(0)),
            format!("ulimit -Hn {FILES_MIN}, then weald daemon restart"),
        );
    }
}

/// Where each session has its own share of the processors (sched(7), "The autogroup feature"), the daemon waits for its turn beside
/// whole sessions, and who asks it waits with it: measured in docs/decisions/0030. In a control group with a share of its own there
/// are no such sessions.
fn processors(chart: &mut Chart) {
    chart.looked();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let has_share = |group: &Path| group.join("cpu.weight").exists();
    if read("/proc/sys/kernel/sched_autogroup_enabled").trim() == "1"
        && !is_in_cpu_group(&read("/proc/self/cgroup"), has_share)
    {
        chart.note(
            "environment",
            Severity::Note,
            "kernel.sched_autogroup_enabled is 1: while other sessions keep the processors busy, making files can take three times as \
             long as without it",
            "sudo sysctl kernel.sched_autogroup_enabled=0, then weald daemon restart",
        );
    }
}

/// Whether processes with this `/proc/self/cgroup` (cgroups(7)) share the processors by control groups. `has_share` is asked of
/// directories of version 2.
fn is_in_cpu_group(text: &str, has_share: impl Fn(&Path) -> bool) -> bool {
    text.lines().any(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or_default(), fields.next().unwrap_or("/"));
        match controllers {
            "" => Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/')).ancestors().any(&has_share),
            listed => listed.split(',').any(|controller| controller == "cpu") && path != "/",
        }
    })
}

fn git(chart: &mut Chart) {
    chart.looked();
    let said = Command::new("git").arg("--version").output();
    let text = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    match version(&text) {
        None => chart.note(
            "environment",
            Severity::Warning,
            "the program git is not there: workspaces of URLs cannot be made",
            "sudo apt-get install git",
        ),
        Some(found) if found < GIT_VERSION_MIN => {
            let (major, minor) = GIT_VERSION_MIN;
            chart.note(
                "environment",
                Severity::Warning,
                format!("{} is older than {major}.{minor}", text.trim()),
                "sudo apt-get install git",
            );
        }
        Some(_) => {}
    }
}

/// Major and minor of `git version 2.43.0`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("git version ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_groups_that_share_the_processors_are_known() {
        let shares = |text, group: &str| is_in_cpu_group(text, |asked| asked == Path::new(group));
        assert!(!shares("0::/\n", "none"));
        assert!(!shares("0::/user.slice/session\n", "none"));
        assert!(shares("0::/user.slice/session\n", "/sys/fs/cgroup/user.slice"));
        assert!(shares("0::/\n", "/sys/fs/cgroup"), "a container sees its own group as the root");
        assert!(!shares("4:memory:/a\n1:cpu,cpuacct:/\n", "none"));
        assert!(shares("4:memory:/\n1:cpu,cpuacct:/docker/1\n", "none"));
        assert!(!shares("2:cpuset:/a\n", "none"), "which processors, not how much of them");
    }

    #[test]
    fn versions_of_git_are_read() {
        assert_eq!(version("git version 2.43.0\n"), Some((2, 43)));
        assert_eq!(version("git version 2.39.5 (Apple Git-154)"), Some((2, 39)));
        assert_eq!(version("git version 3.1\n"), Some((3, 1)));
        assert_eq!(version("no git"), None);
    }
}
