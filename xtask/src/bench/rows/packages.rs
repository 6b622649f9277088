//! `npm ci`: tens of thousands of small files made at once, from a cache that is filled beforehand.

use super::{Bench, Measured, over_hollow, text};
use crate::bench::disk::PLACE;
use crate::bench::hollow::{Hollow, Kind};
use crate::bench::measure::{timed, with_hollow};
use crate::bench::setting::Setting;
use crate::run::{command, output, show};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Most it may take beside ext4.
const RATIO_MAX: f64 = 1.2;

/// What a project of the web commonly needs to be built, checked and tested; the versions are fixed, so that the files are.
const PROJECT: &str = r#"{
  "name": "bench", "version": "1.0.0", "private": true,
  "dependencies": { "react": "18.3.1", "react-dom": "18.3.1", "express": "4.21.2", "lodash": "4.17.21" },
  "devDependencies": {
    "eslint": "8.57.1", "jest": "29.7.0", "prettier": "3.4.2", "typescript": "5.7.2", "webpack": "5.97.1", "webpack-cli": "5.1.4",
    "@babel/core": "7.26.0", "@babel/preset-env": "7.26.0", "@types/node": "22.10.2"
  }
}
"#;

/// Whether each session has its own share of the processors (sched(7), "The autogroup feature").
const AUTOGROUP: &str = "/proc/sys/kernel/sched_autogroup_enabled";

/// Beside ext4; and once more with all programs as equals where sessions are not, since the daemon is in another session than who asks it.
pub(super) fn npm(bench: &Bench) -> Result<Vec<Measured>> {
    let prepared = prepared()?;
    let what = format!("npm ci --offline, {} packages", packages(&prepared.0)?);
    let mut rows = vec![installs(bench, "npm", &prepared, what.clone())?];
    if std::fs::read_to_string(AUTOGROUP).is_ok_and(|text| text.trim() == "1") {
        let _off = Setting::set(AUTOGROUP, "0")?;
        rows.push(installs(bench, "npm-equal", &prepared, format!("{what}, autogroup off"))?);
    }
    Ok(rows)
}

/// In a workspace, natively and on the file system whose answers cost nothing; `node_modules` is removed before each.
fn installs(
    bench: &Bench,
    name: &str,
    (project, cache): &(PathBuf, PathBuf),
    what: String,
) -> Result<Measured> {
    let weald = bench.weald(name)?;
    weald.run(&["create", text(project)?, "ws"])?;
    let native = bench.dir(&format!("{name}-native"))?;
    let hollow = Hollow::start(bench, name, Kind::default())?;
    for tree in [Some(native.as_path()), hollow.as_ref().map(Hollow::path)].into_iter().flatten() {
        for file in ["package.json", "package-lock.json"] {
            std::fs::copy(project.join(file), tree.join(file))?;
        }
    }
    let ours = weald.path("ws");
    let install = |root: &Path| {
        let took = timed(|| output(npm_command("ci", root, cache).arg("--offline")).map(drop))?;
        std::fs::remove_dir_all(root.join("node_modules"))?;
        output(&mut command::<&str>("sync", &[]))?;
        Ok(took)
    };
    // Once before: what npm itself needs is in the caches then.
    install(&native)?;
    let on_hollow = hollow.as_ref().map(|hollow| |_| install(hollow.path()));
    let sides = with_hollow(bench.scale.runs, |_| install(&ours), |_| install(&native), on_hollow)?;
    Ok(over_hollow(what, sides, RATIO_MAX))
}

/// The project with its lock file, and a cache with all it names; both are made once and kept.
fn prepared() -> Result<(PathBuf, PathBuf)> {
    let place = Path::new(PLACE).join("npm");
    let (project, cache, done) = (place.join("project"), place.join("cache"), place.join("done"));
    if !done.exists() {
        std::fs::create_dir_all(&project)?;
        std::fs::write(project.join("package.json"), PROJECT)?;
        show(&mut npm_command("install", &project, &cache))?;
        std::fs::remove_dir_all(project.join("node_modules"))?;
        std::fs::write(done, "")?;
    }
    Ok((project, cache))
}

/// Scripts of packages may do anything; they are not run.
fn npm_command(what: &str, root: &Path, cache: &Path) -> Command {
    let options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"];
    let mut npm = command("npm", &[what]);
    // Without the places of packages in it, a lock file does not lead to the cache.
    npm.arg("--no-omit-lockfile-registry-resolved");
    npm.args(options).arg("--cache").arg(cache).current_dir(root);
    npm
}

fn packages(project: &Path) -> Result<usize> {
    let lock: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(project.join("package-lock.json"))?)?;
    // The first entry is the project itself.
    Ok(lock["packages"].as_object().context("a lock file without packages")?.len() - 1)
}
