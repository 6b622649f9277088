//! Packs of any kind are read by git, and what is wrong leaves none behind.

use super::*;
use std::process::Command;

fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(dir)
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    let said = command.output().expect("git runs");
    assert!(said.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).expect("git says text")
}

fn bare(format: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory can be made");
    git(dir.path(), &["init", "-q", "--bare", &format!("--object-format={format}")]);
    dir
}

/// Contents whose lengths cross the steps of the header's number.
fn contents() -> Vec<Vec<u8>> {
    let lengths = [0, 1, 15, 16, 127, 128, 2047, 2048, 70_000, 300_000];
    let noise = |length: usize| (0..length).map(|at| (at * at * 31 / 7 + length) as u8).collect();
    lengths.into_iter().map(noise).collect()
}

#[test]
fn git_finds_every_object_whole_in_a_pack_of_either_format() {
    for (name, format) in [("sha1", ObjectFormat::Sha1), ("sha256", ObjectFormat::Sha256)] {
        for level in [Compression::NONE, Compression::BEST_SPEED] {
            let repo = bare(name);
            let objects: Vec<(ObjectId, Vec<u8>)> = contents()
                .into_iter()
                .map(|data| (crate::hash::to_gix(&object_id(format, Kind::Blob, &data)), data))
                .collect();
            let ids: Vec<ObjectId> = objects.iter().map(|(id, _)| *id).collect();
            let read = |id: &ObjectId| {
                let found = objects.iter().find(|(other, _)| other == id).expect("it is one of them");
                Ok((Kind::Blob, found.1.clone()))
            };
            let dir = repo.path().join("objects");
            let pack = NewPack { objects: &dir, format, level, durable: true };
            pack.write(&[], &ids, vec![read, read]).expect("it is written");
            git(repo.path(), &["fsck", "--strict", "--full"]);
            for (id, data) in &objects {
                assert_eq!(
                    git(repo.path(), &["cat-file", "-s", &id.to_string()]).trim(),
                    data.len().to_string()
                );
            }
            let files = std::fs::read_dir(dir.join("pack")).expect("it is there").count();
            assert_eq!(files, 2, "nothing else is left");
        }
    }
}

#[test]
fn what_is_not_what_its_id_says_leaves_nothing_behind() {
    let repo = bare("sha1");
    let format = ObjectFormat::Sha1;
    let id = crate::hash::to_gix(&object_id(format, Kind::Blob, b"one"));
    let dir = repo.path().join("objects");
    let pack = NewPack { objects: &dir, format, level: Compression::NONE, durable: false };
    let read = |_: &ObjectId| Ok((Kind::Blob, b"other".to_vec()));
    assert_eq!(pack.write(&[], &[id], vec![read]).map_err(|fault| fault.code), Err(Code::GitFailed));
    assert_eq!(std::fs::read_dir(dir.join("pack")).expect("it is there").count(), 0);
}
