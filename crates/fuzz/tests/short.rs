//! Each target on its corpus, and on changes of it from a fixed seed: what `cargo xtask check` has time for.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its shared functions too")]

use weald_fuzz::mutate::Mutator;
use weald_fuzz::{TARGETS, Target, corpus};

/// Changed inputs of each target; `WEALD_CASES` sets another number.
const CASES: u32 = 3000;
/// Targets that make a workspace for each input take a part of them.
const SLOW: [(&str, u32); 3] = [("fuse-serve", 3), ("replay", 3), ("sealed", 2)];

fn inputs_of(target: &Target) -> Vec<Vec<u8>> {
    corpus::read(target.name).unwrap().into_iter().chain((target.seeds)()).chain([Vec::new()]).collect()
}

fn run(name: &str) {
    let target = weald_fuzz::find(name).unwrap();
    let inputs = inputs_of(target);
    inputs.iter().for_each(|input| (target.run)(input));
    let seed = std::env::var("WEALD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let part = SLOW.iter().find(|(slow, _)| *slow == name).map_or(1, |(_, part)| *part);
    let mut mutator = Mutator::new(seed);
    for _ in 0..weald_testkit::cases(CASES) / part {
        (target.run)(&mutator.change(&inputs));
    }
}

#[test]
fn every_target_has_a_corpus_and_a_test() {
    let dir = corpus::file("x");
    let kept = std::fs::read_dir(dir.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let mut kept: Vec<String> =
        kept.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    kept.sort();
    let mut names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    names.sort_unstable();
    assert_eq!(kept, names);
    let mut tested = TESTED.to_vec();
    tested.sort_unstable();
    assert_eq!(tested, names);
}

macro_rules! targets {
    ($(fn $test:ident = $name:literal;)*) => {
        const TESTED: &[&str] = &[$($name),*];
        $(
            #[test]
            fn $test() {
                run($name);
            }
        )*
    };
}

targets! {
    fn messages_of_the_kernel_are_read_or_refused = "fuse-request";
    fn requests_in_any_order_get_one_answer_each = "fuse-serve";
    fn frames_of_a_log_are_read_or_refused = "log-frame";
    fn any_segment_of_a_log_is_opened_or_refused = "log-segment";
    fn any_manifest_is_read_or_refused = "manifest";
    fn any_pack_of_chunks_is_read_or_refused = "chunk-pack";
    fn any_content_pack_is_read_or_refused = "content-pack";
    fn any_record_is_read_or_refused = "record";
    fn any_records_lead_to_a_workspace_or_an_error = "replay";
    fn any_sealed_snapshot_is_read_or_refused = "sealed";
    fn any_tree_has_a_sound_manifest_or_none = "tree";
    fn any_tree_object_has_a_sound_manifest_or_none = "git-tree";
    fn any_index_is_read_or_refused = "git-index";
    fn words_of_git_are_read_or_refused = "git-words";
    fn packets_of_git_are_read_or_refused = "packets";
    fn lines_over_the_socket_are_read_or_refused = "control";
    fn any_file_of_settings_is_read_or_refused = "config";
    fn words_for_a_state_are_read_or_refused = "reference";
    fn any_table_of_conversions_is_read_or_refused = "conversions";
    fn no_secret_is_left_in_a_masked_url = "url";
}
