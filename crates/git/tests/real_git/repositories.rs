//! Opening and resolving repositories of every make.

use crate::support::{Lab, fault, git_in, oid, write};
use weald_git::{GitSource, ObjectFormat, Repository};
use weald_model::{Code, Source as _, TreeKind};

#[test]
fn every_way_to_name_a_repository_leads_to_the_same_commit() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    git_in(lab.dir.path(), &["clone", "-q", "--bare", "repo", "bare.git"]);
    git_in(&repo, &["worktree", "add", "-q", "-b", "wt", "../tree"]);
    git_in(lab.dir.path(), &["init", "-q", "super"]);
    git_in(&lab.path("super"), &["submodule", "add", "-q", "../repo", "sub"]);
    std::os::unix::fs::symlink(&repo, lab.path("link")).unwrap();
    let head = oid(&git_in(&repo, &["rev-parse", "HEAD"]));
    for (name, branch) in [
        ("repo", "main"),
        ("repo/.git", "main"),
        ("bare.git", "main"),
        ("tree", "wt"),
        ("super/sub", "main"),
        ("link", "main"),
    ] {
        let path = lab.path(name);
        assert!(Repository::is_at(&path), "{name}");
        let repository = Repository::open(&path).unwrap();
        let base = repository.resolve(None, None).unwrap();
        assert_eq!(
            (base.commit, base.branch.as_deref(), base.detached),
            (head, Some(branch), false),
            "{name}"
        );
        assert_eq!(base.summary, "second line here");
        assert_eq!(base.commit_time.secs, 1_767_312_000);
        assert!(repository.object_dirs()[0].is_absolute() && repository.object_dirs()[0].is_dir());
    }
    assert_eq!(
        Repository::open(&lab.path("tree")).unwrap().common_dir(),
        repo.join(".git").canonicalize().unwrap()
    );
}

#[test]
fn what_is_no_repository_is_an_unknown_source() {
    let lab = Lab::new();
    write(lab.dir.path(), "dir/file", b"");
    write(lab.dir.path(), "broken/.git", b"gitdir: /nowhere\n");
    for name in ["nothing", "dir", "dir/file", "broken"] {
        assert_eq!(fault(Repository::open(&lab.path(name))).code, Code::UnknownSource, "{name}");
    }
    assert!(!Repository::is_at(&lab.path("dir")));
    assert!(Repository::is_at(&lab.path("broken")), "a damaged repository is not a plain directory");
}

#[test]
fn reftable_and_unknown_extensions_are_unsupported() {
    let lab = Lab::new();
    let repo = lab.repository("ref", "sha1");
    git_in(&repo, &["config", "core.repositoryformatversion", "1"]);
    git_in(&repo, &["config", "extensions.surprise", "yes"]);
    assert_eq!(fault(Repository::open(&repo)).code, Code::UnsupportedSource);
    git_in(lab.dir.path(), &["init", "-q", "--ref-format=reftable", "table"]);
    assert_eq!(fault(Repository::open(&lab.path("table"))).code, Code::UnsupportedSource);
}

#[test]
fn repositories_without_a_commit_are_told_apart() {
    let lab = Lab::new();
    git_in(lab.dir.path(), &["init", "-q", "-b", "main", "empty"]);
    let empty = fault(Repository::open(&lab.path("empty")).unwrap().resolve(None, None));
    assert_eq!(empty.code, Code::EmptyRepository);
    let repo = lab.repository("repo", "sha1");
    git_in(&repo, &["symbolic-ref", "HEAD", "refs/heads/unborn"]);
    let repository = Repository::open(&repo).unwrap();
    let unborn = fault(repository.resolve(None, None));
    assert_eq!(unborn.code, Code::EmptyRepository);
    assert_eq!(unborn.hint.as_deref(), Some("choose another branch: --rev main"));
    assert_eq!(repository.resolve(Some("main"), None).unwrap().branch.as_deref(), Some("main"));
}

#[test]
fn revisions_resolve_as_git_does() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    git_in(&repo, &["tag", "-a", "-m", "t", "v1", "HEAD~1"]);
    git_in(&repo, &["tag", "-a", "-m", "tt", "v2", "v1"]);
    git_in(&repo, &["branch", "side", "HEAD~1"]);
    git_in(&repo, &["branch", "dir/side", "HEAD~1"]);
    git_in(&repo, &["pack-refs", "--all"]);
    let repository = Repository::open(&repo).unwrap();
    let short = git_in(&repo, &["rev-parse", "--short=8", "HEAD~1"]);
    for rev in
        ["v1", "v2", "side", "dir/side", "refs/heads/side", "refs/tags/v2", "HEAD~1", "main^", "@~1", &short]
    {
        let base = repository.resolve(Some(rev), None).unwrap();
        assert_eq!(base.commit, oid(&git_in(&repo, &["rev-parse", &format!("{rev}^{{commit}}")])), "{rev}");
        assert_eq!(base.tree, oid(&git_in(&repo, &["rev-parse", &format!("{rev}^{{tree}}")])), "{rev}");
        assert_eq!(base.detached, !rev.contains("side"), "{rev}");
    }
    assert_eq!(repository.resolve(Some("refs/heads/side"), None).unwrap().branch.as_deref(), Some("side"));
    for rev in [
        "nothing",
        "",
        "-x",
        "v9",
        "HEAD~99",
        "deadbeef",
        "HEAD:README",
        "HEAD^{tree}",
        "a\nb",
        "@{",
        "^",
        "main..side",
    ] {
        assert_eq!(
            repository.resolve(Some(rev), None).expect_err(rev).code,
            Code::UnknownRevision,
            "{rev:?}"
        );
    }
    let tags = repository.tags();
    assert_eq!(tags.len(), 2);
    assert!(
        tags.iter().all(|tag| tag.peeled == Some(oid(&git_in(&repo, &["rev-parse", "side"])))),
        "{tags:?}"
    );
}

#[test]
fn commits_behind_the_upstream_are_counted() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    git_in(lab.dir.path(), &["clone", "-q", "repo", "clone"]);
    let clone = lab.path("clone");
    let of = |rev: Option<&str>| Repository::open(&clone).unwrap().resolve(rev, None).unwrap();
    assert_eq!((of(None).behind, of(None).upstream.as_deref()), (Some(0), Some("origin/main")));
    git_in(&clone, &["commit", "-q", "--allow-empty", "-m", "ahead"]);
    assert_eq!(of(None).behind, Some(0));
    for n in 0..5 {
        git_in(&repo, &["commit", "-q", "--allow-empty", "-m", &format!("n{n}")]);
    }
    git_in(&repo, &["merge", "-q", "--no-ff", "-m", "m", "HEAD~3"]);
    git_in(&clone, &["fetch", "-q"]);
    assert_eq!(of(None).behind, Some(5));
    assert_eq!(of(Some("HEAD~2")).behind, Some(2), "measured against HEAD's branch");
    assert_eq!(Repository::open(&repo).unwrap().resolve(None, None).unwrap().behind, None, "no upstream");
}

#[test]
fn trees_sizes_and_blobs_are_those_of_git() {
    for format in ["sha1", "sha256"] {
        let lab = Lab::new();
        let repo = lab.repository("repo", format);
        let repository = Repository::open(&repo).unwrap();
        assert_eq!(repository.format().name(), format);
        let base = repository.resolve(None, None).unwrap();
        let source = GitSource::new(repository);
        let entries = source.tree(&base.tree).unwrap();
        let kinds: Vec<_> =
            entries.iter().map(|e| (String::from_utf8_lossy(&e.name).into_owned(), e.kind)).collect();
        for expected in [
            ("run.sh", TreeKind::Executable),
            ("link", TreeKind::Symlink),
            ("mod", TreeKind::Gitlink),
            ("a", TreeKind::Dir),
            ("a0", TreeKind::File),
        ] {
            assert!(kinds.contains(&(expected.0.to_owned(), expected.1)), "{kinds:?}");
        }
        let blobs: Vec<_> =
            entries.iter().filter(|e| !matches!(e.kind, TreeKind::Dir | TreeKind::Gitlink)).collect();
        let ids: Vec<_> = blobs.iter().map(|entry| entry.oid).collect();
        for (entry, size) in blobs.iter().zip(source.blob_sizes(&ids)) {
            let content = source.blob(&entry.oid).unwrap();
            assert_eq!(size, Ok(content.len() as u64));
            assert_eq!(git_in(&repo, &["cat-file", "-s", &entry.oid.to_string()]), content.len().to_string());
        }
        assert_eq!(
            source.tree(&ObjectFormat::of(&base.tree).empty_tree()),
            Ok(Vec::new()),
            "the empty tree always exists"
        );
    }
}

#[test]
fn grafts_by_replace_refs_are_not_taken_for_the_real_objects() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    git_in(&repo, &["replace", "HEAD", "HEAD~1"]);
    let base = Repository::open(&repo).unwrap().resolve(None, None).unwrap();
    assert_eq!(base.summary, "second line here");
}

#[test]
fn objects_packed_after_opening_are_found() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    let repository = Repository::open(&repo).unwrap();
    let source = GitSource::new(repository.clone());
    let tree = repository.resolve(None, None).unwrap().tree;
    let ids: Vec<_> =
        source.tree(&tree).unwrap().iter().filter(|e| e.kind == TreeKind::File).map(|e| e.oid).collect();
    write(&repo, "later", b"later content\n");
    git_in(&repo, &["add", "later"]);
    git_in(&repo, &["commit", "-q", "-m", "later"]);
    git_in(&repo, &["gc", "-q", "--prune=now"]);
    let later = oid(&git_in(&repo, &["rev-parse", "HEAD:later"]));
    let all: Vec<_> = ids.iter().copied().chain([later]).collect();
    assert!(source.blob_sizes(&all).iter().all(Result::is_ok));
    assert_eq!(source.blob(&later).unwrap(), b"later content\n");
}

/// Deltas are unpacked beside their bases; a cache of blobs would keep all of it.
#[test]
fn a_blob_takes_no_more_memory_than_its_content() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    let lines = |from: u32| (from..from + 20_000).map(|n| format!("line {n}\n")).collect::<String>();
    let mut blobs = Vec::new();
    for from in 0..4 {
        write(&repo, "long", lines(from).as_bytes());
        git_in(&repo, &["add", "long"]);
        git_in(&repo, &["commit", "-q", "-m", "longer"]);
        blobs.push((oid(&git_in(&repo, &["rev-parse", "HEAD:long"])), lines(from)));
    }
    git_in(&repo, &["gc", "-q", "--aggressive", "--prune=now"]);
    let source = GitSource::new(Repository::open(&repo).unwrap());
    for (id, expected) in blobs {
        let blob = source.blob(&id).unwrap();
        assert_eq!(blob, expected.as_bytes());
        assert!(blob.capacity() < blob.len() + blob.len() / 10, "{} for {}", blob.capacity(), blob.len());
    }
}

#[test]
fn many_threads_read_one_source() {
    let lab = Lab::new();
    let repo = lab.repository("repo", "sha1");
    let repository = Repository::open(&repo).unwrap();
    let tree = repository.resolve(None, None).unwrap().tree;
    let source = GitSource::new(repository);
    let files: Vec<_> =
        source.tree(&tree).unwrap().into_iter().filter(|e| e.kind == TreeKind::File).collect();
    let expected: Vec<_> = files.iter().map(|entry| source.blob(&entry.oid).unwrap()).collect();
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                for _ in 0..50 {
                    for (entry, content) in files.iter().zip(&expected) {
                        assert_eq!(source.blob(&entry.oid).as_ref(), Ok(content));
                    }
                }
            });
        }
    });
}

/// Histories with merges, equal dates and slightly skewed clocks: the count is that of `git rev-list`.
#[test]
fn commits_behind_are_those_git_counts_in_random_histories() {
    let lab = Lab::new();
    git_in(lab.dir.path(), &["init", "-q", "-b", "b", "dag"]);
    let repo = lab.path("dag");
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut stream = String::new();
    for n in 1..=120_u64 {
        let date = 1_700_000_000 + n * 10 - random(25);
        stream += &format!("commit refs/heads/c{n}\nmark :{n}\ncommitter C <c@e> {date} +0000\ndata 1\nx\n");
        if n > 1 {
            let first = n - 1 - random(n.min(6) - 1).min(n - 2);
            stream += &format!("from :{first}\n");
            let second = 1 + random(n - 1);
            if random(3) == 0 && second != first {
                stream += &format!("merge :{second}\n");
            }
        }
        stream += "\n";
    }
    write(&repo, "stream", stream.as_bytes());
    git_in(&repo, &["-c", "alias.load=!git fast-import --quiet < stream", "load"]);
    git_in(&repo, &["config", "branch.b.remote", "."]);
    for _ in 0..40 {
        let (base, upstream) = (format!("c{}", 1 + random(120)), format!("c{}", 1 + random(120)));
        git_in(&repo, &["update-ref", "refs/heads/b", &base]);
        git_in(&repo, &["config", "branch.b.merge", &format!("refs/heads/{upstream}")]);
        let counted = Repository::open(&repo).unwrap().resolve(None, None).unwrap().behind.unwrap();
        let git = git_in(&repo, &["rev-list", "--count", &upstream, &format!("^{base}")]);
        assert_eq!(counted.to_string(), git, "{base}..{upstream}");
    }
}
